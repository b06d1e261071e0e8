//! The lab's application: a small real web app that writes one ledger row per POST and reads on GET.
//!
//! It is what stands behind the gate in every demonstration and measurement, so it behaves as a well-kept production
//! app does and knows nothing of swaps: no retries of statements, no special cases for a read-only server.

use std::io;
use std::net::SocketAddr;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

mod ledger;
mod routes;

pub use ledger::{Entry, Ledger, LedgerError};

/// Why the app could not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The listening address is taken or not ours.
    #[error("cannot listen on {listen}")]
    Listen {
        /// Address asked for.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server loop ended.
    #[error("the app stopped serving")]
    Serve(#[source] io::Error),
}

/// A bound app, not yet serving.
#[derive(Debug)]
pub struct App {
    listener: TcpListener,
    address: SocketAddr,
    ledger: Ledger,
}

impl App {
    /// Binds the listening address. The database is first asked when the first request needs it.
    pub async fn bind(listen: SocketAddr, ledger: Ledger) -> Result<Self, AppError> {
        let on_listen = |source| AppError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(on_listen)?;
        let address = listener.local_addr().map_err(on_listen)?;
        Ok(Self { listener, address, ledger })
    }

    /// The address it serves on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the future is dropped.
    pub async fn run(self) -> Result<(), AppError> {
        let listener = self.listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
        });
        axum::serve(listener, routes::router(self.ledger)).await.map_err(AppError::Serve)
    }
}

#[cfg(test)]
mod tests;
