//! The swapping process and its guardian die together, as with their machine: at every step, in the recovery, and by a panic.

use anyhow::ensure;
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use tokio::time::Instant;

use super::bench::{Bench, LEASE};
use super::judge::{End, SLACK};

/// Every step of a swap of a pair behind a forwarder, in order. A test of the product compares the list with its own.
pub const STEPS: [&str; 21] = [
    "lock",
    "quiet",
    "ready",
    "hold",
    "settle",
    "fence",
    "barrier",
    "catch_up",
    COMMIT,
    "endpoint",
    "canary",
    "end_sessions",
    "before_release",
    "warm_up",
    "release",
    "events",
    "detach",
    "rejoin",
    "prove",
    "settings",
    "unlock",
];
pub(super) const COMMIT: &str = "promote";
/// Before the step's effect, after it, and after its outcome was journaled.
pub(super) const MOMENTS: [&str; 3] = ["before", "after", "recorded"];
/// Steps there are only where something goes with the roles.
pub(super) const OF_ROLES: [&str; 3] = ["ready", "events", "settings"];
/// Steps after which nobody recovers until the lease has let users through by itself.
const LEFT_ALONE: [&str; 4] = ["hold", "fence", COMMIT, "endpoint"];

pub(super) fn is_committed(moment: &str, step: &str) -> bool {
    let number = |name: &str| STEPS.iter().position(|step| *step == name);
    number(step) > number(COMMIT) || (step == COMMIT && moment != "before")
}

/// Kills a swap at one step, at each moment in turn, and recovers it.
pub(super) async fn at_step(bench: &mut Bench, step: &str) -> anyhow::Result<End> {
    let mut moved = false;
    if OF_ROLES.contains(&step) {
        bench.give_roles_settings().await?;
    }
    for moment in MOMENTS {
        ensure!(bench.failed() == 0, "requests failed before {moment}:{step}");
        let committed = is_committed(moment, step);
        kill_and_recover(bench, moment, step)
            .await
            .map_err(|error| error.context(format!("killed {moment} {step}")))?;
        moved ^= committed;
    }
    if OF_ROLES.contains(&step) {
        bench.take_roles_settings().await?;
    }
    let end = if is_committed("recorded", step) { End::swapped() } else { End::rolled_back() };
    let end = end.moved(moved);
    // Users let through by the end of the lease meet a primary that is still fenced: they are told, nothing is lost.
    Ok(if LEFT_ALONE.contains(&step) { end.may_fail() } else { end })
}

async fn kill_and_recover(bench: &mut Bench, moment: &str, step: &str) -> anyhow::Result<()> {
    let primary = bench.stage.pair.primary_index().await?;
    bench.run_lost(&["swap", "--yes"], &format!("{moment}:perform:{step}")).await?;
    if moment == "recorded" && LEFT_ALONE.contains(&step) {
        let began = Instant::now();
        bench.read().await.map_err(|error| error.context("after the lease"))?;
        let waited = began.elapsed();
        ensure!(waited <= LEASE + SLACK, "users were held for {waited:?}");
    }
    let committed = is_committed(moment, step);
    bench.recover().await?.expect(i32::from(!committed))?;
    bench.expect_nothing_to_recover().await?;
    let wanted = if committed { 1 - primary } else { primary };
    ensure!(bench.stage.pair.primary_index().await? == wanted, "the wrong server is the primary");
    bench.expect_open().await?;
    bench.write_and_read().await?;
    bench.wait_healthy().await
}

/// Killed while its fence is pending at the server, which does not notice: the guardian ends that statement first, or it would
/// take effect when nobody is there to lift the fence.
pub(super) fn with_pending_fence(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        let (mut swap, plug) = bench.start_draining().await?;
        let mut locking = bench.app_session(primary).await?;
        locking.query_drop("LOCK TABLES ledger.bystander WRITE").await?;
        let (written, killed) = tokio::join!(plug.pull(), async {
            swap.wait_step("settle").await?;
            swap.signal(Signal::KILL)?;
            swap.end().await
        });
        killed?.expect_killed()?;
        bench.acknowledged.extend(written?);
        bench.wait_taken_back().await?;
        bench.expect_no_pending_fence(primary).await?;
        drop(locking.disconnect().await);
        bench.expect_nothing_to_recover().await?;
        Ok(End::rolled_back())
    })
}

/// A recovery that dies too is recovered from.
pub(super) fn in_recovery(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        for (swap, recoveries, code) in [
            ("after:perform:hold", &["before:undo:hold", "after:undo:hold"][..], 1),
            ("after:perform:catch_up", &["before:undo:fence", "after:undo:fence"], 1),
            ("before:perform:promote", &["after:verify:promote", "recorded:undo:fence"], 1),
            ("after:perform:promote", &["recorded:verify:promote", "before:perform:release"], 0),
        ] {
            bench.run_lost(&["swap", "--yes"], swap).await?;
            for point in recoveries {
                bench.run_killed(&["recover"], point).await?;
            }
            bench.recover().await?.expect(code)?;
            bench.expect_nothing_to_recover().await?;
            bench.wait_healthy().await?;
        }
        Ok(End::swapped())
    })
}

/// An earlier swap was made by a clock that was an hour ahead: the one that was killed since is recovered all the same.
pub(super) fn with_the_clock_set_back(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        bench.set_clock(3600)?;
        bench.swap().await?.expect(0)?;
        bench.set_clock(0)?;
        bench.run_lost(&["swap", "--yes"], "before:perform:promote").await?;
        bench.recover().await?.expect(1)?;
        bench.expect_nothing_to_recover().await?;
        Ok(End::rolled_back().moved(true))
    })
}

/// A panic of the executor is recovered from by the same command.
pub(super) async fn by_panic(bench: &mut Bench, step: &str) -> anyhow::Result<End> {
    let mut moved = false;
    for moment in MOMENTS {
        // A step that is done again after the panic would panic again: that is a crash, not this case.
        if is_committed(moment, step) && step != COMMIT && moment != "recorded" {
            continue;
        }
        let fault = format!("panic:{moment}:perform:{step}");
        let configuration = &bench.configuration;
        let swap = bench.start_with(configuration, &["swap", "--yes"], Some(&fault))?;
        let committed = is_committed(moment, step);
        let ran = swap.end().await?;
        ran.expect(i32::from(!committed))?;
        ensure!(
            ran.talk.contains("fault injected"),
            "the fault was not injected: {}{}",
            ran.talk,
            ran.out
        );
        bench.expect_nothing_to_recover().await?;
        bench.wait_healthy().await?;
        moved ^= committed;
    }
    let end = if is_committed("recorded", step) { End::swapped() } else { End::rolled_back() };
    Ok(end.moved(moved))
}
