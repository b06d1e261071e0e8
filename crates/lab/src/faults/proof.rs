//! What must be so in swaps that nothing disturbs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use futures_util::future::BoxFuture;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::bench::Bench;
use super::judge::End;
use crate::cluster::OPERATOR;

/// Looks at both servers less often than this prove little.
const SAMPLES_MIN: u64 = 50;
/// How often a login is tried again in a row.
const LOGINS_MAX: u32 = 10;

/// F10 and F12: no moment with two writers. The new primary is asked first and the old one after it: both answers "yes"
/// can only mean both at once.
pub(super) fn one_writer(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        for _ in 0..4 {
            let old = bench.stage.pair.primary_index().await?;
            // Over the replica's own session nothing is ended; the old primary's is, so it is opened again.
            let new = bench.stage.pair.connect(1 - old).await?;
            let stop = Arc::new(AtomicBool::new(false));
            let (swap, samples) = tokio::join!(
                async {
                    let swap = bench.swap().await;
                    stop.store(true, Ordering::Relaxed);
                    swap
                },
                sample(bench, old, new, &stop)
            );
            swap?.expect(0)?;
            let (samples, twice) = samples?;
            ensure!(twice == 0, "{twice} of {samples} looks saw two writers");
            ensure!(samples >= SAMPLES_MIN, "only {samples} looks");
            bench.wait_healthy().await?;
        }
        Ok(End::swapped().moved(false))
    })
}

pub(super) async fn sample(
    bench: &Bench,
    old: usize,
    mut new: Conn,
    stop: &AtomicBool,
) -> anyhow::Result<(u64, u64)> {
    let mut old_conn = bench.stage.pair.connect(old).await?;
    let (mut samples, mut twice) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let new_opens = is_writable(&mut new).await?;
        let old_open = match is_writable(&mut old_conn).await {
            Ok(open) => open,
            Err(_) => {
                let (conn, open) = ask_again(bench, old).await?;
                old_conn = conn;
                open
            }
        };
        samples += 1;
        twice += u64::from(new_opens && old_open);
        tokio::task::yield_now().await;
    }
    Ok((samples, twice))
}

/// On a new session. The swap ends one that is just logging in too.
async fn ask_again(bench: &Bench, server: usize) -> anyhow::Result<(Conn, bool)> {
    let mut tries = 0;
    loop {
        tries += 1;
        let asked = async {
            let mut conn = bench.stage.pair.connect(server).await?;
            let open = is_writable(&mut conn).await?;
            Ok((conn, open))
        };
        match asked.await {
            Err(_) if tries < LOGINS_MAX => {}
            answer => return answer,
        }
    }
}

async fn is_writable(conn: &mut Conn) -> mysql_async::Result<bool> {
    let read_only: Option<u8> = conn.query_first("SELECT @@global.read_only").await?;
    Ok(read_only == Some(0))
}

/// F30: after a swap and one back each old primary is a healthy, read-only replica without another command.
pub(super) fn rejoined(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        for _ in 0..2 {
            let old = bench.stage.pair.primary_index().await?;
            bench.swap().await?.expect(0)?;
            let seen = bench.replication(old).await?;
            let new_port = bench.stage.pair.server(1 - old).address().port().to_string();
            ensure!(seen.receives && seen.applies && seen.port == new_port, "{seen:?}");
            ensure!(bench.stage.pair.is_read_only(old).await?, "the old primary is writable");
            let marker = "SELECT swap FROM intermission.marker";
            let marker = bench.stage.pair.ask(old, marker).await?;
            let newest = bench.stage.records().await?.pop().map(|record| record.id);
            ensure!(marker == newest, "the marker {marker:?} is not that of {newest:?}");
        }
        Ok(End::swapped().moved(false))
    })
}

/// No password shows, not even where it is wrong, stands in the file, or everything is logged.
pub(super) fn passwords(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        bench.run(&["config", "check"]).await?.expect(0)?;
        let line = "user = \"operator\"\npassword_env = \"LAB_OPERATOR_PASSWORD\"";
        let inline = format!("user = \"operator\"\npassword = \"{}\"", OPERATOR.password);
        let inline = bench.configure("inline", &[(line, &inline)])?;
        for (configuration, arguments, code) in [
            (&inline, &["config", "check"][..], 0),
            (&inline, &["check"], 0),
            (&bench.configure("wrong", &[(line, WRONG)])?, &["check"], 1),
            (&bench.configure("broken", &[("[swap]\n", "[swap]\nfnece = 1\n")])?, &["check"], 2),
        ] {
            bench.start_with(configuration, arguments, None)?.end().await?.expect(code)?;
        }
        Ok(End::nothing("none shown"))
    })
}

/// The replica's password for the operator: a wrong one.
const WRONG: &str = "user = \"operator\"\npassword_env = \"LAB_REPLICATION_PASSWORD\"";
