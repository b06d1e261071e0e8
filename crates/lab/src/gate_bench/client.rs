//! Clients that send one request each and wait for as long as it takes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::processor::open_files;
use crate::upstream::PAGE;

/// Requests of one HTTP/2 connection: what the gate allows.
const STREAMS: u32 = 128;
/// All connections are accepted within this.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(20);
/// The longest head of an answer, bytes.
const HEAD_MAX: usize = 4096;

/// Requests on their way: each says whether it was answered 200, with the whole page, and keeps its connection if that is its own:
/// HTTP/1.1 does, and a connection's end is no part of an answer.
pub(super) struct Answers(JoinSet<(bool, Option<TcpStream>)>);

impl Answers {
    /// Sends numbered requests in order, each on a connection of its own that the gate, a process, has accepted before.
    pub(super) async fn send_http1(to: SocketAddr, count: u32, gate: u32) -> anyhow::Result<Self> {
        let mut streams = Vec::new();
        for _ in 0..count {
            let stream = TcpStream::connect(to).await.context("cannot connect")?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let deadline = Instant::now() + PATIENCE;
        while open_files(gate)? < streams.len() {
            if Instant::now() > deadline {
                bail!("the gate did not accept {count} connections within {PATIENCE:?}");
            }
            sleep(POLL_EVERY).await;
        }
        let mut answers = JoinSet::new();
        for (number, mut stream) in (0..count).zip(streams) {
            let head = format!("GET /{number} HTTP/1.1\r\nhost: shop\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            answers.spawn(async move {
                let answered = page_of(&mut stream).await.unwrap_or(false);
                (answered, Some(stream))
            });
        }
        Ok(Self(answers))
    }

    /// Sends numbered requests in order, [`STREAMS`] on a connection. `line` waits until so many are in line: nothing else
    /// says that those of one connection came before those of the next.
    pub(super) async fn send_http2<W>(
        to: SocketAddr,
        count: u32,
        line: impl Fn(u32) -> W,
    ) -> anyhow::Result<Self>
    where
        W: Future<Output = anyhow::Result<()>>,
    {
        let mut answers = JoinSet::new();
        let mut sent = 0;
        while sent < count {
            let upto = sent.saturating_add(STREAMS).min(count);
            let stream = TcpStream::connect(to).await.context("cannot connect")?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            answers.spawn(async move { (connection.await.is_ok(), None) });
            for number in sent..upto {
                sender.ready().await?;
                let request = Request::get(format!("http://shop/{number}"));
                let answer = sender.send_request(request.body(Empty::<Bytes>::new())?);
                answers.spawn(async move {
                    let Ok(answer) = answer.await else { return (false, None) };
                    let well = answer.status().is_success();
                    let page = answer.into_body().collect().await;
                    (well && page.is_ok_and(|page| page.to_bytes().len() == PAGE), None)
                });
            }
            sent = upto;
            line(sent).await?;
        }
        Ok(Self(answers))
    }

    /// Waits for all of them; how many were not answered well, and the connections that are still there.
    pub(super) async fn failed(mut self) -> (u32, Vec<TcpStream>) {
        let (mut failed, mut kept) = (0, Vec::with_capacity(self.0.len()));
        while let Some(answered) = self.0.join_next().await {
            let (well, stream) = answered.unwrap_or((false, None));
            failed += u32::from(!well);
            kept.extend(stream);
        }
        (failed, kept)
    }
}

/// By hand: ten thousand clients of a library would take more memory than what is measured.
pub(crate) async fn page_of(stream: &mut TcpStream) -> io::Result<bool> {
    let mut answer = Vec::new();
    loop {
        if let Some(head) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")
            && answer.len() >= head + 4 + PAGE
        {
            return Ok(answer.starts_with(b"HTTP/1.1 200 ") && answer.len() == head + 4 + PAGE);
        }
        if answer.len() > HEAD_MAX + PAGE || stream.read_buf(&mut answer).await? == 0 {
            return Ok(false);
        }
    }
}

/// One request on a connection of its own; an error unless it is answered 200.
pub(super) async fn get(from: SocketAddr, path: &str) -> anyhow::Result<String> {
    let stream =
        TcpStream::connect(from).await.with_context(|| format!("cannot connect to {from}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path).header("host", "shop").body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    driver.abort();
    if !status.is_success() {
        bail!("{path} was answered {status}");
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
