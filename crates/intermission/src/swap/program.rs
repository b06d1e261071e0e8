//! A program of the operator's: bounded in time, ended with its children, its last words kept.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

/// How much of each of its two outputs is kept, bytes from the end.
const OUTPUT_MAX: usize = 4 * 1024;
/// How long a program that was killed may take to be gone.
const END_BOUND: Duration = Duration::from_secs(1);
/// How long what a program said may take to be read after its end. A daemon that it left behind keeps its output open for
/// ever, and users wait: what was said by then has to do.
const LAST_WORDS_BOUND: Duration = Duration::from_millis(100);
/// What a hook is told, each `host:port`. In its environment, or, where it is started early, on its standard input.
pub(super) const NEW_PRIMARY: &str = "INTERMISSION_NEW_PRIMARY";
pub(super) const OLD_PRIMARY: &str = "INTERMISSION_OLD_PRIMARY";

/// Whether there is an executable file of that name, here or on the `PATH`.
pub(super) fn is_there(program: &str) -> bool {
    if program.contains('/') {
        return is_executable(program.as_ref());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| is_executable(&dir.join(program)))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// A program that runs, in a process group of its own. Dropped, it is killed with its children.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    said: Said,
    readers: [JoinHandle<()>; 2],
    group: Group,
}

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// `None`: it was killed, because its time was over.
    pub(super) status: Option<io::Result<ExitStatus>>,
    /// The end of what it said, standard output first.
    pub(super) output: String,
}

type Tail = Arc<Mutex<VecDeque<u8>>>;

/// The ends of standard output and standard error.
#[derive(Debug, Default)]
struct Said(Tail, Tail);

/// Killed when this is dropped while the program has not been waited for: until then its number is nobody else's.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Running {
    /// Starts the command as it is, but for its outputs and its group.
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let said = Said::default();
        let readers = [
            tokio::spawn(keep(child.stdout.take(), Arc::clone(&said.0))),
            tokio::spawn(keep(child.stderr.take(), Arc::clone(&said.1))),
        ];
        Ok(Self { child, said, readers, group: Group(group) })
    }

    /// Whether it has not ended by itself.
    pub(super) fn still_runs(&mut self) -> bool {
        let runs = matches!(self.child.try_wait(), Ok(None));
        if !runs {
            self.group.0 = None;
        }
        runs
    }

    /// Says `told` to it, where it listens, and waits for its end, `bound` at most; then it is killed with its children.
    pub(super) async fn end(mut self, told: &str, bound: Duration) -> Ended {
        let ended = timeout(bound, async {
            if let Some(mut stdin) = self.child.stdin.take()
                && let Err(error) = stdin.write_all(told.as_bytes()).await
            {
                tracing::debug!(%error, "a hook does not listen; its exit code decides");
            }
            self.child.wait().await
        });
        let status = ended.await.ok();
        if status.is_some() {
            self.group.0 = None;
        } else {
            self.group.kill();
            // The group is dead; reaping it is bounded all the same.
            drop(timeout(END_BOUND, self.child.wait()).await);
        }
        let [stdout, stderr] = &mut self.readers;
        drop(timeout(LAST_WORDS_BOUND, async { tokio::join!(stdout, stderr) }).await);
        let output = format!("{}{}", text(&self.said.0), text(&self.said.1)).trim().to_owned();
        Ended { status, output }
    }
}

impl Group {
    fn kill(&mut self) {
        let Some(group) = self.0.take() else { return };
        if let Err(error) = kill_process_group(group, Signal::KILL) {
            tracing::warn!(%error, "cannot kill a hook");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Keeps the last [`OUTPUT_MAX`] bytes: the end of an output says most often why. All of it is read, so that the program
/// never blocks on it.
async fn keep(pipe: Option<impl AsyncRead + Unpin>, kept: Tail) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0_u8; 1024];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(chunk.iter().take(count));
        let over = kept.len().saturating_sub(OUTPUT_MAX);
        kept.drain(..over);
    }
}

fn text(kept: &Tail) -> String {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(kept.make_contiguous()).into_owned()
}
