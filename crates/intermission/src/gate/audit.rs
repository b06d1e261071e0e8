//! The audit log: every change of a hold, with who made it, as one line of JSON in a file.
//!
//! Lines are written in order by a thread of their own. Nothing waits for it: a line that cannot be written is lost, counted
//! and told in the gate's log, and the hold or release goes on.

mod file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use self::file::AuditFile;
use super::actor::Actor;
use super::state::unix_ms;
use crate::admin::api::AuditLogStatus;

/// Lines that wait for the disk; each has some hundred bytes.
const WAITING_MAX: usize = 1024;

/// What was asked for, or came about by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Hold,
    Renew,
    Release,
    WarmUp,
    /// Nobody renewed the hold.
    LeaseEnd,
    /// Held again after a restart of the gate.
    Restore,
}

/// What it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Requests wait; the hold is not acknowledged yet.
    Draining,
    Held,
    /// Released again: requests in flight took too long.
    DrainTimedOut,
    /// Requests in flight were cut off shortly before the end of the drain.
    StragglersKilled,
    /// Released again: whoever asked left before the acknowledgement.
    CallerLeft,
    /// Released by somebody, or at the end of the lease, before the acknowledgement.
    ReleasedWhileDraining,
    Renewed,
    Released,
    /// The lease has ended, and whoever was held was answered 503.
    Rejected,
    /// Released requests have failed one after the other: the others wait.
    Stopped,
    /// The release goes on.
    Resumed,
    Warm,
    /// Nothing was changed.
    Refused,
    Failed,
}

/// One line. Its fields are in docs/API.md.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    pub(crate) app: &'a str,
    pub(crate) action: Action,
    pub(crate) outcome: Outcome,
    pub(crate) actor: &'a Actor,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) holder: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    unix_ms: u64,
    #[serde(flatten)]
    entry: &'a Entry<'a>,
}

/// Why the audit log cannot be used at the start.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(
        "cannot open the audit log {} (gate.audit_log): it must be a file that the gate's user may append to, or a name in a \
         directory where it may create one", path.display()
    )]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot start the thread that writes the audit log")]
    Thread(#[source] io::Error),
}

/// Takes what is to be written; the same one for every app.
#[derive(Debug, Clone, Default)]
pub(crate) struct Audit(Option<Arc<Writer>>);

#[derive(Debug)]
struct Writer {
    wishes: SyncSender<Wish>,
    state: Arc<State>,
}

#[derive(Debug)]
enum Wish {
    Write(Vec<u8>),
    /// Answer when everything before is on disk.
    Finish(SyncSender<()>),
}

/// How the writing goes.
#[derive(Debug)]
struct State {
    path: PathBuf,
    counts: Mutex<AuditLogStatus>,
}

impl Audit {
    /// `None` writes nothing.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, AuditError> {
        let Some(path) = path else { return Ok(Self(None)) };
        let path = path.to_path_buf();
        let file = AuditFile::open(&path)
            .map_err(|source| AuditError::Open { path: path.clone(), source })?;
        let counts = AuditLogStatus { written: 0, lost: 0, problem: None };
        let state = Arc::new(State { path, counts: Mutex::new(counts) });
        let (wishes, wished) = sync_channel(WAITING_MAX);
        let told = Arc::clone(&state);
        let writer = thread::Builder::new().name("audit-log".to_owned());
        // It ends with the last sender.
        drop(writer.spawn(move || write(file, &wished, &told)).map_err(AuditError::Thread)?);
        Ok(Self(Some(Arc::new(Writer { wishes, state }))))
    }

    /// Waits for nothing.
    pub(crate) fn note(&self, entry: &Entry<'_>) {
        let Some(writer) = &self.0 else { return };
        let line = serde_json::to_vec(&Line { unix_ms: unix_ms(), entry });
        let mut line = line.expect("plain numbers and strings are JSON");
        line.push(b'\n');
        if writer.wishes.try_send(Wish::Write(line)).is_err() {
            let full = format!("{WAITING_MAX} lines wait for the disk already");
            writer.state.failed(1, &io::Error::other(full));
        }
    }

    pub(crate) fn status(&self) -> Option<AuditLogStatus> {
        self.0.as_ref().map(|writer| writer.state.counts().clone())
    }

    /// Blocks until everything is on disk, `bound` at most.
    pub(crate) fn finish(&self, bound: Duration) {
        let Some(writer) = &self.0 else { return };
        let (done, finished) = sync_channel(1);
        let asked = writer.wishes.try_send(Wish::Finish(done));
        let ended = asked.is_ok() && finished.recv_timeout(bound) != Err(RecvTimeoutError::Timeout);
        if !ended {
            tracing::error!(path = %writer.state.path.display(), "the end of the audit log may be lost");
        }
    }
}

impl State {
    fn counts(&self) -> std::sync::MutexGuard<'_, AuditLogStatus> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrote(&self) {
        let mut counts = self.counts();
        counts.written += 1;
        if counts.problem.take().is_some() {
            tracing::info!(path = %self.path.display(), "the audit log is written again");
        }
    }

    /// Told in the gate's log once until it goes well again.
    fn failed(&self, lost: u64, error: &io::Error) {
        let mut counts = self.counts();
        counts.lost += lost;
        if counts.problem.replace(error.to_string()).is_none() {
            tracing::error!(%error, path = %self.path.display(), "cannot write the audit log");
        }
    }
}

/// Until nobody is left who could wish for anything.
fn write(mut file: AuditFile, wished: &Receiver<Wish>, state: &State) {
    let mut unsynced = false;
    loop {
        let wish = match wished.try_recv() {
            Ok(wish) => wish,
            Err(TryRecvError::Empty) => {
                if std::mem::take(&mut unsynced) {
                    file.sync().unwrap_or_else(|error| state.failed(0, &error));
                }
                match wished.recv() {
                    Ok(wish) => wish,
                    Err(_nobody) => return,
                }
            }
            Err(TryRecvError::Disconnected) => return,
        };
        match wish {
            Wish::Write(line) => {
                unsynced = true;
                write_line(&mut file, &line, state);
            }
            Wish::Finish(done) => {
                unsynced = false;
                file.sync().unwrap_or_else(|error| state.failed(0, &error));
                // Whoever asked has gone if this fails.
                done.send(()).unwrap_or_default();
            }
        }
    }
}

fn write_line(file: &mut AuditFile, line: &[u8], state: &State) {
    // Moved away and not to be opened anew: the former file is better than none.
    let reopened = file.reopen_if_moved(&state.path);
    match (file.append(line), reopened) {
        (Ok(()), Ok(())) => state.wrote(),
        (Ok(()), Err(error)) => {
            state.counts().written += 1;
            state.failed(0, &error);
        }
        (Err(error), _) => state.failed(1, &error),
    }
}

#[cfg(test)]
mod tests;
