//! Waiting for a state, and running the binary.

use std::fmt::Debug;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use tokio::process::Command;

/// A state that has not come after this will not come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Polls `state` until it gives something.
pub(crate) async fn until<T>(what: &str, mut state: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = state().await {
            return value;
        }
        assert!(began.elapsed() < DEADLINE, "waited in vain for: {what}");
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// `future`, which must not take for ever.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_elapsed| panic!("waited in vain for: {what}"))
}

pub(crate) fn command(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_intermission"));
    command.arg("-c").arg(config).args(arguments).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A finished command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

pub(crate) async fn run(config: &Path, arguments: &[&str]) -> Ran {
    soon("a command", command(config, arguments).output()).await.unwrap().into()
}

/// By another command, which runs what follows it.
pub(crate) async fn run_behind(prefix: &[&str], config: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).arg(env!("CARGO_BIN_EXE_intermission"));
    command.arg("-c").arg(config).args(arguments).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    soon("a command", command.output()).await.unwrap().into()
}

#[track_caller]
pub(crate) fn assert_contains(text: &str, part: impl AsRef<str> + Debug) {
    assert!(text.contains(part.as_ref()), "{part:?} is not in:\n{text}");
}
