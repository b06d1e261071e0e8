//! The admin API over TCP, for swaps from other machines: TLS, and a token in every call or a certificate.
//!
//! Whoever can reach the port can make the gate do handshakes, and no more: strangers are few at a time, have a moment to
//! show who they are, and take nothing from the socket or from requests, which have threads of their own.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls;

use super::caller::Caller;
use super::identity::Identity;
use super::{cannot_accept, serve_connection, with};
use crate::admin::keep_alive::watch_over;
use crate::config::gate::Gate as Settings;
use crate::config::pem::PemError;
use crate::config::token::TokenError;
use crate::gate::Inherited;
use crate::shutdown::Shutdown;

/// Connections whose caller is not known; more wait in the kernel's queue.
const STRANGERS_MAX: usize = 64;
/// From the connection to the first call of a known caller. A handshake takes two round trips and some milliseconds.
const ADMITTED_WITHIN: Duration = Duration::from_secs(5);
/// A client whose machine is gone frees its place after this.
const VANISHED_AFTER: Duration = Duration::from_secs(30);
const BACKLOG: u32 = 128;

#[derive(Debug, thiserror::Error)]
pub enum TcpAdminError {
    #[error(transparent)]
    Tls(#[from] PemError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("cannot listen on {address} (gate.admin_listen)")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// What the API is served with over TCP, read from the configuration's files.
pub struct TcpAdmin {
    listen: Vec<SocketAddr>,
    identity: Identity,
}

/// The bound addresses.
pub(super) struct Bound {
    /// With the real port, where the configuration says 0.
    pub(super) listen: Vec<SocketAddr>,
    configured: Vec<SocketAddr>,
    listeners: Vec<TcpListener>,
    identity: Identity,
}

impl std::fmt::Debug for TcpAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpAdmin").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl TcpAdmin {
    /// Reads the certificates, the key and the tokens; `None` where the API is not to be served over TCP.
    ///
    /// # Errors
    /// Names the key and the file, and what is wrong with it.
    pub fn load(settings: &Settings) -> Result<Option<Self>, TcpAdminError> {
        let identity = Identity::load(settings)?;
        Ok(identity.map(|identity| Self { listen: settings.admin_listen.clone(), identity }))
    }

    pub(super) fn bind(self, inherited: &mut Inherited) -> Result<Bound, TcpAdminError> {
        let Self { listen, identity } = self;
        let bind = |address: &SocketAddr| {
            let listening = match inherited.take_tcp(*address).pop() {
                Some(socket) => listen_by(socket),
                None => listen_on(*address),
            };
            listening.map_err(|source| TcpAdminError::Listen { address: *address, source })
        };
        let bound: Vec<_> = listen.iter().map(bind).collect::<Result<_, _>>()?;
        let configured = listen;
        let (listeners, listen) = bound.into_iter().unzip();
        Ok(Bound { listen, configured, listeners, identity })
    }
}

fn listen_by(socket: std::net::TcpListener) -> io::Result<(TcpListener, SocketAddr)> {
    let address = socket.local_addr()?;
    Ok((TcpListener::from_std(socket)?, address))
}

fn listen_on(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    // A gate that crashed comes back on the same port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

impl Bound {
    /// Each once more, to be given away, with its address as it is configured.
    pub(super) fn share(&self) -> io::Result<Vec<(SocketAddr, std::net::TcpListener)>> {
        let each = self.configured.iter().zip(&self.listeners);
        each.map(|(address, socket)| Ok((*address, socket.as_fd().try_clone_to_owned()?.into())))
            .collect()
    }

    pub(super) fn serve(self, router: &Router, shutdown: &Shutdown) {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        let identity = Arc::new(self.identity);
        for listener in self.listeners {
            let server = Server {
                identity: Arc::clone(&identity),
                strangers: Arc::clone(&strangers),
                router: router.clone(),
                shutdown: shutdown.clone(),
            };
            drop(shutdown.spawn(async move {
                let ending = server.shutdown.clone();
                tokio::select! {
                    () = server.accept(listener) => {}
                    () = ending.replaced() => {}
                    () = ending.ending() => {}
                }
            }));
        }
    }
}

/// One address.
struct Server {
    identity: Arc<Identity>,
    strangers: Arc<Semaphore>,
    router: Router,
    shutdown: Shutdown,
}

impl Server {
    async fn accept(&self, listener: TcpListener) {
        while let Ok(stranger) = Arc::clone(&self.strangers).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => self.connected(stream, peer, stranger),
                Err(error) => cannot_accept(error).await,
            }
        }
    }

    fn connected(&self, stream: TcpStream, peer: SocketAddr, stranger: OwnedSemaphorePermit) {
        let (identity, router) = (Arc::clone(&self.identity), self.router.clone());
        let acceptor = identity.acceptor();
        let ending = self.shutdown.clone();
        drop(self.shutdown.spawn(async move {
            let deadline = Instant::now() + ADMITTED_WITHIN;
            if let Err(error) = watch_over(&stream, VANISHED_AFTER) {
                tracing::debug!(%error, %peer, "cannot watch over an admin connection");
            }
            let stream = match timeout_at(deadline, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return no_handshake(&error, &identity, peer),
                Err(_) => return tracing::debug!(%peer, "no TLS handshake in time"),
            };
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certified = certificate.map(|certificate| identity.certified(certificate, peer));
            let admission = Arc::clone(&identity.admission);
            let caller = Arc::new(Caller::new(admission, peer, certified, stranger));
            let calling = Arc::clone(&caller);
            let service = with(router, move |headers| {
                calling.admit(headers).inspect_err(|refused| {
                    tracing::debug!(%peer, code = ?refused.code(), "an admin call over TCP was refused");
                })
            });
            let served = serve_connection(stream, service, &ending);
            let overdue = async {
                if timeout_at(deadline, caller.admitted()).await.is_ok() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = served => {}
                () = overdue => tracing::debug!(%peer, "no call of a known caller in time"),
            }
        }));
    }
}

fn no_handshake(error: &io::Error, identity: &Identity, peer: SocketAddr) {
    tracing::debug!(%error, %peer, "no TLS handshake");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    // Whatever else may be wrong shows nobody's certificate.
    if matches!(inner, Some(rustls::Error::InvalidCertificate(_))) {
        identity.admission.failures.count(peer, Instant::now());
    }
}
