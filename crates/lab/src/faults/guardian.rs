//! The process that swaps dies or stands still, and its guardian does not; and the other way round.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use futures_util::future::BoxFuture;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::bench::Bench;
use super::command::Running;
use super::judge::End;
use super::kill::{COMMIT, MOMENTS, OF_ROLES, STEPS, is_committed};
use super::proof::sample;

/// How long a guardian may take from its call to a journal that is closed, on a busy machine.
const TAKEN_BACK_DEADLINE: Duration = Duration::from_secs(45);
/// What is promised from the death of the process, on a machine that is not busy: 2 s, and the figures say what it was. A stop is
/// noticed after a second of those. Users are held no longer than their lease in any case.
const WRITABLE_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);
/// Behind this a guardian has noticed a standstill and looked: twice `swap.guardian_after`, and half of it.
const NOTICED: Duration = Duration::from_millis(2500);

/// What becomes of the process that swaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT when the guardian is done.
    Stop,
    /// The same, and then a panic: the process would recover from it by itself.
    Falter,
}

impl Blow {
    const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Falter => "falter",
        }
    }
}

impl Bench {
    /// Waits until nobody is at work any more and the last swap is taken back, without any command of an operator.
    pub(super) async fn wait_taken_back(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + TAKEN_BACK_DEADLINE;
        loop {
            let records = self.stage.records().await?;
            let outcome = records.last().map(|record| record.outcome.clone());
            if outcome.as_deref() == Some("rolled_back") {
                return self.expect_nothing_to_recover().await;
            }
            ensure!(Instant::now() < deadline, "it is not taken back but {outcome:?}");
            sleep(POLL).await;
        }
    }
}

/// Strikes a swap at one step, at each moment in turn. Before the commit point nobody has to do anything.
pub(super) async fn at_step(bench: &mut Bench, blow: Blow, step: &str) -> anyhow::Result<End> {
    let mut moved = false;
    if OF_ROLES.contains(&step) {
        bench.give_roles_settings().await?;
    }
    for moment in MOMENTS {
        let primary = bench.stage.pair.primary_index().await?;
        ensure!(bench.failed() == 0, "requests failed before {moment}:{step}");
        struck_at(bench, blow, moment, step)
            .await
            .map_err(|error| error.context(format!("{} {moment} {step}", blow.word())))?;
        let wanted = if is_committed(moment, step) { 1 - primary } else { primary };
        let is = bench.stage.pair.primary_index().await?;
        ensure!(is == wanted, "{moment} {step}: the wrong server is the primary");
        bench.expect_open().await?;
        bench.write_and_read().await?;
        bench.wait_healthy().await?;
        moved ^= is_committed(moment, step);
    }
    if OF_ROLES.contains(&step) {
        bench.take_roles_settings().await?;
    }
    let end = if step == COMMIT { End::swapped() } else { End::rolled_back() };
    Ok(end.moved(moved))
}

async fn struck_at(bench: &Bench, blow: Blow, moment: &str, step: &str) -> anyhow::Result<()> {
    let primary = bench.stage.pair.primary_index().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let new = bench.stage.pair.connect(1 - primary).await?;
    let struck = async {
        let done = strike_and_wait(bench, blow, moment, step, primary).await;
        stop.store(true, Ordering::Relaxed);
        done
    };
    let (struck, samples) = tokio::join!(struck, sample(bench, primary, new, &stop));
    struck?;
    let (looks, twice) = samples?;
    ensure!(twice == 0, "{twice} of {looks} looks saw two writers");
    Ok(())
}

async fn strike_and_wait(
    bench: &Bench,
    blow: Blow,
    moment: &str,
    step: &str,
    primary: usize,
) -> anyhow::Result<()> {
    let fault = format!("{}:{moment}:perform:{step}", blow.word());
    let swap = bench.start_struck(&["swap", "--yes"], &fault).await?;
    let began = Instant::now();
    if is_committed(moment, step) {
        return finished(bench, (blow, moment), swap, primary).await;
    }
    while bench.stage.pair.is_read_only(primary).await? {
        ensure!(began.elapsed() < WRITABLE_MAX, "still read-only after {:?}", began.elapsed());
        sleep(POLL).await;
    }
    let writable = began.elapsed();
    bench.wait_taken_back().await?;
    bench.figure(format!("{fault} writable {writable:.2?}, over {:.2?}", began.elapsed()));
    if blow == Blow::Kill {
        return swap.end().await?.expect_killed().map(|_| ());
    }
    swap.signal(Signal::CONT)?;
    let ran = swap.end().await?;
    let said = &ran.expect(1)?.out;
    ensure!(said.contains("its guardian has taken the swap over"), "it said: {said}");
    Ok(())
}

