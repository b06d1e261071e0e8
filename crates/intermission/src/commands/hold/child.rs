//! The command that runs while an app is held.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::shutdown::StopSignal;

/// As a shell says them.
const NOT_FOUND: u8 = 127;
const NOT_STARTED: u8 = 126;
const BY_SIGNAL: i32 = 128;

pub(super) fn start(program: &OsString, arguments: &[OsString]) -> io::Result<Child> {
    Command::new(program).args(arguments).spawn()
}

pub(super) fn start_failure_code(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_STARTED }
}

pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| BY_SIGNAL + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// A terminal sends its Ctrl-C to the child too; twice would mean "at once" to many programs.
pub(super) fn pass_on(signal: StopSignal, child: &Child) -> io::Result<()> {
    let signal = match signal {
        StopSignal::Interrupt if io::stdin().is_terminal() => return Ok(()),
        StopSignal::Interrupt => Signal::INT,
        StopSignal::Terminate => Signal::TERM,
        StopSignal::Hangup => Signal::HUP,
    };
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let Some(id) = id else { return Ok(()) };
    kill_process(id, signal).map_err(io::Error::from)
}
