//! The one lock of an app.

use std::sync::PoisonError;

use crate::inner::Inner;
use crate::outbox::Outbox;
use crate::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Shared(Mutex<Inner>);

impl Shared {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Mutex::new(inner))
    }

    /// One change under the lock; wakers are called after it.
    pub(crate) fn settle<T>(&self, change: impl FnOnce(&mut Inner, &mut Outbox) -> T) -> T {
        let mut outbox = Outbox::default();
        let outcome = {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut inner, &mut outbox)
        };
        outbox.send();
        outcome
    }
}
