//! How each step is performed, verified and undone, on whatever servers, gates and hook it is given.
//!
//! Everything here may be repeated: a step that was done already does nothing.

mod after;
mod before;
mod card;
mod channel;
mod failover;
mod farewell;
mod promoted;
mod receiver;
mod rejoin;
mod set;
mod sibling;

use std::sync::Arc;

pub use self::farewell::Farewell;
pub(crate) use self::sibling::LED_WITHIN;
use super::{
    client_address::ClientAddress,
    endpoint::{Endpoint, EndpointError},
    gates::{GateError, Gates},
    hook::{Hooks, HooksError},
    machine::State,
    plan::{Plan, kind::Kind},
    position::Barrier,
    record::Facts,
    server::{Effect, Server, ServerError},
    step::Step,
};

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

impl From<HooksError> for StepError {
    fn from(error: HooksError) -> Self {
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
    /// Those of the plan's siblings that are still configured.
    pub siblings: Vec<Arc<dyn Server>>,
    pub gates: Arc<dyn Gates>,
    pub endpoint: Arc<dyn Endpoint>,
    pub hooks: Arc<dyn Hooks>,
    /// What proves a dead primary off, where that is configured.
    pub fencing: Option<Arc<dyn Hooks>>,
    /// The new primary as clients reach it, where that is configured.
    pub client_address: Option<Arc<dyn ClientAddress>>,
    pub plan: Arc<Plan>,
    pub farewell: Farewell,
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
        self.check_promoted(step, state).await?;
        self.check_follows(step, state).await?;
        let otherwise = match &self.plan.kind {
            Kind::Swap => None,
            Kind::Failover(failover) => self.carry_out_failover(step, failover, state).await,
            Kind::Rejoin => self.carry_out_rejoin(step).await,
        };
        match otherwise {
            Some(done) => done,
            None => self.carry_out(step, state).await,
        }
    }

    async fn carry_out(&self, step: Step, state: &State) -> Result<Facts, StepError> {
        match step {
            Step::Lock => self.lock().await,
            Step::Quiet => self.quiet().await,
            Step::Ready => self.ready().await,
            Step::Hold => self.hold().await,
            Step::Settle => self.settle().await,
            Step::Withdraw => self.withdraw().await,
            Step::Fence => self.fence().await,
            Step::Barrier => self.barrier().await,
            Step::CatchUp => self.catch_up(self.barrier_of(state)?).await,
            Step::Promote => self.promote().await,
            Step::Endpoint => self.lead_clients(state).await,
            Step::EndSessions => self.end_sessions().await,
            Step::Canary => self.canary_again(state).await,
            Step::BeforeRelease => self.run_hooks().await,
            Step::WarmUp => self.warm_up().await,
            Step::Release => self.release().await,
            Step::Events => self.events().await,
            Step::Detach => self.detach().await,
            Step::Rejoin => self.rejoin(state).await,
            Step::Follow => self.follow(state).await,
            Step::Prove => self.prove_again(state).await,
            Step::Settings => self.settings().await,
            Step::Unlock => self.unlock().await,
        }
    }

    /// Takes the step back. Steps without an undo have nothing to take back.
    ///
    /// # Errors
    /// What went wrong, and whether it may have had an effect.
    pub async fn undo(&self, step: Step, state: &State) -> Result<Facts, StepError> {
        match (&self.plan.kind, step) {
            (Kind::Failover(failover), Step::Ready) => {
                self.check_not_promoted(state).await?;
                return self.receive_again(failover).await;
            }
            (Kind::Failover(_), Step::Withdraw) => return self.give_address_to_the_dead().await,
            (Kind::Failover(_), Step::Fence) => return Ok(Facts::default()),
            (Kind::Rejoin, Step::Fence | Step::Withdraw) => return Ok(self.stay_read_only()),
            (Kind::Swap | Kind::Failover(_) | Kind::Rejoin, _) => {}
        }
        match step {
            Step::Lock => self.unlock().await,
            Step::Hold => self.release().await,
            Step::Ready => self.undo_ready(state).await,
            Step::Fence => self.lift_fence(state).await,
            Step::Withdraw => self.give_address_back().await,
            Step::Quiet
            | Step::Settle
            | Step::Barrier
            | Step::CatchUp
            | Step::Promote
            | Step::Endpoint
            | Step::EndSessions
            | Step::Canary
            | Step::BeforeRelease
            | Step::WarmUp
            | Step::Release
            | Step::Events
            | Step::Detach
            | Step::Rejoin
            | Step::Follow
            | Step::Prove
            | Step::Settings
            | Step::Unlock => Ok(Facts::default()),
        }
    }

    fn barrier_of<'a>(&self, state: &'a State) -> Result<&'a Barrier, StepError> {
        state.barrier().ok_or_else(|| {
            StepError::refused(format!("swap {} has no barrier in its journal", self.plan.id))
        })
    }

    async fn hold(&self) -> Result<Facts, StepError> {
        let bounds = &self.plan.bounds;
        self.gates.hold(&self.holder(), bounds.lease, bounds.drain).await?;
        Ok(Facts::default())
    }

    async fn release(&self) -> Result<Facts, StepError> {
        self.gates.release(&self.holder()).await?;
        Ok(Facts::default())
    }

    async fn lock(&self) -> Result<Facts, StepError> {
        if self.plan.failover().is_some() {
            self.new.lock(false).await?;
            return Ok(Facts::default());
        }
        let (old, new) = tokio::join!(self.old.lock(false), self.new.lock(false));
        old?;
        new?;
        Ok(Facts::default())
    }

    async fn unlock(&self) -> Result<Facts, StepError> {
        if self.plan.failover().is_some() {
            self.new.unlock().await?;
            return Ok(Facts::default());
        }
        let (old, new) = tokio::join!(self.old.unlock(), self.new.unlock());
        old?;
        new?;
        Ok(Facts::default())
    }
}
