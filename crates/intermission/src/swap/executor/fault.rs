//! Where a test ends a process as abruptly as a power cut, makes it stand still, or lets the swap wait for what the test does to others.

use crate::swap::{guard::Guard, record::Action, step::Step};

/// What may be asked for at a point: `kill:after:perform:fence`.
#[cfg(feature = "fault-injection")]
const FAULTS: [Fault; 6] = [
    ("kill", |_| strike(None, rustix::process::Signal::KILL)),
    ("stop", |_| strike(None, rustix::process::Signal::STOP)),
    ("orphan", |guard| strike(guard.pid(), rustix::process::Signal::KILL)),
    ("lose", |guard| {
        strike(guard.pid(), rustix::process::Signal::KILL);
        strike(None, rustix::process::Signal::KILL);
    }),
    ("panic", |_| panic()),
    // Stands still, and panics when it goes on.
    ("falter", |_| {
        strike(None, rustix::process::Signal::STOP);
        panic();
    }),
];

/// What it is called, and how it happens.
#[cfg(feature = "fault-injection")]
type Fault = (&'static str, fn(&Guard));

#[cfg(feature = "fault-injection")]
#[expect(clippy::panic, reason = "that is what the test asks for")]
fn panic() {
    std::panic::panic_any("fault injected".to_owned())
}

#[cfg(feature = "fault-injection")]
pub(super) async fn point(moment: &str, action: Action, step: Step, guard: &Guard) {
    let action = match action {
        Action::Perform => "perform",
        Action::Verify => "verify",
        Action::Undo => "undo",
    };
    let Ok(wanted) = std::env::var("INTERMISSION_FAULT") else { return };
    for (fault, happens) in FAULTS {
        if wanted == format!("{fault}:{moment}:{action}:{step}") {
            happens(guard);
        }
    }
    if wanted == format!("wait:{moment}:{action}:{step}") {
        wait().await;
    }
}

/// Until the test has done something to somebody else: the file that it names gets another name, and is to go away. Once, as there is
/// no such file afterwards.
#[cfg(feature = "fault-injection")]
async fn wait() {
    use std::{
        fs,
        path::PathBuf,
        time::{Duration, Instant},
    };

    /// For the test to do what it wants to.
    const WAITS_MAX: Duration = Duration::from_secs(60);
    let Some(file) = std::env::var_os("INTERMISSION_FAULT_FILE").map(PathBuf::from) else { return };
    let reached = file.with_extension("reached");
    if fs::rename(&file, &reached).is_err() {
        return;
    }
    let began = Instant::now();
    while reached.exists() && began.elapsed() < WAITS_MAX {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Without a number it is this process.
#[cfg(feature = "fault-injection")]
fn strike(pid: Option<u32>, signal: rustix::process::Signal) {
    use rustix::process::{Pid, getpid, kill_process};
    let other = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Err(error) = kill_process(other.unwrap_or_else(getpid), signal) {
        tracing::error!(%error, "the fault did not happen");
    }
}

#[cfg(not(feature = "fault-injection"))]
pub(super) async fn point(_: &str, _: Action, _: Step, _: &Guard) {}