/// Behind the commit point the fence stays. One that stood still goes on by itself, whether its guardian knew that it had come so far
/// or had to look; for one that died a recovery finishes.
async fn finished(
    bench: &Bench,
    (blow, moment): (Blow, &str),
    swap: Running,
    primary: usize,
) -> anyhow::Result<()> {
    if blow != Blow::Kill {
        if moment == "recorded" {
            // The guardian knows: the fence stays for as long as it would take to do something.
            let began = Instant::now();
            while began.elapsed() < NOTICED {
                let fenced = bench.stage.pair.is_read_only(primary).await?;
                ensure!(fenced, "the fence was lifted after {:?}", began.elapsed());
                sleep(POLL).await;
            }
        } else {
            swap.wait_said(" is promoted and ").await?;
        }
        ensure!(bench.stage.pair.is_read_only(primary).await?, "the fence was lifted");
        swap.signal(Signal::CONT)?;
        swap.end().await?.expect(0)?;
        return bench.expect_nothing_to_recover().await;
    }
    swap.end().await?.expect_killed()?;
    ensure!(bench.stage.pair.is_read_only(primary).await?, "the fence was lifted");
    let recovered = bench.recover().await?;
    let said = &recovered.expect(0)?.talk;
    ensure!(said.contains("is writable: the swap is finished"), "it was not foretold: {said}");
    bench.expect_nothing_to_recover().await
}

/// The guardian is killed after each step: before the fence the swap may be given up, behind it it goes on.
pub(super) async fn bereft_at(bench: &mut Bench, step: &str) -> anyhow::Result<End> {
    if OF_ROLES.contains(&step) {
        bench.give_roles_settings().await?;
    }
    let primary = bench.stage.pair.primary_index().await?;
    let fault = format!("orphan:after:perform:{step}");
    let swap = bench.start_with(&bench.configuration, &["swap", "--yes"], Some(&fault))?;
    let ran = swap.end().await?;
    let number = |name: &str| STEPS.iter().position(|step| *step == name);
    // Right before the fence it may be noticed a moment too late.
    let codes: &[i32] = if number(step) < number("fence") { &[0, 1] } else { &[0] };
    let swapped = ran.expect_one_of(codes)?.code() == Some(0);
    let told = format!("{}{}", ran.talk, ran.out);
    // So close to the end it may be over before anybody looks.
    let is_last = ["prove", "settings", "unlock"].contains(&step);
    ensure!(told.contains("the guardian has ended") || is_last, "nothing was told: {told}");
    bench.expect_nothing_to_recover().await?;
    let wanted = if swapped { 1 - primary } else { primary };
    ensure!(bench.stage.pair.primary_index().await? == wanted, "the wrong server is the primary");
    if OF_ROLES.contains(&step) {
        bench.take_roles_settings().await?;
    }
    Ok(if swapped { End::swapped() } else { End::rolled_back() })
}

/// A recovery that comes while the guardian is at work waits for it, and finds nothing left to do.
pub(super) fn recovers_beside(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        for _ in 0..3 {
            let swap =
                bench.start_struck(&["swap", "--yes"], "kill:after:perform:catch_up").await?;
            let (one, two) = tokio::join!(bench.recover(), bench.recover());
            for ran in [one?, two?] {
                let said = &ran.expect(0)?.out;
                let nothing = said.contains("nothing to recover") || said.contains("meanwhile");
                ensure!(nothing, "it said: {said}");
            }
            swap.end().await?.expect_killed()?;
            bench.wait_taken_back().await?;
            bench.wait_healthy().await?;
        }
        Ok(End::rolled_back())
    })
}
