//! Ends a server with its owner, whatever happens to the owner.
//!
//! A small shell is the server's parent and reads a pipe whose only other end the owner has. However the owner
//! ends (return, panic, Ctrl-C, SIGKILL), the kernel closes that end: the shell kills the server and removes its
//! folder. Should the shell itself be killed, the kernel kills the server, by `setpriv --pdeathsig`. That signal
//! alone would not do: it is tied to the *thread* that started the server, and threads of an async runtime end
//! at any time.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// `$1` is the folder, the rest the server's command line. One line read = start the server (again).
const SCRIPT: &str = r#"
folder=$1; shift; server=
while read -r order; do
  [ -z "$server" ] || wait "$server"
  setpriv --pdeathsig KILL -- "$@" </dev/null >>"$folder/output.log" 2>&1 &
  server=$!
  echo "$server"
done
[ -z "$server" ] || { kill -9 "$server"; wait "$server"; } 2>/dev/null
rm -rf -- "$folder"
"#;

/// How long an owner that goes waits for the shell to clean up behind it.
const END_DEADLINE: Duration = Duration::from_secs(10);
const END_POLL: Duration = Duration::from_millis(2);

/// The shell, alive as long as the server's owner wants the server and its folder.
#[derive(Debug)]
pub(crate) struct Supervisor {
    shell: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Supervisor {
    /// Starts no server yet. `environment` is for what must not stand on a command line.
    pub(crate) fn new(
        folder: &Path,
        command: &[&str],
        environment: &[(&str, &str)],
    ) -> io::Result<Self> {
        // A session of its own. Ctrl-C in a terminal reaches the whole foreground group, and only the owner may
        // decide. A group alone is not enough: when its owner ends while the server is suspended, the kernel
        // sends the orphaned group a SIGHUP, and the shell would die of it before it has cleaned up.
        let mut shell = Command::new("setsid")
            .args(["/bin/sh", "-c", SCRIPT, "lab-supervisor"])
            .arg(folder)
            .args(command)
            .envs(environment.iter().copied())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let orders = shell.stdin.take();
        let answers = shell.stdout.take().expect("stdout was asked for as a pipe");
        Ok(Self { shell, orders, answers: BufReader::new(answers) })
    }

    /// Starts the server. An earlier one must have ended.
    pub(crate) fn start(&mut self) -> io::Result<Process> {
        let orders = self.orders.as_mut().expect("orders are closed only in drop");
        orders.write_all(b"start\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let pid =
            line.trim().parse().ok().and_then(Pid::from_raw).ok_or_else(|| {
                io::Error::other("the shell that starts servers gave no process id")
            })?;
        // The shell has not waited for the server, so the number cannot have gone to another process.
        Ok(Process { pid, handle: pidfd_open(pid, PidfdFlags::empty())? })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.orders.take());
        let deadline = Instant::now() + END_DEADLINE;
        while Instant::now() < deadline && matches!(self.shell.try_wait(), Ok(None)) {
            std::thread::sleep(END_POLL);
        }
    }
}

/// One run of a server, by a handle that never means another process.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    handle: OwnedFd,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        u32::try_from(self.pid.as_raw_nonzero().get()).expect("process ids are positive")
    }

    /// A process that has ended already is no error.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether the process has ended, without waiting.
    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.handle, PollFlags::IN)];
        Ok(poll(&mut polled, Some(&Timespec::default()))? > 0)
    }

    /// Whether the process ended within `deadline`.
    pub(crate) async fn wait_ended(&self, deadline: Duration) -> io::Result<bool> {
        let deadline = tokio::time::Instant::now() + deadline;
        while !self.has_ended()? {
            if tokio::time::Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(END_POLL).await;
        }
        Ok(true)
    }
}
