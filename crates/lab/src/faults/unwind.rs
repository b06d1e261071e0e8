//! What goes wrong between the hold and the commit point: taken back within bounds, users unharmed.

use std::time::Duration;

use anyhow::{bail, ensure};
use futures_util::future::BoxFuture;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::bench::Bench;
use super::command::{Ran, Running};
use super::judge::End;
use super::request::Plug;
use crate::stage::SwapRecord;

/// The most any request may take in an attempt that is taken back: drain, settle, fence and catch-up of the bench one
/// after another, and a busy machine. Less than [`LEASE`](super::bench::LEASE): what ends the wait is not the end of that.
const LONGEST: Duration = Duration::from_secs(9);

/// How long a replica that had hung may take until nothing speaks against a swap any more.
const READY_DEADLINE: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(100);

impl Bench {
    /// Waits until nothing speaks against a swap: a replica that had hung is behind for a while.
    async fn wait_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            let check = self.run(&["check"]).await?;
            if check.code() == Some(0) || Instant::now() > deadline {
                return check.expect(0).map(|_| ());
            }
            sleep(READY_POLL).await;
        }
    }

    /// A swap that is draining and goes on so until the plug is pulled.
    pub(super) async fn start_draining(&mut self) -> anyhow::Result<(Running, Plug)> {
        let configuration = self.configuration.clone();
        self.start_draining_with(&configuration).await
    }

    pub(super) async fn start_draining_with(
        &mut self,
        configuration: &std::path::Path,
    ) -> anyhow::Result<(Running, Plug)> {
        let mut swap = self.start_with(configuration, &["swap", "--yes"], None)?;
        swap.wait_step("lock").await?;
        let plug = self.plug().await?;
        if let Err(error) = self.wait_state("draining").await {
            bail!("{error:#}; the swap said: {}", swap.said());
        }
        Ok((swap, plug))
    }

    async fn pull_and_end(&mut self, swap: Running, plug: Plug) -> anyhow::Result<Ran> {
        self.unplug(plug).await?;
        swap.end().await
    }
}

/// F1: the applier stops while users wait. F1 and F11: what it has not applied is neither waited for without end nor
/// dropped.
pub(super) fn applier_stops(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let replica = 1 - bench.stage.pair.primary_index().await?;
        let (swap, plug) = bench.start_draining().await?;
        bench.say(replica, &[&bench.words().stop_applier()]).await?;
        let ended = bench.pull_and_end(swap, plug).await;
        bench.say(replica, &[&bench.words().start()]).await?;
        let ended = ended?;
        ended.expect(1)?.expect_failed_at("catch_up")?;
        Ok(End::rolled_back().longest(LONGEST))
    })
}

/// F11: the replica has received and not yet applied the last writes: promoted only when it has.
pub(super) fn unapplied_relay_log(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let replica = 1 - bench.stage.pair.primary_index().await?;
        let (mut swap, plug) = bench.start_draining().await?;
        let stalled = bench.stall_applier(replica).await?;
        let pulling = plug.pull();
        let (written, waiting) = tokio::join!(pulling, swap.wait_step("barrier"));
        waiting?;
        drop(stalled.disconnect().await);
        swap.end().await?.expect(0)?;
        bench.acknowledged.extend(written?);
        Ok(End::swapped().longest(LONGEST))
    })
}

/// F5: a table lock that the fence has to wait for, taken when the quiet moment was already found.
pub(super) fn lock_tables(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        let (swap, plug) = bench.start_draining().await?;
        let mut locking = bench.app_session(primary).await?;
        locking.query_drop("LOCK TABLES ledger.bystander WRITE").await?;
        let ended = bench.pull_and_end(swap, plug).await?;
        bench.expect_no_pending_fence(primary).await?;
        drop(locking.disconnect().await);
        ended.expect(1)?.expect_failed_at("fence")?;
        Ok(End::rolled_back().longest(LONGEST))
    })
}

