//! The gate or a server is killed, two hosts are cut off from each other, or the clock is set, while a swap stands right before
//! a step; then it goes on. Whatever becomes of it, one recovery is enough when everybody is there again.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::{Instant, sleep};

use super::bench::{Bench, LEASE};
use super::command::{Ran, Running};
use super::judge::End;
use super::kill::{COMMIT, OF_ROLES, STEPS};
use crate::network::Network;
use crate::stage::{Endpoint, HOST_OF_APP, HOST_OF_SWAP};

/// How long a gate is away.
const AWAY: Duration = Duration::from_millis(300);
/// Until the swap stands where it is to be struck, and until users are served once everybody is there again.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// What is cut off is noticed by timeouts, the application's too.
const LONGEST: Duration = LEASE.saturating_mul(2).saturating_add(Duration::from_secs(12));

/// Of a swap whose clock was set by more.
const PAUSE_MS_MAX: f64 = 60_000.0;

/// Who is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Struck {
    /// SIGKILL, and started again [`AWAY`] later.
    Gate,
    /// SIGKILL, and started again when the swap has ended.
    OldPrimary,
    NewPrimary,
    /// SIGKILL, and started again before the swap goes on: the new primary read-only, as its option file would have it, and the old one
    /// as it comes up by itself.
    OldRestarts,
    NewRestarts,
    /// Nothing goes from one to the other until the swap has ended; nobody is told.
    Cut(Party, Party),
    /// The clock on the wall of the gate, of what swaps and of its guardian, so many seconds ahead. Set right when the swap has ended.
    Clock(i32),
}

/// A host of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Party {
    Old,
    New,
    App,
    Swap,
}

impl Party {
    const fn host(self, primary: usize) -> usize {
        match self {
            Self::Old => primary,
            Self::New => 1 - primary,
            Self::App => HOST_OF_APP,
            Self::Swap => HOST_OF_SWAP,
        }
    }
}

impl Bench {
    fn network(&self) -> anyhow::Result<&Network> {
        match &self.stage.endpoint {
            Endpoint::FloatingIp(network) => Ok(network),
            Endpoint::Forwarder(_) => bail!("this stage has no network of its own"),
        }
    }

    /// A swap that stands right before a step, with its intent journaled; it goes on when it is told.
    async fn start_and_stand(&self, step: &str) -> anyhow::Result<Standing> {
        let file = self.fault_file();
        File::create(&file).with_context(|| format!("cannot make {}", file.display()))?;
        let fault = format!("wait:before:perform:{step}");
        let start = || self.start_with(&self.configuration, &["swap", "--yes"], Some(&fault));
        let reached = file.with_extension("reached");
        let deadline = Instant::now() + DEADLINE;
        let mut swap = start()?;
        while !reached.exists() {
            if swap.has_ended()? || Instant::now() > deadline {
                let ended = swap.end().await?;
                if Instant::now() > deadline || !self.may_begin_again(&ended).await? {
                    bail!("it never came to {step}: {}{}", ended.talk, ended.out);
                }
                swap = start()?;
            }
            sleep(POLL).await;
        }
        Ok(Standing { swap, reached })
    }

    async fn strike(
        &mut self,
        struck: Struck,
        primary: usize,
        has_roles: bool,
    ) -> anyhow::Result<()> {
        match struck {
            Struck::Gate => self.kill_gate().await,
            Struck::OldPrimary => Ok(self.stage.pair.server(primary).kill().await?),
            Struck::NewPrimary => Ok(self.stage.pair.server(1 - primary).kill().await?),
            Struck::OldRestarts => {
                self.stage.pair.server(primary).kill().await?;
                self.start_server(primary, has_roles, "").await
            }
            Struck::NewRestarts => {
                self.stage.pair.server(1 - primary).kill().await?;
                self.start_server(1 - primary, has_roles, "read_only=1").await
            }
            Struck::Cut(one, other) => {
                Ok(self.network()?.cut(one.host(primary), other.host(primary)).await?)
            }
            Struck::Clock(ahead) => self.set_clock(ahead),
        }
    }

