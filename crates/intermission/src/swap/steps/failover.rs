//! What a failover does otherwise than a swap: there is nobody to ask at the old primary's.

use std::time::Duration;

use tokio::{
    join,
    time::{Instant, sleep},
};

use super::{StepError, Steps, channel::words_of};
use crate::swap::{
    machine::State,
    observation::{ReplicaView, ThreadState},
    plan::kind::{Failover, Proof, SILENT_WITHIN},
    position::Barrier,
    record::Facts,
    role::Wanted,
    server::Life,
    step::Step,
};

/// How often the dead primary's port is listened to after its fencing.
const SILENT_POLL: Duration = Duration::from_millis(100);
/// How long the applier is waited for before it is looked at again.
const APPLY_SLICE: Duration = Duration::from_millis(500);

impl Steps {
    /// The steps that a failover does otherwise than a swap.
    pub(super) async fn carry_out_failover(
        &self,
        step: Step,
        failover: &Failover,
        state: &State,
    ) -> Option<Result<Facts, StepError>> {
        Some(match step {
            Step::Fence => self.prove_off(failover).await,
            Step::Ready => self.stop_receiving().await,
            Step::Quiet => self.apply_all().await,
            Step::Hold => self.hold_if_possible().await,
            Step::Withdraw => self.withdraw_from_the_dead().await,
            Step::Barrier => self.last_received().await,
            Step::CatchUp => match self.barrier_of(state) {
                Ok(barrier) => self.catch_up_with_the_dead(barrier).await,
                Err(error) => Err(error),
            },
            Step::Promote
            | Step::Lock
            | Step::Settle
            | Step::Endpoint
            | Step::Canary
            | Step::EndSessions
            | Step::BeforeRelease
            | Step::WarmUp
            | Step::Release
            | Step::Events
            | Step::Detach
            | Step::Rejoin
            | Step::Follow
            | Step::Prove
            | Step::Settings
            | Step::Unlock => return None,
        })
    }

    /// Nothing of a failover is done before this is: two writers are worse than none.
    pub(super) async fn prove_off(&self, failover: &Failover) -> Result<Facts, StepError> {
        if let Life::Answers(said) = self.old.life().await {
            return Err(self.is_alive(&format!("answers: {said}")));
        }
        let said = match (&failover.proof, &self.fencing) {
            (Proof::Word, _) => "by a person's word".to_owned(),
            (Proof::Hook { .. }, Some(hook)) => {
                hook.run(self.new.address(), self.old.address()).await?
            }
            (Proof::Hook { .. }, None) => {
                return Err(StepError::refused("the fence hook is not configured any more"));
            }
        };
        let deadline = Instant::now() + SILENT_WITHIN;
        loop {
            match self.old.life().await {
                Life::Silent(_) => return Ok(Facts::said(said)),
                life if Instant::now() >= deadline => {
                    return Err(self.is_alive(&format!("{life} after its fencing ({said})")));
                }
                Life::Answers(_) | Life::Accepts => sleep(SILENT_POLL).await,
            }
        }
    }

    fn is_alive(&self, how: &str) -> StepError {
        StepError::refused(format!("{} {how}: it is not off", self.old.name()))
    }

    /// The applier first: MariaDB throws received transactions away when it is started with both threads stopped.
    pub(super) async fn stop_receiving(&self) -> Result<Facts, StepError> {
        if self.plan.handover.stops_semi_sync() {
            self.set(&*self.new, Wanted::source_half(false)).await?;
        }
        self.new.stop_receiving(&self.plan.channel.name).await?;
        Ok(Facts::default())
    }

    pub(super) async fn receive_again(&self, failover: &Failover) -> Result<Facts, StepError> {
        if self.plan.handover.stops_semi_sync() {
            self.set(&*self.new, Wanted::source_half(true)).await?;
        }
        self.new.receive_again(&self.plan.channel.name, failover.ran).await?;
        Ok(Facts::default())
    }

