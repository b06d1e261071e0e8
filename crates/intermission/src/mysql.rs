//! The database servers: the only place with SQL.

mod dialect;
mod fence;
mod observe;
mod privilege;
mod row;
mod server;
mod session;

pub use server::{Access, MySqlServer};
