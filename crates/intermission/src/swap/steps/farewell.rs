//! The end of the application's sessions on the old primary, which goes on beside other steps.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio_util::task::AbortOnDropHandle;

use crate::swap::{
    endpoint::Endpoint,
    server::{Server, ServerError},
};

/// A session whose connection was cut ends by itself within this, if the server has a processor; most have when they are first looked
/// for. Told to end meanwhile it would keep whoever tells it waiting.
const ENDS_BY_ITSELF: Duration = Duration::from_millis(2);

type Task = AbortOnDropHandle<Result<Ended, ServerError>>;

/// What was ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// Connections that came by the clients' address; their sessions are gone with them.
    pub(super) cut: usize,
    /// By the server, of those that were left.
    pub(super) sessions: usize,
}

/// Many sessions take a server milliseconds to end, so that is begun as soon as none of them can come back to it, and
/// waited for before users are released. It ends with the process that began it.
#[derive(Debug, Clone, Default)]
pub struct Farewell(Arc<Mutex<Option<Task>>>);

impl Farewell {
    /// Begins, unless that was done: with what came by the clients' address, which is nothing that the server has to do.
    pub(super) fn begin(&self, old: &Arc<dyn Server>, endpoint: &Arc<dyn Endpoint>) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.is_none() {
            let (old, endpoint) = (Arc::clone(old), Arc::clone(endpoint));
            let task = async move {
                let cut = endpoint.cut(old.address()).await;
                let patience = if cut > 0 { ENDS_BY_ITSELF } else { Duration::ZERO };
                Ok(Ended { cut, sessions: old.end_sessions(patience).await? })
            };
            *begun = Some(AbortOnDropHandle::new(tokio::spawn(task)));
        }
    }

    /// Waits for what was begun, or does it. After an error it is done anew.
    pub(super) async fn finish(&self, old: &Arc<dyn Server>) -> Result<Ended, ServerError> {
        let end = async || Ok(Ended { cut: 0, sessions: old.end_sessions(Duration::ZERO).await? });
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match begun {
            Some(task) => match task.await {
                Ok(ended) => ended,
                // It panicked.
                Err(_) => end().await,
            },
            None => end().await,
        }
    }
}
