//! The lab: throwaway clusters, a ledger application, load and an oracle. Not shipped.

pub mod app;
pub mod cluster;
pub mod demo;
pub mod display;
pub mod faults;
pub mod forwarder;
pub mod load;
pub mod network;
pub mod oracle;
pub mod pair;
pub mod report;
pub mod server;
pub mod stage;
pub mod swaps;
pub mod trial;