    /// Bounded by what a swap waits for a quiet moment: nobody is held meanwhile, but nobody can write either.
    pub(super) async fn apply_all(&self) -> Result<Facts, StepError> {
        let deadline = Instant::now() + self.plan.bounds.quiet;
        let mut hindrances = Vec::new();
        if let Err(error) = self.endpoint.prepare(self.old.address(), self.new.address()).await {
            hindrances.push(StepError::from(error).message);
        }
        if let Err(error) = self.gates.prepare().await {
            hindrances.push(error.to_string());
        }
        loop {
            let channel = self.its_channel().await?;
            let received = self.received_by(&channel)?;
            if self.new.wait_applied(&received, &channel.channel, APPLY_SLICE).await? {
                return Ok(Facts::said(hindrances.join("; ")));
            }
            self.check_applies(&self.its_channel().await?)?;
            if Instant::now() >= deadline {
                return Err(StepError::refused(format!(
                    "{} has not applied {received} within {:?}",
                    self.new.name(),
                    self.plan.bounds.quiet
                )));
            }
        }
    }

    fn received_by(&self, channel: &ReplicaView) -> Result<Barrier, StepError> {
        channel.received.clone().ok_or_else(|| {
            StepError::refused(format!("what {} has received cannot be read", self.new.name()))
        })
    }

    fn check_applies(&self, channel: &ReplicaView) -> Result<(), StepError> {
        if channel.sql == ThreadState::Yes {
            return Ok(());
        }
        let words = words_of(channel);
        Err(StepError::refused(format!(
            "{} has not applied all that it has received: {words}",
            self.new.name()
        )))
    }

    /// A request in flight may wait for the dead primary until it gives up: it must not keep the site from writing again.
    pub(super) async fn hold_if_possible(&self) -> Result<Facts, StepError> {
        match self.hold().await {
            Ok(facts) => Ok(facts),
            Err(error) => Ok(Facts::note(format!("users are not held: {}", error.message))),
        }
    }

    /// Its host may be as dead as the server: then nobody may answer for the address.
    pub(super) async fn withdraw_from_the_dead(&self) -> Result<Facts, StepError> {
        let error = match self.endpoint.withdraw(self.old.address()).await {
            Ok(said) => return Ok(Facts::said(said)),
            Err(error) => StepError::from(error).message,
        };
        let Some(view) = self.endpoint.observe().await.floating_ip else {
            return Ok(Facts::note(error));
        };
        match view.answers {
            Ok(holders) if holders.is_empty() => {
                Ok(Facts::note(format!("{error}; nobody answers for {}", view.address)))
            }
            Ok(holders) => Err(StepError::refused(format!(
                "{} answers for {}, and it could not be taken off the old primary's host: {error}",
                holders.join(", "),
                view.address
            ))),
            Err(unasked) => Ok(Facts::note(format!(
                "{error}; whether anybody answers for {} could not be asked: {unasked}",
                view.address
            ))),
        }
    }

    /// Nobody finds a dead server by it.
    pub(super) async fn give_address_to_the_dead(&self) -> Result<Facts, StepError> {
        match self.give_address_back().await {
            Ok(facts) => Ok(facts),
            Err(error) => Ok(Facts::note(error.message)),
        }
    }

    pub(super) async fn last_received(&self) -> Result<Facts, StepError> {
        let channel = self.its_channel().await?;
        if channel.io != ThreadState::No {
            return Err(StepError::refused(format!(
                "the receiver of {} was started again by somebody",
                self.new.name()
            )));
        }
        let barrier = self.received_by(&channel)?;
        Ok(Facts { barrier: Some(barrier.clone()), ..Facts::note(barrier.to_string()) })
    }

    pub(super) async fn catch_up_with_the_dead(
        &self,
        barrier: &Barrier,
    ) -> Result<Facts, StepError> {
        let bound = self.plan.bounds.catch_up;
        let (applied, life) =
            join!(self.new.wait_applied(barrier, &self.plan.channel.name, bound), self.old.life());
        match life {
            Life::Silent(_) => {}
            Life::Answers(_) | Life::Accepts => return Err(self.is_alive(&life.to_string())),
        }
        if !applied? {
            return Err(StepError::refused(format!(
                "{} has not applied {barrier} within {bound:?}",
                self.new.name()
            )));
        }
        self.end_of_log().await
    }
}
