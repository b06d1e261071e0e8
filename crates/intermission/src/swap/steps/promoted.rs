//! Whether the commit point was passed, and stays passed.

use futures_util::future::join_all;

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
        let is_again = state.performs(step) > 1;
        let looks = state.is_interrupted() || is_again || step > Step::Release;
        if !looks || !(is_for_the_promoted(step) || step == Step::Release) {
            return Ok(());
        }
        let promoted_again = self.ensure_promoted(state).await;
        // Whatever is true of the new primary, nobody stays held.
        if step == Step::Release {
            return Ok(());
        }
        // The try that promoted it may have failed behind that.
        if (promoted_again? || is_again) && step > Step::Release {
            self.set_up_again(state).await?;
        }
        Ok(())
    }

    /// True where it had to be promoted again: a new primary that has started again since may have done so as the replica it was. Where the
    /// old one answers and is read-only, too, and nobody else is primary, nobody has given the roles away.
    async fn ensure_promoted(&self, state: &State) -> Result<bool, StepError> {
        let is_detached = state.status(Step::Detach) == Status::Done;
        let name = self.new.name();
        if is_detached && let Some(channel) = self.new.channels().await?.first() {
            return Err(changed(&format!("{name} replicates from {}", channel.source)));
        }
        if self.new.access().await?.is_writable() {
            return Ok(false);
        }
        // Who only brings a server back has promoted nobody.
        if matches!(self.plan.kind, Kind::Rejoin) {
            return Err(changed(&format!("{name} is not writable any more")));
        }
        if let Some(usurper) = self.usurper().await? {
            return Err(changed(&format!("{name} is read-only, and {usurper}")));
        }
        // A restart has ended the session that had the lock, and who does not get it again is not to promote.
        self.new.lock(false).await?;
        let old = self.old.name();
        match self.old.access().await {
            Ok(access) if access.is_writable() => {
                return Err(changed(&format!("{name} is read-only, and {old} is writable")));
            }
            Ok(_) => {}
            Err(error) => {
                return Err(StepError::refused(format!(
                    "{name} is read-only, as after a restart, and {error}: see to it that {old} is not writable, then: {}",
                    self.new.command_to_open()
                )));
            }
        }
        tracing::warn!(
            "{name} was read-only again, as after a restart, and so is the old primary: {name} is made writable"
        );
        if self.plan.handover.stops_semi_sync() {
            // It has started with what its option file says, and nobody follows it yet.
            self.set(&*self.new, Wanted::source_half(false)).await?;
        }
        self.new.promote().await?;
        Ok(true)
    }

    /// A sibling that has become primary since.
    async fn usurper(&self) -> Result<Option<String>, StepError> {
        let asked = self.siblings.iter().map(|sibling| async {
            sibling.access().await.is_ok_and(Access::is_writable).then(|| sibling.name())
        });
        if let Some(name) = join_all(asked).await.into_iter().flatten().next() {
            return Ok(Some(format!("{name} is writable")));
        }
        let channels = self.new.channels().await?;
        let followed = self
            .siblings
            .iter()
            .find(|sibling| channels.iter().any(|channel| channel.source == *sibling.address()));
        Ok(followed.map(|sibling| format!("it follows {}", sibling.name())))
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

    /// The old primary may have started again since it followed, and its option file may not say that it is read-only.
    pub(super) async fn check_follows(&self, step: Step, state: &State) -> Result<(), StepError> {
        let is_late = matches!(step, Step::Follow | Step::Prove | Step::Settings | Step::Unlock);
        let follows =
            matches!(self.plan.kind, Kind::Swap) && state.status(Step::Rejoin) == Status::Done;
        if !is_late || !follows {
            return Ok(());
        }
        // Who does not answer is found out by whoever needs it.
        let Ok(access) = self.old.access().await else { return Ok(()) };
        // The try that fenced it may have failed behind that.
        if access.is_writable() || state.performs(step) > 1 {
            self.rejoin(state).await?;
        }
        if access.is_writable() {
            self.set_up_again(state).await?;
        }
        Ok(())
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

fn changed(how: &str) -> StepError {
    StepError::refused(format!(
        "{how}: somebody changed the roles since; look at both servers, and move the journal away when they are right"
    ))
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
