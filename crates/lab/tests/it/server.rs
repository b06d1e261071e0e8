//! Throwaway servers: ready, restartable, and gone with their owner.

use lab::server::{Series, Server, ServerOptions};
use mysql_async::prelude::Queryable;

async fn start(series: Series) -> Server {
    Server::start(series, &ServerOptions::new(1)).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn ask(server: &Server, sql: &str) -> String {
    let mut conn = server.connect_root().await.expect("the server takes connections");
    conn.query_first(sql).await.expect("the statement is right").expect("it has a row")
}

async fn stays_usable(series: Series) {
    let mut server = start(series).await;
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

/// MariaDB removes what looks like a temporary table from its folder for them when it starts: that folder is no other's.
async fn leaves_the_temporary_tables_of_others(series: Series) {
    let others = tempfile::Builder::new().prefix("#sql-temptable-").suffix(".MAI").tempfile();
    let others = others.expect("a file where servers put theirs by default");
    let server = start(series).await;
    assert!(others.path().exists(), "{series} removed {}", others.path().display());
    let own = ask(&server, "SELECT @@tmpdir").await;
    assert!(std::path::Path::new(&own).starts_with(server.folder()), "{own}");
}

#[tokio::test]
async fn a_mariadb_leaves_the_temporary_tables_of_others() {
    leaves_the_temporary_tables_of_others(Series::MariaDb).await;
}

#[tokio::test]
async fn a_mariadb_11_8_leaves_the_temporary_tables_of_others() {
    leaves_the_temporary_tables_of_others(Series::MariaDb118).await;
}

#[tokio::test]
async fn a_mysql_leaves_the_temporary_tables_of_others() {
    leaves_the_temporary_tables_of_others(Series::MySql).await;
}

#[tokio::test]
async fn a_mariadb_survives_its_crash_and_is_gone_when_dropped() {
    stays_usable(Series::MariaDb).await;
}

#[tokio::test]
async fn a_mariadb_11_8_survives_its_crash_and_is_gone_when_dropped() {
    stays_usable(Series::MariaDb118).await;
}

#[tokio::test]
async fn a_mysql_survives_its_crash_and_is_gone_when_dropped() {
    stays_usable(Series::MySql).await;
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why() {
    for series in Series::ALL {
        let options = ServerOptions::new(1).with("no-such-option=1");
        let error = Server::start(series, &options).await.expect_err("it cannot start");
        assert!(error.to_string().contains("no-such-option"), "{error}");
    }
}

#[tokio::test]
async fn a_port_that_stays_taken_is_an_error_that_says_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = taken.local_addr().expect("is bound").port();
    for series in Series::ALL {
        let options = ServerOptions::new(1).with(&format!("port={port}"));
        let error = Server::start(series, &options).await.expect_err("it cannot start");
        assert!(error.to_string().contains("ddress already in use"), "{error}");
    }
}
