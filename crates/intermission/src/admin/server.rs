//! Serving the admin API on its unix socket.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::route;
use super::socket::AdminSocket;
use super::socket::SocketError;
use crate::gate::Gate;
use crate::shutdown::Shutdown;

/// Commands, dashboards and swaps that may be connected at once.
const CONNECTIONS_MAX: usize = 256;
/// A client may keep its connection open between two calls of a swap.
const IDLE_MAX: Duration = Duration::from_mins(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds the socket at `path` and serves the API in a task until the shutdown ends.
///
/// # Errors
/// The socket cannot be created, or another gate serves it.
pub fn serve(path: &Path, gate: Arc<Gate>) -> Result<(), SocketError> {
    let socket = AdminSocket::bind(path)?;
    let shutdown = gate.shutdown.clone();
    let router = route::router(gate);
    let accept = accept(socket, router, shutdown.clone());
    drop(shutdown.spawn(accept));
    Ok(())
}

async fn accept(socket: AdminSocket, router: Router, shutdown: Shutdown) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let accept = async {
        while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
            match socket.listener.accept().await {
                Ok((stream, _)) => connected(stream, router.clone(), permit, &shutdown),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept admin connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    // Also while the gate is stopping: what is held then can still be released.
    tokio::select! {
        () = accept => {}
        () = shutdown.ending() => {}
    }
}

fn connected(
    stream: UnixStream,
    router: Router,
    permit: OwnedSemaphorePermit,
    shutdown: &Shutdown,
) {
    let ending = shutdown.clone();
    drop(shutdown.spawn(async move {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = ending.ending() => {
                // A release that let the last requests go, and so the gate end, gets its answer.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "admin connection ended");
        }
        drop(permit);
    }));
}
