//! A simulated cluster under the machine, the executor and the steps of production: two servers, a gate, an endpoint
//! and writers in one memory, on a paused clock. It knows neither SQL nor HTTP; real servers are tested elsewhere.
//!
//! `SEED=… cargo test -p intermission --test swap_sim random` plays one seed again, `SEEDS=…` plays more of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test helpers"
)]

mod before_release;
mod cancel;
mod client_address;
mod crash;
mod db;
mod death;
mod every_step;
mod failover;
mod fault;
mod full_disk;
mod guardian;
mod harness;
mod hooks;
mod journal_file;
mod log;
mod named;
mod oracle;
mod random;
mod server;
mod sibling;
mod stage;
mod surroundings;
mod twice;
mod view;
mod whole;
mod world;
mod wrong;
mod wrong_answer;
