//! The `before_release` hooks: what an operator wants done while users wait for the new primary, such as to restart the
//! application.

use std::{fmt, process::Stdio, time::Duration};

use async_trait::async_trait;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{
    endpoint::quote,
    observation::Address,
    program::{Ended, NEW_PRIMARY, OLD_PRIMARY, Running, is_there},
    refusal::{Code, Refusal},
};

/// How often a hook is run within its timeout until it succeeds.
const ATTEMPTS: u32 = 3;
/// The pause before a hook is run again, times the number of runs.
const PAUSE: Duration = Duration::from_millis(100);
/// How many of the last lines of a hook are told.
const LINES_MAX: usize = 10;
/// How much of them, characters.
const CHARS_MAX: usize = 1000;

/// What is done before users are released. Every call may be repeated and is over within [`Hooks::bound`].
#[async_trait]
pub trait Hooks: Send + Sync + fmt::Debug {
    /// What speaks against running them.
    fn refusals(&self) -> Vec<Refusal>;
    /// How long all of them may take; none where there is none.
    fn bound(&self) -> Option<Duration>;
    /// Runs one after another, also after one that failed, and returns how they ended and what they said.
    async fn run(&self, new: &Address, old: &Address) -> Result<String, HooksError>;
    /// How an operator runs them by hand, each with its bound.
    fn commands(&self, new: &Address, old: &Address) -> Vec<(String, Duration)>;
}

/// Some hooks did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{failed} of {all} hooks failed: {said}")]
pub struct HooksError {
    pub failed: usize,
    pub all: usize,
    /// How each of them ended and what it said, and how it is run by hand.
    pub said: String,
}

/// One command with a timeout.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Never empty: the configuration refuses an empty command.
    pub program: String,
    pub args: Vec<String>,
    /// For all runs of it together.
    pub timeout: Duration,
}

/// Commands, in order.
#[derive(Debug, Default)]
pub struct CommandHooks {
    hooks: Vec<Hook>,
    /// Variables with passwords: a hook that prints its environment must not print them.
    hidden: Vec<String>,
}

impl CommandHooks {
    #[must_use]
    pub const fn new(hooks: Vec<Hook>, hidden: Vec<String>) -> Self {
        Self { hooks, hidden }
    }

    /// Whether it succeeded, and what there is to say of it.
    async fn run_one(&self, hook: &Hook, new: &Address, old: &Address) -> (bool, String) {
        let began = Instant::now();
        let deadline = began + hook.timeout;
        let mut runs = 0;
        loop {
            runs += 1;
            let mut command = Command::new(&hook.program);
            command.args(&hook.args).stdin(Stdio::null());
            command.env(NEW_PRIMARY, new.to_string()).env(OLD_PRIMARY, old.to_string());
            for variable in &self.hidden {
                command.env_remove(variable);
            }
            let (succeeded, end) = match Running::start(&mut command) {
                Err(error) => (false, format!("could not be started: {error}")),
                Ok(hook) => {
                    let ended = hook.end("", deadline.duration_since(Instant::now())).await;
                    (is_success(&ended), told(&ended, began.elapsed()))
                }
            };
            let pause = PAUSE * runs;
            if succeeded || runs >= ATTEMPTS || Instant::now() + pause >= deadline {
                let often = if runs > 1 { format!(" in {runs} runs") } else { String::new() };
                return (succeeded, format!("{}{often} {end}", words(hook)));
            }
            sleep(pause).await;
        }
    }
}

#[async_trait]
impl Hooks for CommandHooks {
    fn refusals(&self) -> Vec<Refusal> {
        let missing = self.hooks.iter().filter(|hook| !is_there(&hook.program));
        let refuse = |hook: &Hook| {
            Refusal::new(
                Code::HookMissing,
                format!("the hook {} is not an executable file", hook.program),
                "correct swap.before_release",
            )
        };
        missing.map(refuse).collect()
    }

    fn bound(&self) -> Option<Duration> {
        self.hooks.iter().map(|hook| hook.timeout).reduce(|a, b| a + b)
    }

    async fn run(&self, new: &Address, old: &Address) -> Result<String, HooksError> {
        let (mut said, mut failed) = (Vec::new(), 0);
        for hook in &self.hooks {
            let (succeeded, told) = self.run_one(hook, new, old).await;
            if succeeded {
                said.push(told);
            } else {
                failed += 1;
                said.push(format!("{told}; by hand: {}", by_hand(hook, new, old)));
            }
        }
        let said = said.join("; ");
        if failed == 0 {
            return Ok(said);
        }
        Err(HooksError { failed, all: self.hooks.len(), said })
    }

    fn commands(&self, new: &Address, old: &Address) -> Vec<(String, Duration)> {
        self.hooks.iter().map(|hook| (by_hand(hook, new, old), hook.timeout)).collect()
    }
}

fn is_success(ended: &Ended) -> bool {
    matches!(&ended.status, Some(Ok(status)) if status.success())
}

fn words(hook: &Hook) -> String {
    let all = std::iter::once(&hook.program).chain(&hook.args);
    all.map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn by_hand(hook: &Hook, new: &Address, old: &Address) -> String {
    format!("{NEW_PRIMARY}={new} {OLD_PRIMARY}={old} {}", words(hook))
}

fn told(ended: &Ended, took: Duration) -> String {
    let took = took.as_millis();
    let end = match &ended.status {
        None => format!("was killed after {took} ms"),
        Some(Ok(status)) => format!("ended with {status} after {took} ms"),
        Some(Err(error)) => format!("could not be waited for: {error}"),
    };
    match last_lines(&ended.output) {
        said if said.is_empty() => end,
        said => format!("{end}: {said}"),
    }
}

/// On one line, and without what a terminal would take for a command.
fn last_lines(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let from = lines.len().saturating_sub(LINES_MAX);
    let joined = lines.get(from..).unwrap_or_default().join(" | ");
    let plain: Vec<char> = joined.chars().filter(|c| !c.is_control()).collect();
    let from = plain.len().saturating_sub(CHARS_MAX);
    plain.get(from..).unwrap_or_default().iter().collect()
}

#[cfg(test)]
mod tests;
