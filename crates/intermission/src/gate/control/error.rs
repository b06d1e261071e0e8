//! Why an app is not held.

use std::time::Duration;

use hold::{AlreadyHeld, Generation, Stale};

use crate::gate::flight::Seen;
use crate::gate::state::StateError;

#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    #[error(transparent)]
    AlreadyHeld(#[from] AlreadyHeld),
    #[error(transparent)]
    Stale(#[from] Stale),
    #[error(
        "{in_flight} requests were still in flight after {drain:?}; released again, nothing was killed"
    )]
    DrainTimedOut { drain: Duration, in_flight: u64, stragglers: Vec<Seen> },
    #[error(
        "generation {generation} was released, or its lease ended, while it was still draining"
    )]
    ReleasedWhileDraining { generation: Generation },
    #[error(
        "not held, make room in gate.state_dir or mend it and hold again: the hold could not be written down"
    )]
    Unwritten(#[from] StateError),
    #[error("this app is there no more: the configuration was read again without it")]
    Retired,
    #[error("the gate that this one has taken over from (process {pid}) does not hold: {reason}")]
    Predecessor { pid: u32, reason: String },
    #[error("the gate is stopping")]
    Stopping,
}
