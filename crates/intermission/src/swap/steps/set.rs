//! What goes with a role is set, and looked at.

use super::{StepError, Steps};
use crate::swap::{
    role::Wanted,
    server::{Detail, Server},
};

impl Steps {
    /// No server is believed that it has done as it was told: a source half that stays on would have the first commit wait for
    /// nobody, and a scheduler that stays on would write through the fence.
    pub(super) async fn set(&self, server: &dyn Server, wanted: Wanted) -> Result<(), StepError> {
        let Wanted { semi_sync, scheduler, checkpoint_ms } = wanted;
        let has_half = semi_sync.source.is_some() || semi_sync.replica.is_some();
        if has_half {
            server.set_semi_sync(semi_sync).await?;
        }
        if let Some(on) = scheduler {
            server.set_scheduler(on).await?;
        }
        if let Some(period) = checkpoint_ms {
            server.set_checkpoint_period(period).await?;
        }
        if !has_half && scheduler.is_none() && checkpoint_ms.is_none() {
            return Ok(());
        }
        let found = server.observe(Detail::Roles).await?;
        let otherwise = wanted.otherwise(&found.role, found.checkpoint_ms);
        if otherwise.is_empty() {
            return Ok(());
        }
        Err(StepError::refused(format!(
            "{} did not do as it was told: {}",
            server.name(),
            otherwise.join(", ")
        )))
    }
}
