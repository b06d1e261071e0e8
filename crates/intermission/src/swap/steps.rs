//! How each step is performed, verified and undone, on whatever servers, gates and hook it is given.
//!
//! Everything here may be repeated: a step that was done already does nothing.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{
    endpoint::{Endpoint, EndpointError},
    gates::{GateError, Gates},
    gtid::GtidSet,
    machine::State,
    observation::{Blocker, ThreadState},
    plan::Plan,
    record::{Facts, Verdict},
    server::{Effect, Server, ServerError, TRANSACTIONS_FRESH_AFTER},
    step::Step,
};

/// How many times the catch-up is timed before the hold.
const CATCH_UP_SAMPLES: u32 = 3;
/// How often the marker is looked for on the old primary.
const MARKER_POLL: Duration = Duration::from_millis(20);
/// How many blocking sessions an error names.
const BLOCKERS_SHOWN: usize = 5;

/// A step that did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    pub effect: Effect,
    pub message: String,
}

impl StepError {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { effect: Effect::Refused, message: message.into() }
    }
}

impl From<ServerError> for StepError {
    fn from(error: ServerError) -> Self {
        Self { effect: error.effect, message: error.to_string() }
    }
}

impl From<GateError> for StepError {
    fn from(error: GateError) -> Self {
        Self { effect: Effect::Unknown, message: error.to_string() }
    }
}

impl From<EndpointError> for StepError {
    fn from(error: EndpointError) -> Self {
        let message = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Self { effect: Effect::Unknown, message }
    }
}

/// The parties of one swap.
#[derive(Debug, Clone)]
pub struct Steps {
    pub old: Arc<dyn Server>,
    pub new: Arc<dyn Server>,
    pub gates: Arc<dyn Gates>,
    pub endpoint: Arc<dyn Endpoint>,
    pub plan: Arc<Plan>,
}

impl Steps {
    /// Under which name this swap holds the apps.
    #[must_use]
    pub fn holder(&self) -> String {
        format!("swap {}", self.plan.id)
    }

    /// Does the step.
    ///
    /// # Errors
    /// What went wrong, and whether it may have had an effect.
    pub async fn perform(&self, step: Step, state: &State) -> Result<Facts, StepError> {
        let bounds = &self.plan.bounds;
        let moves =
            matches!(step, Step::Endpoint | Step::EndSessions | Step::Detach | Step::Rejoin);
        if moves && state.is_interrupted() {
            self.check_promoted().await?;
        }
        match step {
            Step::Lock => self.lock().await,
            Step::Quiet => self.quiet().await,
            Step::Hold => {
                self.gates.hold(&self.holder(), bounds.lease, bounds.drain).await?;
                Ok(Facts::default())
            }
            Step::Settle => self.settle().await,
            Step::Fence => self.fence().await,
            Step::Barrier => self.barrier().await,
            Step::CatchUp => self.catch_up(self.barrier_of(state)?).await,
            Step::Promote => self.promote(self.barrier_of(state)?).await,
            Step::Endpoint => self.lead_clients().await,
            Step::EndSessions => {
                let ended = self.old.end_sessions().await?;
                Ok(Facts::note(format!("{ended} sessions ended")))
            }
            Step::Release => {
                self.gates.release(&self.holder()).await?;
                Ok(Facts::default())
            }
            Step::Detach => {
                self.new.detach().await?;
                Ok(Facts::default())
            }
            Step::Rejoin => self.rejoin().await,
            Step::Prove => {
                if state.performs(Step::Prove) > 1 {
                    // A receiver that failed to connect sleeps for a minute: it is told to try now.
                    self.rejoin().await?;
                }
                self.prove().await
            }
            Step::Unlock => self.unlock().await,
        }
    }

