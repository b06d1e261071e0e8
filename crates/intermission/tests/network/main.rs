//! The floating IP between hosts that are network namespaces, with real addresses and real neighbours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod address;
#[path = "../it/certificate.rs"]
mod certificate;
mod cluster_yml;
mod cut;
#[cfg(feature = "fault-injection")]
mod killed;
mod left_over;
mod swapping;
mod vanished;
