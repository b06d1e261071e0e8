//! The steps behind the commit point: only forward.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{StepError, Steps};
use crate::swap::{observation::ThreadState, record::Facts};

/// How long the released requests may take before the swap goes on beside them: all that time the new primary has no
/// replica.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);
/// How often the gates are asked about them.
const ANSWERED_POLL: Duration = Duration::from_millis(5);
/// How often the marker is looked for on the old primary.
const MARKER_POLL: Duration = Duration::from_millis(20);

impl Steps {
    pub(super) async fn lead_clients(&self) -> Result<Facts, StepError> {
        let said = self.endpoint.point(self.new.address(), self.old.address()).await?;
        Ok(Facts::said(said))
    }

    /// What a user would do next: the address may lead elsewhere still, whatever was done to it.
    pub(super) async fn canary(&self) -> Result<Facts, StepError> {
        let Some(client_address) = &self.client_address else {
            return Err(StepError::refused("the clients' address is not configured any more"));
        };
        let canary = format!("canary {}", self.plan.id);
        client_address.write_marker(&canary).await?;
        if self.new.has_marker(&canary).await? {
            return Ok(Facts::default());
        }
        Err(StepError::refused(format!(
            "a write to {} did not land on {}",
            client_address.address(),
            self.new.name()
        )))
    }

    /// Users come first: what a server does to forget its source is heavy, and those who were just released log in to
    /// that very server.
    pub(super) async fn detach(&self) -> Result<Facts, StepError> {
        if timeout(ANSWERED_WITHIN, self.wait_answered()).await.is_err() {
            tracing::debug!("released requests take long; going on beside them");
        }
        self.new.detach().await?;
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

    pub(super) async fn rejoin(&self) -> Result<Facts, StepError> {
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
        self.old.follow(self.new.address(), &self.plan.channel_tls).await?;
        if self.old.persist_read_only(true).await? {
            return Ok(Facts::default());
        }
        Ok(Facts::note(format!(
            "whether {} stays read-only over a restart is up to its option file: set read_only there",
            self.old.name()
        )))
    }

    pub(super) async fn prove(&self) -> Result<Facts, StepError> {
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

    pub(super) async fn replication_words(&self) -> String {
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
