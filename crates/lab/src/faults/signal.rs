//! F16: Ctrl-C, SIGTERM, and the SIGHUP of a login that is lost. Before the commit point all is taken back, behind it all is finished.

use anyhow::Context;
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;

use super::bench::Bench;
use super::judge::End;

const STOPPING: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];
/// A hook slow enough for a signal to come while it runs.
const SLOW_HOOK: &str = "sleep 0.5; exec $REPOINT";

pub(super) fn at_hold(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        for signal in STOPPING {
            let (swap, plug) = bench.start_draining().await?;
            swap.signal(signal)?;
            swap.end().await?.expect(1)?;
            bench.unplug(plug).await?;
            bench.expect_open().await?;
        }
        Ok(End::rolled_back())
    })
}

pub(super) fn at_settle(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        for signal in STOPPING {
            let (mut swap, plug) = bench.start_draining().await?;
            let mut busy = bench.app_session(primary).await?;
            busy.query_drop("BEGIN").await?;
            busy.query_drop("UPDATE ledger.bystander SET v = v + 1 WHERE id = 2").await?;
            let (written, waiting) = tokio::join!(plug.pull(), async {
                swap.wait_step("hold").await?;
                swap.signal(signal)?;
                swap.end().await
            });
            waiting?.expect(1)?;
            bench.acknowledged.extend(written?);
            busy.query_drop("ROLLBACK").await?;
            drop(busy.disconnect().await);
            bench.expect_open().await?;
        }
        Ok(End::rolled_back())
    })
}

pub(super) fn at_fence(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        for signal in STOPPING {
            let (mut swap, plug) = bench.start_draining().await?;
            let mut locking = bench.app_session(primary).await?;
            locking.query_drop("LOCK TABLES ledger.bystander WRITE").await?;
            let (written, waiting) = tokio::join!(plug.pull(), async {
                swap.wait_step("settle").await?;
                swap.signal(signal)?;
                swap.end().await
            });
            waiting?.expect(1)?;
            bench.acknowledged.extend(written?);
            bench.expect_no_pending_fence(primary).await?;
            drop(locking.disconnect().await);
            bench.expect_open().await?;
        }
        Ok(End::rolled_back())
    })
}

pub(super) fn at_catch_up(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let replica = 1 - bench.stage.pair.primary_index().await?;
        for signal in STOPPING {
            let (mut swap, plug) = bench.start_draining().await?;
            let stalled = bench.stall_applier(replica).await?;
            let (written, waiting) = tokio::join!(plug.pull(), async {
                swap.wait_step("barrier").await?;
                swap.signal(signal)?;
                swap.end().await
            });
            drop(stalled.disconnect().await);
            waiting?.expect(1)?;
            bench.acknowledged.extend(written?);
            bench.expect_open().await?;
        }
        Ok(End::rolled_back())
    })
}

pub(super) fn after_promote(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let configuration = bench.configure_hook("slow", SLOW_HOOK, "5s")?;
        for signal in STOPPING {
            let mut swap = bench.start_with(&configuration, &["swap", "--yes"], None)?;
            swap.wait_step("promote").await?;
            swap.signal(signal)?;
            swap.end().await?.expect(0).context("behind the commit point")?;
            bench.wait_healthy().await?;
        }
        // There, back and there.
        Ok(End::swapped().moved(STOPPING.len() % 2 == 1))
    })
}
