//! One listener per address and worker thread: the kernel spreads the connections.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::inherited::Inherited;
use crate::config::gate::Gate;

const LISTEN: &str = "gate.listen";
const LISTEN_TLS: &str = "gate.listen_tls";

/// Connections the kernel queues while a worker is busy; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key}): is another process using it, or may only root?")]
pub struct ListenError {
    key: &'static str,
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// One listener of one worker thread.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: bool,
}

/// For each worker its listeners, one for each address; and the addresses, with the port that the
/// kernel chose where the configuration says 0.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) workers: Vec<Vec<Listener>>,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) listen_tls: Vec<SocketAddr>,
    /// Every socket once more, to be given away, with its address as it is configured.
    pub(crate) sockets: Vec<(SocketAddr, TcpListener)>,
}

impl Bound {
    /// Those that are `inherited` already listen.
    ///
    /// # Errors
    /// An address cannot be used, or somebody else uses it already.
    pub(crate) fn new(
        settings: &Gate,
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Self, ListenError> {
        let mut bound = Self {
            workers: (0..workers).map(|_| Vec::new()).collect(),
            listen: Vec::new(),
            listen_tls: Vec::new(),
            sockets: Vec::new(),
        };
        for address in &settings.listen {
            let address = bound.bind(LISTEN, *address, false, inherited)?;
            bound.listen.push(address);
        }
        for address in &settings.listen_tls {
            let address = bound.bind(LISTEN_TLS, *address, true, inherited)?;
            bound.listen_tls.push(address);
        }
        Ok(bound)
    }

    fn bind(
        &mut self,
        key: &'static str,
        mut address: SocketAddr,
        tls: bool,
        inherited: &mut Inherited,
    ) -> Result<SocketAddr, ListenError> {
        let configured = address;
        let sockets = inherited.take_tcp(address);
        if !sockets.is_empty() {
            return self.share(key, address, tls, &sockets);
        }
        ensure_free(key, address)?;
        for worker in &mut self.workers {
            let failed = |source| ListenError { key, address: configured, source };
            let socket = listen(address).map_err(failed)?;
            address = socket.local_addr().map_err(failed)?;
            self.sockets.push((configured, socket.try_clone().map_err(failed)?));
            worker.push(Listener { socket, tls });
        }
        Ok(address)
    }

    /// Each worker listens on one of `sockets` at least, and each of them is listened on by a worker at least.
    fn share(
        &mut self,
        key: &'static str,
        mut address: SocketAddr,
        tls: bool,
        sockets: &[TcpListener],
    ) -> Result<SocketAddr, ListenError> {
        let (configured, count) = (address, self.workers.len());
        for socket in sockets {
            let failed = |source| ListenError { key, address, source };
            self.sockets.push((configured, socket.try_clone().map_err(failed)?));
        }
        let rounds = count.max(sockets.len());
        for (index, socket) in sockets.iter().cycle().take(rounds).enumerate() {
            let failed = |source| ListenError { key, address, source };
            let socket = socket.try_clone().map_err(failed)?;
            address = socket.local_addr().map_err(failed)?;
            if let Some(worker) = self.workers.get_mut(index % count.max(1)) {
                worker.push(Listener { socket, tls });
            }
        }
        Ok(address)
    }
}

/// Whether somebody else listens there already. With `SO_REUSEPORT` a second gate of the same user
/// would bind without an error and take half of the connections.
fn ensure_free(key: &'static str, address: SocketAddr) -> Result<(), ListenError> {
    if address.port() == 0 {
        return Ok(());
    }
    let probe = socket(address).and_then(|socket| socket.bind(&address.into()));
    probe.map_err(|source| ListenError { key, address, source })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for old connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
