//! A socket that its HTTP connection reads and writes, and that others may look at meanwhile.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// Only the end of the stream, also when bytes wait before it.
const GONE: PollFlags = PollFlags::RDHUP.union(PollFlags::HUP).union(PollFlags::ERR);
/// Anything at all: an idle HTTP/1 server connection has nothing to say but "closed".
const NEWS: PollFlags = GONE.union(PollFlags::IN);

/// One socket of one worker thread. Clones are the same socket.
#[derive(Debug)]
pub(crate) struct Shared<S>(Rc<RefCell<S>>);

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S> Shared<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self(Rc::new(RefCell::new(socket)))
    }

    /// `look` at the socket, or at what is around it.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut S) -> T) -> T {
        look(&mut self.0.borrow_mut())
    }
}

impl<S: AsFd> Shared<S> {
    /// Whether the other side has left.
    pub(crate) fn is_gone(&self) -> bool {
        is_gone(&*self.0.borrow())
    }

    /// Ends the connection in both directions; whoever reads it is woken. The other side is told so by a reset when it is closed: one
    /// whose window is full hears of nothing else, once all that it has sent is read (the kernel opens no window behind a shutdown).
    pub(crate) fn cut(&self) {
        let socket = &*self.0.borrow();
        if let Err(error) = set_socket_linger(socket, Some(Duration::ZERO)) {
            tracing::debug!(%error, "the connection is ended without a reset");
        }
        if let Err(error) = rustix::net::shutdown(socket, rustix::net::Shutdown::Both) {
            tracing::debug!(%error, "the connection had ended");
        }
    }

    /// Whether an idle connection is no longer idle: closed, or talking out of turn.
    pub(crate) fn has_news(&self) -> bool {
        has_any(&*self.0.borrow(), NEWS)
    }
}

/// Whether the other side has left. Seen behind unread data too; behind a full receive window only a reset is seen.
pub(crate) fn is_gone(socket: &impl AsFd) -> bool {
    has_any(socket, GONE)
}

fn has_any(socket: &impl AsFd, flags: PollFlags) -> bool {
    let mut fds = [PollFd::new(socket, flags)];
    poll(&mut fds, Some(&NOW)).is_ok_and(|ready| ready > 0)
}

impl<S: AsyncRead + Unpin> AsyncRead for Shared<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Shared<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}
