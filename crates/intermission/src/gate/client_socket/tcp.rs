//! A TCP connection whose end can be waited for behind bytes that nobody reads.
//!
//! The runtime says of a socket that it can be read as long as not everything was read, so it would say at once what is already
//! known. Made to overlook that, it says when something new has come: bytes, or the end. The bytes are then asked of the kernel
//! itself, because the runtime would wait for further ones.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::gate::stream::is_gone;

#[derive(Debug)]
pub(crate) struct Tcp {
    stream: TcpStream,
    /// There may be bytes that the runtime does not know of.
    is_overlooked: bool,
}

impl Tcp {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, is_overlooked: false }
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_overlooked { Poll::Ready(Ok(())) } else { self.stream.poll_read_ready(cx) }
    }

    /// Ready when the other side has left. Nothing is read.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if ready!(self.stream.poll_read_ready(cx)).is_err() || is_gone(&self.stream) {
                return Poll::Ready(());
            }
            self.is_overlooked = true;
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            drop(self.stream.try_io(Interest::READABLE, nothing));
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.is_overlooked {
            match rustix::io::read(&self.stream, buffer.initialize_unfilled()) {
                Ok(length) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                // From here on the runtime knows again.
                Err(Errno::WOULDBLOCK) => self.is_overlooked = false,
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsFd for Tcp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::Tcp;

    const SOON: Duration = Duration::from_secs(10);

    async fn pair() -> (TcpStream, Tcp) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Tcp::new(listener.accept().await.unwrap().0))
    }

    /// Nobody has left, also when bytes have come.
    async fn assert_there(tcp: &mut Tcp) {
        timeout(SOON, tcp.stream.readable()).await.unwrap().unwrap();
        assert!(poll_fn(|cx| tcp.poll_left(cx)).now_or_never().is_none());
    }

    #[tokio::test]
    async fn the_end_is_seen_behind_unread_bytes_and_they_are_still_there() {
        for reset in [false, true] {
            let (mut client, mut tcp) = pair().await;
            client.write_all(b"first").await.unwrap();
            assert_there(&mut tcp).await;
            client.write_all(b" second").await.unwrap();
            let ending = async {
                tokio::task::yield_now().await;
                if reset {
                    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
                }
                drop(client);
            };
            let left = poll_fn(|cx| tcp.poll_left(cx));
            timeout(SOON, async { tokio::join!(left, ending) }).await.unwrap();
            if !reset {
                let mut bytes = Vec::new();
                timeout(SOON, tcp.read_to_end(&mut bytes)).await.unwrap().unwrap();
                assert_eq!(bytes, b"first second");
            }
        }
    }

    #[tokio::test]
    async fn what_was_overlooked_is_read_and_what_comes_later_too() {
        let (mut client, mut tcp) = pair().await;
        client.write_all(b"one").await.unwrap();
        assert_there(&mut tcp).await;
        let mut bytes = [0; 3];
        for sent in [b"two", b"six"] {
            timeout(SOON, tcp.read_exact(&mut bytes)).await.unwrap().unwrap();
            // Nothing is there: it waits for what comes.
            let later = async {
                tokio::task::yield_now().await;
                client.write_all(sent).await.unwrap();
            };
            let mut next = [0; 1];
            let reading = tcp.read_exact(&mut next);
            let (read, ()) = timeout(SOON, async { tokio::join!(reading, later) }).await.unwrap();
            read.unwrap();
            assert_eq!(next[0], sent[0]);
            bytes = [0; 3];
            let mut rest = [0; 2];
            timeout(SOON, tcp.read_exact(&mut rest)).await.unwrap().unwrap();
            assert_eq!(rest, sent[1..]);
            client.write_all(b"one").await.unwrap();
            assert_there(&mut tcp).await;
        }
    }
}
