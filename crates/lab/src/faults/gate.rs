//! The gate or the process that holds dies while users are held.

use std::time::Duration;

use anyhow::ensure;
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::bench::{Bench, LEASE};
use super::judge::{End, SLACK};
use crate::stage::APP_NAME;

/// How long a gate is away.
const AWAY: Duration = Duration::from_millis(300);
/// A hook slow enough for the gate to die while it runs.
const SLOW_HOOK: &str = "sleep 0.4; exec $REPOINT";
const HOLD_LEASE: Duration = Duration::from_secs(2);

/// H1: the gate dies while held by hand and comes up held; a release releases.
pub(super) fn dies_held(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let mut holding = bench.start(&["hold", APP_NAME])?;
        holding.wait_held().await?;
        bench.kill_gate().await?;
        bench.start_gate().await?;
        let app = bench.app_status().await?;
        ensure!(app.state == "held", "it came up {app:?}");
        let reading = bench.read();
        let (read, released) = tokio::join!(reading, async {
            sleep(AWAY).await;
            let app = bench.app_status().await?;
            ensure!(app.held > 0, "nobody is held: {app:?}");
            holding.signal(Signal::INT)?;
            holding.end().await
        });
        released?.expect(0)?;
        read?;
        Ok(End::nothing("released").may_fail())
    })
}

/// H4: the gate dies while it drains: it comes up held all the same.
pub(super) fn dies_draining(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let plug = bench.plug().await?;
        let holding = bench.start(&["hold", APP_NAME, "--drain", "10s", "--lease", "20s"])?;
        bench.wait_state("draining").await?;
        bench.kill_gate().await?;
        drop(plug);
        bench.start_gate().await?;
        let app = bench.app_status().await?;
        // The command that asked for the hold never had its acknowledgement: it ends, and the hold is nobody's.
        let held = holding.end().await?;
        held.expect_one_of(&[1, 2])?;
        ensure!(app.state != "open", "requests passed after the restart: {app:?}");
        bench.run(&["release", APP_NAME]).await?.expect(0)?;
        Ok(End::nothing("released").may_fail())
    })
}

/// H42: `hold -- CMD` dies: the lease releases.
pub(super) fn holder_dies(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        for command in [&["--", "sleep", "3"][..], &[]] {
            let hold = ["hold", APP_NAME, "--lease", "2s", "--drain", "1s"];
            let mut holding = bench.start(&[&hold[..], command].concat())?;
            holding.wait_held().await?;
            holding.signal(Signal::KILL)?;
            holding.end().await?.expect_killed()?;
            let began = Instant::now();
            bench.read().await?;
            let waited = began.elapsed();
            ensure!(waited <= HOLD_LEASE + SLACK, "users were held for {waited:?}");
            bench.expect_open().await?;
        }
        Ok(End::nothing("released").longest(HOLD_LEASE + SLACK))
    })
}

/// H1 and H4 in a swap: the gate dies while it drains for one.
pub(super) fn dies_in_hold(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let (swap, plug) = bench.start_draining().await?;
        bench.kill_gate().await?;
        drop(plug);
        sleep(AWAY).await;
        bench.start_gate().await?;
        swap.end().await?.expect(1)?;
        Ok(End::rolled_back().may_fail())
    })
}

/// H1 in a swap: the gate dies while the fence is tried.
pub(super) fn dies_in_fence(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        let (mut swap, plug) = bench.start_draining().await?;
        let mut locking = bench.app_session(primary).await?;
        locking.query_drop("LOCK TABLES ledger.bystander WRITE").await?;
        bench.unplug(plug).await?;
        swap.wait_step("settle").await?;
        bench.kill_gate().await?;
        sleep(AWAY).await;
        bench.start_gate().await?;
        let ended = swap.end().await?;
        drop(locking.disconnect().await);
        ended.expect(1)?;
        Ok(End::rolled_back().may_fail())
    })
}

/// The gate dies behind the commit point and comes back soon: the swap is finished.
pub(super) fn dies_committed(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let configuration = bench.configure_hook("slow", SLOW_HOOK, "5s")?;
        let mut swap = bench.start_with(&configuration, &["swap", "--yes"], None)?;
        swap.wait_step("promote").await?;
        bench.kill_gate().await?;
        sleep(AWAY).await;
        bench.start_gate().await?;
        swap.end().await?.expect(0)?;
        Ok(End::swapped().may_fail())
    })
}

/// The gate dies behind the commit point and stays away: needs an operator, and once it is back all is served and a
/// recovery finishes.
pub(super) fn stays_away(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let configuration = bench.configure_hook("slow", SLOW_HOOK, "5s")?;
        let mut swap = bench.start_with(&configuration, &["swap", "--yes"], None)?;
        swap.wait_step("promote").await?;
        bench.kill_gate().await?;
        let ended = swap.end().await?;
        bench.start_gate().await?;
        let told = &ended.expect(3)?.out;
        ensure!(told.contains(" recover"), "no next command in: {told}");
        let began = Instant::now();
        bench.read().await?;
        ensure!(began.elapsed() <= LEASE + SLACK, "users were held for {:?}", began.elapsed());
        bench.recover().await?.expect(0)?;
        bench.expect_nothing_to_recover().await?;
        Ok(End::swapped().as_outcome("needs_operator, then swapped").may_fail())
    })
}

/// The gate is down before the swap: refused.
pub(super) fn is_down(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        bench.kill_gate().await?;
        let refused = bench.expect_refused(&["gate-unreachable"]).await;
        bench.start_gate().await?;
        refused.map(|_| End::refused().may_fail())
    })
}
