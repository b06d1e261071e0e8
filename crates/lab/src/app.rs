//! The lab's application: a small real web app that writes one ledger row per POST and reads on GET.
//!
//! It is what stands behind the gate in every demonstration and measurement, so it behaves as a well-kept production
//! app does and knows nothing of swaps: no retries of statements, no special cases for a read-only server.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::serve::ListenerExt;
use tokio::net::{TcpListener, UnixListener};

mod ledger;
mod pool;
mod routes;

pub use ledger::{Checks, Entry, Ledger, LedgerError};

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
    /// The socket's path is taken or not ours.
    #[error("cannot listen on {}", path.display())]
    ListenUnix {
        /// Path asked for.
        path: PathBuf,
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
    listener: Listener,
    address: Option<SocketAddr>,
    ledger: Ledger,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl App {
    /// Binds the listening address. The database is first asked when the first request needs it.
    pub async fn bind(listen: SocketAddr, ledger: Ledger) -> Result<Self, AppError> {
        let on_listen = |source| AppError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(on_listen)?;
        let address = listener.local_addr().map_err(on_listen)?;
        Ok(Self { listener: Listener::Tcp(listener), address: Some(address), ledger })
    }

    /// As [`App::bind`], on a unix socket: how the gate reaches an app in another network namespace.
    pub fn bind_unix(path: &Path, ledger: Ledger) -> Result<Self, AppError> {
        let listener = UnixListener::bind(path)
            .map_err(|source| AppError::ListenUnix { path: path.to_owned(), source })?;
        Ok(Self { listener: Listener::Unix(listener), address: None, ledger })
    }

    /// The address it serves on; none on a unix socket.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Serves until the future is dropped.
    pub async fn run(self) -> Result<(), AppError> {
        let router = routes::router(self.ledger);
        let served = match self.listener {
            Listener::Tcp(listener) => {
                let listener = listener.tap_io(|stream| {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "cannot set TCP_NODELAY");
                    }
                });
                axum::serve(listener, router).await
            }
            Listener::Unix(listener) => axum::serve(listener, router).await,
        };
        served.map_err(AppError::Serve)
    }
}

#[cfg(test)]
mod tests;
