//! The admin API: whatever the command line can do to a gate, it does over this socket.

pub mod api;
pub mod client;
mod error;
pub mod gates;
mod route;
mod server;
mod socket;

pub use self::server::serve;
pub use self::socket::SocketError;
