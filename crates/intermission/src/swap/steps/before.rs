//! The steps up to the commit point, and the way back.

use std::time::Duration;

use tokio::{
    join,
    time::{Instant, sleep},
};

use super::{StepError, Steps};
use crate::swap::{
    machine::State,
    observation::{Blocker, ThreadState},
    plan::kind::Kind,
    position::{Barrier, Coordinates},
    record::Facts,
    role::{CHECKPOINT_MS, SemiSync, Wanted},
    server::{Effect, Look, TRANSACTIONS_FRESH_AFTER},
};

/// How many times the catch-up is timed before the hold.
const CATCH_UP_SAMPLES: u32 = 3;
/// How soon a replica that has not caught up is asked again.
const CATCH_UP_POLL: Duration = Duration::from_millis(10);
/// A transaction that has changed so many rows is not quiet, however young: users would wait until it is committed or undone, and
/// applied by the new primary (200 000 rows: 0.3 s each, docs/PERFORMANCE.md).
const LARGE_ROWS: u64 = 10_000;
/// How many blocking sessions an error names.
const BLOCKERS_SHOWN: usize = 5;

impl Steps {
    /// Nothing is changed and nobody waits meanwhile.
    pub(super) async fn quiet(&self) -> Result<Facts, StepError> {
        let bounds = &self.plan.bounds;
        let deadline = Instant::now() + bounds.quiet;
        self.endpoint.prepare(self.old.address(), self.new.address()).await?;
        loop {
            let blockers = self.old_blockers(bounds.quiet_age).await?;
            // Also so that the first look of the settle step, for which users wait, need not wait for a new list.
            sleep(TRANSACTIONS_FRESH_AFTER).await;
            let noise = if blockers.is_empty() {
                self.gates.prepare().await?;
                self.endpoint.remember(self.old.address()).await?;
                // What is found does not matter yet. It is looked for again when users wait, and a session's first time takes MySQL three
                // times as long (measured: 0.4 ms).
                self.old.passing().await?;
                // Timed last: the hold follows, with nothing between but what `ready` has to stop.
                match self.time_catch_up(deadline).await? {
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
    async fn time_catch_up(
        &self,
        deadline: Instant,
    ) -> Result<Result<Duration, String>, StepError> {
        let mut longest = Duration::ZERO;
        for _ in 0..CATCH_UP_SAMPLES {
            match self.sample_catch_up(deadline).await? {
                Ok(took) => longest = longest.max(took),
                Err(slow) => return Ok(Err(slow)),
            }
        }
        Ok(Ok(longest))
    }

    /// Waits on where it takes too long: nothing that comes later is applied before, and a person needs to know how long it
    /// took, or what keeps it.
    async fn sample_catch_up(
        &self,
        deadline: Instant,
    ) -> Result<Result<Duration, String>, StepError> {
        let bound = self.plan.bounds.catch_up_sample;
        let channel = &self.plan.channel.name;
        // It tells as seldom still as somebody has set; when users wait it will not.
        let checkpoint = self.plan.handover.checkpoint_ms.unwrap_or_default();
        let untold = Duration::from_millis(checkpoint.into());
        let barrier = self.old.look(self.plan.barrier).await?.barrier;
        let began = Instant::now();
        let wait = || self.new.wait_applied(&barrier, channel, bound + untold);
        let took = || began.elapsed().saturating_sub(untold);
        if wait().await? {
            return Ok(Ok(took()));
        }
        let name = self.new.name();
        // One whose applier does not run may answer at once.
        while Instant::now() < deadline && self.its_channel().await?.sql == ThreadState::Yes {
            sleep(CATCH_UP_POLL).await;
            if wait().await? {
                let took = took().as_millis();
                return Ok(Err(format!("{name} took {took} ms to catch up, more than {bound:?}")));
            }
        }
        let (waited, state) = (began.elapsed(), self.replication_words(&*self.new).await);
        Ok(Err(format!(
            "{name} has not caught up after {waited:.1?}, more than {bound:?}: {state}"
        )))
    }

    pub(super) async fn old_blockers(&self, age: Duration) -> Result<Vec<Blocker>, StepError> {
        let mut blockers = self.old.blockers().await?;
        let is_large = |blocker: &Blocker| blocker.rows.is_some_and(|rows| rows >= LARGE_ROWS);
        blockers.retain(|blocker| Duration::from_secs(blocker.age_s) >= age || is_large(blocker));
        Ok(blockers)
    }

    /// Done right before the hold, so that events rest for a moment only.
    pub(super) async fn ready(&self) -> Result<Facts, StepError> {
        let handover = &self.plan.handover;
        if let Some(recorded) = handover.checkpoint_ms {
            self.shorten_checkpoints(recorded).await?;
        }
        if handover.stops_semi_sync() {
            self.set(&*self.new, Wanted::source_half(false)).await?;
        }
        if handover.stops_scheduler {
            self.set(&*self.old, Wanted::scheduler(false)).await?;
        }
        Ok(Facts::default())
    }

    /// The applier looks at the new period when the old one is over: until then what is waited for comes that much later.
    async fn shorten_checkpoints(&self, recorded: u32) -> Result<(), StepError> {
        let often = Wanted { checkpoint_ms: Some(CHECKPOINT_MS), ..Wanted::default() };
        self.set(&*self.new, often).await?;
        let bound = self.plan.bounds.catch_up_sample + Duration::from_millis(recorded.into());
        let barrier = self.old.look(self.plan.barrier).await?.barrier;
        if self.new.wait_applied(&barrier, &self.plan.channel.name, bound).await? {
            return Ok(());
        }
        let state = self.replication_words(&*self.new).await;
        Err(StepError::refused(format!(
            "{} takes longer than {bound:?} to catch up: {state}",
            self.new.name()
        )))
    }

    /// Events that run behind a fence that stands would write through it.
    pub(super) async fn undo_ready(&self, state: &State) -> Result<Facts, StepError> {
        self.check_not_promoted(state).await?;
        let handover = &self.plan.handover;
        if handover.stops_scheduler {
            if !self.old.access().await?.is_writable() {
                return Err(StepError::refused(format!(
                    "{} is read-only still: its events would write through the fence",
                    self.old.name()
                )));
            }
            self.set(&*self.old, Wanted::scheduler(true)).await?;
        }
        let source = handover.stops_semi_sync().then_some(true);
        let semi_sync = SemiSync { source, ..SemiSync::default() };
        let checkpoint_ms = handover.checkpoint_ms;
        self.set(&*self.new, Wanted { semi_sync, checkpoint_ms, scheduler: None }).await?;
        Ok(Facts::default())
    }

    pub(super) async fn settle(&self) -> Result<Facts, StepError> {
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

    pub(super) async fn withdraw(&self) -> Result<Facts, StepError> {
        Ok(Facts::said(self.endpoint.withdraw(self.old.address()).await?))
    }

    pub(super) async fn fence(&self) -> Result<Facts, StepError> {
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

    /// Looked for where nobody can begin to write any more, and before the fence is looked at a last time: what passed it
    /// earlier is seen there.
    async fn check_nothing_passes(&self) -> Result<(), StepError> {
        let passing = self.old.passing().await?;
        if passing.is_empty() {
            return Ok(());
        }
        Err(StepError::refused(format!(
            "the fence of {} does not stop {}",
            self.old.name(),
            name_blockers(&passing)
        )))
    }

    /// Read where the fence is seen to stand, never from what was known before. The second look is the last thing before promote.
    pub(super) async fn barrier(&self) -> Result<Facts, StepError> {
        let look = self.old.look(self.plan.barrier).await?;
        self.check_fence(&look)?;
        let note = look.barrier.to_string();
        Ok(Facts { barrier: Some(look.barrier), ..Facts::note(note) })
    }

    /// The fence stands and nothing was written behind it since `barrier` was read.
    pub(super) async fn check_fenced_at(&self, barrier: &Barrier) -> Result<(), StepError> {
        let look = self.old.look(self.plan.barrier).await?;
        self.check_fence(&look)?;
        let now = look.barrier;
        if now != *barrier {
            return Err(StepError::refused(format!(
                "something writes through the fence of {}: {barrier} became {now}",
                self.old.name()
            )));
        }
        Ok(())
    }

    fn check_fence(&self, look: &Look) -> Result<(), StepError> {
        if look.access.is_writable() {
            return Err(StepError::refused(format!(
                "{} is writable behind its fence",
                self.old.name()
            )));
        }
        if !look.is_shut {
            return Err(StepError::refused(format!(
                "administrators can write through the fence of {}: somebody ended our session there, or lifted the fence \
                 in part",
                self.old.name()
            )));
        }
        Ok(())
    }

    pub(super) async fn catch_up(&self, barrier: &Barrier) -> Result<Facts, StepError> {
        let bound = self.plan.bounds.catch_up;
        if !self.new.wait_applied(barrier, &self.plan.channel.name, bound).await? {
            return Err(StepError::refused(format!(
                "{} has not applied {barrier} within {bound:?}",
                self.new.name()
            )));
        }
        self.end_of_log().await
    }

    /// Where the new primary's log ends, if somebody has to go on from there.
    pub(super) async fn end_of_log(&self) -> Result<Facts, StepError> {
        if !self.plan.needs_resume_at() {
            return Ok(Facts::default());
        }
        let end = self.new.coordinates().await?;
        let note = format!("the binary log of {} ends at {end}", self.new.name());
        Ok(Facts { resume_at: Some(end), ..Facts::note(note) })
    }

    /// Nothing was written on the new primary since its log was seen to end at `end`.
    async fn check_unwritten_since(&self, end: &Coordinates) -> Result<(), StepError> {
        let now = self.new.coordinates().await?;
        if now == *end {
            return Ok(());
        }
        Err(StepError::refused(format!(
            "something writes on {}: the end of its binary log went from {end} to {now}",
            self.new.name()
        )))
    }

    /// What has to be seen right before the new primary is promoted: nothing passes the fence, and it stands. An administrator may have
    /// lifted it since the barrier; then a promote would make two writers or lose a write. An old primary that does not answer
    /// a last time was fenced when it last did.
    ///
    /// # Errors
    /// Why it must not be promoted.
    pub async fn look_before_promote(&self, state: &State) -> Result<(), StepError> {
        match self.plan.kind {
            Kind::Swap => {}
            // There is nobody to look at, or the new primary is primary already.
            Kind::Failover(_) | Kind::Rejoin => return Ok(()),
        }
        let barrier = self.barrier_of(state)?;
        let fenced = async {
            self.check_nothing_passes().await?;
            match self.check_fenced_at(barrier).await {
                Err(error) if error.effect == Effect::Refused => Err(error),
                Ok(()) | Err(_) => Ok(()),
            }
        };
        let unwritten = async {
            match state.resume_at() {
                Some(end) => self.check_unwritten_since(end).await,
                None => Ok(()),
            }
        };
        let (fenced, unwritten) = join!(fenced, unwritten);
        fenced.and(unwritten)
    }

    pub(super) async fn promote(&self) -> Result<Facts, StepError> {
        self.new.promote().await?;
        // The address is off the old primary: nobody who is sent away comes back to it.
        if self.plan.withdrawal.is_some() && self.plan.failover().is_none() {
            self.farewell.begin(&self.old, &self.endpoint);
        }
        Ok(Facts::default())
    }

    /// Lifts the fence only where that cannot make two writers.
    pub(super) async fn lift_fence(&self, state: &State) -> Result<Facts, StepError> {
        self.check_not_promoted(state).await?;
        if state.promote_was_tried()
            && let Some(why) = self.written_since(state).await?
        {
            return Err(StepError::refused(why));
        }
        let recorded = self.plan.old.recorded;
        self.old.restore(recorded).await?;
        // Whoever is told that the site is writable must find it so: other automation may fence the same server.
        if self.old.access().await? == recorded {
            return Ok(Facts::default());
        }
        Err(StepError::refused(format!(
            "the fence of {} was lifted and stands again: something else sets it read-only (other failover software?), which has \
             to stop that first",
            self.old.name()
        )))
    }

    /// Leads clients back only where they are not parted from a writer. Where that cannot be known the fence stands, and
    /// to read is better than to find nobody.
    pub(super) async fn give_address_back(&self) -> Result<Facts, StepError> {
        if let Ok(access) = self.new.access().await
            && access.is_writable()
        {
            return Err(self.promoted());
        }
        Ok(Facts::said(self.endpoint.give_back(self.old.address(), self.new.address()).await?))
    }
}

fn name_blockers(blockers: &[Blocker]) -> String {
    let shown: Vec<String> =
        blockers.iter().take(BLOCKERS_SHOWN).map(ToString::to_string).collect();
    let more = blockers.len().saturating_sub(BLOCKERS_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join("; "))
}
