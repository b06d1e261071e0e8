//! The lab: throwaway clusters, a ledger application, load and an oracle. Not shipped.

pub mod cluster;
pub mod server;
