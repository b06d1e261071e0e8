//! The end of the application's sessions on the old primary, which goes on beside other steps.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::task::AbortOnDropHandle;

use crate::swap::server::{Server, ServerError};

type Task = AbortOnDropHandle<Result<usize, ServerError>>;

/// Many sessions take a server milliseconds to end, so that is begun as soon as none of them can come back to it, and
/// waited for before users are released. It ends with the process that began it.
#[derive(Debug, Clone, Default)]
pub struct Farewell(Arc<Mutex<Option<Task>>>);

impl Farewell {
    /// Begins, unless that was done.
    pub(super) fn begin(&self, old: &Arc<dyn Server>) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.is_none() {
            let old = Arc::clone(old);
            *begun =
                Some(AbortOnDropHandle::new(tokio::spawn(async move { old.end_sessions().await })));
        }
    }

    /// Waits for what was begun, or does it: how many sessions were ended. After an error it is done anew.
    pub(super) async fn finish(&self, old: &Arc<dyn Server>) -> Result<usize, ServerError> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match begun {
            Some(task) => match task.await {
                Ok(ended) => ended,
                // It panicked.
                Err(_) => old.end_sessions().await,
            },
            None => old.end_sessions().await,
        }
    }
}
