//! The predecessor's part.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::wire::{give_files, hear, say};
use super::{Hello, Offer, PROTOCOL, SERVE_MAX, START_MAX, Serving, TalkError, VARIABLE};
use crate::admin::{AdminHandle, ServeError};
use crate::gate::{Busy, Gate};

/// For a hold or a release that is under way: nothing changes hands in the middle of one.
const SETTLED_MAX: Duration = Duration::from_secs(15);

/// Why this gate goes on serving.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    #[error(
        "cannot start the successor {program:?}: it has to be where this program was started from"
    )]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("the successor did not come up; what it said is in the log before this")]
    Talk(#[from] TalkError),
    #[error(
        "the app `{app}` was still {state} after {SETTLED_MAX:?}: try again when it is open or held"
    )]
    Busy { app: String, state: &'static str },
    #[error("a call that holds or releases was still under way after {SETTLED_MAX:?}: try again")]
    Calls,
    #[error("cannot go on serving the admin API for the successor")]
    Private(#[from] ServeError),
    #[error("the sockets cannot be given away")]
    Files(#[source] io::Error),
    #[error("the gate is stopping, or has a successor already")]
    Over,
    #[error("a successor is coming up already")]
    UnderWay,
}

/// Starts a successor, by the program and the arguments of this process, and lets it take over: from then on this process
/// finishes what it has. Returns the successor's process id.
///
/// # Errors
/// The successor does not come up; this gate goes on as if nothing had been.
pub async fn give(gate: &Arc<Gate>, admin: &AdminHandle) -> Result<u32, GiveError> {
    let Ok(_alone) = gate.handing_over.try_lock() else { return Err(GiveError::UnderWay) };
    if gate.shutdown.is_stopping() || gate.shutdown.is_replaced() {
        return Err(GiveError::Over);
    }
    let (stream, theirs) = UnixStream::pair().map_err(GiveError::Files)?;
    let stream = Arc::new(stream);
    let mut successor = start(theirs.into())?;
    let given = give_to(gate, admin, &stream).await;
    if given.is_err() {
        // Without the sockets it is of no use, and it may hang.
        if let Err(error) = successor.kill().await {
            tracing::debug!(%error, "the successor has ended");
        }
    }
    given
}

async fn give_to(
    gate: &Arc<Gate>,
    admin: &AdminHandle,
    stream: &Arc<UnixStream>,
) -> Result<u32, GiveError> {
    let hello: Hello = heard(gate, stream, START_MAX).await?;
    if hello.protocol != PROTOCOL {
        return Err(TalkError::Protocol { theirs: hello.protocol }.into());
    }
    tracing::info!(version = hello.version, pid = hello.pid, "a successor has come up");
    // From here on holds stay what they are.
    let calls = timeout(SETTLED_MAX, gate.calls.write()).await;
    let calls = calls.map_err(|_elapsed| GiveError::Calls)?;
    gate.settled(SETTLED_MAX)
        .await
        .map_err(|Busy { app, state }| GiveError::Busy { app, state })?;
    let private = admin.bind_private()?;
    gate.accept(false).await;
    let serving = offer(gate, admin, stream).await;
    let serving = match serving {
        Ok(serving) if !gate.shutdown.is_stopping() => serving,
        // It was told to stop meanwhile.
        Ok(_) => return Err(GiveError::Over),
        Err(error) => {
            gate.accept(true).await;
            return Err(error);
        }
    };
    gate.hand_over();
    private.serve_alone(Arc::clone(gate));
    drop(calls);
    Ok(serving.pid)
}

/// Everything that the successor needs; returns when it serves.
async fn offer(
    gate: &Arc<Gate>,
    admin: &AdminHandle,
    stream: &Arc<UnixStream>,
) -> Result<Serving, GiveError> {
    let given = gate.sockets().map_err(GiveError::Files)?;
    let settings = gate.settings().await;
    let mut listening: Vec<_> = given.iter().map(|(address, _)| *address).collect();
    let mut files: Vec<OwnedFd> = given.into_iter().map(|(_, socket)| socket.into()).collect();
    for (address, socket) in admin.tcp().map_err(GiveError::Files)? {
        listening.push(address);
        files.push(socket.into());
    }
    let socket = admin.socket().map_err(GiveError::Files)?;
    files.push(socket.into());
    files.push(gate.lock().map_err(GiveError::Files)?.into());
    let offer = Offer {
        protocol: PROTOCOL,
        pid: std::process::id(),
        state_dir: settings.state_dir.clone(),
        admin_socket: settings.admin_socket.clone(),
        private_socket: admin.private_path(),
        listening,
        removes_admin_socket: admin.removes_file(),
    };
    let stream_of_task = Arc::clone(stream);
    let told = gate.shutdown.spawn_blocking(move || {
        let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        say(&stream_of_task, &offer)?;
        give_files(&stream_of_task, &files)
    });
    told.await.map_err(|error| GiveError::Files(error.into()))??;
    Ok(heard(gate, stream, SERVE_MAX).await?)
}

async fn heard<T: serde::de::DeserializeOwned + Send + 'static>(
    gate: &Gate,
    stream: &Arc<UnixStream>,
    limit: Duration,
) -> Result<T, TalkError> {
    let stream = Arc::clone(stream);
    let heard = gate.shutdown.spawn_blocking(move || hear(&stream, limit));
    heard.await.unwrap_or_else(|error| Err(TalkError::Broke(error.into())))
}

/// As this process was started: where the file was replaced, it is the new one.
fn start(stdin: OwnedFd) -> Result<Child, GiveError> {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_else(|| "intermission".into());
    let mut command = Command::new(&program);
    command
        .args(words)
        .env(VARIABLE, "1")
        // These were said to this process only (sd_listen_fds(3), sd_watchdog_enabled(3)).
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_FDNAMES")
        .env_remove("WATCHDOG_PID")
        .stdin(Stdio::from(stdin));
    command.spawn().map_err(|source| GiveError::Start {
        program: program.to_string_lossy().into_owned(),
        source,
    })
}
