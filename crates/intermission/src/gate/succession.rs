//! What a gate does so that a successor can take over.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hold::State;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::Gate;
use super::predecessor::Predecessor;
use super::worker::Order;
use crate::config::gate::Gate as Settings;

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often a predecessor is looked for that nothing else waits for.
const PREDECESSOR_EVERY: Duration = Duration::from_millis(250);
/// A worker takes an order between two requests.
const WORKER_MAX: Duration = Duration::from_secs(5);

/// An app that is neither open nor held.
#[derive(Debug)]
pub(crate) struct Busy {
    pub(crate) app: String,
    pub(crate) state: &'static str,
}

impl Gate {
    /// Returns when every app is open or held, if that is within `limit`.
    pub(crate) async fn settled(&self, limit: Duration) -> Result<(), Busy> {
        let deadline = Instant::now() + limit;
        loop {
            let busy = self.apps().iter().find_map(|app| {
                let state = match app.hold.status().state {
                    State::Open | State::Held if !app.is_led() => return None,
                    State::Draining => "draining",
                    State::Releasing | State::Open | State::Held => "being released",
                };
                Some(Busy { app: app.name.clone(), state })
            });
            let Some(busy) = busy else { return Ok(()) };
            if Instant::now() >= deadline {
                return Err(busy);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the workers take new connections; when this returns they do, or do not. Those that they do not take wait.
    pub(crate) async fn accept(&self, wanted: bool) {
        let mut waiting = Vec::new();
        for worker in &self.orders {
            let (done, is_done) = oneshot::channel();
            if worker.send(Order::Accept { wanted, done }).await.is_ok() {
                waiting.push(is_done);
            }
        }
        for is_done in waiting {
            if timeout(WORKER_MAX, is_done).await.is_err() {
                tracing::error!("a worker has not taken an order after {WORKER_MAX:?}");
            }
        }
    }

    /// What the workers listen on, with the addresses as they are configured.
    pub(crate) fn sockets(&self) -> io::Result<Vec<(SocketAddr, TcpListener)>> {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.iter().map(|(address, socket)| Ok((*address, socket.try_clone()?))).collect()
    }

    /// Whoever connects from now on is refused, as soon as the workers have closed theirs.
    pub(crate) fn close_sockets(&self) {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// On the state directory.
    pub(crate) fn lock(&self) -> io::Result<File> {
        self.registry.state().share_lock()
    }

    pub(crate) async fn settings(&self) -> Arc<Settings> {
        Arc::clone(&*self.settings.lock().await)
    }

    /// The gate that this one has taken over from, as long as it is there.
    pub(crate) fn predecessor(&self) -> Option<&Arc<Predecessor>> {
        self.registry.predecessor().filter(|predecessor| !predecessor.is_gone())
    }

    /// Returns when nothing is left of it, `take_over_grace` at most; at once where nobody leads it by this gate.
    pub(crate) async fn predecessor_has_finished(&self) {
        let deadline = Instant::now() + self.settings().await.take_over_grace;
        while self.shutdown.is_replaced() && Instant::now() < deadline {
            let Some(predecessor) = self.predecessor() else { return };
            predecessor.apps().await;
            sleep(PREDECESSOR_EVERY).await;
        }
    }

    /// A successor serves: what is here is finished, and nothing else begun.
    pub(crate) fn hand_over(&self) {
        self.registry.state().hand_over();
        self.shutdown.replace();
        self.close_sockets();
    }
}