impl Bench {
    /// A swap whose first attempt was taken back because of a lock that is still there, how many journals there were
    /// before it, and the session with the lock. The second attempt follows after `backoff`.
    async fn swap_taken_back_once(
        &mut self,
        backoff: &str,
    ) -> anyhow::Result<(Running, usize, Conn)> {
        let primary = self.stage.pair.primary_index().await?;
        let patient = format!("attempts = 2\nbackoff = \"{backoff}\"");
        let configuration =
            self.configure("patient", &[("attempts = 1\nbackoff = \"100ms\"", &patient)])?;
        let before = self.stage.records().await?.len();
        let (swap, plug) = self.start_draining_with(&configuration).await?;
        let mut locking = self.app_session(primary).await?;
        locking.query_drop("LOCK TABLES ledger.bystander WRITE").await?;
        self.unplug(plug).await?;
        let deadline = Instant::now() + READY_DEADLINE;
        let is_back = |it: &SwapRecord| it.outcome == "rolled_back";
        while !self.stage.records().await?.iter().skip(before).any(is_back) {
            ensure!(Instant::now() < deadline, "the first attempt was not taken back");
            sleep(READY_POLL).await;
        }
        Ok((swap, before, locking))
    }
}

/// F5: the lock goes away after an attempt, and the next one swaps.
pub(super) fn lock_tables_once(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let (swap, before, locking) = bench.swap_taken_back_once("1s").await?;
        drop(locking.disconnect().await);
        let ended = swap.end().await?;
        let said = ended.talk.clone();
        ended.expect(0)?;
        ensure!(said.contains("attempt 2 of 2"), "the second attempt is not announced: {said}");
        let begun = bench.stage.records().await?.len() - before;
        ensure!(begun == 2, "{begun} attempts");
        Ok(End::swapped().longest(LONGEST))
    })
}

/// F16: told to stop between two attempts, it does not wait for the next one, and does not try it.
pub(super) fn signal_between_attempts(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let (swap, before, locking) = bench.swap_taken_back_once("1m").await?;
        swap.signal(Signal::INT)?;
        let began = Instant::now();
        let ended = swap.end().await?;
        ensure!(ended.talk.contains("SIGINT: "), "it does not say so: {}", ended.talk);
        ended.expect(1)?;
        ensure!(began.elapsed() < READY_DEADLINE, "it waited for {:?}", began.elapsed());
        drop(locking.disconnect().await);
        let begun = bench.stage.records().await?.len() - before;
        ensure!(begun == 1, "{begun} attempts");
        Ok(End::rolled_back().longest(LONGEST))
    })
}

/// F5: the same lock held all the time. Where the server shows it nobody is held at all.
pub(super) fn lock_tables_before(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        let mut locking = bench.app_session(primary).await?;
        locking.query_drop("LOCK TABLES ledger.bystander WRITE").await?;
        let ended = bench.swap().await?;
        bench.expect_no_pending_fence(primary).await?;
        drop(locking.disconnect().await);
        ended.expect(1)?;
        Ok(End::rolled_back().longest(LONGEST))
    })
}

/// F5 and F7: a long write holds the fence up. Our statement is gone afterwards, theirs is not harmed.
pub(super) fn long_write(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        let (swap, plug) = bench.start_draining().await?;
        let mut writing = bench.app_session(primary).await?;
        let write = tokio::spawn(async move {
            writing.query_drop("INSERT INTO ledger.plain SELECT SLEEP(2.5)").await
        });
        sleep(Duration::from_millis(100)).await;
        let ended = bench.pull_and_end(swap, plug).await?;
        ended.expect(1)?.expect_failed_at("fence")?;
        bench.expect_no_pending_fence(primary).await?;
        write.await??;
        Ok(End::rolled_back().longest(LONGEST))
    })
}

/// F38: the fence is lifted by somebody while the swap waits for the replica: seen before there are two writers.
pub(super) fn fence_lifted(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        let (mut swap, plug) = bench.start_draining().await?;
        let stalled = bench.stall_applier(1 - primary).await?;
        let (written, waiting) = tokio::join!(plug.pull(), swap.wait_step("barrier"));
        waiting?;
        bench.say(primary, &["SET GLOBAL read_only = 0"]).await?;
        drop(stalled.disconnect().await);
        let ended = swap.end().await?;
        bench.acknowledged.extend(written?);
        ended.expect(1)?.expect_failed_at("promote")?;
        Ok(End::rolled_back().longest(LONGEST))
    })
}

