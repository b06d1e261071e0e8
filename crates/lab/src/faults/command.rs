//! Runs the product's commands and keeps every word they print.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::bench::Bench;

/// How long any command of the product may take before it counts as hung: a swap whose servers are cut off from each other tries to its bounds,
/// two minutes.
const COMMAND_DEADLINE: Duration = Duration::from_secs(200);
/// How long a running swap may take to come to a step.
const STEP_DEADLINE: Duration = Duration::from_secs(40);
const STEP_POLL: Duration = Duration::from_millis(1);
/// How often a swap is begun that is to be struck.
const BEGINNINGS: usize = 3;
/// The product's variable that names where it shall die.
const FAULT_VARIABLE: &str = "INTERMISSION_FAULT";
/// Where it waits for the test: [`Bench::fault_file`].
const FAULT_FILE_VARIABLE: &str = "INTERMISSION_FAULT_FILE";
/// How a step tells that its bound was over, whatever the bound.
const OVER_BOUND: [&str; 2] = [" within ", ", more than "];
/// How much of what a command said an error quotes, characters from the end.
const QUOTE_MAX: usize = 1500;

/// Lines of one process as they come, and of all processes together for the search for passwords.
pub(super) type Words = Arc<Mutex<String>>;

pub(super) fn read_words(words: &Words) -> String {
    words.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

pub(super) fn add_words(words: &Words, text: &str) {
    words.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
}

/// How a command ended and what it said.
#[derive(Debug)]
pub(super) struct Ran {
    status: ExitStatus,
    /// Its data.
    pub(super) out: String,
    /// Its talk.
    pub(super) talk: String,
}

impl Ran {
    pub(super) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Fails unless the exit code is the expected one.
    pub(super) fn expect(&self, code: i32) -> anyhow::Result<&Self> {
        self.expect_one_of(&[code])
    }

    pub(super) fn expect_one_of(&self, codes: &[i32]) -> anyhow::Result<&Self> {
        if self.code().is_some_and(|code| codes.contains(&code)) {
            return Ok(self);
        }
        bail!("expected exit {codes:?}, got {}: {}", self.status, self.quote())
    }

    /// Fails unless the fault that was asked for killed it.
    pub(super) fn expect_killed(&self) -> anyhow::Result<&Self> {
        if self.status.signal() == Some(Signal::KILL.as_raw()) {
            return Ok(self);
        }
        bail!(
            "the fault was not injected, it ended with {} (is it built with --features fault-injection?): {}",
            self.status,
            self.quote()
        )
    }

    /// What the swap told of a step's outcome, if it came to it.
    pub(super) fn step(&self, step: &str) -> Option<&str> {
        self.talk.lines().find(|line| tells(line, step))
    }

    /// Fails unless the swap failed at this step.
    pub(super) fn expect_failed_at(&self, step: &str) -> anyhow::Result<()> {
        let told = self.step(step).unwrap_or("nothing");
        ensure!(told.contains("FAILED"), "{step} did not fail, it told: {told}; {}", self.quote());
        Ok(())
    }

    /// Why the swap was taken back, where that is a step that took longer than its bound: a disk may stand still for seconds.
    pub(super) fn was_too_slow(&self) -> Option<&str> {
        let is_taken_back = self.code() == Some(1) && self.out.contains("rolled back: ");
        let told = self.out.lines().find_map(|line| line.strip_prefix("because: "));
        told.filter(|why| is_taken_back && OVER_BOUND.iter().any(|words| why.contains(words)))
    }

    fn quote(&self) -> String {
        let said = format!("{}{}", self.talk, self.out);
        let from = said.chars().count().saturating_sub(QUOTE_MAX);
        said.chars().skip(from).collect()
    }
}

/// A command under way.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    out: Words,
    talk: Words,
    readers: [JoinHandle<()>; 2],
}

