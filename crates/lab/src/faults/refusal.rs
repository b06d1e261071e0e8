//! What must keep a swap from beginning: refused with its code, nobody held.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use serde::Deserialize;

use super::bench::Bench;
use super::database::{HEALTHY_DEADLINE, third_server};
use super::judge::End;
use crate::cluster::{REPLICATION, follow};
use crate::server::{Flavor, Server};
use crate::stage::APP_NAME;

/// How long a third server may take to have what the first has, s.
const CATCH_UP_S: u32 = 60;

#[derive(Debug, Deserialize)]
struct Answer {
    ok: bool,
    refusals: Vec<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    code: String,
    sentence: String,
    mend: String,
}

impl Bench {
    /// The codes `check` tells, each with a sentence and a mend.
    async fn codes(&self, configuration: &std::path::Path) -> anyhow::Result<BTreeSet<String>> {
        let check = self.start_with(configuration, &["check", "--json"], None)?.end().await?;
        let answer: Answer = serde_json::from_str(&check.expect(1)?.out).context("no answer")?;
        ensure!(!answer.ok, "check says ok and ends with 1");
        for Refusal { code, sentence, mend } in &answer.refusals {
            ensure!(!sentence.is_empty() && !mend.is_empty(), "{code} does not say what to do");
        }
        Ok(answer.refusals.into_iter().map(|refusal| refusal.code).collect())
    }

    /// Both `check` and `swap` refuse, for at least these reasons.
    pub(super) async fn expect_refused(&self, wanted: &[&str]) -> anyhow::Result<BTreeSet<String>> {
        self.expect_refused_with(&self.configuration, wanted).await
    }

    async fn expect_refused_with(
        &self,
        configuration: &std::path::Path,
        wanted: &[&str],
    ) -> anyhow::Result<BTreeSet<String>> {
        let codes = self.codes(configuration).await?;
        let missing: Vec<_> = wanted.iter().filter(|code| !codes.contains(**code)).collect();
        ensure!(missing.is_empty(), "{missing:?} is not among the refusals {codes:?}");
        let swap = self.start_with(configuration, &["swap", "--yes"], None)?.end().await?;
        let said = &swap.expect(1)?.out;
        for code in wanted {
            ensure!(said.contains(&format!("[{code}]")), "swap does not name {code}: {said}");
        }
        Ok(codes)
    }

    async fn replica(&self) -> anyhow::Result<usize> {
        Ok(1 - self.stage.pair.primary_index().await?)
    }
}

/// F2: the replica stopped at a duplicate key.
pub(super) fn sql_error(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let replica = bench.replica().await?;
        bench.say_unlogged(replica, "INSERT INTO ledger.bystander VALUES (77, 1)").await?;
        bench.say(1 - replica, &["INSERT INTO ledger.bystander VALUES (77, 2)"]).await?;
        bench.wait_duplicate_key(replica).await?;
        let refused = bench.expect_refused(&["sql-thread"]).await;
        bench.say_unlogged(replica, "DELETE FROM ledger.bystander WHERE id = 77").await?;
        bench.say(replica, &[&bench.words().start()]).await?;
        bench.wait_healthy().await?;
        bench.say(1 - replica, &["DELETE FROM ledger.bystander WHERE id = 77"]).await?;
        refused.map(|_| End::refused())
    })
}

/// F3: the replica follows, without any error or lag, somebody else than the primary.
pub(super) fn wrong_source(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let flavor = bench.flavor();
        let replica = bench.replica().await?;
        let primary = bench.stage.pair.server(1 - replica).address();
        let third = Server::start(bench.stage.pair.series(), &third_server()).await?;
        let mut conn = third.connect_root().await?;
        for sql in follow(flavor, primary, true) {
            conn.query_drop(sql).await?;
        }
        bench.say(replica, &[&bench.words().stop()]).await?;
        let (position, wait) = match flavor {
            Flavor::MariaDb => ("SELECT @@global.gtid_current_pos", "MASTER_GTID_WAIT"),
            Flavor::MySql => {
                ("SELECT REPLACE(@@global.gtid_executed, '\\n', '')", "WAIT_FOR_EXECUTED_GTID_SET")
            }
        };
        let position = bench.stage.pair.ask(replica, position).await?.unwrap_or_default();
        let waited: Option<i64> =
            conn.query_first(format!("SELECT {wait}('{position}', {CATCH_UP_S})")).await?;
        ensure!(waited == Some(0), "the third server does not catch up");
        let point = |to| {
            let mut statements = vec![bench.words().stop()];
            statements.extend(follow(flavor, to, true));
            statements
        };
        bench.stage.pair.run(replica, point(third.address())).await?;
        let deadline = tokio::time::Instant::now() + HEALTHY_DEADLINE;
        loop {
            let seen = bench.replication(replica).await?;
            if seen.receives && seen.applies {
                break;
            }
            ensure!(tokio::time::Instant::now() < deadline, "never healthy: {seen:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let refused = bench.expect_refused(&["wrong-source"]).await;
        bench.stage.pair.run(replica, point(primary)).await?;
        let codes = refused?;
        ensure!(!codes.contains("io-thread"), "it should look healthy: {codes:?}");
        Ok(End::refused())
    })
}

