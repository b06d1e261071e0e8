//! An app at a gate of a swap, over the admin API: what makes `swap` independent of HTTP.

mod warm_up;

pub(crate) use self::warm_up::told;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::timeout;

use super::{
    api::{AppStatus, ErrorCode, HoldRequest, ReleaseRequest, RenewRequest, Role, Status},
    client::{Client, ClientError},
};
use crate::swap::{
    gates::{ACKNOWLEDGE, GateBounds, GateError, Gates, Users},
    refusal::{Code, Refusal},
};

/// How many stragglers an error names.
const STRAGGLERS_SHOWN: usize = 5;

const MAY_OPERATE: &str = "in swap.gates use the token of gate.admin_token_file there, or a certificate that \
                           gate.admin_tls.operators there names";

/// One app at one gate. A swap holds all of its apps at all of its gates, or none: together they are
/// [`crate::swap::gates::AllGates`].
#[derive(Debug)]
pub struct AdminGate {
    /// All apps of a gate share it.
    client: Arc<Client>,
    app: String,
    /// How an operator calls this program for this gate.
    program: String,
    /// What this process holds: saves asking for it inside the pause.
    generation: Mutex<Option<u64>>,
}

impl AdminGate {
    #[must_use]
    pub fn new(client: Arc<Client>, app: String, program: String) -> Self {
        Self { client, app, program, generation: Mutex::default() }
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

    fn known(&self) -> Option<u64> {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, generation: Option<u64>) {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner) = generation;
    }

    /// The app, if what this process held last is its newest hold.
    async fn ours(&self) -> Result<Option<AppStatus>, GateError> {
        let status = self.status().await?;
        let app = status.apps.into_iter().find(|app| app.name == self.app);
        Ok(app.filter(|app| self.known() == Some(app.generation)))
    }

    /// The generation that `holder` holds now.
    async fn held_by(&self, holder: &str) -> Result<Option<u64>, GateError> {
        let status = self.status().await?;
        let held = find(&status, &self.app).and_then(|app| app.hold.as_ref());
        Ok(held.filter(|held| held.holder == holder).map(|held| held.generation))
    }

    fn refusal_of(&self, status: &Status) -> Option<Refusal> {
        let name = &self.app;
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
}

#[async_trait]
impl Gates for AdminGate {
    async fn preflight(&self) -> Vec<Refusal> {
        let status = match self.client.status().await {
            Ok(status) => status,
            Err(error) => {
                let (code, mend) = no_status(&error);
                let sentence = self.error("ask for its status", &error).to_string();
                return vec![Refusal::new(code, sentence, mend)];
            }
        };
        if status.role < Role::Operate {
            let gate = self.client.gate();
            let sentence = format!("the gate at {gate} lets this program read, and not hold");
            return vec![Refusal::new(Code::GateRole, sentence, MAY_OPERATE)];
        }
        let refused = match self.refusal_of(&status) {
            None => self.warm_up_refusal(&status).await,
            refused => refused,
        };
        refused.into_iter().collect()
    }

    async fn bounds(&self) -> Result<GateBounds, GateError> {
        Ok(self.bounds_of(&self.status().await?))
    }

    async fn warm_up(&self, bound: Duration) -> Result<String, GateError> {
        self.warm_up_app(bound).await
    }

    /// A connection, and a gate that answers.
    async fn prepare(&self) -> Result<(), GateError> {
        self.status().await.map(drop)
    }

    async fn hold(&self, holder: &str, lease: Duration, drain: Duration) -> Result<(), GateError> {
        let request = HoldRequest {
            holder: holder.to_owned(),
            reason: "the database's roles are being swapped".to_owned(),
            lease_ms: Some(millis(lease)),
            drain_ms: Some(millis(drain)),
        };
        // That of an earlier hold.
        self.learn(None);
        let limit = drain.saturating_add(ACKNOWLEDGE);
        let doing = format!("hold {}", self.app);
        let error = match timeout(limit, self.client.hold(&self.app, &request)).await {
            Ok(Ok(held)) => {
                self.learn(Some(held.generation));
                return Ok(());
            }
            Ok(Err(error)) => self.error(doing, &error),
            Err(_) => self.failed(doing, format!("no acknowledgement within {limit:?}")),
        };
        // It may be held all the same.
        match timeout(ACKNOWLEDGE, self.release(holder)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease will end the hold"),
            Err(_) => tracing::warn!(gate = self.client.gate(), "the lease will end the hold"),
        }
        Err(error)
    }

    async fn renew(&self, holder: &str, lease: Duration) -> Result<(), GateError> {
        let Some(generation) = self.held_by(holder).await? else { return Ok(()) };
        let request = RenewRequest { generation, lease_ms: Some(millis(lease)) };
        let renewed = self.client.renew(&self.app, &request).await.map(drop);
        renewed.map_err(|error| self.error(format!("renew the hold of {}", self.app), &error))
    }

    /// Released already counts as released: by an operator, or at the end of the lease.
    async fn release(&self, holder: &str) -> Result<(), GateError> {
        let held = match self.known() {
            Some(known) => Some(known),
            None => self.held_by(holder).await?,
        };
        let Some(generation) = held else { return Ok(()) };
        match self.client.release(&self.app, &ReleaseRequest { generation }).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(ErrorCode::Stale) => Ok(()),
            Err(error) => Err(self.error(format!("release {}", self.app), &error)),
        }
    }

    async fn answered(&self, _: &str) -> Result<bool, GateError> {
        let ours = self.ours().await?;
        Ok(ours.is_none_or(|app| app.held == 0 && app.released_in_flight == 0))
    }

    async fn users(&self, _: &str) -> Result<Users, GateError> {
        let Some(app) = self.ours().await? else { return Ok(Users::default()) };
        Ok(Users {
            held: app.summary.held,
            longest_ms: app.summary.longest_wait_ms,
            refused: app.summary.refused + app.summary.timed_out,
            left: app.summary.left,
        })
    }

    fn commands_to_release(&self) -> Vec<String> {
        vec![format!("{} release {}", self.program, self.app)]
    }
}

/// The code and the mend of a gate whose status is not to be had.
fn no_status(error: &ClientError) -> (Code, &'static str) {
    match error {
        ClientError::Unauthorized { .. } => (
            Code::GateToken,
            "give both sides the same token: gate.admin_token_file (or _env) there, token_file (or _env) in swap.gates here; or \
             a certificate (certificate and key) that gate.admin_tls there knows",
        ),
        ClientError::OwnCertificate { .. } => (
            Code::GateToken,
            "let certificate in swap.gates be signed with gate.admin_tls.client_ca_file there, and in force; if it has an \
             extendedKeyUsage, clientAuth must be in it",
        ),
        ClientError::TooManyFailures { .. } => (
            Code::GateToken,
            "correct whoever shows wrong tokens from this address, and wait a minute",
        ),
        ClientError::Forbidden { .. } => (Code::GateRole, MAY_OPERATE),
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
