//! Whether the commit point was passed, and stays passed.

use super::{StepError, Steps};
use crate::swap::{
    machine::{State, Status},
    observation::Access,
    plan::kind::Kind,
    position::{Barrier, Coordinates, Tracking},
    record::Verdict,
    role::Wanted,
    step::Step,
};

impl Steps {
    /// A journal may be old: going on with it after somebody has given the roles back would take the site down. And what
    /// failed may have failed because the new primary has started again, as it may have whenever: behind the release nobody waits for
    /// the look.
    pub(super) async fn check_promoted(&self, step: Step, state: &State) -> Result<(), StepError> {
        let looks = state.is_interrupted() || state.performs(step) > 1 || step > Step::Release;
        if !looks || !(is_for_the_promoted(step) || step == Step::Release) {
            return Ok(());
        }
        let is_promoted = self.is_promoted(state).await;
        // Whatever is true of the new primary, nobody stays held.
        if step == Step::Release || is_promoted? {
            return Ok(());
        }
        Err(StepError::refused(format!(
            "{} is not writable any more: somebody changed the roles since; look at both servers, and move the journal \
             away when they are right",
            self.new.name()
        )))
    }

    async fn is_promoted(&self, state: &State) -> Result<bool, StepError> {
        if self.new.access().await?.is_writable() {
            return Ok(true);
        }
        let is_promoted = self.promoted_again().await?;
        if is_promoted {
            self.set_up_again(state).await?;
        }
        Ok(is_promoted)
    }

    /// A server that has started again has what its option file says.
    async fn set_up_again(&self, state: &State) -> Result<(), StepError> {
        if state.status(Step::Events) == Status::Done {
            self.events().await?;
        }
        if state.status(Step::Settings) == Status::Done {
            self.settings().await?;
        }
        Ok(())
    }

    /// A new primary that has started again since may have done so as the replica it was. Where the old one answers and is read-only,
    /// too, nobody has given the roles back.
    async fn promoted_again(&self) -> Result<bool, StepError> {
        // Who only brings a server back has promoted nobody.
        if matches!(self.plan.kind, Kind::Rejoin) {
            return Ok(false);
        }
        // A restart has ended the session that had the lock, and who does not get it again is not to promote.
        self.new.lock(false).await?;
        if self.old.access().await.is_ok_and(|access| !access.is_writable()) {
            let name = self.new.name();
            tracing::warn!(
                "{name} was read-only again, as after a restart, and so is the old primary: {name} is made writable"
            );
            if self.plan.handover.stops_semi_sync() {
                // It has started with what its option file says, and nobody follows it yet.
                self.set(&*self.new, Wanted::source_half(false)).await?;
            }
            self.new.promote().await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The old primary may have started again since it followed, and its option file may not say that it is read-only.
    pub(super) async fn check_follows(&self, step: Step, state: &State) -> Result<(), StepError> {
        let is_late = matches!(step, Step::Follow | Step::Prove | Step::Settings | Step::Unlock);
        let follows =
            matches!(self.plan.kind, Kind::Swap) && state.status(Step::Rejoin) == Status::Done;
        if !is_late || !follows {
            return Ok(());
        }
        // Who does not answer is found out by whoever needs it.
        if !self.old.access().await.is_ok_and(Access::is_writable) {
            return Ok(());
        }
        self.rejoin(state).await?;
        self.set_up_again(state).await
    }

    /// An old primary that is writable behind the commit point has started again, and not as a replica.
    pub(super) async fn fence_who_woke(&self) -> Result<(), StepError> {
        if !self.old.access().await?.is_writable() {
            return Ok(());
        }
        tracing::warn!(
            "{} was writable again, as after a restart: it is made read-only",
            self.old.name()
        );
        if self.plan.handover.stops_scheduler {
            self.set(&*self.old, Wanted::scheduler(false)).await?;
        }
        Ok(self.old.fence(self.plan.bounds.fence).await?)
    }

    /// Whether the commit point was passed. It takes the lock first, so that no earlier promote can still come.
    pub async fn verify(&self, state: &State) -> (Verdict, String) {
        if let Err(error) = self.new.lock(false).await {
            return (Verdict::CannotTell, error.to_string());
        }
        match self.new.access().await {
            Ok(access) if access.is_writable() => {
                return (Verdict::TookEffect, format!("{} is writable", self.new.name()));
            }
            Ok(_) => {}
            Err(error) => return (Verdict::CannotTell, error.to_string()),
        }
        match self.written_since(state).await {
            Ok(Some(why)) => (Verdict::TookEffect, why),
            Ok(None) => (Verdict::DidNot, format!("{} is read-only", self.new.name())),
            // The fence stays where that cannot be told; it is asked again before it is lifted.
            Err(error) => (Verdict::DidNot, format!("{} is read-only; {error}", self.new.name())),
        }
    }

    /// What was written on the new primary: it was promoted then, and has started again as the replica it was. `None`: nothing.
    pub(crate) async fn written_since(&self, state: &State) -> Result<Option<String>, StepError> {
        // A dead primary cannot be asked, and is not made writable; who is only brought back was promoted by another swap.
        if !matches!(self.plan.kind, Kind::Swap) {
            return Ok(None);
        }
        let new = self.new.executed().await?;
        let own = new.minus(&self.old.executed().await?);
        let what = if !own.is_empty() {
            own.to_string()
        } else if self.plan.barrier == Tracking::Coordinates
            && let (Some(end), Some(barrier)) = (state.resume_at(), state.barrier())
            && self.is_written_behind(end, barrier).await?
        {
            format!("more than there was at {end} of its binary log")
        } else {
            return Ok(None);
        };
        let (new, old) = (self.new.name(), self.old.name());
        Ok(Some(format!(
            "{new} has {what}, which {old} lacks: it was promoted and written to, and has started again read-only"
        )))
    }

    /// Without GTIDs. What the old primary has written since comes into that log, too; and a restart begins another file: then only
    /// the swap's own row tells.
    async fn is_written_behind(
        &self,
        end: &Coordinates,
        barrier: &Barrier,
    ) -> Result<bool, StepError> {
        if self.old.look(self.plan.barrier).await?.barrier != *barrier {
            return Ok(false);
        }
        let now = self.new.coordinates().await?;
        if now.file == end.file {
            return Ok(now.offset > end.offset);
        }
        Ok(self.new.has_marker(&self.canary_id()).await?
            || self.new.has_marker(&self.plan.id).await?)
    }

    /// The new primary was never about to be promoted, or is seen to be read-only.
    pub(super) async fn check_not_promoted(&self, state: &State) -> Result<(), StepError> {
        match self.new.access().await {
            Ok(access) if access.is_writable() => Err(self.promoted()),
            Err(error) if state.promote_was_tried() => Err(error.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    pub(super) fn promoted(&self) -> StepError {
        StepError::refused(format!(
            "{} is writable: there is no way back to {}",
            self.new.name(),
            self.old.name()
        ))
    }
}

/// Steps that take the site down when they are done for a new primary that is not one any more.
const fn is_for_the_promoted(step: Step) -> bool {
    matches!(
        step,
        Step::Endpoint
            | Step::Canary
            | Step::EndSessions
            | Step::BeforeRelease
            | Step::WarmUp
            | Step::Events
            | Step::Detach
            | Step::Rejoin
            | Step::Follow
            | Step::Prove
            | Step::Settings
            | Step::Unlock
    )
}
