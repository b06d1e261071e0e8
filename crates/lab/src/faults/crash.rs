//! A server dies in the middle of a swap.

use std::time::Duration;

use anyhow::Context;
use futures_util::future::BoxFuture;

use super::bench::{Bench, LEASE};
use super::judge::End;

/// How long a server that was killed may take until it answers again, on a busy machine.
const RESTART: Duration = Duration::from_secs(20);

impl Bench {
    async fn restart_server(&mut self, index: usize) -> anyhow::Result<()> {
        let server = self.stage.pair.servers.get_mut(index).context("no such server")?;
        Ok(server.restart().await?)
    }
}

/// The replica dies while users are held: taken back.
pub(super) fn replica(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let replica = 1 - bench.stage.pair.primary_index().await?;
        let (swap, plug) = bench.start_draining().await?;
        bench.stage.pair.server(replica).kill().await?;
        bench.unplug(plug).await?;
        let ended = swap.end().await;
        bench.restart_server(replica).await?;
        bench.fence(replica).await?;
        ended?.expect(1)?;
        Ok(End::rolled_back())
    })
}

/// The primary dies while users are held: taken back, and served again once it is there again.
pub(super) fn primary(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        let (swap, plug) = bench.start_draining().await?;
        bench.stage.pair.server(primary).kill().await?;
        bench.unplug(plug).await?;
        let ended = swap.end().await;
        bench.restart_server(primary).await?;
        let words = bench.words();
        // It would try again by itself, but after up to a minute.
        bench.say(1 - primary, &[&words.stop(), &words.start()]).await?;
        if ended?.expect_one_of(&[1, 3])?.code() == Some(3) {
            bench.recover().await?.expect(1)?;
        }
        bench.expect_nothing_to_recover().await?;
        // Who is not cut off with the server waits for it.
        Ok(End::rolled_back().may_fail().longest(LEASE + RESTART))
    })
}
