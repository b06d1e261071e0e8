//! One listener per address and worker thread: the kernel spreads the connections.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections the kernel queues while a worker is busy; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (gate.listen): is another process using it, or may only root?")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// For each worker its listeners, one for each address; and the addresses, with the port that the
/// kernel chose where the configuration says 0.
pub(crate) fn bind(
    addresses: &[SocketAddr],
    workers: usize,
) -> Result<(Vec<Vec<TcpListener>>, Vec<SocketAddr>), ListenError> {
    let mut listeners: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    for address in addresses {
        let mut address = *address;
        for worker in &mut listeners {
            let listener = listen(address).map_err(|source| ListenError { address, source })?;
            address = listener.local_addr().map_err(|source| ListenError { address, source })?;
            worker.push(listener);
        }
        bound.push(address);
    }
    Ok((listeners, bound))
}

/// Whether somebody else listens there already. With `SO_REUSEPORT` a second gate of the same user
/// would bind without an error and take half of the connections.
pub(crate) fn ensure_free(addresses: &[SocketAddr]) -> Result<(), ListenError> {
    for address in addresses.iter().filter(|address| address.port() != 0) {
        let probe = socket(*address).and_then(|socket| socket.bind(&(*address).into()));
        probe.map_err(|source| ListenError { address: *address, source })?;
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
