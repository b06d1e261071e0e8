//! The client's socket, in clear text or with TLS, and which HTTP it begins.
//!
//! HTTP/2 in clear text begins with a preface that no HTTP/1 request begins with. The first read
//! that hyper makes for HTTP/1 is looked at where it lies, so that a client of HTTP/1 costs neither a
//! system call nor a copy more; only what may be the preface is kept.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::ambiguity::Requests;

/// RFC 9113 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug)]
pub(crate) struct ClientSocket {
    stream: Stream,
    first: First,
    /// None: it speaks no HTTP/1 any more.
    requests: Option<Requests>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    /// Boxed: a connection in clear text does not carry its size.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What has become of the first bytes.
#[derive(Debug)]
enum First {
    /// They are looked at; these may be the beginning of a preface.
    Looking(Vec<u8>),
    /// They begin with the preface: nothing for HTTP/1.
    Http2(Vec<u8>),
    /// These have been read, and nobody has got them.
    Kept(Bytes),
    Over,
}

impl ClientSocket {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        let (stream, first) = (Stream::Plain(stream), First::Looking(Vec::new()));
        Self { stream, first, requests: Some(Requests::default()) }
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        let (stream, first) = (Stream::Tls(Box::new(stream)), First::Over);
        Self { stream, first, requests: Some(Requests::default()) }
    }

    /// Whether reading ended because HTTP/2 begins. From then on it is read from its preface on.
    pub(crate) fn turn_to_http2(&mut self) -> bool {
        let First::Http2(bytes) = &mut self.first else { return false };
        self.first = First::Kept(std::mem::take(bytes).into());
        true
    }

    /// What is read from now on is nothing of HTTP/1.
    pub(crate) fn end_http1(&mut self) {
        self.requests = None;
    }

    /// Whether hyper sees a client's end itself while the last of `count` requests is served: it looks no further than unread
    /// bytes. HTTP/2 is always read.
    pub(crate) fn is_read_on(&self, count: u64) -> bool {
        self.requests.as_ref().is_none_or(|requests| requests.end_with(count))
    }

    /// Whether that request of HTTP/1, counted from 0, is ambiguous or behind one that is.
    pub(crate) fn is_ambiguous(&self, number: u64) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.is_ambiguous(number))
    }

    /// An error once HTTP/2 has begun.
    fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while let First::Looking(kept) = &mut self.first {
            let before = buffer.filled().len();
            ready!(self.stream.poll_read(cx, buffer))?;
            let read = buffer.filled().get(before..).unwrap_or_default();
            if kept.is_empty() && !may_be_preface(read) {
                self.first = First::Over;
                return Poll::Ready(Ok(()));
            }
            let at_end = read.is_empty();
            kept.extend_from_slice(read);
            buffer.set_filled(before);
            if at_end || !may_be_preface(kept) {
                self.first = First::Kept(std::mem::take(kept).into());
            } else if kept.len() >= PREFACE.len() {
                self.first = First::Http2(std::mem::take(kept));
            }
        }
        match &mut self.first {
            First::Kept(bytes) => {
                let length = bytes.len().min(buffer.remaining());
                buffer.put_slice(&bytes.split_to(length));
                if bytes.is_empty() {
                    self.first = First::Over;
                }
                Poll::Ready(Ok(()))
            }
            First::Http2(_) => Poll::Ready(Err(io::Error::other("HTTP/2 begins"))),
            First::Looking(_) | First::Over => self.stream.poll_read(cx, buffer),
        }
    }
}

/// Whether `bytes` are, or are the beginning of what may be, the preface and more.
fn may_be_preface(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().zip(PREFACE).all(|(byte, preface)| byte == preface)
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
        let before = buffer.filled().len();
        if matches!(self.first, First::Over) {
            ready!(self.stream.poll_read(cx, buffer))?;
        } else {
            ready!(self.poll_first(cx, buffer))?;
        }
        if let Some(requests) = &mut self.requests {
            requests.look(buffer.filled().get(before..).unwrap_or_default());
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
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
        // HTTP/1 is at its end, the connection is not.
        if matches!(self.first, First::Http2(_)) {
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::{ClientSocket, PREFACE};

    async fn pair() -> (TcpStream, ClientSocket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        (client, ClientSocket::plain(listener.accept().await.unwrap().0))
    }

    /// What HTTP/1 reads of `parts`, each of which comes by itself.
    async fn read(parts: &[&[u8]]) -> (std::io::Result<Vec<u8>>, ClientSocket) {
        let (mut client, mut socket) = pair().await;
        let writing = async {
            for part in parts {
                client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            drop(client);
        };
        let mut bytes = Vec::new();
        let reading = socket.read_to_end(&mut bytes);
        let (read, ()) = tokio::join!(reading, writing);
        (read.map(|_| bytes), socket)
    }

    #[tokio::test]
    async fn http1_is_read_as_it_comes() {
        for parts in [
            &[&b"GET / HTTP/1.1\r\n\r\n"[..]][..],
            &[b"P", b"OST / HTTP/1.1\r\n\r\n"],
            &[b"PRI", b" * HTTP/1.1\r\n\r\n"],
            &[b"PRI * HT"],
            &[],
        ] {
            let (bytes, mut socket) = read(parts).await;
            assert_eq!(bytes.unwrap(), parts.concat());
            assert!(!socket.turn_to_http2());
        }
    }

    #[tokio::test]
    async fn a_preface_in_parts_ends_http1_and_nothing_of_it_is_lost() {
        let sent = [PREFACE, b"and frames"].concat();
        for at in [1, 3, 16, PREFACE.len() - 1, PREFACE.len(), sent.len()] {
            let (first, second) = sent.split_at(at);
            let (error, mut socket) = read(&[first, second]).await;
            error.unwrap_err();
            socket.shutdown().await.unwrap();
            assert!(socket.turn_to_http2());
            assert!(!socket.turn_to_http2());
            let mut bytes = Vec::new();
            socket.read_to_end(&mut bytes).await.unwrap();
            assert_eq!(bytes, sent, "{at}");
        }
    }
}
