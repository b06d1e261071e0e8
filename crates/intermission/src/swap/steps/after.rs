//! The steps behind the commit point: only forward.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{StepError, Steps, farewell::Ended, receiver::Patience};
use crate::swap::{
    machine::{State, Status},
    plan::kind::Kind,
    position::{Position, Tracking},
    record::{Action, Facts},
    role::{Event, Scheduler, Wanted},
    server::{Detail, Effect, ServerError},
    step::Step,
};

/// How long the released requests may take before the swap goes on beside them: all that time the new primary has no
/// replica.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);
/// How often the gates are asked about them.
const ANSWERED_POLL: Duration = Duration::from_millis(5);
/// How often the marker is looked for on the old primary.
const MARKER_POLL: Duration = Duration::from_millis(20);

fn unanswered(error: ServerError) -> Result<bool, ServerError> {
    if error.effect == Effect::Unknown { Ok(false) } else { Err(error) }
}

impl Steps {
    pub(super) async fn lead_clients(&self, state: &State) -> Result<Facts, StepError> {
        let (new, old) = (self.new.address(), self.old.address());
        let said = if self.has_just_withdrawn(state) {
            self.endpoint.point_withdrawn(new, old).await?
        } else {
            self.endpoint.point(new, old).await?
        };
        if self.plan.failover().is_none() {
            self.farewell.begin(&self.old, &self.endpoint);
        }
        Ok(Facts::said(said))
    }

    /// At a first try the address was taken off the old primary a moment ago, by this process, which saw that it was gone.
    fn has_just_withdrawn(&self, state: &State) -> bool {
        matches!(self.plan.kind, Kind::Swap)
            && state.status(Step::Withdraw) == Status::Done
            && state.performs(Step::Endpoint) == 1
            && state.performs(Step::Canary) == 0
            && !state.is_interrupted()
    }

    /// Where it did not come there at first, or when the swap is finished later, clients are led there once more: whoever was cut off has
    /// not heard that the address has moved.
    pub(super) async fn canary_again(&self, state: &State) -> Result<Facts, StepError> {
        if state.is_interrupted() || state.tries(Action::Perform, Step::Canary) > 1 {
            self.lead_clients(state).await?;
        }
        self.canary().await
    }

    /// What a user would do next: the address may lead elsewhere still, whatever was done to it.
    pub(super) async fn canary(&self) -> Result<Facts, StepError> {
        let Some(client_address) = &self.client_address else {
            return Err(StepError::refused("the clients' address is not configured any more"));
        };
        let canary = self.canary_id();
        client_address.write_marker(&canary, self.new.address()).await?;
        if self.new.has_marker(&canary).await? {
            return Ok(Facts::default());
        }
        Err(StepError::refused(format!(
            "a write to {} did not land on {}",
            client_address.address(),
            self.new.name()
        )))
    }

    /// What its row is known by.
    pub(super) fn canary_id(&self) -> String {
        format!("canary {}", self.plan.id)
    }

    pub(super) async fn end_sessions(&self) -> Result<Facts, StepError> {
        let Ended { cut, sessions } = self.farewell.finish(&self.old).await?;
        let cut = if cut == 0 { String::new() } else { format!("{cut} connections cut, ") };
        Ok(Facts::note(format!("{cut}{sessions} sessions ended")))
    }

    /// The scheduler first: an event that is switched on where none runs waits for its next time.
    pub(super) async fn events(&self) -> Result<Facts, StepError> {
        let handover = &self.plan.handover;
        // What the plan saw may be gone: what is turned on while a server runs is off when it starts again.
        if self.new.observe(Detail::Roles).await?.role.scheduler != Scheduler::On {
            self.set(&*self.new, Wanted::scheduler(true)).await?;
        }
        let rest = self.not_enabled().await?;
        let enabled = if rest.is_empty() { 0 } else { self.new.enable_events(&rest).await? };
        let missing = self.not_enabled().await?;
        // Those that are not there any more are not enabled either.
        if missing.len() > rest.len().saturating_sub(enabled) {
            return Err(StepError::refused(format!(
                "{enabled} events were enabled on {}, and fewer of them are; by hand: {}",
                self.new.name(),
                self.new.command_to_run_events(&missing)
            )));
        }
        let running = handover.events.len() - missing.len();
        Ok(Facts::note(format!("{running} events run on {}", self.new.name())))
    }

    /// Those of the plan's events that do not run on the new primary.
    async fn not_enabled(&self) -> Result<Vec<Event>, StepError> {
        let here = self.new.enabled_events().await?;
        let events = self.plan.handover.events.iter();
        Ok(events.filter(|event| !here.contains(event)).cloned().collect())
    }

    pub(super) async fn run_hooks(&self) -> Result<Facts, StepError> {
        Ok(Facts::said(self.hooks.run(self.new.address(), self.old.address()).await?))
    }

    /// What fails here fails at its time, and users are released all the same.
    pub(super) async fn warm_up(&self) -> Result<Facts, StepError> {
        let bound = self.plan.warm_up.as_ref().map(|warm_up| warm_up.bound);
        Ok(Facts::said(self.gates.warm_up(bound.unwrap_or_default()).await?))
    }

    /// Users come first: what a server does to forget its source is heavy, and those who were just released log in to
    /// that very server.
    pub(super) async fn detach(&self) -> Result<Facts, StepError> {
        if timeout(ANSWERED_WITHIN, self.wait_answered()).await.is_err() {
            tracing::debug!("released requests take long; going on beside them");
        }
        self.new.detach().await?;
        let left = self.new.channels().await?;
        if let Some(channel) = left.iter().find(|left| left.channel == self.plan.channel.name) {
            return Err(StepError::refused(format!(
                "{} was told to forget its source and replicates from {} still",
                self.new.name(),
                channel.source
            )));
        }
        // It may have been told to stay read-only when it became a replica.
        self.new.persist_read_only(false).await?;
        Ok(Facts::default())
    }

