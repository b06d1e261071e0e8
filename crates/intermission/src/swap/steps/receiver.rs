//! The old primary's receiver, which what follows waits for, is helped along.

use std::time::Duration;

use tokio::time::Instant;

use super::{StepError, Steps};
use crate::swap::{machine::State, observation::ThreadState, role::Wanted, sibling::Threads};

/// How long it is let alone; then twice as long each time.
const PATIENCE: Duration = Duration::from_secs(1);

/// When it is helped next.
pub(super) struct Patience {
    began: Instant,
    until: Duration,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), until: PATIENCE }
    }

    fn is_over(&self) -> bool {
        self.began.elapsed() >= self.until
    }

    /// Helping takes its time, too. Whether it was of use shows in what is waited for.
    fn begin_again(&mut self, helped: Result<(), StepError>) {
        if let Err(error) = helped {
            tracing::debug!(error = %error, "the old primary's receiver cannot be helped");
        }
        self.until = self.began.elapsed() * 2;
    }
}

impl Steps {
    /// One that failed to connect, as while the new primary starts again, sleeps for a minute: it is led there once more.
    pub(super) async fn wake_receiver(&self, patience: &mut Patience, state: &State) {
        if !patience.is_over() {
            return;
        }
        let channels = self.old.channels().await.unwrap_or_default();
        let sleeps = channels.first().is_some_and(|channel| channel.io == ThreadState::Connecting);
        let helped = if sleeps { self.rejoin(state).await.map(drop) } else { Ok(()) };
        patience.begin_again(helped);
    }

    /// One of the two servers may have started again since the receiver did, and it says only when it starts that it acknowledges.
    pub(super) async fn restart_receiver(&self, patience: &mut Patience) {
        if patience.is_over() {
            patience.begin_again(self.acknowledge_again().await);
        }
    }

    async fn acknowledge_again(&self) -> Result<(), StepError> {
        let semi_sync = self.plan.handover.old_semi_sync();
        if semi_sync.replica == Some(true)
            && let Some(channel) = self.old.channels().await?.first()
        {
            self.set(&*self.old, Wanted { semi_sync, ..Wanted::default() }).await?;
            self.old.stop_receiving(&channel.channel).await?;
            self.old.receive_again(&channel.channel, Threads::BOTH).await?;
        }
        Ok(())
    }
}