impl Running {
    fn start(mut command: Command, all: &Words) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start intermission")?;
        let (out, talk) = (Words::default(), Words::default());
        let readers = [
            tokio::spawn(collect(child.stdout.take(), Arc::clone(&out), Arc::clone(all))),
            tokio::spawn(collect(child.stderr.take(), Arc::clone(&talk), Arc::clone(all))),
        ];
        Ok(Self { child, out, talk, readers })
    }

    /// What it has said so far.
    pub(super) fn said(&self) -> String {
        format!("{}{}", read_words(&self.talk), read_words(&self.out))
    }

    /// Waits until the swap has told the outcome of a step, such as `settle` or `undo fence`.
    pub(super) async fn wait_step(&mut self, step: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + STEP_DEADLINE;
        loop {
            if read_words(&self.talk).lines().any(|line| tells(line, step)) {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("it never came to {step}: {}", self.said());
            }
            tokio::time::sleep(STEP_POLL).await;
        }
    }

    /// Waits until a `hold` says that it holds.
    pub(super) async fn wait_held(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + STEP_DEADLINE;
        while !read_words(&self.talk).contains(" is held (") {
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("it never held: {}", read_words(&self.talk));
            }
            tokio::time::sleep(STEP_POLL).await;
        }
        Ok(())
    }

    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.context("it has ended already")?;
        kill_process(pid, signal).context("cannot signal intermission")
    }

    /// Waits until it is dead, or until it stands still. False when it has ended by itself.
    async fn wait_struck(&mut self) -> anyhow::Result<bool> {
        let pid = self.child.id().context("it has ended already")?;
        let status = format!("/proc/{pid}/status");
        let deadline = Instant::now() + STEP_DEADLINE;
        loop {
            let stands =
                std::fs::read_to_string(&status).is_ok_and(|status| status.contains("State:\tT"));
            if stands {
                return Ok(true);
            }
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.signal() == Some(Signal::KILL.as_raw()));
            }
            ensure!(Instant::now() < deadline, "nothing struck it: {}", read_words(&self.talk));
            tokio::time::sleep(STEP_POLL).await;
        }
    }

    /// Waits until it has said something.
    pub(super) async fn wait_said(&self, words: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + STEP_DEADLINE;
        while !read_words(&self.talk).contains(words) {
            ensure!(
                Instant::now() < deadline,
                "it never said {words:?}: {}",
                read_words(&self.talk)
            );
            tokio::time::sleep(STEP_POLL).await;
        }
        Ok(())
    }

    pub(super) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end, within a bound.
    pub(super) async fn end(mut self) -> anyhow::Result<Ran> {
        let Ok(status) = timeout(COMMAND_DEADLINE, self.child.wait()).await else {
            bail!("it hangs, killed after {COMMAND_DEADLINE:?}: {}", read_words(&self.talk));
        };
        // A child of it that outlives it keeps the pipes open: then what has come has to do.
        for reader in &mut self.readers {
            drop(timeout(Duration::from_secs(1), reader).await);
        }
        let (out, talk) = (read_words(&self.out), read_words(&self.talk));
        Ok(Ran { status: status?, out, talk })
    }
}

/// Whether a line is the outcome of a step, and not of its list before the swap.
fn tells(line: &str, step: &str) -> bool {
    line.strip_prefix("  ")
        .and_then(|line| line.strip_prefix(step))
        .is_some_and(|rest| rest.starts_with(' ') && rest.contains(" ms "))
}

async fn collect(pipe: Option<impl AsyncRead + Unpin>, own: Words, all: Words) {
    let Some(pipe) = pipe else { return };
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = format!("{line}\n");
        add_words(&own, &line);
        add_words(&all, &line);
    }
}

impl Bench {
    /// What a swap that is to wait gives another name, and waits for to be gone.
    pub(super) fn fault_file(&self) -> PathBuf {
        self.folder.join("fault.wait")
    }

    /// Starts a subcommand with the configuration of the campaign.
    pub(super) fn start(&self, arguments: &[&str]) -> anyhow::Result<Running> {
        self.start_with(&self.configuration, arguments, None)
    }

