//! The lab's floating address: a small TCP forwarder in front of the database.
//!
//! Re-pointing it changes where *new* connections go and touches no established one: ending those is the swap's
//! duty, as it is with a floating IP. It knows nothing of the protocol it carries.

use std::io;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader as AsyncBufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Connections carried at once; over it a new one waits in the kernel's accept queue.
const CONNECTIONS_MAX: usize = 2048;
/// How long a target may take to accept before the client's connection is closed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a connect is started over because the target changed while it was under way.
const CONNECT_ATTEMPTS: usize = 4;
/// How long a control request may take, on either side of the socket.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest control request or answer, bytes.
const CONTROL_LINE_MAX: u64 = 256;
/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// Why a forwarder could not be started, run or re-pointed.
#[derive(Debug, thiserror::Error)]
pub enum ForwarderError {
    /// The listening address is taken or not ours.
    #[error("cannot listen on {listen}")]
    Listen {
        /// Address asked for.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control socket could not be made or reached.
    #[error("cannot use the control socket {}", path.display())]
    Control {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The forwarder refused a control request.
    #[error("the forwarder at {} did not re-point: {answer}", path.display())]
    Refused {
        /// The socket's path.
        path: PathBuf,
        /// What it answered instead of `ok`.
        answer: String,
    },
}

/// A bound forwarder, not yet running.
#[derive(Debug)]
pub struct Forwarder {
    listener: TcpListener,
    control: UnixListener,
    address: SocketAddr,
    target: Target,
}

/// Where connections go, and what becomes of those that go elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    to: SocketAddr,
    keep: bool,
}

type Target = watch::Sender<Route>;

/// What becomes of connections to the old target when the forwarder is pointed away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Established {
    /// They are closed, as HAProxy's `shutdown sessions` does.
    Close,
    /// They live on until a side closes them, as connections to an address that has moved.
    Keep,
}

/// The second word of a re-point that keeps connections.
const KEEP: &str = "keep";

impl Forwarder {
    /// Binds the listening address and the control socket (a path that must not exist yet).
    pub async fn bind(
        listen: SocketAddr,
        to: SocketAddr,
        control: &Path,
    ) -> Result<Self, ForwarderError> {
        let on_listen = |source| ForwarderError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(on_listen)?;
        let address = listener.local_addr().map_err(on_listen)?;
        let control = UnixListener::bind(control)
            .map_err(|source| ForwarderError::Control { path: control.to_owned(), source })?;
        Ok(Self {
            listener,
            control,
            address,
            target: watch::Sender::new(Route { to, keep: true }),
        })
    }

    /// The address clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Carries connections until the future is dropped.
    pub async fn run(self) {
        let Self { listener, control, target, .. } = self;
        tokio::join!(carry(listener, &target), answer_control(control, &target));
    }
}

async fn carry(listener: TcpListener, target: &Target) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((client, _)) => {
                let target = target.subscribe();
                tokio::spawn(async move {
                    if let Err(error) = relay(client, target).await {
                        tracing::debug!(%error, "a forwarded connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Copies both ways until either side closes; then the other side is closed too, because neither database protocol
/// uses half-open connections and a killed session must look dead to its owner at once.
async fn relay(mut client: TcpStream, mut target: watch::Receiver<Route>) -> io::Result<()> {
    let (mut server, to) = connect(&target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let copied = tokio::select! {
        up = tokio::io::copy(&mut from_client, &mut to_server) => up,
        down = tokio::io::copy(&mut from_server, &mut to_client) => down,
        _ = target.wait_for(|now| now.to != to && !now.keep) => return Ok(()),
    };
    copied.map(|_| ())
}

/// Connects to the current target. A target that changed meanwhile is not the address any more: start over, so that no
/// connection to the old target is handed out once a re-point was acknowledged.
async fn connect(target: &watch::Receiver<Route>) -> io::Result<(TcpStream, SocketAddr)> {
    for _ in 0..CONNECT_ATTEMPTS {
        let to = target.borrow().to;
        let server = timeout(CONNECT_TIMEOUT, TcpStream::connect(to)).await??;
        if target.borrow().to == to {
            return Ok((server, to));
        }
    }
    Err(io::Error::other("the target kept changing"))
}

async fn answer_control(control: UnixListener, target: &Target) {
    loop {
        match control.accept().await {
            Ok((stream, _)) => {
                // One at a time: two re-points must have an order.
                match timeout(CONTROL_TIMEOUT, answer_one(stream, target)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "a control request failed"),
                    Err(_) => tracing::warn!("a control request was not finished in time"),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a control request");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn answer_one(mut stream: UnixStream, target: &Target) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    AsyncBufReader::new(read.take(CONTROL_LINE_MAX)).read_line(&mut line).await?;
    let answer = match parse(line.trim()) {
        Some(route) => {
            target.send_replace(route);
            "ok\n".to_owned()
        }
        None => format!("not an IP address and port: {:?}\n", line.trim()),
    };
    write.write_all(answer.as_bytes()).await
}

fn parse(line: &str) -> Option<Route> {
    let (to, keep) = match line.split_once(' ') {
        Some((to, word)) => (to, (word == KEEP).then_some(true)?),
        None => (line, false),
    };
    Some(Route { to: to.parse().ok()?, keep })
}

/// Points the forwarder behind `control` at `to`; returns once new connections go there.
///
/// Blocking and without a runtime on purpose: it runs inside the write pause, where a process that starts threads first
/// would cost more than the work itself.
pub fn repoint(
    control: &Path,
    to: SocketAddr,
    established: Established,
) -> Result<(), ForwarderError> {
    let on_control = |source| ForwarderError::Control { path: control.to_owned(), source };
    let answer = ask(control, to, established).map_err(on_control)?;
    if answer.trim() == "ok" {
        return Ok(());
    }
    Err(ForwarderError::Refused { path: control.to_owned(), answer: answer.trim().to_owned() })
}

fn ask(control: &Path, to: SocketAddr, established: Established) -> io::Result<String> {
    let mut stream = std::os::unix::net::UnixStream::connect(control)?;
    stream.set_read_timeout(Some(CONTROL_TIMEOUT))?;
    stream.set_write_timeout(Some(CONTROL_TIMEOUT))?;
    let line = match established {
        Established::Close => format!("{to}\n"),
        Established::Keep => format!("{to} {KEEP}\n"),
    };
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(io::Read::take(stream, CONTROL_LINE_MAX)).read_line(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests;
