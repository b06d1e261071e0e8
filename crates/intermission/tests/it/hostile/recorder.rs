//! An upstream that records every byte, and takes requests by the strictest reading.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::seen::{Seen, request_bytes};

/// More than all the buffers between it and a client that takes nothing.
pub(crate) const BIG_BYTES: usize = 64 * 1024 * 1024;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let accepting = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let recorder = accepting.clone();
                tokio::spawn(async move { recorder.serve(stream).await });
            }
        });
        recorder
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn seen_of(&self, marker: &str) -> Vec<Seen> {
        let seen = self.seen().into_iter();
        seen.filter(|seen| seen.has(marker)).collect()
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        loop {
            while let Some(length) = request_bytes(&buffer) {
                let raw: Vec<u8> = buffer.drain(..length).collect();
                let big = raw.windows(5).any(|five| five == b"/big/");
                self.seen.lock().unwrap().push(Seen { raw, whole: true });
                let mut answer = OK.to_vec();
                if big {
                    answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG_BYTES}\r\n\r\n").into();
                    answer.resize(answer.len() + BIG_BYTES, b'x');
                }
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
            if !stream.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
                break;
            }
        }
        if !buffer.is_empty() {
            self.seen.lock().unwrap().push(Seen { raw: buffer, whole: false });
        }
    }
}