/// F38: the replica is made writable by somebody while users wait: what is written there is not lost either.
pub(super) fn replica_opened(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let replica = 1 - bench.stage.pair.primary_index().await?;
        let (swap, plug) = bench.start_draining().await?;
        bench.say(replica, &["SET GLOBAL read_only = 0"]).await?;
        let ended = bench.pull_and_end(swap, plug).await?;
        let mut code = ended.expect_one_of(&[0, 1, 3])?.code();
        if code == Some(3) {
            // For a moment both are writable, as asked for: where the sentinel looks just then it says so.
            let seen = "the sentinel saw that two servers are writable at once";
            ensure!(ended.out.contains(seen), "{}", ended.out);
            code = Some(i32::from(!ended.out.contains("swapped: ")));
        }
        if code == Some(0) {
            return Ok(End::swapped());
        }
        bench.fence(replica).await?;
        Ok(End::rolled_back())
    })
}

/// F44: an idle transaction with row locks on the old primary, there all the time: nobody is held for it.
pub(super) fn idle_transaction(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        let mut idle = bench.app_session(primary).await?;
        idle.query_drop("BEGIN").await?;
        idle.query_drop("UPDATE ledger.bystander SET v = v + 1 WHERE id = 2").await?;
        // Older than swap.bounds.quiet_age, in the server's whole seconds.
        sleep(Duration::from_millis(1500)).await;
        let ended = bench.swap().await?;
        let told = ended.expect(1)?;
        ensure!(told.out.contains("an open transaction"), "{}", told.out);
        ensure!(told.step("hold").is_none(), "users were held for it: {}", told.talk);
        idle.query_drop("ROLLBACK").await?;
        drop(idle.disconnect().await);
        Ok(End::rolled_back())
    })
}

/// F44: the transaction begins while users are held: the settle step gives up within its bound, and it may commit.
pub(super) fn late_transaction(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        let (swap, plug) = bench.start_draining().await?;
        let mut idle = bench.app_session(primary).await?;
        idle.query_drop("BEGIN").await?;
        idle.query_drop("UPDATE ledger.bystander SET v = v + 1 WHERE id = 2").await?;
        let ended = bench.pull_and_end(swap, plug).await?;
        ensure!(ended.expect(1)?.talk.contains("still has open transactions"), "{}", ended.talk);
        idle.query_drop("COMMIT").await?;
        drop(idle.disconnect().await);
        Ok(End::rolled_back().longest(LONGEST))
    })
}

/// F46: a transaction that ends while the settle step looks: the server's stale list does not make it fail.
pub(super) fn short_transaction(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        let (mut swap, plug) = bench.start_draining().await?;
        let mut busy = bench.app_session(primary).await?;
        busy.query_drop("BEGIN").await?;
        busy.query_drop("UPDATE ledger.bystander SET v = v + 1 WHERE id = 2").await?;
        bench.unplug(plug).await?;
        swap.wait_step("hold").await?;
        sleep(Duration::from_millis(100)).await;
        busy.query_drop("COMMIT").await?;
        swap.end().await?.expect(0)?;
        Ok(End::swapped().longest(LONGEST))
    })
}

/// F45: a replica that stops answering in the middle. What it says late, after it goes on, is not taken for an answer.
pub(super) fn replica_hangs(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let replica = 1 - bench.stage.pair.primary_index().await?;
        let (swap, plug) = bench.start_draining().await?;
        bench.stage.pair.server(replica).suspend()?;
        let ended = bench.pull_and_end(swap, plug).await;
        bench.stage.pair.server(replica).resume()?;
        ended?.expect(1)?;
        bench.wait_ready().await?;
        bench.swap().await?.expect(0)?;
        Ok(End::swapped().as_outcome("rolled_back, then swapped"))
    })
}
