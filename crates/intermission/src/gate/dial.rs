//! Opening a connection to an upstream.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::pool::Connection;
use super::upstream::Standing;
use crate::config::gate::Upstream;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("cannot connect to the upstream {upstream}")]
    Connect {
        upstream: Upstream,
        #[source]
        source: io::Error,
    },
    #[error("no connection to the upstream {upstream} within {limit:?}")]
    TimedOut { upstream: Upstream, limit: Duration },
}

/// Either kind of socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A fresh connection.
pub(crate) async fn dial(
    standing: &Standing,
    limit: Duration,
) -> Result<Box<Connection>, DialError> {
    let upstream = standing.address();
    let edition = standing.edition();
    match tokio::time::timeout(limit, connect(standing, limit)).await {
        Ok(Ok((socket, peer))) => Ok(Connection::new(socket, peer, edition)),
        Ok(Err(source)) => Err(DialError::Connect { upstream: upstream.clone(), source }),
        Err(_elapsed) => Err(DialError::TimedOut { upstream: upstream.clone(), limit }),
    }
}

/// The socket, and where it goes if it has an address.
async fn connect(standing: &Standing, limit: Duration) -> io::Result<(Socket, Option<SocketAddr>)> {
    let stream = match standing.address() {
        Upstream::Address(address) => TcpStream::connect(address).await?,
        Upstream::Name { host, port } => match standing.addresses() {
            Some(addresses) => connect_any(&addresses, limit).await?,
            None => TcpStream::connect((host.as_str(), *port)).await?,
        },
        Upstream::Unix(path) => {
            return UnixStream::connect(path).await.map(|stream| (Socket::Unix(stream), None));
        }
    };
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    Ok((Socket::Tcp(stream), Some(peer)))
}

/// To one of `addresses`, each with its share of the time, from any of them on.
async fn connect_any(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let share = limit / count;
    let first = rand::random::<u32>() % count;
    let first = usize::try_from(first).unwrap_or(0);
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses.iter().cycle().skip(first).take(addresses.len()) {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_elapsed) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}

impl Socket {
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Whether the runtime knows of something to read; costs no system call.
    pub(crate) fn is_read_ready(&self) -> bool {
        self.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
