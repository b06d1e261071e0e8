//! Serving the admin API: on its unix socket, and over TCP where that is configured.

mod caller;
mod failures;
mod identity;
mod succession;
mod tcp;
mod unix;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::Request;
use http::header::{CONNECTION, HeaderMap, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::tcp::{TcpAdmin, TcpAdminError};
use super::error::ApiError;
use super::identified::Identified;
use super::route;
use super::socket::{AdminSocket, SocketError};
use crate::config::gate::{Gate as Settings, SocketGroup};
use crate::gate::{Gate, Inherited};
use crate::shutdown::Shutdown;

/// A client may keep its connection open between two calls of a swap.
const IDLE_MAX: Duration = Duration::from_mins(10);
/// hyper's least is half of it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Tcp(#[from] TcpAdminError),
}

/// Where the API is to be served. Whoever connects before it is waits.
#[derive(Debug)]
pub struct Admin {
    socket: AdminSocket,
    tcp: Option<tcp::Bound>,
}

/// Binds the socket and `tcp`, but for those that are `inherited`.
///
/// # Errors
/// The socket cannot be created, or another gate serves it; an address cannot be listened on.
pub fn bind(
    settings: &Settings,
    tcp: Option<TcpAdmin>,
    inherited: &mut Inherited,
) -> Result<Admin, ServeError> {
    let group = settings.admin_socket_group.as_ref();
    let socket = AdminSocket::bind(&settings.admin_socket, group, inherited)?;
    let tcp = tcp.map(|tcp| tcp.bind(inherited)).transpose()?;
    Ok(Admin { socket, tcp })
}

/// What a successor is given of the admin API.
#[derive(Debug)]
pub struct AdminHandle {
    path: PathBuf,
    group: Option<SocketGroup>,
    socket: io::Result<UnixListener>,
    removes_file: bool,
    tcp: io::Result<Vec<(SocketAddr, TcpListener)>>,
}

/// Where a gate that has a successor goes on serving the API, for that one.
#[derive(Debug)]
pub(crate) struct Private(AdminSocket);

impl Admin {
    /// Serves the API in tasks until the shutdown ends, or somebody else serves it.
    pub fn serve(self, settings: &Settings, gate: Arc<Gate>) -> AdminHandle {
        let handle = AdminHandle {
            path: settings.admin_socket.clone(),
            group: settings.admin_socket_group.clone(),
            socket: self.socket.share(),
            removes_file: self.socket.removes_file(),
            tcp: self.tcp.as_ref().map_or(Ok(Vec::new()), tcp::Bound::share),
        };
        let listen = self.tcp.as_ref().map(|tcp| tcp.listen.clone()).unwrap_or_default();
        let shutdown = gate.shutdown.clone();
        let successor = handle.path.clone();
        let router = route::router(Arc::clone(&gate), listen);
        let router = succession::with_successor(router, gate, successor);
        if let Some(tcp) = self.tcp {
            let listen: Vec<_> = tcp.listen.iter().map(ToString::to_string).collect();
            tracing::info!(admin_listen = listen.join(", "), "serving the admin API over TCP");
            tcp.serve(&router, &shutdown);
        }
        let replaced = shutdown.clone();
        drop(shutdown.spawn(async move {
            let mut socket = self.socket;
            tokio::select! {
                () = unix::accept(&socket, router, replaced.clone()) => {}
                () = replaced.replaced() => socket.leave_file(),
            }
        }));
        handle
    }
}

impl AdminHandle {
    /// # Errors
    /// Too many open files.
    pub(crate) fn socket(&self) -> io::Result<UnixListener> {
        let socket = self.socket.as_ref().map_err(|error| io::Error::from(error.kind()))?;
        socket.try_clone()
    }

    pub(crate) const fn removes_file(&self) -> bool {
        self.removes_file
    }

    /// # Errors
    /// Too many open files.
    pub(crate) fn tcp(&self) -> io::Result<Vec<(SocketAddr, TcpListener)>> {
        let tcp = self.tcp.as_ref().map_err(|error| io::Error::from(error.kind()))?;
        tcp.iter().map(|(address, socket)| Ok((*address, socket.try_clone()?))).collect()
    }

    pub(crate) fn private_path(&self) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(format!(".before-{}", std::process::id()));
        path.into()
    }

    /// # Errors
    /// As the admin socket's.
    pub(crate) fn bind_private(&self) -> Result<Private, ServeError> {
        let (path, group) = (self.private_path(), self.group.as_ref());
        Ok(Private(AdminSocket::bind(&path, group, &mut Inherited::default())?))
    }
}

impl Private {
    pub(crate) fn serve_alone(self, gate: Arc<Gate>) {
        let shutdown = gate.shutdown.clone();
        let router = route::router(gate, Vec::new());
        let ending = shutdown.clone();
        drop(shutdown.spawn(async move { unix::accept(&self.0, router, ending).await }));
    }
}

/// The router behind `identify`, which knows who makes a call, or refuses it.
fn with(
    router: Router,
    identify: impl Fn(&HeaderMap) -> Result<Identified, ApiError>,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> {
    let router = TowerToHyperService::new(router);
    service_fn(move |mut request: Request<Incoming>| {
        let answer = identify(request.headers()).map(|identified| {
            request.extensions_mut().insert(identified);
            router.call(request)
        });
        async move {
            match answer {
                Ok(answer) => answer.await,
                Err(refused) => {
                    let mut response = refused.into_response();
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    Ok(response)
                }
            }
        }
    })
}

async fn cannot_accept(error: io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::error!(%error, "cannot accept admin connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Answers the calls of one connection until it ends.
async fn serve_connection<T, S>(stream: T, service: S, ending: &Shutdown)
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response>,
    S::Error: std::error::Error + Send + Sync + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
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
}
