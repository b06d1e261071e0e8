//! Refusals, with the facts the person refused needs.

use std::time::Duration;

use crate::{Current, Generation, Holder, State};

/// Somebody holds this app already; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "already {state} by {holder} as generation {generation} for {held_for:.1?}, \
     lease left {lease_left:.1?}",
    holder = .current.holder, held_for = .current.held_for, lease_left = .current.lease_left
)]
pub struct AlreadyHeld {
    pub generation: Generation,
    /// [`State::Draining`] or [`State::Held`].
    pub state: State,
    pub current: Current,
}

/// The generation named is over, or never was; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("generation {named} is not in force: the app is {state}, last generation {generation}{}",
    .holder.as_ref().map(|holder| format!(", held by {holder}")).unwrap_or_default())]
pub struct Stale {
    pub named: Generation,
    pub generation: Generation,
    pub state: State,
    pub holder: Option<Holder>,
}

/// Why a request in line does not go on. It has left the line and must not be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TurnedAway {
    #[error("held longer than the maximum wait ({waited:.1?})")]
    TimedOut { waited: Duration },
    /// And [`OnExpiry::Reject`](crate::OnExpiry::Reject) is what becomes of the line then.
    #[error("held for {waited:.1?}, until nobody renewed the lease of the hold")]
    HoldExpired { waited: Duration },
}

/// Its place in line was taken from it: it was one too many. It must not be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("one held request too many")]
pub struct Excess;
