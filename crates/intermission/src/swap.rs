//! The swap: observe, plan, then a machine that decides and an executor that acts, with a journal between them.
//!
//! It asks databases, gates and hooks through the traits in [`server`], [`gates`], [`endpoint`] and [`hook`]; it knows
//! neither SQL nor HTTP.

pub mod claim;
pub mod client_address;
pub mod condition;
pub mod endpoint;
pub mod executor;
pub mod gates;
pub mod gtid;
pub mod guard;
pub mod hold_file;
pub mod hook;
pub mod journal;
pub mod machine;
pub mod observation;
pub mod plan;
pub mod position;
mod program;
pub mod record;
pub mod refusal;
pub mod role;
pub mod run;
pub mod sentinel;
pub mod server;
pub mod settings;
pub mod sibling;
pub mod step;
pub mod steps;
pub mod summary;
pub mod version;