    /// A journal may be old: going on with it after somebody has given the roles back would take the site down.
    async fn check_promoted(&self) -> Result<(), StepError> {
        if self.new.access().await?.is_writable() {
            return Ok(());
        }
        Err(StepError::refused(format!(
            "{} is not writable any more: somebody changed the roles since; look at both servers, and move the journal \
             away when they are right",
            self.new.name()
        )))
    }

    /// Whether the commit point was passed. It takes the lock first, so that no earlier promote can still come.
    pub async fn verify(&self) -> (Verdict, String) {
        if let Err(error) = self.new.lock(false).await {
            return (Verdict::CannotTell, error.to_string());
        }
        match self.new.access().await {
            Ok(access) if access.is_writable() => {
                (Verdict::TookEffect, format!("{} is writable", self.new.name()))
            }
            Ok(_) => (Verdict::DidNot, format!("{} is read-only", self.new.name())),
            Err(error) => (Verdict::CannotTell, error.to_string()),
        }
    }

    /// Takes the step back. Steps without an undo have nothing to take back.
    ///
    /// # Errors
    /// What went wrong, and whether it may have had an effect.
    pub async fn undo(&self, step: Step, state: &State) -> Result<Facts, StepError> {
        match step {
            Step::Lock => self.unlock().await,
            Step::Hold => {
                self.gates.release(&self.holder()).await?;
                Ok(Facts::default())
            }
            Step::Fence => self.lift_fence(state).await,
            Step::Quiet
            | Step::Settle
            | Step::Barrier
            | Step::CatchUp
            | Step::Promote
            | Step::Endpoint
            | Step::EndSessions
            | Step::Release
            | Step::Detach
            | Step::Rejoin
            | Step::Prove
            | Step::Unlock => Ok(Facts::default()),
        }
    }

    /// The commands that finish or undo the swap by hand, for the worst moment to be without them.
    #[must_use]
    pub fn emergency(&self) -> Vec<String> {
        let release = self.plan.apps.iter().map(|app| format!("intermission release {app}"));
        let release: Vec<String> = release.collect();
        let release = release.join(" && ");
        vec![
            "first try: intermission recover".to_owned(),
            format!(
                "see who writes: {} ; {}",
                self.new.command_to_look(),
                self.old.command_to_look()
            ),
            format!(
                "to finish by hand: {} && {} && {} && {release}",
                self.old.command_to_fence(),
                self.new.command_to_open(),
                self.endpoint.command(self.new.address(), self.old.address()),
            ),
            format!(
                "to undo by hand: {} && {} && {release}",
                self.new.command_to_fence(),
                self.old.command_to_open(),
            ),
        ]
    }

