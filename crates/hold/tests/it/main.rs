//! The hold core as its callers see it. Every interleaving of threads is in `tests/model`.
#![cfg(not(loom))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers"
)]

mod clock;
mod fixture;
mod holder;
mod line;
mod oracle;
mod scaling;
mod stopped;
mod storm;
mod threads;
