//! Gates and an endpoint that only remember what they were asked.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use intermission::swap::{
    endpoint::{Endpoint, EndpointError},
    gates::{GateError, Gates, Users},
    observation::{Address, EndpointView},
    refusal::Refusal,
};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

/// What the gates and the hook were asked, in order.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    said: Mutex<Vec<String>>,
    /// A writer that takes part in the hold reads it during each write.
    pub(crate) gate: Arc<RwLock<()>>,
    closed: Mutex<Option<OwnedRwLockWriteGuard<()>>>,
}

impl Asked {
    fn note(&self, what: impl Into<String>) {
        self.said.lock().unwrap().push(what.into());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
}

#[async_trait]
impl Gates for Asked {
    async fn preflight(&self) -> Vec<Refusal> {
        Vec::new()
    }
    async fn hold(&self, _: &str, _: Duration, _: Duration) -> Result<(), GateError> {
        self.note("hold");
        let guard = Arc::clone(&self.gate).write_owned().await;
        *self.closed.lock().unwrap() = Some(guard);
        Ok(())
    }
    async fn renew(&self, _: &str, _: Duration) -> Result<(), GateError> {
        Ok(())
    }
    async fn release(&self, _: &str) -> Result<(), GateError> {
        self.note("release");
        drop(self.closed.lock().unwrap().take());
        Ok(())
    }
    async fn answered(&self, _: &str) -> Result<bool, GateError> {
        Ok(self.closed.lock().unwrap().is_none())
    }
    async fn users(&self, _: &str) -> Result<Users, GateError> {
        Ok(Users::default())
    }
    fn commands_to_release(&self) -> Vec<String> {
        vec!["intermission release shop".to_owned()]
    }
}

#[async_trait]
impl Endpoint for Asked {
    async fn observe(&self) -> EndpointView {
        EndpointView::default()
    }
    fn bound(&self) -> Duration {
        Duration::from_secs(5)
    }
    async fn prepare(&self, _: &Address, _: &Address) -> Result<(), EndpointError> {
        Ok(())
    }
    async fn point(&self, new: &Address, _: &Address) -> Result<String, EndpointError> {
        self.note(format!("point {new}"));
        Ok(String::new())
    }
    fn command(&self, new: &Address, _: &Address) -> String {
        format!("point {new}")
    }
}
