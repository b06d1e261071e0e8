//! The gates of a swap, over the admin API: what makes `swap` independent of HTTP.

mod warm_up;

pub(crate) use self::warm_up::told;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    api::{AppStatus, ErrorCode, HoldRequest, ReleaseRequest, RenewRequest, Status},
    client::{Client, ClientError},
};
use crate::swap::{
    gates::{ACKNOWLEDGE, GateBounds, GateError, Gates, Users, all_warm},
    refusal::{Code, Refusal},
};

/// How many stragglers an error names.
const STRAGGLERS_SHOWN: usize = 5;

/// One gate and the apps of a swap behind it.
#[derive(Debug)]
pub struct AdminGates {
    client: Client,
    apps: Vec<String>,
    /// How an operator calls this program for this gate.
    program: String,
    /// What this process holds: saves asking for it inside the pause.
    generations: Mutex<BTreeMap<String, u64>>,
}

impl AdminGates {
    #[must_use]
    pub fn new(client: Client, apps: Vec<String>, program: String) -> Self {
        Self { client, apps, program, generations: Mutex::default() }
    }

    fn error(&self, doing: impl Into<String>, error: &ClientError) -> GateError {
        let mut reason = match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        if let ClientError::Refused(body) = error {
            for straggler in body.stragglers.iter().take(STRAGGLERS_SHOWN) {
                reason.push_str(&format!(
                    "; {} {} for {} ms",
                    straggler.method, straggler.path, straggler.age_ms
                ));
            }
        }
        self.failed(doing, reason)
    }

    fn failed(&self, doing: impl Into<String>, reason: String) -> GateError {
        GateError { gate: format!("gate {}", self.client.gate()), doing: doing.into(), reason }
    }

    async fn status(&self) -> Result<Status, GateError> {
        self.client.status().await.map_err(|error| self.error("ask for its status", &error))
    }

    fn known(&self, app: &str) -> Option<u64> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).get(app).copied()
    }

    /// The generation of each app that `holder` holds now.
    async fn held_by(&self, holder: &str) -> Result<Vec<(String, u64)>, GateError> {
        let status = self.status().await?;
        Ok(self
            .apps
            .iter()
            .filter_map(|name| {
                let held = find(&status, name)?.hold.as_ref()?;
                (held.holder == holder).then(|| (name.clone(), held.generation))
            })
            .collect())
    }

    fn refusal_of(&self, status: &Status, name: &str) -> Option<Refusal> {
        let Some(app) = find(status, name) else {
            let known: Vec<&str> = status.apps.iter().map(|app| app.name.as_str()).collect();
            return Some(Refusal::new(
                Code::UnknownApp,
                format!(
                    "the gate at {} has no app called {name:?}; it has: {}",
                    self.client.gate(),
                    known.join(", ")
                ),
                "correct swap.apps, or restart the gate with that app",
            ));
        };
        let held = app.hold.as_ref()?;
        Some(Refusal::new(
            Code::AlreadyHeld,
            format!(
                "{name} is held by {} for {} ms ({})",
                held.holder, held.held_for_ms, held.reason
            ),
            format!("wait for it, or: {} release {name}", self.program),
        ))
    }

    async fn hold_app(&self, app: &str, request: &HoldRequest) -> Result<(), GateError> {
        match self.client.hold(app, request).await {
            Ok(reply) => {
                let mut known = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(app.to_owned(), reply.generation);
                Ok(())
            }
            Err(error) => Err(self.error(format!("hold {app}"), &error)),
        }
    }

    /// Released already counts as released: by an operator, or at the end of the lease.
    async fn release_app(&self, app: &str, generation: u64) -> Result<(), GateError> {
        match self.client.release(app, &ReleaseRequest { generation }).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(ErrorCode::Stale) => Ok(()),
            Err(error) => Err(self.error(format!("release {app}"), &error)),
        }
    }
}

#[async_trait]
impl Gates for AdminGates {
    async fn preflight(&self) -> Vec<Refusal> {
        let status = match self.client.status().await {
            Ok(status) => status,
            Err(error) => {
                let (code, mend) = no_status(&error);
                let sentence = self.error("ask for its status", &error).to_string();
                return vec![Refusal::new(code, sentence, mend)];
            }
        };
        let refusals = self.apps.iter().filter_map(|name| self.refusal_of(&status, name));
        let refusals: Vec<Refusal> = refusals.collect();
        if refusals.is_empty() { self.warm_up_refusals(&status).await } else { refusals }
    }

    async fn bounds(&self) -> Result<GateBounds, GateError> {
        Ok(self.bounds_of(&self.status().await?))
    }

