//! What a swap asks of the gates.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// What a gate did not do.
#[derive(Debug, thiserror::Error)]
#[error("{gate}: cannot {doing}: {reason}")]
pub struct GateError {
    /// The gate's address.
    pub gate: String,
    pub doing: String,
    pub reason: String,
}

/// What users saw of a hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// Requests that waited in line.
    pub held: u64,
    /// The longest wait of one of them, in milliseconds.
    pub longest_ms: u64,
    /// Requests refused because the line was full or their time ran out.
    pub refused: u64,
    /// Clients that left the line by themselves.
    pub left: u64,
}

/// Every gate of a swap, held and released together.
#[async_trait]
pub trait Gates: Send + Sync + fmt::Debug {
    /// What speaks against holding now: unreachable, unknown app, held by somebody else.
    async fn preflight(&self) -> Vec<Refusal>;
    /// Holds every app and returns when nothing is in flight any more; on an error nothing stays held.
    async fn hold(&self, holder: &str, lease: Duration, drain: Duration) -> Result<(), GateError>;
    /// Lengthens what `holder` holds.
    async fn renew(&self, holder: &str, lease: Duration) -> Result<(), GateError>;
    /// Releases what `holder` holds, if anything.
    async fn release(&self, holder: &str) -> Result<(), GateError>;
    /// Whether everyone whom `holder`'s last release let go on has been answered.
    async fn answered(&self, holder: &str) -> Result<bool, GateError>;
    /// What users saw of `holder`'s last hold.
    async fn users(&self, holder: &str) -> Result<Users, GateError>;
}
