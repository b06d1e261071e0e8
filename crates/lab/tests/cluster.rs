//! Throwaway pairs: replicating, with one primary, whatever the options.
#![allow(clippy::expect_used, clippy::panic, reason = "a failed expectation fails the test")]

use lab::cluster::{APP, OPERATOR, Pair, PairOptions};
use lab::server::Flavor;
use mysql_async::prelude::Queryable;

async fn start(flavor: Flavor, options: &PairOptions) -> Pair {
    Pair::start(flavor, options).await.unwrap_or_else(|error| panic!("{error}"))
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

async fn replicates(flavor: Flavor, options: PairOptions) {
    let pair = start(flavor, &options).await;
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
async fn a_mysql_pair_replicates() {
    replicates(Flavor::MySql, PairOptions::default()).await;
}
