//! The operator's privileges are enough for a whole swap, and for nothing much beyond.

use lab::cluster::{APP, OPERATOR, Pair, PairOptions, REPLICATION};
use lab::server::Flavor;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

struct Operator {
    conns: [Conn; 2],
}

impl Operator {
    async fn new(pair: &Pair) -> Self {
        let log_in = async |index| {
            let server = pair.server(index);
            server.connect(OPERATOR.user, OPERATOR.password).await.expect("the operator logs in")
        };
        Self { conns: [log_in(0).await, log_in(1).await] }
    }

    /// Every row of every answer is read; a refusal fails the test.
    async fn say(&mut self, index: usize, statements: &[&str]) {
        for sql in statements {
            let answer: Result<Vec<Row>, _> = self.conns[index].query(*sql).await;
            answer.unwrap_or_else(|error| panic!("server {index}, {sql}: {error}"));
        }
    }

    async fn ask(&mut self, index: usize, sql: &str) -> String {
        let answer: Option<String> = self.conns[index].query_first(sql).await.expect("answers");
        answer.expect("a row")
    }
}

/// The same words on both servers.
const BLOCKERS: &[&str] = &[
    "SELECT GET_LOCK('intermission', 0)",
    "SELECT trx_mysql_thread_id, trx_rows_modified, trx_started FROM information_schema.innodb_trx",
    "SELECT * FROM information_schema.processlist",
    "XA RECOVER",
    "SET SESSION lock_wait_timeout = 1",
];
const MARKER: &[&str] = &[
    "CREATE DATABASE IF NOT EXISTS intermission",
    "CREATE TABLE IF NOT EXISTS intermission.marker (id INT PRIMARY KEY, at TIMESTAMP(6))",
    "INSERT INTO intermission.marker VALUES (1, NOW(6)) ON DUPLICATE KEY UPDATE at = NOW(6)",
    "UPDATE intermission.marker SET at = NOW(6)",
    "SELECT * FROM intermission.marker",
];

async fn swap_mariadb(pair: &Pair, operator: &mut Operator, victim: u32) {
    operator.say(0, BLOCKERS).await;
    operator.say(1, BLOCKERS).await;
    operator.say(1, &["SHOW SLAVE STATUS"]).await;
    operator.say(0, &["SHOW MASTER STATUS", "SET GLOBAL read_only = 1"]).await;
    let barrier = operator.ask(0, "SELECT @@global.gtid_binlog_pos").await;
    let wait = format!("SELECT CAST(MASTER_GTID_WAIT('{barrier}', 5) AS CHAR)");
    assert_eq!(operator.ask(1, &wait).await, "0");
    operator.say(1, &["SET GLOBAL read_only = 0"]).await;
    operator.say(0, &[&format!("KILL {victim}")]).await;
    operator.say(1, MARKER).await;
    operator.say(1, &["STOP SLAVE", "RESET SLAVE ALL"]).await;
    let follow = format!(
        "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='{}', MASTER_PASSWORD='{}', \
         MASTER_USE_GTID=slave_pos",
        pair.server(1).address().port(),
        REPLICATION.user,
        REPLICATION.password,
    );
    let position = format!("SET GLOBAL gtid_slave_pos = '{barrier}'");
    operator.say(0, &[&position, &follow, "START SLAVE"]).await;
}

async fn swap_mysql(pair: &Pair, operator: &mut Operator, victim: u32) {
    operator.say(0, BLOCKERS).await;
    operator.say(1, BLOCKERS).await;
    operator.say(1, &["SHOW REPLICA STATUS"]).await;
    let locks = "SELECT * FROM performance_schema.metadata_locks JOIN performance_schema.threads \
                 ON owner_thread_id = thread_id";
    operator.say(0, &[locks, "SHOW BINARY LOG STATUS", "SET GLOBAL super_read_only = 1"]).await;
    let barrier = operator.ask(0, "SELECT REPLACE(@@global.gtid_executed, '\n', '')").await;
    let wait = format!("SELECT CAST(WAIT_FOR_EXECUTED_GTID_SET('{barrier}', 5) AS CHAR)");
    assert_eq!(operator.ask(1, &wait).await, "0");
    operator.say(1, &["SET GLOBAL read_only = 0"]).await;
    operator.say(0, &[&format!("KILL {victim}")]).await;
    operator.say(1, MARKER).await;
    operator.say(1, &["STOP REPLICA", "RESET REPLICA ALL"]).await;
    let follow = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='{}', \
         SOURCE_PASSWORD='{}', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
        pair.server(1).address().port(),
        REPLICATION.user,
        REPLICATION.password,
    );
    operator.say(0, &[&follow, "START REPLICA"]).await;
}

async fn swaps(flavor: Flavor) {
    let pair = Pair::start(flavor, &PairOptions::default()).await.expect("starts");
    let mut app = pair.server(0).connect(APP.user, APP.password).await.expect("the app logs in");
    let insert = "INSERT INTO ledger.entries (client, seq, token) VALUES (1, 1, 'a')";
    app.query_drop(insert).await.expect("the app writes");
    let mut operator = Operator::new(&pair).await;
    match flavor {
        Flavor::MariaDb => swap_mariadb(&pair, &mut operator, app.id()).await,
        Flavor::MySql => swap_mysql(&pair, &mut operator, app.id()).await,
    }
    app.ping().await.expect_err("its session was ended");
    assert_eq!(pair.primary_index().await.expect("one primary"), 1);
    let mut app = pair.server(1).connect(APP.user, APP.password).await.expect("the app logs in");
    let insert = "INSERT INTO ledger.entries (client, seq, token) VALUES (1, 2, 'b')";
    app.query_drop(insert).await.expect("the app writes");
    pair.wait_replicated().await.expect("the old primary follows");
    let tokens = "SELECT GROUP_CONCAT(token ORDER BY id) FROM ledger.entries";
    let here = pair.ask(0, tokens).await.expect("answers");
    assert_eq!(here.as_deref(), Some("a,b"), "the counter goes on above the applied rows");
}

async fn may_not_read_the_application(flavor: Flavor) {
    let pair = Pair::start(flavor, &PairOptions::default()).await.expect("starts");
    let mut operator = Operator::new(&pair).await;
    let refused = operator.conns[0].query_drop("SELECT * FROM ledger.entries").await;
    assert!(refused.expect_err("it is not the operator's").to_string().contains("1142"));
}

#[tokio::test]
async fn a_mariadb_operator_may_do_a_whole_swap() {
    swaps(Flavor::MariaDb).await;
}

#[tokio::test]
async fn a_mysql_operator_may_do_a_whole_swap() {
    swaps(Flavor::MySql).await;
}

#[tokio::test]
async fn a_mariadb_operator_may_not_read_the_application() {
    may_not_read_the_application(Flavor::MariaDb).await;
}

#[tokio::test]
async fn a_mysql_operator_may_not_read_the_application() {
    may_not_read_the_application(Flavor::MySql).await;
}
