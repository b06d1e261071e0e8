//! One process of the stage, in a folder of its own, ended with its owner.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{READY_DEADLINE, READY_POLL, StageError};
use crate::server::folder::ensure_lab_dir;
use crate::server::supervisor::{Process, Supervisor};

/// Where the supervisor puts what the process prints, stdout and stderr together.
const OUTPUT: &str = "output.log";
/// How much of the output an error quotes, lines.
const QUOTED_LINES: usize = 20;
/// How long the kernel may take to end a killed process, and a process to end in order.
const END_DEADLINE: Duration = Duration::from_secs(15);

/// A running process. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub struct Part {
    name: &'static str,
    process: Process,
    // Order matters: the supervisor ends the process and removes the folder, then `TempDir` finds it gone.
    supervisor: Supervisor,
    folder: TempDir,
}

impl Part {
    /// A folder for a process to be started, with a path short enough for unix sockets in it.
    pub(crate) fn folder_for(name: &'static str) -> Result<TempDir, StageError> {
        let making =
            |source| StageError::io(format!("cannot make a folder for the {name}"), source);
        let run = ensure_lab_dir().map_err(making)?.join("run");
        std::fs::create_dir_all(&run).map_err(making)?;
        tempfile::Builder::new().prefix("p").rand_bytes(8).tempdir_in(&run).map_err(making)
    }

    pub(crate) fn start(
        name: &'static str,
        folder: TempDir,
        command: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, StageError> {
        let starting = |source| StageError::io(format!("cannot start the {name}"), source);
        let mut supervisor =
            Supervisor::new(folder.path(), command, environment).map_err(starting)?;
        let process = supervisor.start().map_err(starting)?;
        Ok(Self { name, process, supervisor, folder })
    }

    /// The process's own folder, gone with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id of the present run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends a signal and waits for nothing.
    pub fn signal(&self, signal: Signal) -> Result<(), StageError> {
        let signalling =
            |source| StageError::io(format!("cannot signal the {}", self.name), source);
        self.process.signal(signal).map_err(signalling)
    }

    /// SIGKILL: a crash. Returns when the process is gone.
    pub async fn kill(&self) -> Result<(), StageError> {
        self.end_by(Signal::KILL).await
    }

    /// SIGTERM: an orderly end. Returns when the process is gone.
    pub async fn stop(&self) -> Result<(), StageError> {
        self.end_by(Signal::TERM).await
    }

    async fn end_by(&self, signal: Signal) -> Result<(), StageError> {
        let ending = |source| StageError::io(format!("cannot end the {}", self.name), source);
        self.process.signal(signal).map_err(ending)?;
        if self.process.wait_ended(END_DEADLINE).await.map_err(ending)? {
            return Ok(());
        }
        Err(ending(io::Error::other(format!("it outlived {signal:?} by {END_DEADLINE:?}"))))
    }

    /// Starts the process again in its folder; it must have ended.
    pub fn start_again(&mut self) -> Result<(), StageError> {
        let name = self.name;
        self.process = self
            .supervisor
            .start()
            .map_err(|source| StageError::io(format!("cannot start the {name} again"), source))?;
        Ok(())
    }

    /// Whether the process is gone.
    pub fn has_ended(&self) -> Result<bool, StageError> {
        self.process
            .has_ended()
            .map_err(|source| StageError::io(format!("cannot watch the {}", self.name), source))
    }

    /// The address the process prints once it is bound.
    pub(crate) async fn wait_address(&self) -> Result<SocketAddr, StageError> {
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            // Only whole lines: the last one may still be on its way.
            let output = self.output();
            let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(address) = whole.lines().find_map(|line| line.trim().parse().ok()) {
                return Ok(address);
            }
            if self.has_ended()? || Instant::now() > deadline {
                return Err(self.not_ready("it printed no address".to_owned()));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// Everything the process printed.
    #[must_use]
    pub fn output(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join(OUTPUT)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn not_ready(&self, problem: String) -> StageError {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        let from = lines.len().saturating_sub(QUOTED_LINES);
        let log = lines.get(from..).unwrap_or_default().join("\n");
        StageError::NotReady { part: self.name, problem, log }
    }
}
