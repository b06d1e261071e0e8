//! One listener per address and worker thread: the kernel spreads the connections.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::gate::Gate;

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
}

impl Bound {
    /// # Errors
    /// An address cannot be used, or somebody else uses it already.
    pub(crate) fn new(settings: &Gate, workers: usize) -> Result<Self, ListenError> {
        ensure_free("gate.listen", &settings.listen)?;
        ensure_free("gate.listen_tls", &settings.listen_tls)?;
        let mut bound = Self {
            workers: (0..workers).map(|_| Vec::new()).collect(),
            listen: Vec::new(),
            listen_tls: Vec::new(),
        };
        for address in &settings.listen {
            let address = bound.bind("gate.listen", *address, false)?;
            bound.listen.push(address);
        }
        for address in &settings.listen_tls {
            let address = bound.bind("gate.listen_tls", *address, true)?;
            bound.listen_tls.push(address);
        }
        Ok(bound)
    }

    pub(crate) fn addresses(&self) -> usize {
        self.listen.len() + self.listen_tls.len()
    }

    fn bind(
        &mut self,
        key: &'static str,
        mut address: SocketAddr,
        tls: bool,
    ) -> Result<SocketAddr, ListenError> {
        for worker in &mut self.workers {
            let failed = |source| ListenError { key, address, source };
            let socket = listen(address).map_err(failed)?;
            address = socket.local_addr().map_err(failed)?;
            worker.push(Listener { socket, tls });
        }
        Ok(address)
    }
}

/// Whether somebody else listens there already. With `SO_REUSEPORT` a second gate of the same user
/// would bind without an error and take half of the connections.
fn ensure_free(key: &'static str, addresses: &[SocketAddr]) -> Result<(), ListenError> {
    for address in addresses.iter().filter(|address| address.port() != 0) {
        let probe = socket(*address).and_then(|socket| socket.bind(&(*address).into()));
        probe.map_err(|source| ListenError { key, address: *address, source })?;
    }
    Ok(())
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
