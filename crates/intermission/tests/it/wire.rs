//! A client that writes and reads HTTP/1.1 by hand: what is sent, and when, is what is tested.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::soon;

pub(crate) struct Wire<S = TcpStream> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        Self::of(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) const fn of(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// As a server: the first line of a request whose body, if any, has a length.
    pub(crate) async fn request(&mut self) -> String {
        let (first, headers) = self.lines().await;
        if let Some(length) = headers.get("content-length") {
            self.take(length.parse().unwrap()).await;
        }
        first
    }

    /// As a server: the first line and the headers of a request.
    pub(crate) async fn request_head(&mut self) -> (String, HashMap<String, String>) {
        self.lines().await
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon("a write", self.stream.write_all(bytes)).await.unwrap();
    }

    /// The next `length` bytes.
    pub(crate) async fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.more().await, "closed after: {:?}", self.text());
        }
        self.buffer.drain(..length).collect()
    }

    pub(crate) async fn get(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\n\r\n")).await;
    }

    /// The head of the next answer, 1xx included.
    pub(crate) async fn head(&mut self) -> Answer {
        let (first, headers) = self.lines().await;
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, headers, body: String::new() }
    }

    /// The next answer, whose body has a length or comes in chunks.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if let Some(length) = answer.headers.get("content-length") {
            answer.body = self.take(length.parse().unwrap()).await;
        } else if answer.headers.get("transfer-encoding").is_some_and(|te| te == "chunked") {
            while let Some(chunk) = self.chunk().await {
                answer.body += &chunk;
            }
        }
        answer
    }

    /// The next chunk; `None` for the last.
    pub(crate) async fn chunk(&mut self) -> Option<String> {
        let line = loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                break self.take(at + 2).await;
            }
            assert!(self.more().await, "closed within a chunk: {:?}", self.text());
        };
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut data = self.take(size + 2).await;
        data.truncate(size);
        (size > 0).then_some(data)
    }

    /// Everything up to `end`, with it.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            let found = self.buffer.windows(end.len()).position(|bytes| bytes == end.as_bytes());
            if let Some(at) = found {
                return self.take(at + end.len()).await;
            }
            assert!(self.more().await, "closed before {end:?}: {:?}", self.text());
        }
    }

    /// Whether anything comes before the other side closes.
    pub(crate) async fn answers(&mut self) -> bool {
        !self.buffer.is_empty() || self.more().await
    }

    /// Whether the other side has closed, everything read before.
    pub(crate) async fn is_closed(&mut self) -> bool {
        while self.more().await {}
        self.buffer.is_empty()
    }

    /// Whether something comes before the end.
    pub(crate) async fn has_more(&mut self) -> bool {
        !self.buffer.is_empty() || self.more().await
    }

    async fn lines(&mut self) -> (String, HashMap<String, String>) {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more().await, "closed within a head: {:?}", self.text());
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let first = lines.next().unwrap().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        (first, lines.filter(|line| !line.is_empty()).map(header).collect())
    }

    async fn take(&mut self, length: usize) -> String {
        String::from_utf8(self.bytes(length).await).unwrap()
    }

    async fn more(&mut self) -> bool {
        let read = soon("bytes", self.stream.read_buf(&mut self.buffer)).await;
        read.is_ok_and(|length| length > 0)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

/// One GET on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    let mut wire = Wire::connect(address).await;
    wire.get(path).await;
    wire.answer().await
}