    pub(super) fn set_clock(&self, ahead: i32) -> anyhow::Result<()> {
        let clock = self.stage.clock.as_ref().context("this stage has no clock to set")?;
        Ok(clock.set(ahead.into())?)
    }

    /// The last journal tells of the clock, and the write pause as if nobody had set it.
    async fn check_times(&self, ahead: i32, step: &str) -> anyhow::Result<()> {
        let records = self.stage.records().await?;
        let record = records.last().context("no journal")?;
        let pause = record.write_pause_ms.context("no write pause")?;
        ensure!((0.0..PAUSE_MS_MAX).contains(&pause), "a write pause of {pause} ms");
        let next = record.steps.iter().skip_while(|told| told.step != step).nth(1);
        if let (Some(first), Some(next)) = (record.steps.first(), next) {
            let between_s = (next.started_ms - first.started_ms) / 1e3;
            let off = (between_s - f64::from(ahead)).abs();
            ensure!(off < 60.0, "the step behind {step} began {between_s} s after the first one");
        }
        Ok(())
    }

    /// Everybody is there again, and what would try again by itself after up to a minute is told to at once.
    async fn mend(
        &mut self,
        struck: Struck,
        primary: usize,
        has_roles: bool,
    ) -> anyhow::Result<()> {
        match struck {
            Struck::Clock(_) => return self.set_clock(0),
            Struck::Gate => return Ok(()),
            Struck::OldRestarts | Struck::NewRestarts => {}
            Struck::OldPrimary => self.start_server(primary, has_roles, "").await?,
            Struck::NewPrimary => self.start_server(1 - primary, has_roles, "").await?,
            Struck::Cut(one, other) => {
                self.network()?.mend(one.host(primary), other.host(primary)).await?;
            }
        }
        let words = self.words();
        for index in [0, 1] {
            if !self.replication(index).await?.port.is_empty() {
                self.say(index, &[&words.stop(), &words.start()]).await?;
            }
        }
        Ok(())
    }

    async fn start_server(
        &mut self,
        index: usize,
        has_roles: bool,
        line: &str,
    ) -> anyhow::Result<()> {
        let server = self.stage.pair.servers.get_mut(index).context("no such server")?;
        server.restart_with(line).await?;
        if has_roles {
            self.give_back_roles_settings(index).await?;
        }
        Ok(())
    }

    /// What an option file would do, and what takes its time by itself.
    async fn come_to_itself(
        &mut self,
        struck: Struck,
        primary: usize,
        (code, committed): (i32, bool),
    ) -> anyhow::Result<()> {
        match struck {
            // Whether a replica is read-only when it starts is up to its option file.
            Struck::NewPrimary if !committed => self.fence(1 - primary).await,
            Struck::OldPrimary if code == 0 => self.fence(primary).await,
            // A recovery asks the application until it is warm, and only for as long as users may wait.
            Struck::Cut(Party::App, _) => self.wait_served().await,
            Struck::Cut(..)
            | Struck::Gate
            | Struck::OldPrimary
            | Struck::NewPrimary
            | Struck::OldRestarts
            | Struck::NewRestarts
            | Struck::Clock(_) => Ok(()),
        }
    }