    async fn warm_up(&self, bound: Duration) -> Result<String, GateError> {
        all_warm(join_all(self.apps.iter().map(|app| self.warm_up_app(app, bound))).await)
    }

    /// A connection for each app, and a gate that answers.
    async fn prepare(&self) -> Result<(), GateError> {
        join_all(self.apps.iter().map(|_| self.status()))
            .await
            .into_iter()
            .try_for_each(|status| status.map(drop))
    }

    async fn hold(&self, holder: &str, lease: Duration, drain: Duration) -> Result<(), GateError> {
        let request = HoldRequest {
            holder: holder.to_owned(),
            reason: "the database's roles are being swapped".to_owned(),
            lease_ms: Some(millis(lease)),
            drain_ms: Some(millis(drain)),
        };
        // Those of an earlier hold.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let holds = self.apps.iter().map(|app| self.hold_app(app, &request));
        let limit = drain.saturating_add(ACKNOWLEDGE);
        let failed = match timeout(limit, join_all(holds)).await {
            Ok(held) => held.into_iter().find_map(Result::err),
            Err(_) => {
                let reason = format!("no acknowledgement within {limit:?}");
                Some(self.failed(format!("hold {}", self.apps.join(", ")), reason))
            }
        };
        let Some(error) = failed else { return Ok(()) };
        // One app that is not held is none that may be.
        match timeout(ACKNOWLEDGE, self.release(holder)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease will end the hold"),
            Err(_) => tracing::warn!(gate = self.client.gate(), "the lease will end the hold"),
        }
        Err(error)
    }

    async fn renew(&self, holder: &str, lease: Duration) -> Result<(), GateError> {
        for (app, generation) in self.held_by(holder).await? {
            let request = RenewRequest { generation, lease_ms: Some(millis(lease)) };
            let renewed = self.client.renew(&app, &request).await;
            renewed.map_err(|error| self.error(format!("renew the hold of {app}"), &error))?;
        }
        Ok(())
    }

    async fn release(&self, holder: &str) -> Result<(), GateError> {
        let known: Option<Vec<(String, u64)>> =
            self.apps.iter().map(|app| Some((app.clone(), self.known(app)?))).collect();
        let held = match known {
            Some(known) => known,
            None => self.held_by(holder).await?,
        };
        let releases = held.iter().map(|(app, generation)| self.release_app(app, *generation));
        join_all(releases).await.into_iter().collect()
    }

    async fn answered(&self, _: &str) -> Result<bool, GateError> {
        let status = self.status().await?;
        let mut ours = self.apps.iter().filter_map(|name| find(&status, name));
        Ok(ours.all(|app| {
            self.known(&app.name) != Some(app.generation)
                || (app.held == 0 && app.released_in_flight == 0)
        }))
    }

    async fn users(&self, _: &str) -> Result<Users, GateError> {
        let status = self.status().await?;
        let mut users = Users::default();
        for app in self.apps.iter().filter_map(|name| find(&status, name)) {
            if self.known(&app.name) != Some(app.generation) {
                continue;
            }
            users.held += app.summary.held;
            users.longest_ms = users.longest_ms.max(app.summary.longest_wait_ms);
            users.refused += app.summary.refused + app.summary.timed_out;
            users.left += app.summary.left;
        }
        Ok(users)
    }

    fn commands_to_release(&self) -> Vec<String> {
        self.apps.iter().map(|app| format!("{} release {app}", self.program)).collect()
    }
}

/// The code and the mend of a gate whose status is not to be had.
fn no_status(error: &ClientError) -> (Code, &'static str) {
    match error {
        ClientError::Unauthorized { .. } => (
            Code::GateToken,
            "give both sides the same token: gate.admin_token_file (or _env) there, token_file (or _env) in swap.gates here",
        ),
        ClientError::Certificate { .. } => (
            Code::GateCertificate,
            "let ca_file in swap.gates be what the gate's certificate was signed with, and name what it is made out to; one that \
             expired, or that is an authority itself (CaUsedAsEndEntity), is to be made anew as in README.md",
        ),
        ClientError::Unreachable { .. } | ClientError::NoTls { .. } => (
            Code::GateUnreachable,
            "start the gate (intermission serve) with gate.admin_listen, let this machine through its firewall, or correct \
             swap.gates",
        ),
        ClientError::Connect { .. }
        | ClientError::TimedOut { .. }
        | ClientError::Broke { .. }
        | ClientError::Foreign { .. }
        | ClientError::AppName { .. }
        | ClientError::Refused(_) => {
            (Code::GateUnreachable, "start the gate (intermission serve), or correct swap.gates")
        }
    }
}

fn find<'a>(status: &'a Status, name: &str) -> Option<&'a AppStatus> {
    status.apps.iter().find(|app| app.name == name)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
