//! What a rejoin does otherwise than a swap: the primary is writable from the beginning, and stays so.

use super::{StepError, Steps};
use crate::swap::{plan::rejoin_choices, record::Facts, step::Step};

impl Steps {
    /// The steps that a rejoin does otherwise than a swap.
    pub(super) async fn carry_out_rejoin(&self, step: Step) -> Option<Result<Facts, StepError>> {
        Some(match step {
            Step::Barrier => self.compare().await,
            Step::Promote => self.see_roles().await,
            Step::Lock
            | Step::Quiet
            | Step::Ready
            | Step::Hold
            | Step::Settle
            | Step::Withdraw
            | Step::Fence
            | Step::CatchUp
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

    /// The former primary is read first: what it has must be on the primary by then.
    pub(super) async fn compare(&self) -> Result<Facts, StepError> {
        let (back, primary) = (self.old.executed().await?, self.new.executed().await?);
        let diverged = back.minus(&primary);
        if diverged.is_empty() {
            return Ok(Facts::default());
        }
        let (back, primary) = (self.old.name(), self.new.name());
        Err(StepError::refused(format!(
            "{back} has {diverged}, which {primary} lacks; it was left read-only: {}",
            rejoin_choices(back, primary)
        )))
    }

    /// From here on there is only forward: the former primary becomes a replica.
    pub(super) async fn see_roles(&self) -> Result<Facts, StepError> {
        let (back, primary) = (self.old.access().await?, self.new.access().await?);
        if primary.is_writable() && !back.is_writable() {
            return Ok(Facts::default());
        }
        Err(StepError::refused(format!(
            "{} has {primary:?} and {} has {back:?}",
            self.new.name(),
            self.old.name()
        )))
    }

    /// Whatever went wrong, a former primary that is writable would be a second one.
    pub(super) fn stay_read_only(&self) -> Facts {
        Facts::note(format!("{} stays read-only", self.old.name()))
    }
}