/// F4: the lag is NULL.
pub(super) fn null_lag(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let replica = bench.replica().await?;
        bench.say(replica, &[&bench.words().stop()]).await?;
        let refused = bench.expect_refused(&["lag-unknown", "io-thread", "sql-thread"]).await;
        bench.say(replica, &[&bench.words().start()]).await?;
        refused.map(|_| End::refused())
    })
}

/// F15: the target is the primary already.
pub(super) fn target_is_primary(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        let address = bench.stage.pair.server(primary).address().to_string();
        for target in [format!("db{}", primary + 1), address] {
            let ran = bench.run(&["swap", "--yes", "--to", &target]).await?;
            let said = &ran.expect(0)?.out;
            ensure!(said.contains("nothing to do"), "{said}");
        }
        let unknown = bench.run(&["swap", "--yes", "--to", "db9"]).await?;
        ensure!(unknown.expect(1)?.out.contains("[unknown-target]"));
        Ok(End::nothing("nothing to do"))
    })
}

/// F29: the account that the old primary would log in with is broken.
pub(super) fn replication_login(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        bench.say(primary, &[&repl_password("another")]).await?;
        bench.stage.pair.wait_replicated().await?;
        let refused = bench.expect_refused(&["replication-login"]).await;
        bench.say(primary, &[&repl_password(REPLICATION.password)]).await?;
        refused.map(|_| End::refused())
    })
}

fn repl_password(password: &str) -> String {
    format!("ALTER USER {}@'%' IDENTIFIED BY '{password}'", REPLICATION.user)
}

/// F32: both servers have the same server_id. Replication is stopped meanwhile, or it would skip rows as its own.
pub(super) fn same_server_id(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let replica = bench.replica().await?;
        let own = server_id(bench, replica).await?;
        take_server_id(bench, replica, 1 - replica).await?;
        let refused = bench.expect_refused(&["same-server-id"]).await;
        restore_server_id(bench, replica, &own).await?;
        refused.map(|_| End::refused())
    })
}

async fn server_id(bench: &Bench, index: usize) -> anyhow::Result<String> {
    let id = bench.stage.pair.ask(index, "SELECT @@global.server_id").await?;
    id.context("no server_id")
}

async fn take_server_id(bench: &Bench, replica: usize, from: usize) -> anyhow::Result<()> {
    let id = server_id(bench, from).await?;
    let set = format!("SET GLOBAL server_id = {id}");
    bench.say(replica, &[&bench.words().stop(), &set]).await
}

async fn restore_server_id(bench: &Bench, replica: usize, id: &str) -> anyhow::Result<()> {
    let set = format!("SET GLOBAL server_id = {id}");
    bench.say(replica, &[&set, &bench.words().start()]).await
}

const PREPARE_XA: [&str; 4] = [
    "XA START 'forgotten'",
    "UPDATE ledger.bystander SET v = v + 1 WHERE id = 3",
    "XA END 'forgotten'",
    "XA PREPARE 'forgotten'",
];
const ROLL_XA_BACK: &str = "XA ROLLBACK 'forgotten'";

/// F43: a prepared XA transaction could commit through the fence.
pub(super) fn prepared_xa(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let primary = bench.stage.pair.primary_index().await?;
        bench.say(primary, &PREPARE_XA).await?;
        let refused = bench.expect_refused(&["prepared-xa"]).await;
        bench.say(primary, &[ROLL_XA_BACK]).await?;
        refused.map(|_| End::refused())
    })
}

/// F40: everything wrong at once is told at once, each with its code.
pub(super) fn everything(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let replica = bench.replica().await?;
        let primary = 1 - replica;
        let own = server_id(bench, replica).await?;
        bench.say(primary, &[&repl_password("another")]).await?;
        bench.stage.pair.wait_replicated().await?;
        take_server_id(bench, replica, primary).await?;
        bench.say(replica, &["SET GLOBAL read_only = 0"]).await?;
        bench.say(primary, &PREPARE_XA).await?;
        let configuration = bench.configure(
            "everything",
            &[
                ("lease = \"14s\"", "lease = \"1s\""),
                ("command = [\"", "command = [\"/nonexistent"),
            ],
        )?;
        let mut holding = bench.start(&["hold", APP_NAME])?;
        holding.wait_held().await?;
        let refused = bench.expect_refused_with(&configuration, &EVERYTHING).await;
        holding.signal(rustix::process::Signal::INT)?;
        let released = holding.end().await?;
        bench.say(primary, &[ROLL_XA_BACK]).await?;
        bench.fence(replica).await?;
        bench.say(primary, &[&repl_password(REPLICATION.password)]).await?;
        restore_server_id(bench, replica, &own).await?;
        released.expect(0)?;
        refused.map(|_| End::refused())
    })
}

const EVERYTHING: [&str; 11] = [
    "already-held",
    "endpoint-missing",
    "hook-missing",
    "io-thread",
    "lag-unknown",
    "lease-too-short",
    "prepared-xa",
    "replica-not-fenced",
    "replication-login",
    "same-server-id",
    "sql-thread",
];

/// The journal cannot be written: nothing is done.
pub(super) fn no_journal(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let configuration = bench.configure(
            "journal",
            &[("[swap]\n", "[swap]\njournal_dir = \"/dev/null/journal\"\n")],
        )?;
        let swap = bench.start_with(&configuration, &["swap", "--yes"], None)?.end().await?;
        let said = &swap.expect_one_of(&[1, 2])?.talk;
        ensure!(said.contains("/dev/null/journal"), "the folder is not named: {said}");
        Ok(End::refused())
    })
}
