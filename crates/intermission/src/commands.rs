//! One file for each command.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod hold;
pub(crate) mod man;
pub(crate) mod release;
pub(crate) mod serve;
pub(crate) mod status;
