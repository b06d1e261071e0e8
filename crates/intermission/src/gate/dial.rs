//! Opening a connection to an upstream.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::passage::WrittenSlot;
use super::pool::{Connection, SwitchSlot};
use super::stream::Shared;
use super::upstream::Standing;
use crate::config::gate::Upstream;
use crate::shutdown::Shutdown;

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
    #[error("cannot speak HTTP/1.1 to the upstream {upstream}")]
    Handshake {
        upstream: Upstream,
        #[source]
        source: hyper::Error,
    },
}

/// Either kind of socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The socket as its HTTP connection sees it: every write may complete a held request.
#[derive(Debug)]
struct Wire {
    socket: Shared<Socket>,
    written: WrittenSlot,
}

/// A fresh connection, its driver running among `tasks`.
pub(crate) async fn dial(
    standing: &Standing,
    limit: Duration,
    tasks: &Shutdown,
) -> Result<Connection, DialError> {
    let upstream = standing.address();
    let edition = standing.edition();
    let connected = tokio::time::timeout(limit, connect(standing, limit)).await;
    let (socket, peer) = match connected {
        Ok(socket) => {
            socket.map_err(|source| DialError::Connect { upstream: upstream.clone(), source })?
        }
        Err(_elapsed) => return Err(DialError::TimedOut { upstream: upstream.clone(), limit }),
    };
    let socket = Shared::new(socket);
    let written = WrittenSlot::default();
    let wire = Wire { socket: socket.clone(), written: written.clone() };
    // Hyper's handshake for HTTP/1 writes and waits for nothing.
    let (sender, driver) = http1::handshake(TokioIo::new(wire))
        .await
        .map_err(|source| DialError::Handshake { upstream: upstream.clone(), source })?;
    let upstream = upstream.clone();
    let switch = SwitchSlot::default();
    let connection = Connection::new(sender, socket, written, Rc::clone(&switch), peer, edition);
    tasks.spawn_local(async move {
        match driver.without_shutdown().await {
            Ok(mut ended) => match switch.take() {
                // An error says that the client has left meanwhile.
                Some(rest) => drop(rest.send(ended.read_buf)),
                // It is closed: there is nobody to tell that it was gone already.
                None => drop(ended.io.inner_mut().shutdown().await),
            },
            Err(error) => tracing::debug!(%upstream, %error, "upstream connection ended"),
        }
    });
    Ok(connection)
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

impl Wire {
    fn after_write(&self, result: &Poll<io::Result<usize>>) {
        if matches!(result, Poll::Ready(Ok(_))) {
            self.written.fire();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.after_write(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.after_write(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