    fn barrier_of<'a>(&self, state: &'a State) -> Result<&'a GtidSet, StepError> {
        state.barrier().ok_or_else(|| {
            StepError::refused(format!("swap {} has no barrier in its journal", self.plan.id))
        })
    }

    async fn lock(&self) -> Result<Facts, StepError> {
        let (old, new) = tokio::join!(self.old.lock(false), self.new.lock(false));
        old?;
        new?;
        Ok(Facts::default())
    }

    async fn unlock(&self) -> Result<Facts, StepError> {
        let (old, new) = tokio::join!(self.old.unlock(), self.new.unlock());
        old?;
        new?;
        Ok(Facts::default())
    }

    /// Nothing is changed and nobody waits meanwhile.
    async fn quiet(&self) -> Result<Facts, StepError> {
        let bounds = &self.plan.bounds;
        let deadline = Instant::now() + bounds.quiet;
        loop {
            let blockers = self.old_blockers(bounds.quiet_age).await?;
            // Also so that the first look of the settle step is not answered from the server's cache.
            sleep(TRANSACTIONS_FRESH_AFTER).await;
            let noise = if blockers.is_empty() {
                // Timed last: the hold follows at once.
                match self.time_catch_up().await? {
                    Ok(longest) => {
                        let took = longest.as_secs_f64() * 1e3;
                        return Ok(Facts::note(format!("catch-up took {took:.1} ms at most")));
                    }
                    Err(noise) => noise,
                }
            } else {
                name_blockers(&blockers)
            };
            if Instant::now() >= deadline {
                return Err(StepError::refused(format!(
                    "no quiet moment on {} within {:?}: {noise}",
                    self.old.name(),
                    bounds.quiet,
                )));
            }
        }
    }

    /// The longest of some samples, or what was too slow.
    async fn time_catch_up(&self) -> Result<Result<Duration, String>, StepError> {
        let bound = self.plan.bounds.catch_up_sample;
        let mut longest = Duration::ZERO;
        for _ in 0..CATCH_UP_SAMPLES {
            let barrier = self.old.barrier().await?;
            let began = Instant::now();
            if !self.new.wait_applied(&barrier, bound).await? {
                let name = self.new.name();
                return Ok(Err(format!("{name} takes longer than {bound:?} to catch up")));
            }
            longest = longest.max(began.elapsed());
        }
        Ok(Ok(longest))
    }

    async fn old_blockers(&self, age: Duration) -> Result<Vec<Blocker>, StepError> {
        let mut blockers = self.old.blockers().await?;
        blockers.retain(|blocker| Duration::from_secs(blocker.age_s) >= age);
        Ok(blockers)
    }

    async fn settle(&self) -> Result<Facts, StepError> {
        let bound = self.plan.bounds.settle;
        let deadline = Instant::now() + bound;
        loop {
            let open = self.old.open_transactions().await?;
            if open.is_empty() {
                return Ok(Facts::default());
            }
            if Instant::now() >= deadline {
                return Err(StepError::refused(format!(
                    "{} still has open transactions {bound:?} after the drain: {}",
                    self.old.name(),
                    name_blockers(&open)
                )));
            }
            sleep(TRANSACTIONS_FRESH_AFTER).await;
        }
    }

    async fn fence(&self) -> Result<Facts, StepError> {
        if let Err(error) = self.old.fence(self.plan.bounds.fence).await {
            let mut error = StepError::from(error);
            if let Ok(blockers) = self.old.blockers().await
                && !blockers.is_empty()
            {
                error.message =
                    format!("{}; in the way: {}", error.message, name_blockers(&blockers));
            }
            return Err(error);
        }
        Ok(Facts::default())
    }

    /// Read after the fence is seen to stand, never from what was known before.
    async fn barrier(&self) -> Result<Facts, StepError> {
        let barrier = self.old.barrier().await?;
        self.check_fenced_at(&barrier).await?;
        Ok(Facts { note: Some(barrier.to_string()), barrier: Some(barrier) })
    }

    /// The fence stands and nothing was written behind it since `barrier` was read.
    async fn check_fenced_at(&self, barrier: &GtidSet) -> Result<(), StepError> {
        if self.old.access().await?.is_writable() {
            return Err(StepError::refused(format!(
                "{} is writable behind its fence",
                self.old.name()
            )));
        }
        let now = self.old.barrier().await?;
        if now != *barrier {
            return Err(StepError::refused(format!(
                "something writes through the fence of {}: {barrier} became {now}",
                self.old.name()
            )));
        }
        Ok(())
    }

    async fn catch_up(&self, barrier: &GtidSet) -> Result<Facts, StepError> {
        let bound = self.plan.bounds.catch_up;
        if self.new.wait_applied(barrier, bound).await? {
            return Ok(Facts::default());
        }
        Err(StepError::refused(format!(
            "{} has not applied {barrier} within {bound:?}",
            self.new.name()
        )))
    }

    /// Looks at the fence a last time: an administrator writes through MariaDB's `read_only`, and anybody may have lifted
    /// it since the barrier; then a promote would make two writers or lose a write. An old primary that does not answer
    /// was fenced when it last did.
    async fn promote(&self, barrier: &GtidSet) -> Result<Facts, StepError> {
        match self.check_fenced_at(barrier).await {
            Err(error) if error.effect == Effect::Refused => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.new.promote().await?;
        Ok(Facts::default())
    }

    /// Lifts the fence only where that cannot make two writers: the new primary was never about to be promoted, or
    /// is seen to be read-only.
    async fn lift_fence(&self, state: &State) -> Result<Facts, StepError> {
        match self.new.access().await {
            Ok(access) if access.is_writable() => {
                return Err(StepError::refused(format!(
                    "{} is writable: lifting the fence of {} would make two primaries",
                    self.new.name(),
                    self.old.name()
                )));
            }
            Err(error) if state.promote_was_tried() => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
        self.old.restore(self.plan.old.recorded).await?;
        Ok(Facts::default())
    }

    /// While the hook runs the old primary's sessions are ended a first time: users wait for both. Who comes back to it
    /// meanwhile is ended by the next step.
    async fn lead_clients(&self) -> Result<Facts, StepError> {
        let (said, ended) = tokio::join!(
            self.endpoint.point(self.new.address(), self.old.address()),
            timeout(self.plan.bounds.statement, self.old.end_sessions()),
        );
        if !matches!(ended, Ok(Ok(_))) {
            tracing::debug!(?ended, "left to the next step");
        }
        let said = said?;
        Ok(Facts { barrier: None, note: (!said.is_empty()).then_some(said) })
    }

    async fn rejoin(&self) -> Result<Facts, StepError> {
        if self.old.access().await?.is_writable() {
            return Err(StepError::refused(format!(
                "{} is writable: it would diverge; {}",
                self.old.name(),
                self.old.command_to_fence()
            )));
        }
        let (old, new) = (self.old.executed().await?, self.new.executed().await?);
        let diverged = old.minus(&new);
        if !diverged.is_empty() {
            return Err(StepError::refused(format!(
                "{} has transactions that {} lacks: {diverged}; build it anew from {}",
                self.old.name(),
                self.new.name(),
                self.new.name()
            )));
        }
        self.old.follow(self.new.address()).await?;
        Ok(Facts::default())
    }

    async fn prove(&self) -> Result<Facts, StepError> {
        let bound = self.plan.bounds.prove;
        let (began, id) = (Instant::now(), &self.plan.id);
        self.new.write_marker(id).await?;
        while !self.old.has_marker(id).await? {
            if began.elapsed() >= bound {
                return Err(StepError::refused(format!(
                    "the marker did not arrive on {} within {bound:?}: {}",
                    self.old.name(),
                    self.replication_words().await
                )));
            }
            sleep(MARKER_POLL).await;
        }
        let (old, new) = (self.old.access().await?, self.new.access().await?);
        if old.is_writable() || !new.is_writable() {
            return Err(StepError::refused(format!(
                "{} has {old:?} and {} has {new:?}",
                self.old.name(),
                self.new.name()
            )));
        }
        Ok(Facts::note(format!("the marker arrived after {} ms", began.elapsed().as_millis())))
    }

    async fn replication_words(&self) -> String {
        let Ok(channels) = self.old.channels().await else {
            return "its replication status cannot be read".to_owned();
        };
        let Some(channel) = channels.first() else {
            return "it replicates from nobody".to_owned();
        };
        let healthy = channel.io == ThreadState::Yes && channel.sql == ThreadState::Yes;
        let error = channel.io_error.as_deref().or(channel.sql_error.as_deref());
        format!(
            "receiver {}, applier {}{}",
            channel.io.word(),
            channel.sql.word(),
            match error {
                Some(error) if !healthy => format!(": {error}"),
                _ => String::new(),
            }
        )
    }
}

fn name_blockers(blockers: &[Blocker]) -> String {
    let shown: Vec<String> =
        blockers.iter().take(BLOCKERS_SHOWN).map(ToString::to_string).collect();
    let more = blockers.len().saturating_sub(BLOCKERS_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join("; "))
}
