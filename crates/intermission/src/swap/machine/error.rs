//! Why a journal cannot be folded.

use crate::swap::record::VERSION;

/// A record that cannot follow the ones before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    #[error("the journal is empty")]
    Empty,
    #[error("the journal does not begin with an opened record")]
    NotOpened,
    #[error(
        "the journal has version {found}, this program reads version {VERSION}: finish that swap with the program that began it"
    )]
    Version { found: u32 },
    #[error("record {seq} ({what}) cannot follow the records before it")]
    Illegal { seq: u64, what: String },
}