    /// A gate that does not answer keeps nobody waiting.
    async fn wait_answered(&self) {
        let holder = self.holder();
        while matches!(self.gates.answered(&holder).await, Ok(false)) {
            sleep(ANSWERED_POLL).await;
        }
    }

    pub(super) async fn rejoin(&self, state: &State) -> Result<Facts, StepError> {
        self.fence_who_woke().await?;
        self.old.let_replication_in().await?;
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
        // Without GTIDs that says nothing. What it had applied of the new primary's would move its own log, too.
        if self.plan.barrier == Tracking::Coordinates && self.old.channels().await?.is_empty() {
            self.check_fenced_at(self.barrier_of(state)?).await?;
        }
        let from = self.resume_from(self.plan.channel.tracking, state)?;
        // A receiver asks for acknowledgements only when it starts.
        if self.plan.handover.old_semi_sync() != self.plan.handover.old.semi_sync {
            let semi_sync = self.plan.handover.old_semi_sync();
            self.set(&*self.old, Wanted { semi_sync, ..Wanted::default() }).await?;
        }
        self.old.follow(self.new.address(), &self.plan.channel.tls, &from).await?;
        if self.old.persist_read_only(true).await? {
            return Ok(Facts::default());
        }
        Ok(Facts::note(format!(
            "whether {} stays read-only over a restart is up to its option file: set read_only there",
            self.old.name()
        )))
    }

    /// Where a channel that is led like this goes on at the new primary.
    pub(super) fn resume_from(
        &self,
        tracking: Tracking,
        state: &State,
    ) -> Result<Position, StepError> {
        match (tracking, state.resume_at()) {
            (Tracking::Gtid, _) => Ok(Position::Gtid),
            (Tracking::Coordinates, Some(end)) => Ok(Position::At(end.clone())),
            (Tracking::Coordinates, None) => Err(StepError::refused(format!(
                "where the binary log of {} ended before it was promoted is not in the journal",
                self.new.name()
            ))),
        }
    }

    /// Whatever kept it from following, it is led there again.
    pub(super) async fn prove_again(&self, state: &State) -> Result<Facts, StepError> {
        if state.performs(Step::Prove) > 1 {
            self.rejoin(state).await?;
        }
        self.prove(state).await
    }

    async fn prove(&self, state: &State) -> Result<Facts, StepError> {
        let bound = self.plan.bounds.prove;
        let (began, id, mut patience) = (Instant::now(), &self.plan.id, Patience::new());
        self.new.write_marker(id).await?;
        // One look without an answer says nothing: it waits for what is applied, where that made the table.
        while !self.old.has_marker(id).await.or_else(unanswered)? {
            if began.elapsed() >= bound {
                return Err(StepError::refused(format!(
                    "the marker did not arrive on {} within {bound:?}: {}",
                    self.old.name(),
                    self.replication_words(&*self.old).await
                )));
            }
            self.wake_receiver(&mut patience, state).await;
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

    /// Commits are told to wait only when somebody is there to acknowledge them, and the old primary's scheduler goes on only
    /// when it has applied that its events are not for it to run.
    pub(super) async fn settings(&self) -> Result<Facts, StepError> {
        let handover = &self.plan.handover;
        let semi_sync = handover.new_semi_sync();
        if semi_sync.source == Some(true) {
            self.wait_for_semi_sync_replicas().await?;
        }
        let checkpoint_ms = handover.checkpoint_ms;
        self.set(&*self.new, Wanted { semi_sync, checkpoint_ms, scheduler: None }).await?;
        let differs = handover.needs_events() && handover.old.scheduler != handover.new.scheduler;
        if differs || handover.stops_scheduler {
            self.wait_for_events_to_leave().await?;
            let runs = handover.new.scheduler == Scheduler::On;
            self.set(&*self.old, Wanted::scheduler(runs)).await?;
        }
        let keeps = handover.old_semi_sync().source == handover.new.semi_sync.source;
        if keeps || self.plan.failover().is_some() {
            return Ok(Facts::default());
        }
        Ok(Facts::note(format!(
            "the semi-sync source half of {} is off: as a replica it would wait for replicas it has not",
            self.old.name()
        )))
    }

    async fn wait_for_semi_sync_replicas(&self) -> Result<(), StepError> {
        let (began, bound) = (Instant::now(), self.plan.bounds.prove);
        let mut patience = Patience::new();
        while !self.new.has_semi_sync_replicas().await? {
            if began.elapsed() >= bound {
                return Err(StepError::refused(format!(
                    "too few semi-sync replicas follow {} after {bound:?}: its commits wait for none; turn its semi-sync \
                     source on when they do",
                    self.new.name()
                )));
            }
            // A dead primary follows nobody.
            if self.plan.failover().is_none() {
                self.restart_receiver(&mut patience).await;
            }
            sleep(MARKER_POLL).await;
        }
        Ok(())
    }

    async fn wait_for_events_to_leave(&self) -> Result<(), StepError> {
        let (began, bound) = (Instant::now(), self.plan.bounds.prove);
        loop {
            let here = self.old.enabled_events().await?;
            let Some(event) = self.plan.handover.events.iter().find(|event| here.contains(event))
            else {
                return Ok(());
            };
            if began.elapsed() >= bound {
                return Err(StepError::refused(format!(
                    "the event {event} is enabled on {} still after {bound:?}: its scheduler stays as it is",
                    self.old.name()
                )));
            }
            sleep(MARKER_POLL).await;
        }
    }
}
