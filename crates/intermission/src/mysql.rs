//! The database servers: the only place with SQL.

mod access;
mod acting;
mod by_hand;
mod channel;
mod client_address;
mod condition;
mod dialect;
mod disk;
mod farewell;
mod fence;
pub mod grants;
mod marker;
mod observe;
mod position;
mod privilege;
mod receiver;
mod repoint;
mod role;
mod row;
mod server;
mod session;
mod shut;
mod tls;
mod transactions;

pub use access::Access;
pub use client_address::MySqlClientAddress;
pub use server::MySqlServer;
pub use tls::Tls;
