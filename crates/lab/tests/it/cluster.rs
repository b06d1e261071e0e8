//! Throwaway pairs: replicating, with one primary, whatever the options.

use lab::cluster::{APP, OPERATOR, Pair, PairOptions};
use lab::server::{Flavor, Series};
use mysql_async::prelude::Queryable;

async fn start(series: impl Into<Series>, options: &PairOptions) -> Pair {
    Pair::start(series, options).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn insert(pair: &Pair, index: usize, token: &str) {
    let mut conn =
        pair.server(index).connect(APP.user, APP.password).await.expect("the application logs in");
    let sql = format!("INSERT INTO ledger.entries (client, seq, token) VALUES (1, 1, '{token}')");
    conn.query_drop(sql).await.expect("the application writes");
}

async fn count(pair: &Pair, index: usize) -> Option<String> {
    pair.ask(index, "SELECT COUNT(*) FROM ledger.entries").await.expect("counts")
}

async fn replicates(series: impl Into<Series>, options: PairOptions) {
    let pair = start(series, &options).await;
    assert_eq!(pair.primary_index().await.expect("one primary"), 0);
    insert(&pair, 0, "first").await;
    pair.wait_replicated().await.expect("catches up");
    assert_eq!(count(&pair, 1).await.as_deref(), Some("1"));
    let mut app = pair.server(1).connect(APP.user, APP.password).await.expect("logs in");
    let refused = app.query_drop("DELETE FROM ledger.entries").await.expect_err("it is read-only");
    assert!(refused.to_string().contains("1290"), "{refused}");
    pair.server(1).connect(OPERATOR.user, OPERATOR.password).await.expect("the operator logs in");
}

#[tokio::test]
async fn a_mariadb_pair_replicates() {
    replicates(Flavor::MariaDb, PairOptions::default()).await;
}

#[tokio::test]
async fn a_mariadb_11_8_pair_replicates() {
    replicates(Series::MariaDb118, PairOptions::default()).await;
}

#[tokio::test]
async fn a_mysql_pair_replicates() {
    replicates(Flavor::MySql, PairOptions::default()).await;
}

/// What a preflight must refuse (F32, GTID off, binary log off) has to be possible here.
#[tokio::test]
async fn a_mariadb_pair_by_file_and_position_replicates() {
    let pair = start(Flavor::MariaDb, &PairOptions { gtid: false, ..PairOptions::default() }).await;
    insert(&pair, 0, "first").await;
    pair.wait_replicated().await.expect("catches up");
    assert_eq!(count(&pair, 1).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_mysql_pair_without_gtids_replicates() {
    let options = PairOptions { gtid: false, ..PairOptions::default() }
        .with_both("gtid-mode=OFF")
        .with_both("enforce-gtid-consistency=OFF");
    let pair = start(Flavor::MySql, &options).await;
    insert(&pair, 0, "first").await;
    pair.wait_replicated().await.expect("catches up");
    assert_eq!(count(&pair, 1).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_mariadb_replica_without_a_binary_log_replicates() {
    replicates(Flavor::MariaDb, PairOptions::default().with_replica("skip-log-bin")).await;
}

#[tokio::test]
async fn a_mysql_replica_without_a_binary_log_replicates() {
    replicates(Flavor::MySql, PairOptions::default().with_replica("skip-log-bin")).await;
}

#[tokio::test]
async fn a_mariadb_replica_that_keeps_applied_events_from_its_log_replicates() {
    replicates(Flavor::MariaDb, PairOptions::default().with_replica("log-slave-updates=OFF")).await;
}

#[tokio::test]
async fn a_mysql_replica_that_keeps_applied_events_from_its_log_replicates() {
    replicates(Flavor::MySql, PairOptions::default().with_replica("log-replica-updates=OFF")).await;
}

#[tokio::test]
async fn two_writable_servers_are_no_answer_to_which_is_the_primary() {
    let pair = start(Flavor::MariaDb, &PairOptions::default()).await;
    pair.run(1, vec!["SET GLOBAL read_only = 0".to_owned()]).await.expect("opens");
    let error = pair.primary_index().await.expect_err("two are writable");
    assert_eq!(error.to_string(), "of the servers [0, 1] are writable: exactly one must be");
}

#[tokio::test]
async fn a_replica_whose_primary_is_suspended_waits_and_goes_on() {
    let pair = start(Flavor::MariaDb, &PairOptions::default()).await;
    pair.server(0).suspend().expect("stops");
    assert_eq!(count(&pair, 1).await.as_deref(), Some("0"));
    pair.server(0).resume().expect("continues");
    insert(&pair, 0, "after").await;
    pair.wait_replicated().await.expect("catches up");
}

/// F32: the number can only be doubled once both run, as a replica refuses to start with its source's.
async fn takes_the_same_server_id(flavor: Flavor) {
    let pair = start(flavor, &PairOptions::default()).await;
    pair.run(1, vec!["SET GLOBAL server_id = 1".to_owned()]).await.expect("is set");
    let ids = [pair.ask(0, "SELECT @@server_id").await, pair.ask(1, "SELECT @@server_id").await];
    assert!(ids.iter().all(|id| id.as_ref().is_ok_and(|id| id.as_deref() == Some("1"))));
}

#[tokio::test]
async fn a_mariadb_pair_can_share_a_server_id() {
    takes_the_same_server_id(Flavor::MariaDb).await;
}

#[tokio::test]
async fn a_mysql_pair_can_share_a_server_id() {
    takes_the_same_server_id(Flavor::MySql).await;
}
