//! The swap on real pairs of both servers, with gates and a hook that only remember what they were asked.

#![allow(
    clippy::cognitive_complexity,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod asked;
mod before_release;
mod bench;
mod card;
mod catch_up;
#[path = "../it/certificate.rs"]
mod certificate;
mod channel;
mod check;
mod coordinates;
mod emergency;
mod encryption;
mod failover;
#[cfg(feature = "fault-injection")]
mod failover_command;
mod fence;
mod haproxy;
mod moment;
mod passing;
mod preflight;
mod privilege;
mod rejoin;
mod remote_gate;
mod restart;
mod role;
mod secret;
mod session;
mod sibling;
mod swapping;
mod tls;
mod upgrade;
