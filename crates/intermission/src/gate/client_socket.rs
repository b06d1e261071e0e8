//! The client's socket, in clear text or with TLS, and what was read of it before anybody wanted it.

mod tcp;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

pub(crate) use self::tcp::Tcp;

/// On the stack: a connection that waits for something has no buffer.
const READ_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct ClientSocket {
    stream: Stream,
    /// It was read, and whoever reads gets it first.
    unread: Bytes,
    /// A request of HTTP/1 on it is held.
    is_held: bool,
}

#[derive(Debug)]
enum Stream {
    Plain(Tcp),
    /// Boxed: a connection in clear text does not carry its size.
    Tls(Box<TlsStream<Tcp>>),
}

impl ClientSocket {
    pub(crate) const fn plain(stream: Tcp) -> Self {
        Self { stream: Stream::Plain(stream), unread: Bytes::new(), is_held: false }
    }

    pub(crate) fn tls(stream: TlsStream<Tcp>) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), unread: Bytes::new(), is_held: false }
    }

    pub(crate) const fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    pub(crate) const fn unread(&mut self) -> &mut Bytes {
        &mut self.unread
    }

    pub(crate) const fn set_held(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Reads on, behind what is unread; gives how many bytes, 0 at the end.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::<u8>::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        let read = buffer.filled();
        if self.unread.is_empty() {
            self.unread = Bytes::copy_from_slice(read);
        } else {
            let kept = std::mem::take(&mut self.unread).try_into_mut();
            let mut kept = kept.unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
            kept.extend_from_slice(read);
            self.unread = kept.freeze();
        }
        Poll::Ready(Ok(read.len()))
    }

    /// Likewise for a part of a body, when nothing is unread: up to `bytes_max`, and not copied.
    pub(crate) fn poll_part(
        &mut self,
        bytes_max: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Stream::Plain(stream) = &self.stream {
            // Room for it only once there is something.
            ready!(stream.poll_read_ready(cx))?;
        }
        let mut bytes = BytesMut::with_capacity(bytes_max);
        let length =
            ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), cx, &mut bytes))?;
        self.unread = bytes.freeze();
        Poll::Ready(Ok(length))
    }

    /// Ready when the client has left while its request is served. `is_read`: all of that request was. What comes behind it is
    /// read once and kept, and its end is looked for behind unread bytes only while the request is held.
    pub(crate) fn poll_left(&mut self, is_read: bool, cx: &mut Context<'_>) -> Poll<()> {
        while is_read && self.unread.is_empty() {
            if ready!(self.poll_more(cx)).map_or(0, |length| length) == 0 {
                return Poll::Ready(());
            }
        }
        if !self.is_held {
            return Poll::Pending;
        }
        match &mut self.stream {
            Stream::Plain(stream) => stream.poll_left(cx),
            Stream::Tls(stream) => stream.get_mut().0.poll_left(cx),
        }
    }
}

impl AsFd for ClientSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Plain(stream) => stream.as_fd(),
            Stream::Tls(stream) => stream.get_ref().0.as_fd(),
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
