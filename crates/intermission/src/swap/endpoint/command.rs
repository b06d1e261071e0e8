//! The endpoint hook: a command that leads the clients' address to the new primary.

use std::{
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{Endpoint, EndpointError, EndpointView, quote};
use crate::swap::{
    observation::Address,
    program::{NEW_PRIMARY, OLD_PRIMARY, Running, is_there},
    refusal::{Code, Refusal},
};

/// When the hook is started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// When clients are to be led away. It finds both servers in its environment.
    #[default]
    OnTime,
    /// Before anybody waits, because a program may need longer to start than to act. It waits for one line,
    /// `NEW_PRIMARY OLD_PRIMARY`, on its standard input; if that ends without one there is nothing to do. Its environment
    /// names no server, so that a hook that knows nothing of this cannot act too early.
    Early,
}

/// A command with a timeout.
#[derive(Debug)]
pub struct CommandEndpoint {
    /// Never empty: the configuration refuses an empty command.
    program: String,
    args: Vec<String>,
    timeout: Duration,
    start: Start,
    /// Started early and waiting. Dropped, it is killed.
    waiting: Mutex<Option<Running>>,
}

impl CommandEndpoint {
    #[must_use]
    pub fn new(program: String, args: Vec<String>, timeout: Duration, start: Start) -> Self {
        Self { program, args, timeout, start, waiting: Mutex::default() }
    }

    /// Runs the program; without servers to tell, it is to wait for them.
    fn run(&self, told: Option<(&Address, &Address)>) -> Result<Running, EndpointError> {
        let mut command = Command::new(&self.program);
        match told {
            Some((new, old)) => {
                command.env(NEW_PRIMARY, new.to_string()).env(OLD_PRIMARY, old.to_string());
                command.stdin(Stdio::null());
            }
            None => {
                command.env_remove(NEW_PRIMARY).env_remove(OLD_PRIMARY).stdin(Stdio::piped());
            }
        }
        Running::start(command.args(&self.args))
            .map_err(|source| EndpointError::Start { program: self.program.clone(), source })
    }

    /// The hook that waits, if it still does.
    fn take_waiting(&self) -> Option<Running> {
        let mut hook = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        hook.still_runs().then_some(hook)
    }
}

#[async_trait]
impl Endpoint for CommandEndpoint {
    async fn observe(&self) -> EndpointView {
        let missing = (!is_there(&self.program)).then(|| {
            Refusal::new(
                Code::EndpointMissing,
                format!("the endpoint hook {} is not an executable file", self.program),
                "correct swap.endpoint.command",
            )
        });
        EndpointView { refusals: missing.into_iter().collect(), floating_ip: None }
    }

    fn bound(&self) -> Duration {
        self.timeout
    }

    async fn prepare(&self, _: &Address, _: &Address) -> Result<(), EndpointError> {
        if self.start == Start::Early {
            let hook = self.take_waiting().map_or_else(|| self.run(None), Ok)?;
            *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(hook);
        }
        Ok(())
    }

    async fn point(&self, new: &Address, old: &Address) -> Result<String, EndpointError> {
        let hook = match self.start {
            Start::OnTime => self.run(Some((new, old)))?,
            Start::Early => self.take_waiting().map_or_else(|| self.run(None), Ok)?,
        };
        let program = self.program.clone();
        let ended = hook.end(&format!("{new} {old}\n"), self.timeout).await;
        let output = ended.output;
        match ended.status {
            None => Err(EndpointError::Timeout { program, bound: self.timeout, output }),
            Some(Ok(status)) if status.success() => Ok(output),
            Some(Ok(status)) => {
                Err(EndpointError::Failed { program, status: status.to_string(), output })
            }
            Some(Err(source)) => Err(EndpointError::Start { program, source }),
        }
    }

