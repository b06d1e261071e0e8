//! The layer around a service as an application sees it; what the core decides is in `tests/it`.
#![cfg(not(loom))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers"
)]

mod desk;
mod example;
mod fixture;
mod layer;
mod readiness;
