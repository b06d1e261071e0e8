//! What the sentinel has to see when a swap is over.

use anyhow::ensure;
use futures_util::future::BoxFuture;

use super::bench::Bench;
use super::judge::End;
use crate::stage::SENTINEL_FOR;

const OPEN: &str = "SET GLOBAL read_only=0";

impl Bench {
    /// With a sentinel that looks on for long.
    fn configure_sentinel(&self) -> anyhow::Result<std::path::PathBuf> {
        let usual = format!("sentinel_for = \"{SENTINEL_FOR}\"");
        self.configure("sentinel", &[(usual.as_str(), "sentinel_for = \"15s\"")])
    }
}

/// Somebody makes the old primary writable.
pub(super) fn two_writers(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let old = bench.stage.pair.primary_index().await?;
        let configuration = bench.configure_sentinel()?;
        let mut swap = bench.start_with(&configuration, &["swap", "--yes"], None)?;
        swap.wait_step("unlock").await?;
        bench.say(old, &[OPEN]).await?;
        let said = swap.wait_said("ERROR sentinel: two servers are writable at once").await;
        bench.fence(old).await?;
        said?;
        let ran = swap.end().await?;
        let out = &ran.expect(3)?.out;
        ensure!(out.contains("the sentinel saw that two servers"), "it said: {out}");
        ensure!(out.trim_end().ends_with(" check"), "no next step: {out}");
        Ok(End::swapped())
    })
}

/// Somebody makes the new primary read-only.
pub(super) fn no_writer(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let new = 1 - bench.stage.pair.primary_index().await?;
        let configuration = bench.configure_sentinel()?;
        let mut swap = bench.start_with(&configuration, &["swap", "--yes"], None)?;
        swap.wait_step("unlock").await?;
        bench.fence(new).await?;
        let said = swap.wait_said("ERROR sentinel: no server was seen to be writable").await;
        bench.say(new, &[OPEN]).await?;
        said?;
        let ran = swap.end().await?;
        let out = &ran.expect(3)?.out;
        ensure!(out.contains("the sentinel saw that no server"), "it said: {out}");
        ensure!(out.trim_end().ends_with(" check"), "no next step: {out}");
        Ok(End::swapped().may_fail())
    })
}