    /// The exit code of whoever ended it. A server that starts again may leave nobody who can write for long enough to alarm the
    /// sentinel of a swap that ends by itself, or be a second one: then it is the journal that has the ending.
    async fn recover_where_needed(
        &self,
        ended: &Ran,
        (struck, step): (Struck, &str),
        took: Duration,
    ) -> anyhow::Result<i32> {
        let case = format!("{struck:?} {step}");
        let code = ended.code().unwrap_or_default();
        if code != 3 {
            self.figure(format!("{case}: exit {code} after {took:.2?}"));
            return Ok(code);
        }
        let records = self.stage.records().await?;
        let by_itself = match records.last().map(|record| record.outcome.as_str()) {
            Some("swapped") => 0,
            Some("rolled_back") => 1,
            Some(_) | None => {
                let recovered = self.recover().await?;
                self.figure(format!("{case}: exit 3 after {took:.2?}, then recovered"));
                return Ok(recovered.expect_one_of(&[0, 1])?.code().unwrap_or_default());
            }
        };
        let has_told = |alarm: &str| ended.out.contains(&format!("the sentinel saw that {alarm}"));
        let (none, two) = (has_told("no server"), has_told("two servers"));
        ensure!(none || two, "{case}: exit 3, and it said: {}", ended.out);
        ensure!(!two || struck == Struck::OldRestarts, "{case}: {}", ended.out);
        let seen = if two { "two servers" } else { "no server" };
        self.figure(format!("{case}: exit 3 after {took:.2?}: the sentinel saw {seen} writable"));
        Ok(by_itself)
    }

    /// What a swap that was cut off from a server had there ends when the network tells that server, minutes later, or by an operator, as its
    /// message says.
    async fn end_lock_holders(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        for index in [0, 1] {
            let holder = "SELECT IS_USED_LOCK('intermission')";
            while let Some(id) = self.stage.pair.ask(index, holder).await? {
                ensure!(Instant::now() < deadline, "session {id} keeps the lock");
                // It may end by itself just then.
                drop(self.say(index, &[&format!("KILL {id}")]).await);
                sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Until requests are answered again: sessions that were cut off have to be given up first.
    async fn wait_served(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.write_and_read().await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(POLL).await,
            }
        }
    }
}

/// A swap that waits to be told.
struct Standing {
    swap: Running,
    reached: std::path::PathBuf,
}

impl Standing {
    fn go_on(self) -> anyhow::Result<Running> {
        std::fs::remove_file(&self.reached).context("nobody waits")?;
        Ok(self.swap)
    }
}

/// Strikes at one step.
pub(super) async fn at_step(bench: &mut Bench, struck: Struck, step: &str) -> anyhow::Result<End> {
    let has_roles = OF_ROLES.contains(&step);
    if has_roles {
        bench.give_roles_settings().await?;
    }
    let primary = bench.stage.pair.primary_index().await?;
    let standing = bench.start_and_stand(step).await?;
    bench.strike(struck, primary, has_roles).await?;
    let began = Instant::now();
    let swap = standing.go_on()?;
    if struck == Struck::Gate {
        sleep(AWAY).await;
        bench.start_gate().await?;
    }
    let ended = swap.end().await?;
    let took = began.elapsed();
    let code = ended.expect_one_of(&[0, 1, 3])?.code().unwrap_or_default();
    if let Struck::Clock(ahead) = struck {
        // It goes by other clocks.
        ended.expect(0)?;
        bench.check_times(ahead, step).await?;
    }
    bench.mend(struck, primary, has_roles).await?;
    let number = |name: &str| STEPS.iter().position(|step| *step == name);
    let committed = number(step) > number(COMMIT);
    bench.come_to_itself(struck, primary, (code, committed)).await?;
    let code = bench.recover_where_needed(&ended, (struck, step), took).await?;
    bench.expect_nothing_to_recover().await?;
    let moved = code == 0;
    ensure!(moved || !committed, "taken back behind the commit point");
    let is = bench.stage.pair.primary_index().await?;
    ensure!((is != primary) == moved, "exit {code}, and server {is} is the primary");
    bench.wait_served().await?;
    if matches!(struck, Struck::Cut(..)) {
        bench.end_lock_holders().await?;
    }
    if has_roles {
        bench.take_roles_settings().await?;
    }
    let end = if moved { End::swapped() } else { End::rolled_back() };
    if matches!(struck, Struck::Clock(_)) {
        return Ok(end);
    }
    Ok(end.may_fail().longest(LONGEST))
}
