//! Single requests through the gate, and one to its admin socket.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use super::bench::Bench;
use crate::oracle::Write;
use crate::stage::{APP_NAME, HOST};

/// Clients of single writes, above all those of the load.
const CLIENTS_FROM: u32 = 1_000_000;
/// How long one request may take, holds included.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
const ANSWER_MAX: u64 = 64 << 10;
const STATE_DEADLINE: Duration = Duration::from_secs(15);
const STATE_POLL: Duration = Duration::from_millis(1);

/// What `intermission status --json` and the admin socket say of an app; the rest is left out.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct AppStatus {
    name: String,
    pub(super) state: String,
    /// Requests in line.
    pub(super) held: u64,
    pub(super) hold: Option<Hold>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Hold {
    #[expect(dead_code, reason = "shown in errors")]
    holder: String,
}

/// The app of the stage in a printed status.
pub(super) fn parse_status(text: &str) -> anyhow::Result<AppStatus> {
    #[derive(Deserialize)]
    struct Status {
        apps: Vec<AppStatus>,
    }
    let status: Status = serde_json::from_str(text).context("not a status")?;
    let app = status.apps.into_iter().find(|app| app.name == APP_NAME);
    app.with_context(|| format!("the gate has no {APP_NAME}: {text}"))
}

/// A write of which the gate has only half: in flight until the rest is sent, so that a hold goes on draining.
#[derive(Debug)]
pub(super) struct Plug {
    stream: TcpStream,
    rest: String,
    write: Write,
}

impl Plug {
    /// Sends the rest; the write when the app answered for it.
    pub(super) async fn pull(mut self) -> anyhow::Result<Option<Write>> {
        self.stream.write_all(self.rest.as_bytes()).await.context("cannot send the rest")?;
        let answer = read_answer(&mut self.stream).await?;
        Ok(answer.starts_with("HTTP/1.1 201 ").then_some(self.write))
    }
}

impl Bench {
    fn next_write(&mut self) -> Write {
        self.singles += 1;
        let token = format!("single-{:016x}", fastrand::u64(..));
        Write { client: CLIENTS_FROM + self.singles, seq: 1, token }
    }

    /// Begins a write and keeps its second half back.
    pub(super) async fn plug(&mut self) -> anyhow::Result<Plug> {
        let write = self.next_write();
        let (head, rest) = post(&write);
        let mut stream = TcpStream::connect(self.stage.entry()).await?;
        stream.write_all(head.as_bytes()).await?;
        Ok(Plug { stream, rest, write })
    }

    /// Lets a plugged write go on; it counts for the oracle when it was answered for.
    pub(super) async fn unplug(&mut self, plug: Plug) -> anyhow::Result<()> {
        let written = plug.pull().await?;
        self.acknowledged.extend(written);
        Ok(())
    }

    /// A fresh write and a fresh read through the gate.
    pub(super) async fn write_and_read(&mut self) -> anyhow::Result<()> {
        let write = self.next_write();
        let (head, rest) = post(&write);
        let answer = self.exchange(&format!("{head}{rest}")).await?;
        let first = answer.lines().next().unwrap_or_default();
        ensure!(first.starts_with("HTTP/1.1 201 "), "a fresh POST was answered {first:?}");
        self.acknowledged.push(write);
        self.read().await
    }

    /// A fresh read through the gate, held as long as anybody is.
    pub(super) async fn read(&self) -> anyhow::Result<()> {
        let get =
            format!("GET /entries/latest HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
        let answer = self.exchange(&get).await?;
        let first = answer.lines().next().unwrap_or_default();
        ensure!(first.starts_with("HTTP/1.1 200 "), "a fresh GET was answered {first:?}");
        Ok(())
    }

    async fn exchange(&self, request: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.stage.entry()).await.context("no gate")?;
        stream.write_all(request.as_bytes()).await?;
        read_answer(&mut stream).await
    }

    /// The app's status in the gate, straight from the admin socket: cheaper than a process each time.
    pub(super) async fn app_status(&self) -> anyhow::Result<AppStatus> {
        let socket = self.stage.gate.folder().join("admin.sock");
        let mut stream = UnixStream::connect(socket).await.context("no gate")?;
        let request = "GET /v1/status HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let answer = read_answer(&mut stream).await?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        parse_status(body)
    }

    /// Waits until the gate tells this state of the app. A gate that is down or starting is waited for too.
    pub(super) async fn wait_state(&self, wanted: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + STATE_DEADLINE;
        loop {
            let told = match self.app_status().await {
                Ok(app) if app.state == wanted => return Ok(()),
                Ok(app) => format!("{app:?}"),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > deadline {
                bail!("the app was never {wanted}, last: {told}");
            }
            tokio::time::sleep(STATE_POLL).await;
        }
    }
}

/// A POST in two parts, the second being the end of the body.
fn post(write: &Write) -> (String, String) {
    let Write { client, seq, token } = write;
    let (head, rest) =
        (format!(r#"{{"client":{client},"seq":{seq},"#), format!(r#""token":"{token}"}}"#));
    let length = head.len() + rest.len();
    let head = format!(
        "POST /entries HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{head}"
    );
    (head, rest)
}

async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<String> {
    let mut answer = Vec::new();
    let mut bounded = stream.take(ANSWER_MAX);
    timeout(ANSWER_DEADLINE, bounded.read_to_end(&mut answer))
        .await
        .context("no answer in time")??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
