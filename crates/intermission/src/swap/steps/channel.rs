//! What a server says of a channel, and in which words that is told.

use super::{StepError, Steps};
use crate::swap::{observation::ReplicaView, server::Server};

impl Steps {
    /// The new primary's, as it is now.
    pub(super) async fn its_channel(&self) -> Result<ReplicaView, StepError> {
        let name = &self.plan.channel.name;
        let channels = self.new.channels().await?;
        channels.into_iter().find(|channel| channel.channel == *name).ok_or_else(|| {
            StepError::refused(format!("{} has no channel {name:?} any more", self.new.name()))
        })
    }

    /// Of either server, for an error that has another cause.
    pub(super) async fn replication_words(&self, server: &dyn Server) -> String {
        let Ok(channels) = server.channels().await else {
            return "its replication status cannot be read".to_owned();
        };
        let ours = channels.iter().find(|view| view.channel == self.plan.channel.name);
        let Some(channel) = ours.or(channels.first()) else {
            return "it replicates from nobody".to_owned();
        };
        words_of(channel)
    }
}

/// What a person needs to know of a channel.
pub(super) fn words_of(channel: &ReplicaView) -> String {
    let error = channel.io_error.as_deref().or(channel.sql_error.as_deref());
    format!(
        "receiver {}, applier {}{}",
        channel.io.word(),
        channel.sql.word(),
        match error {
            Some(error) if !channel.is_running() => format!(": {error}"),
            _ => String::new(),
        }
    )
}
