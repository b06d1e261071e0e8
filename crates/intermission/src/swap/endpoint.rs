//! The endpoint hook: a command that leads the clients' address to the new primary.

use std::{fmt, process::Stdio, time::Duration};

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::timeout,
};

use super::{
    observation::Address,
    refusal::{Code, Refusal},
};

/// How much of a hook's output is kept, in bytes.
const OUTPUT_MAX: usize = 4 * 1024;
/// How long a hook that was killed, or its output, may take to end.
const END_BOUND: Duration = Duration::from_secs(1);

/// What leads clients to a server.
#[async_trait]
pub trait Endpoint: Send + Sync + fmt::Debug {
    /// What speaks against using it now.
    async fn preflight(&self) -> Option<Refusal>;
    /// Leads clients to `new`; returns what the hook said.
    async fn point(&self, new: &Address, old: &Address) -> Result<String, EndpointError>;
    /// How an operator does the same by hand.
    fn command(&self, new: &Address, old: &Address) -> String;
}

/// A hook that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("cannot start the endpoint hook {program}")]
    Start { program: String, source: std::io::Error },
    #[error("the endpoint hook {program} was killed after {bound:?}: {output}")]
    Timeout { program: String, bound: Duration, output: String },
    #[error("the endpoint hook {program} ended with {status}: {output}")]
    Failed { program: String, status: String, output: String },
}

/// A command with a timeout. The servers are told to it in its environment: `INTERMISSION_NEW_PRIMARY` and
/// `INTERMISSION_OLD_PRIMARY`, both `host:port`.
#[derive(Debug, Clone)]
pub struct CommandEndpoint {
    /// Never empty: the configuration refuses an empty command.
    pub program: String,
    pub args: Vec<String>,
    pub timeout: Duration,
}

impl CommandEndpoint {
    fn start(&self, new: &Address, old: &Address) -> std::io::Result<Child> {
        Command::new(&self.program)
            .args(&self.args)
            .env("INTERMISSION_NEW_PRIMARY", new.to_string())
            .env("INTERMISSION_OLD_PRIMARY", old.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

#[async_trait]
impl Endpoint for CommandEndpoint {
    async fn preflight(&self) -> Option<Refusal> {
        let found = if self.program.contains('/') {
            is_executable(self.program.as_ref())
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| is_executable(&dir.join(&self.program)))
        };
        (!found).then(|| {
            Refusal::new(
                Code::EndpointMissing,
                format!("the endpoint hook {} is not an executable file", self.program),
                "correct swap.endpoint.command",
            )
        })
    }

    async fn point(&self, new: &Address, old: &Address) -> Result<String, EndpointError> {
        let program = self.program.clone();
        let mut child = match self.start(new, old) {
            Ok(child) => child,
            Err(source) => return Err(EndpointError::Start { program, source }),
        };
        let group = child.id().and_then(|id| i32::try_from(id).ok());
        let output = tokio::spawn(collect(child.stdout.take(), child.stderr.take()));
        let status = timeout(self.timeout, child.wait()).await;
        if status.is_err() {
            kill_group(group);
            // The group is dead; reaping it is bounded all the same.
            drop(timeout(END_BOUND, child.wait()).await);
        }
        // A grandchild may keep the pipe open for ever: what it said by now has to do.
        let output = match timeout(END_BOUND, output).await {
            Ok(Ok(output)) => output,
            Ok(Err(_)) | Err(_) => "(its output did not end)".to_owned(),
        };
        match status {
            Err(_) => Err(EndpointError::Timeout { program, bound: self.timeout, output }),
            Ok(Ok(status)) if status.success() => Ok(output),
            Ok(Ok(status)) => {
                Err(EndpointError::Failed { program, status: status.to_string(), output })
            }
            Ok(Err(source)) => Err(EndpointError::Start { program, source }),
        }
    }

    fn command(&self, new: &Address, old: &Address) -> String {
        let words: Vec<String> =
            std::iter::once(&self.program).chain(&self.args).map(|word| quote(word)).collect();
        format!("INTERMISSION_NEW_PRIMARY={new} INTERMISSION_OLD_PRIMARY={old} {}", words.join(" "))
    }
}

fn is_executable(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn kill_group(group: Option<i32>) {
    let Some(group) = group.and_then(rustix::process::Pid::from_raw) else { return };
    if let Err(error) = rustix::process::kill_process_group(group, rustix::process::Signal::KILL) {
        tracing::warn!(error = %error, "cannot kill the endpoint hook");
    }
}

async fn collect(
    stdout: Option<impl AsyncRead + Unpin>,
    stderr: Option<impl AsyncRead + Unpin>,
) -> String {
    let (stdout, stderr) = tokio::join!(read_bounded(stdout), read_bounded(stderr));
    format!("{stdout}{stderr}").trim().to_owned()
}

/// Keeps the first [`OUTPUT_MAX`] bytes and reads the rest away, so that the hook never blocks on its output.
async fn read_bounded(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return String::new() };
    let mut chunk = [0_u8; 1024];
    while let Ok(count) = pipe.read(&mut chunk).await {
        if count == 0 {
            break;
        }
        let room = OUTPUT_MAX.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(chunk.get(..room).unwrap_or_default());
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CommandEndpoint, Endpoint, EndpointError};
    use crate::swap::observation::Address;

    fn hook(script: &str, timeout: Duration) -> CommandEndpoint {
        CommandEndpoint {
            program: "sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            timeout,
        }
    }

    fn servers() -> (Address, Address) {
        let at = |port| Address { host: "127.0.0.1".to_owned(), port };
        (at(2), at(1))
    }

    #[tokio::test]
    async fn the_hook_is_told_both_servers_and_its_words_are_kept() {
        let (new, old) = servers();
        let hook = hook(
            "echo $INTERMISSION_NEW_PRIMARY from $INTERMISSION_OLD_PRIMARY",
            Duration::from_secs(5),
        );
        assert!(hook.preflight().await.is_none());
        assert_eq!(hook.point(&new, &old).await.expect("runs"), "127.0.0.1:2 from 127.0.0.1:1");
        assert!(
            hook.command(&new, &old)
                .ends_with("sh -c 'echo $INTERMISSION_NEW_PRIMARY from $INTERMISSION_OLD_PRIMARY'")
        );
    }

    #[tokio::test]
    async fn a_failing_hook_says_why() {
        let (new, old) = servers();
        let error = hook("echo no such proxy >&2; exit 3", Duration::from_secs(5))
            .point(&new, &old)
            .await
            .expect_err("fails");
        assert!(error.to_string().contains("no such proxy"), "{error}");
    }

    #[tokio::test]
    async fn f13_a_slow_hook_is_killed_with_its_children() {
        let (new, old) = servers();
        let dir = tempfile::tempdir().expect("a directory");
        let late = dir.path().join("late");
        let script = format!("(sleep 2; touch {}) & wait", late.display());
        let began = tokio::time::Instant::now();
        let error = hook(&script, Duration::from_millis(100))
            .point(&new, &old)
            .await
            .expect_err("times out");
        assert!(matches!(error, EndpointError::Timeout { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(2), "waited for the child");
        assert!(!late.exists());
    }

    #[tokio::test]
    async fn a_missing_hook_is_found_before_the_swap() {
        let missing = CommandEndpoint {
            program: "/nonexistent/hook".to_owned(),
            args: Vec::new(),
            timeout: Duration::from_secs(1),
        };
        assert!(missing.preflight().await.is_some());
    }
}
