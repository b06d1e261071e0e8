//! The hook that leads clients to the new primary fails or hangs: behind the commit point there is only forward.

use anyhow::ensure;
use futures_util::future::BoxFuture;

use super::bench::Bench;
use super::judge::End;

/// A hook that fails the first time.
pub(super) fn fails_once(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let mark = tempfile::tempdir()?;
        let mark = mark.path().join("failed").display().to_string();
        let script = format!("[ -e {mark} ] || {{ touch {mark}; exit 1; }}; exec $REPOINT");
        let configuration = bench.configure_hook("once", &script, "5s")?;
        let swap = bench.start_with(&configuration, &["swap", "--yes"], None)?;
        swap.end().await?.expect(0)?;
        Ok(End::swapped())
    })
}

/// A hook that never works: an operator mends it and recovers.
pub(super) fn always_fails(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(broken(bench, "echo no such proxy >&2; exit 7", "no such proxy"))
}

/// A hook that hangs is killed after its timeout.
pub(super) fn hangs(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(broken(bench, "sleep 600", "was killed after"))
}

/// F25: a proxy that keeps its connections to the old primary. The application's pool finds them dead all the same, and
/// nobody's write meets the fence.
pub(super) fn keeps_connections(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let configuration = bench.configure_hook("keep", "exec $REPOINT --keep", "5s")?;
        for _ in 0..2 {
            let swap = bench.start_with(&configuration, &["swap", "--yes"], None)?;
            swap.end().await?.expect(0)?;
            let newest = bench.stage.records().await?.pop();
            let note = newest.and_then(|record| record.note("end_sessions").map(str::to_owned));
            ensure!(
                note.as_ref().is_some_and(|note| !note.starts_with("0 ")),
                "the swap ended no session: {note:?}"
            );
            bench.wait_healthy().await?;
        }
        Ok(End::swapped().moved(false))
    })
}

async fn broken(bench: &mut Bench, script: &str, reason: &str) -> anyhow::Result<End> {
    let configuration = bench.configure_hook("broken", script, "300ms")?;
    let swap = bench.start_with(&configuration, &["swap", "--yes"], None)?;
    let ended = swap.end().await?;
    let said = format!("{}{}", ended.talk, ended.out);
    ended.expect(3)?;
    ensure!(said.contains(reason), "{reason:?} is not said: {said}");
    ensure!(ended.out.contains(" recover"), "no next command: {}", ended.out);
    bench.recover().await?.expect(0)?;
    bench.expect_nothing_to_recover().await?;
    // Clients were led nowhere in between: their writes met the fence.
    Ok(End::swapped().as_outcome("needs_operator, then swapped").may_fail())
}