    fn command(&self, new: &Address, old: &Address) -> String {
        let words: Vec<String> =
            std::iter::once(&self.program).chain(&self.args).map(|word| quote(word)).collect();
        let words = words.join(" ");
        match self.start {
            Start::OnTime => format!("{NEW_PRIMARY}={new} {OLD_PRIMARY}={old} {words}"),
            Start::Early => format!("echo {new} {old} | {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CommandEndpoint, Endpoint, EndpointError, Start};
    use crate::swap::observation::Address;

    fn hook_started(script: &str, timeout: Duration, start: Start) -> CommandEndpoint {
        CommandEndpoint::new(
            "sh".to_owned(),
            vec!["-c".to_owned(), script.to_owned()],
            timeout,
            start,
        )
    }

    fn hook(script: &str, timeout: Duration) -> CommandEndpoint {
        hook_started(script, timeout, Start::OnTime)
    }

    fn early(script: &str) -> CommandEndpoint {
        hook_started(script, Duration::from_secs(5), Start::Early)
    }

    /// Waits until a file is there.
    async fn appears(path: &std::path::Path) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !path.exists() {
            assert!(tokio::time::Instant::now() < deadline, "{} is not there", path.display());
            tokio::time::sleep(Duration::from_millis(2)).await;
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
        assert!(hook.observe().await.refusals.is_empty());
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
        let missing = |start| {
            let program = "/nonexistent/hook".to_owned();
            CommandEndpoint::new(program, Vec::new(), Duration::from_secs(1), start)
        };
        assert!(!missing(Start::OnTime).observe().await.refusals.is_empty());
        let (new, old) = servers();
        let error = missing(Start::Early).prepare(&old, &new).await.expect_err("cannot be started");
        assert!(matches!(error, EndpointError::Start { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_hook_started_early_waits_for_its_line() {
        let (new, old) = servers();
        let dir = tempfile::tempdir().expect("a directory");
        let (up, ups) = (dir.path().join("up"), dir.path().join("ups"));
        let script = format!(
            "echo up >>{ups}; touch {up}; read new old; echo \"$new from $old$INTERMISSION_NEW_PRIMARY\"",
            ups = ups.display(),
            up = up.display()
        );
        let hook = early(&script);
        hook.prepare(&old, &new).await.expect("started");
        appears(&up).await;
        hook.prepare(&old, &new).await.expect("started already");
        assert_eq!(hook.point(&new, &old).await.expect("runs"), "127.0.0.1:2 from 127.0.0.1:1");
        assert_eq!(std::fs::read_to_string(&ups).expect("written"), "up\n", "started twice");
        // Another try starts it anew.
        assert_eq!(hook.point(&new, &old).await.expect("runs"), "127.0.0.1:2 from 127.0.0.1:1");
        let by_hand = hook.command(&new, &old);
        assert!(by_hand.starts_with("echo 127.0.0.1:2 127.0.0.1:1 | sh -c "), "{by_hand}");
    }

    #[tokio::test]
    async fn a_hook_that_died_while_it_waited_is_started_anew() {
        let (new, old) = servers();
        let dir = tempfile::tempdir().expect("a directory");
        let died = dir.path().join("died");
        let script = format!(
            "[ -e {d} ] || {{ touch {d}; exit 1; }}; read new old; echo $new",
            d = died.display()
        );
        let hook = early(&script);
        hook.prepare(&old, &new).await.expect("started");
        appears(&died).await;
        let mut said = hook.point(&new, &old).await;
        if said.is_err() {
            // It was not quite dead when it was looked at: that try failed, as any may, and the next one starts it.
            said = hook.point(&new, &old).await;
        }
        assert_eq!(said.expect("runs"), "127.0.0.1:2");
    }

    #[tokio::test]
    async fn a_hook_that_is_not_needed_is_gone_and_did_nothing() {
        let (new, old) = servers();
        let dir = tempfile::tempdir().expect("a directory");
        let (up, acted) = (dir.path().join("up"), dir.path().join("acted"));
        let script =
            format!("echo $$ >{}; read new old && touch {}", up.display(), acted.display());
        let hook = early(&script);
        hook.prepare(&old, &new).await.expect("started");
        appears(&up).await;
        drop(hook);
        let pid = std::fs::read_to_string(&up).expect("written");
        let process = std::path::PathBuf::from(format!("/proc/{}/fd/0", pid.trim()));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while process.symlink_metadata().is_ok() {
            assert!(tokio::time::Instant::now() < deadline, "it still waits");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(!acted.exists());
    }
}
