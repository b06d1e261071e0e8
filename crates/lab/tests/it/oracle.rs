//! The oracle on real ledgers.

use lab::cluster::{APP, Pair, PairOptions};
use lab::oracle::{Defect, Write, examine};
use lab::server::Flavor;
use mysql_async::params;
use mysql_async::prelude::Queryable;

async fn write_ledger(pair: &Pair) -> Vec<Write> {
    let mut conn = pair.server(0).connect(APP.user, APP.password).await.expect("logs in");
    let mut writes = Vec::new();
    for seq in 1..=10_u64 {
        for client in 1..=2_u32 {
            let token = format!("{client}-{seq}");
            let sql =
                "INSERT INTO ledger.entries (client, seq, token) VALUES (:client, :seq, :token)";
            let row = params! { "client" => client, "seq" => seq, "token" => &token };
            conn.exec_drop(sql, row).await.expect("writes");
            writes.push(Write { client, seq, token });
        }
    }
    writes
}

async fn sees_a_deleted_row(flavor: Flavor) {
    let pair = Pair::start(flavor, &PairOptions::default()).await.expect("starts");
    let mut writes = write_ledger(&pair).await;
    let verdict = examine(&pair, &writes).await.expect("examines");
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!((verdict.rows, verdict.unknown), (vec![20, 20], 0));

    let unanswered = writes.pop().expect("not empty");
    let verdict = examine(&pair, &writes).await.expect("examines");
    assert!(verdict.is_clean() && verdict.unknown == 1, "{verdict}");
    writes.push(unanswered);

    // On the replica alone, past its fence and past the binary log.
    let behind = match flavor {
        Flavor::MariaDb => "SET GLOBAL read_only = 0",
        Flavor::MySql => "SET GLOBAL super_read_only = 0",
    };
    let delete = "DELETE FROM ledger.entries WHERE token = '1-4'";
    let again = match flavor {
        Flavor::MariaDb => "SET GLOBAL read_only = 1",
        Flavor::MySql => "SET GLOBAL super_read_only = 1",
    };
    let statements = [behind, "SET SESSION sql_log_bin = 0", delete, again].map(str::to_owned);
    pair.run(1, statements.into()).await.expect("deletes");
    let verdict = examine(&pair, &writes).await.expect("examines");
    let write = Write { client: 1, seq: 4, token: "1-4".to_owned() };
    assert_eq!(verdict.lost, [Defect { server: 1, write }], "{verdict}");
    assert_eq!(verdict.differing.len(), 1);
    assert!(!verdict.is_clean());
}

#[tokio::test]
async fn a_row_deleted_on_a_mariadb_replica_is_lost() {
    sees_a_deleted_row(Flavor::MariaDb).await;
}

#[tokio::test]
async fn a_row_deleted_on_a_mysql_replica_is_lost() {
    sees_a_deleted_row(Flavor::MySql).await;
}
