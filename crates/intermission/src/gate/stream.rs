//! A socket that its HTTP connection reads and writes, and that others may look at meanwhile.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// Only the end of the stream, also when bytes wait before it.
const GONE: PollFlags = PollFlags::RDHUP.union(PollFlags::HUP).union(PollFlags::ERR);
/// Anything at all: an idle HTTP/1 server connection has nothing to say but "closed".
const NEWS: PollFlags = GONE.union(PollFlags::IN);

/// In one system call. The kernel takes no more than a process may have files, and there may be more
/// held requests than files: many come by one connection of HTTP/2.
const POLLED_MAX: usize = 1024;

/// One socket of one worker thread. Clones are the same socket.
#[derive(Debug)]
pub(crate) struct Shared<S>(Rc<RefCell<S>>);

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S: AsFd> Shared<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self(Rc::new(RefCell::new(socket)))
    }

    /// `look` at the socket, or at what is around it.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut S) -> T) -> T {
        look(&mut self.0.borrow_mut())
    }

    /// Whether the other side has left. Seen behind unread data too, which hyper does not look
    /// past; behind a full receive window only a reset is seen.
    pub(crate) fn is_gone(&self) -> bool {
        self.has_any(GONE)
    }

    /// Whether an idle connection is no longer idle: closed, or talking out of turn.
    pub(crate) fn has_news(&self) -> bool {
        self.has_any(NEWS)
    }

    fn has_any(&self, flags: PollFlags) -> bool {
        let socket = self.0.borrow();
        let mut fds = [PollFd::new(&*socket, flags)];
        poll(&mut fds, Some(&NOW)).is_ok_and(|ready| ready > 0)
    }

    /// Those of `sockets` whose other side has left, found in few system calls.
    pub(crate) fn gone<K>(sockets: &[(K, Self)]) -> Vec<K>
    where
        K: Copy,
    {
        sockets.chunks(POLLED_MAX).flat_map(Self::gone_of).collect()
    }

    fn gone_of<K>(sockets: &[(K, Self)]) -> Vec<K>
    where
        K: Copy,
    {
        let borrowed: Vec<_> = sockets.iter().map(|(_, socket)| socket.0.borrow()).collect();
        let mut fds: Vec<_> = borrowed.iter().map(|socket| PollFd::new(&**socket, GONE)).collect();
        if poll(&mut fds, Some(&NOW)).is_err() {
            return Vec::new();
        }
        let ready = fds.iter().zip(sockets).filter(|(fd, _)| fd.revents().intersects(GONE));
        ready.map(|(_, (key, _))| *key).collect()
    }
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::Shared;

    #[test]
    fn those_who_left_are_found_among_more_than_there_may_be_files() {
        let (here, there) = UnixStream::pair().unwrap();
        let (left, other) = UnixStream::pair().unwrap();
        drop(there);
        let (here, left) = (Shared::new(here), Shared::new(left));
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let count = usize::try_from(limit.unwrap_or(0)).unwrap().min(100_000) + 1;
        let sockets = (0..count).map(|key| (key, if key % 2 == 0 { &here } else { &left }.clone()));
        let sockets: Vec<_> = sockets.collect();
        let gone = Shared::gone(&sockets);
        assert_eq!(gone, (0..count).step_by(2).collect::<Vec<_>>());
        drop(other);
    }
}
