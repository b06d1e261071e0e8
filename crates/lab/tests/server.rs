//! Throwaway servers: ready, restartable, and gone with their owner.
#![allow(clippy::expect_used, clippy::panic, reason = "a failed expectation fails the test")]

use lab::server::{Flavor, Server, ServerOptions};
use mysql_async::prelude::Queryable;

async fn start(flavor: Flavor) -> Server {
    Server::start(flavor, &ServerOptions::new(1)).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn ask(server: &Server, sql: &str) -> String {
    let mut conn = server.connect_root().await.expect("the server takes connections");
    conn.query_first(sql).await.expect("the statement is right").expect("it has a row")
}

async fn stays_usable(flavor: Flavor) {
    let mut server = start(flavor).await;
    assert_eq!(
        ask(&server, "SELECT CONCAT(@@sync_binlog, @@innodb_flush_log_at_trx_commit)").await,
        "11"
    );
    let mut conn = server.connect_root().await.expect("connects");
    conn.query_drop("CREATE DATABASE d").await.expect("creates");
    conn.query_drop("CREATE TABLE d.t (i INT)").await.expect("creates");
    conn.query_drop("INSERT INTO d.t VALUES (42)").await.expect("inserts");
    let (pid, address) = (server.pid(), server.address());
    server.kill().await.expect("is killed");
    assert!(!server.is_running());
    server.restart().await.expect("comes up from a crash");
    assert!(server.is_running());
    assert_ne!(server.pid(), pid);
    assert_eq!(server.address(), address);
    assert_eq!(ask(&server, "SELECT i FROM d.t").await, "42", "committed before the crash");
    server.restart().await.expect("restarts in order");
    let folder = server.folder().to_owned();
    drop(server);
    assert!(!folder.exists(), "{} is left over", folder.display());
}

#[tokio::test]
async fn a_mariadb_survives_its_crash_and_is_gone_when_dropped() {
    stays_usable(Flavor::MariaDb).await;
}

#[tokio::test]
async fn a_mysql_survives_its_crash_and_is_gone_when_dropped() {
    stays_usable(Flavor::MySql).await;
}
