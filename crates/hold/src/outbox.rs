//! Wakers to be called, or dropped, once the lock is free.

use std::task::Waker;

/// Both can run foreign code that comes back for the lock: waking a task may run it, and dropping
/// the last waker of a task may drop a waiting request.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    wake: Vec<Waker>,
    spent: Vec<Waker>,
}

impl Outbox {
    pub(crate) fn wake(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        self.wake.extend(wakers);
    }

    pub(crate) fn discard(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        self.spent.extend(wakers);
    }

    /// In the order they were put in: that is the order of the line.
    pub(crate) fn send(self) {
        for waker in self.wake {
            waker.wake();
        }
    }
}

/// Keeps `slot` ready to wake the task that polls now.
pub(crate) fn note_waker(slot: &mut Option<Waker>, waker: &Waker, outbox: &mut Outbox) {
    if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
        outbox.discard(slot.replace(waker.clone()));
    }
}