    /// Starts a subcommand with another configuration, and perhaps told where to die.
    pub(super) fn start_with(
        &self,
        configuration: &Path,
        arguments: &[&str],
        fault: Option<&str>,
    ) -> anyhow::Result<Running> {
        let mut command = self.stage.intermission_with(configuration);
        command.args(arguments).envs(fault.map(|fault| (FAULT_VARIABLE, fault)));
        command.env(FAULT_FILE_VARIABLE, self.fault_file());
        Running::start(command, &self.said)
    }

    pub(super) async fn run(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        self.start(arguments)?.end().await
    }

    pub(super) async fn swap(&self) -> anyhow::Result<Ran> {
        self.run(&["swap", "--yes"]).await
    }

    pub(super) async fn recover(&self) -> anyhow::Result<Ran> {
        self.run(&["recover"]).await
    }

    /// Starts what a fault is to strike, such as `kill:after:perform:fence`, and waits until it has. A swap that is taken back before
    /// because the machine was too slow for it is begun again.
    pub(super) async fn start_struck(
        &self,
        arguments: &[&str],
        fault: &str,
    ) -> anyhow::Result<Running> {
        let mut begun = 0;
        loop {
            let mut swap = self.start_with(&self.configuration, arguments, Some(fault))?;
            begun += 1;
            if swap.wait_struck().await? {
                return Ok(swap);
            }
            let ran = swap.end().await?;
            if begun == BEGINNINGS || !self.may_begin_again(&ran).await? {
                bail!("nothing struck it, it ended with {}: {}", ran.status, ran.quote());
            }
        }
    }

    /// Whether a swap that has ended was only too slow; everybody is healthy again then.
    pub(super) async fn may_begin_again(&self, ran: &Ran) -> anyhow::Result<bool> {
        let Some(why) = ran.was_too_slow() else { return Ok(false) };
        self.figure(format!("begun again: {why}"));
        self.wait_healthy().await?;
        Ok(true)
    }

    /// A swap or a recovery that dies at `point`, for example `after:perform:fence`.
    pub(super) async fn run_killed(&self, arguments: &[&str], point: &str) -> anyhow::Result<()> {
        self.run_struck(arguments, &format!("kill:{point}")).await
    }

    /// As [`Bench::run_killed`], and the guardian dies with it.
    pub(super) async fn run_lost(&self, arguments: &[&str], point: &str) -> anyhow::Result<()> {
        self.run_struck(arguments, &format!("lose:{point}")).await
    }

    async fn run_struck(&self, arguments: &[&str], fault: &str) -> anyhow::Result<()> {
        let swap = self.start_struck(arguments, fault).await?;
        swap.end().await?.expect_killed().map(|_| ())
    }

    /// Nothing may be left after a recovery.
    pub(super) async fn expect_nothing_to_recover(&self) -> anyhow::Result<()> {
        let again = self.recover().await?;
        let said = &again.expect(0)?.out;
        ensure!(said.contains("nothing to recover"), "a second recover said: {said}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_that_was_too_slow_is_known_from_one_that_failed() {
        let ran = |code: i32, out: &str| Ran {
            status: ExitStatus::from_raw(code << 8),
            out: out.to_owned(),
            talk: String::new(),
        };
        let taken_back = |why: &str| {
            format!(
                "rolled back: db1 is the primary as before, nobody is held\nbecause: {why}\nusers: 0\n"
            )
        };
        let slow = [
            "hold: gate /run/gate.sock: cannot hold shop: no acknowledgement within 2s",
            "quiet: db2: cannot wait for the last transaction: no answer within 750ms",
            "quiet: db2 took 612 ms to catch up, more than 50ms",
        ];
        for why in slow {
            assert_eq!(ran(1, &taken_back(why)).was_too_slow(), Some(why));
            assert_eq!(ran(2, &taken_back(why)).was_too_slow(), None);
            assert_eq!(ran(0, &format!("swapped\nbecause: {why}\n")).was_too_slow(), None);
        }
        let failed = taken_back("fence: something writes through the fence of db1");
        assert_eq!(ran(1, &failed).was_too_slow(), None);
    }
}
