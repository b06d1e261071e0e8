//! One file for each command.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
mod confirm;
pub(crate) mod failover;
pub(crate) mod gate;
pub(crate) mod grants;
pub(crate) mod guardian;
pub(crate) mod hold;
pub(crate) mod journal;
pub(crate) mod man;
mod parties;
pub(crate) mod recover;
pub(crate) mod rejoin;
pub(crate) mod release;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod swap;
mod told;
pub(crate) mod warm_up;
mod watch;
