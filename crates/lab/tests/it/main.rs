//! The lab on real servers. They need `scripts/servers` to have run.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

mod cluster;
mod operator;
mod oracle;
mod owner;
mod server;
mod soak;
mod stage;
