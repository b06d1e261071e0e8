//! The gate that this one has taken over from, as long as it has not finished. It has connections yet, and whoever is held
//! on them came before everybody here.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hold::Holder;
use tokio::time::{Instant, sleep, timeout};

use super::control::HoldError;
use super::flight::Seen;
use super::millis;
use super::question::chain;
use crate::admin::api::{
    AppState, AppStatus, ErrorCode, HoldRequest, ReleaseRequest, RenewRequest,
};
use crate::admin::client::{Client, ClientError};

/// It is on this machine, and answers at once; but it may have a predecessor itself, and ask that.
const STATUS_MAX: Duration = Duration::from_secs(1);
/// How often it is asked whether its line is out.
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Predecessor {
    client: Client,
    pid: u32,
    is_gone: AtomicBool,
    /// Of the holds there that are led from here.
    generations: Mutex<HashMap<String, u64>>,
}

impl Predecessor {
    /// `socket`: where it serves its admin API for this process.
    pub(crate) fn new(socket: PathBuf, pid: u32) -> Self {
        let (is_gone, generations) = (AtomicBool::new(false), Mutex::default());
        Self { client: Client::new(socket), pid, is_gone, generations }
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// It holds `app` since before this process began.
    pub(super) fn has_held(&self, app: &str, generation: u64) {
        self.known().insert(app.to_owned(), generation);
    }

    pub(super) fn holds(&self, app: &str) -> bool {
        !self.is_gone() && self.known().contains_key(app)
    }

    pub(super) async fn hold(
        &self,
        app: &str,
        holder: &Holder,
        lease: Duration,
        drain: Duration,
    ) -> Result<(), HoldError> {
        if self.is_gone() {
            return Ok(());
        }
        let request = HoldRequest {
            holder: holder.name.clone(),
            reason: holder.reason.clone(),
            lease_ms: Some(millis(lease)),
            drain_ms: Some(millis(drain)),
        };
        match self.client.hold(app, &request).await {
            Ok(reply) => {
                self.has_held(app, reply.generation);
                Ok(())
            }
            Err(error) => match self.judge(error) {
                None => Ok(()),
                Some(ClientError::Refused(body)) if body.code == ErrorCode::DrainTimedOut => {
                    let stragglers: Vec<Seen> = body.stragglers.iter().filter_map(seen).collect();
                    let in_flight = u64::try_from(stragglers.len()).unwrap_or(u64::MAX);
                    Err(HoldError::DrainTimedOut { drain, in_flight, stragglers })
                }
                Some(error) => Err(HoldError::Predecessor { pid: self.pid, reason: chain(&error) }),
            },
        }
    }

    /// What it says against it is logged: its lease ends then, and this gate's with it.
    pub(super) async fn renew(&self, app: &str, lease: Duration) {
        let Some(generation) = self.known().get(app).copied().filter(|_| !self.is_gone()) else {
            return;
        };
        let request = RenewRequest { generation, lease_ms: Some(millis(lease)) };
        if let Err(error) = self.client.renew(app, &request).await
            && let Some(error) = self.judge(error)
        {
            tracing::warn!(
                app,
                pid = self.pid,
                error = chain(&error),
                "the predecessor has not renewed"
            );
        }
    }

    /// Returns when everybody in its line has gone on, `limit` at most.
    pub(super) async fn release(&self, app: &str, limit: Duration) {
        let generation = self.known().remove(app);
        let Some(generation) = generation.filter(|_| !self.is_gone()) else { return };
        if let Err(error) = self.client.release(app, &ReleaseRequest { generation }).await {
            if let Some(error) = self.judge(error) {
                tracing::warn!(
                    app,
                    pid = self.pid,
                    error = chain(&error),
                    "the predecessor has not released"
                );
            }
            return;
        }
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            // No answer is no reason to overtake anybody.
            if let Some(status) = self.apps().await {
                let app = status.iter().find(|status| status.name == app);
                if app.is_none_or(|app| app.state == AppState::Open) {
                    return;
                }
            }
            sleep(LOOK_EVERY).await;
        }
        tracing::warn!(
            app,
            pid = self.pid,
            ?limit,
            "the predecessor's line is not out: others go on beside it"
        );
    }

    /// Empty once it has finished; nothing if it does not answer in time.
    pub(crate) async fn apps(&self) -> Option<Vec<AppStatus>> {
        if self.is_gone() {
            return Some(Vec::new());
        }
        let error = match timeout(STATUS_MAX, self.client.apps()).await {
            Ok(Ok(apps)) => return Some(apps.apps),
            Ok(Err(error)) => self.judge(error),
            Err(_elapsed) => return None,
        };
        let Some(error) = error else { return Some(Vec::new()) };
        let (pid, error) = (self.pid, chain(&error));
        tracing::warn!(pid, error, "the predecessor gives no status");
        None
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// The error, if it is one: that it has finished, or has no such app, is none.
    fn judge(&self, error: ClientError) -> Option<ClientError> {
        match &error {
            ClientError::Connect { .. } | ClientError::Broke { .. } => {
                self.is_gone.store(true, Ordering::Relaxed);
                None
            }
            ClientError::Refused(body)
                if matches!(body.code, ErrorCode::UnknownApp | ErrorCode::Stale) =>
            {
                None
            }
            ClientError::Unreachable { .. }
            | ClientError::OwnCertificate { .. }
            | ClientError::Forbidden { .. }
            | ClientError::TooManyFailures { .. }
            | ClientError::Certificate { .. }
            | ClientError::NoTls { .. }
            | ClientError::Unauthorized { .. }
            | ClientError::TimedOut { .. }
            | ClientError::Foreign { .. }
            | ClientError::AppName { .. }
            | ClientError::Refused(_) => Some(error),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seen(straggler: &crate::admin::api::Straggler) -> Option<Seen> {
    Some(Seen {
        method: straggler.method.parse().ok()?,
        path: straggler.path.clone(),
        age: Duration::from_millis(straggler.age_ms),
    })
}
