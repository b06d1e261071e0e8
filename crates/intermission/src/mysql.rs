//! The database servers: the only place with SQL.

mod acting;
mod dialect;
mod fence;
mod front;
pub mod grants;
mod marker;
mod observe;
mod privilege;
mod row;
mod server;
mod session;

pub use front::ClientAddress;
pub use server::{Access, MySqlServer};
