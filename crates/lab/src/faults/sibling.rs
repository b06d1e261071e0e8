//! The swapping process dies while a third server is led to the new primary.

use anyhow::{Context, bail, ensure};
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use serde::Deserialize;
use tokio::time::Instant;

use super::bench::Bench;
use super::database::third_server;
use super::judge::End;
use super::kill::MOMENTS;
use crate::cluster::follow;
use crate::server::Server;

/// How long a state of the third server is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
const POLL: std::time::Duration = std::time::Duration::from_millis(20);

/// Killed before, after and behind the step: recovered, the third server follows, and nothing of ours is left on it.
pub(super) fn killed_while_it_is_led(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let flavor = bench.flavor();
        let primary = bench.stage.pair.primary_index().await?;
        let third = Server::start(bench.stage.pair.series(), &third_server()).await?;
        let mut conn = third.connect_root().await?;
        for sql in follow(flavor, bench.stage.pair.server(primary).address(), true) {
            conn.query_drop(sql).await?;
        }
        let (host, port) = (third.address().ip(), third.address().port());
        let entry =
            format!("  {{ name = \"db3\", host = \"{host}\", port = {port} }},\n]\nuser = ");
        let three = bench.configure("three", &[("]\nuser = ", &entry)])?;
        let mut moved = false;
        for moment in MOMENTS {
            let target = 1 - bench.stage.pair.primary_index().await?;
            let name = format!("db{}", target + 1);
            wait_ready(bench, &three, &name).await?;
            let arguments = ["swap", "--yes", "--to", &name];
            let fault = format!("kill:{moment}:perform:follow");
            bench.start_with(&three, &arguments, Some(&fault))?.end().await?.expect_killed()?;
            let recovered = bench.start_with(&three, &["recover"], None)?.end().await?;
            let told = &recovered.expect(0)?.out;
            ensure!(told.contains("sibling db3"), "it tells nothing of the sibling: {told}");
            ensure!(!told.contains("needs a person"), "{moment}: {told}");
            moved ^= true;
            ensure!(bench.stage.pair.primary_index().await? == target, "the wrong primary");
            let port = bench.stage.pair.server(target).address().port();
            let source = source_of(bench, &mut conn).await?;
            ensure!(source == port.to_string(), "{moment}: db3 follows {source}, not {port}");
            let clean = "SELECT @@global.read_only AND IS_FREE_LOCK('intermission')";
            let clean: Option<u8> = conn.query_first(clean).await?;
            ensure!(clean == Some(1), "{moment}: db3 is writable or locked");
            bench.wait_healthy().await?;
        }
        Ok(End::swapped().moved(moved))
    })
}

/// What `check` says of several.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    candidates: Vec<Candidate>,
}

#[derive(Debug, Deserialize)]
struct Candidate {
    name: String,
    ok: bool,
    warnings: Vec<serde::de::IgnoredAny>,
}

/// Waits until `check`, told no target, says of this one that it could take over and of nobody that it is not well.
async fn wait_ready(
    bench: &Bench,
    configuration: &std::path::Path,
    name: &str,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let check = bench.start_with(configuration, &["check", "--json"], None)?.end().await?;
        let answer: Answer = serde_json::from_str(&check.out)?;
        let is_it = |one: &&Candidate| one.name == name && one.ok && one.warnings.is_empty();
        if answer.candidates.len() == 2 && answer.candidates.iter().any(|one| is_it(&one)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("{name} never gets ready: {}\n{}", check.out, bench.witness().await);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn source_of(bench: &Bench, conn: &mut Conn) -> anyhow::Result<String> {
    let words = bench.words();
    let row: Option<Row> = conn.query_first(words.status).await?;
    let row = row.context("db3 is no replica")?;
    Ok(row.get::<Option<String>, _>(words.port).flatten().unwrap_or_default())
}
