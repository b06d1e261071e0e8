//! The admin API: whatever the command line can do to a gate, it does over its socket or over TCP.

pub mod api;
pub mod client;
mod error;
pub mod gates;
mod identified;
mod keep_alive;
#[cfg(test)]
mod openapi;
mod route;
mod server;
mod socket;
mod tls;

pub use self::server::{Admin, AdminHandle, ServeError, TcpAdmin, TcpAdminError, bind};
pub use self::socket::SocketError;
