//! The primitives that the model checker replaces, and the one clock.

use std::time::Instant;

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, atomic::AtomicU64};
pub(crate) use std::sync::atomic::Ordering;
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, atomic::AtomicU64};

/// The runtime's clock, so that a paused test clock moves waits and leases alike.
#[cfg(not(loom))]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(loom)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
