//! A refused check for each refusal: the code, a sentence that names the server, and a mend that mends.

use std::time::Duration;

use intermission::{
    config::secret::{Account, Secret},
    mysql::Access,
    swap::{
        refusal::{Code, Refusal},
        run::{Report, unfinished},
    },
};
use lab::{
    cluster::{Pair, PairOptions},
    server::{Flavor, Series},
};
use mysql_async::prelude::Queryable;

use crate::bench::{Bench, codes, insert};

lab::on_both!(
    healthy_and_unreachable,
    f2_f4_broken_replication,
    f3_f32_the_wrong_source,
    errant_transactions_and_switches,
    f29_f43_accounts_and_prepared_xa,
    f5_f46_blockers,
    f40_everything_at_once,
    servers_that_cannot_be_swapped,
);
lab::on_mariadb_11_8!(healthy_and_unreachable);

/// The one refusal, which names `server` and whose mend holds `mend`.
fn assert_says(refusal: &Refusal, server: &str, mend: &str) {
    assert!(refusal.sentence.contains(server), "{refusal}");
    assert!(refusal.mend.contains(mend), "{refusal}");
}

async fn healthy_and_unreachable(series: impl Into<Series>) {
    let bench = Bench::new(series).await;
    assert_eq!(codes(&bench.refusals().await), []);

    let mut elsewhere = bench.access(1);
    elsewhere.address.port = 9;
    let refusals = bench.refusals_of(&bench.parties_of([bench.access(0), elsewhere])).await;
    assert_eq!(codes(&refusals), [Code::Unreachable]);
    assert_says(&refusals[0], "db2 at 127.0.0.1:9", "mysql -h 127.0.0.1 -P 9");

    let mut stranger = bench.access(0);
    stranger.account = Account { user: "operator".to_owned(), password: Secret::new("wrong") };
    let refusals = bench.refusals_of(&bench.parties_of([stranger, bench.access(1)])).await;
    assert_eq!(codes(&refusals), [Code::Unreachable]);
    assert!(refusals[0].sentence.contains("1045"), "{}", refusals[0]);

    bench.pair.server(1).kill().await.unwrap();
    let refusals = bench.expect_codes(&[Code::Unreachable]).await;
    assert_says(&refusals[0], "db2 at 127.0.0.1", "mysql -h 127.0.0.1 -P ");

    bench.freeze(0).await;
    let mut mute = bench.access(0);
    (mute.connect, mute.statement) = (Duration::from_millis(200), Duration::from_millis(200));
    let refusals = bench.refusals_of(&bench.parties_of([mute, bench.access(1)])).await;
    assert_eq!(codes(&refusals), [Code::Unreachable, Code::Unreachable]);
    assert!(refusals[0].sentence.contains("no answer within 200ms"), "{}", refusals[0]);
    bench.pair.server(0).resume().unwrap();
}

async fn f2_f4_broken_replication(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let [stop_io, stop_sql, stop, start] = bench.either(
        ["STOP SLAVE IO_THREAD", "STOP SLAVE SQL_THREAD", "STOP SLAVE", "START SLAVE"],
        ["STOP REPLICA IO_THREAD", "STOP REPLICA SQL_THREAD", "STOP REPLICA", "START REPLICA"],
    );
    bench.sql(1, [stop_io]).await;
    let refusals = bench.expect_codes(&[Code::IoThread, Code::LagUnknown]).await;
    assert_says(&refusals[0], "db2", start);
    bench.sql(1, [start]).await;
    bench.expect_codes(&[]).await;
    bench.sql(1, [stop_sql]).await;
    let refusals = bench.expect_codes(&[Code::SqlThread, Code::LagUnknown]).await;
    assert_says(&refusals[0], "db2", start);
    assert!(refusals[1].sentence.contains("NULL"), "{}", refusals[1]);
    bench.sql(1, [start]).await;
    bench.expect_codes(&[]).await;

    // Both threads run and the applier waits for a row: real lag, told by the time of the event.
    bench.write(0, "locked").await.unwrap();
    bench.pair.wait_replicated().await.unwrap();
    let holder = bench.lock_rows(1).await;
    let old = "SET SESSION timestamp = UNIX_TIMESTAMP() - 100";
    bench.sql(0, [old, "UPDATE ledger.entries SET seq = 2"]).await;
    let refusals = bench.expect_codes(&[Code::Lag]).await;
    assert_says(&refusals[0], "db2", "wait until it has caught up");
    drop(holder.disconnect().await);
    bench.expect_codes(&[]).await;

    let delay = bench
        .either("CHANGE MASTER TO MASTER_DELAY=7", "CHANGE REPLICATION SOURCE TO SOURCE_DELAY=7");
    bench.sql(1, [stop, delay, start]).await;
    let refusals = bench.expect_codes(&[Code::DelayedReplica]).await;
    assert_says(&refusals[0], "db2", "take the delay off");
    bench.sql(1, [stop, &delay.replace('7', "0"), start]).await;
    bench.expect_codes(&[]).await;

    // F2: a row the replica has already, written past the binary log so that it is no errant transaction.
    let [open, close] = bench.switches();
    bench.sql(1, ["SET sql_log_bin = 0", open, &insert("twice"), close]).await;
    bench.write(0, "twice").await.unwrap();
    let refusals = bench.expect_codes(&[Code::SqlThread, Code::LagUnknown]).await;
    assert_says(&refusals[0], "db2", start);
    // MySQL's applier has workers, and only says which of them failed.
    let words = bench.either("Duplicate entry", "failed executing transaction");
    assert!(refusals[0].sentence.contains(words), "{}", refusals[0]);
}

async fn f3_f32_the_wrong_source(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let [stop_io, start_io, stop, start] = bench.either(
        ["STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD", "STOP SLAVE", "START SLAVE"],
        ["STOP REPLICA IO_THREAD", "START REPLICA IO_THREAD", "STOP REPLICA", "START REPLICA"],
    );
    // F32: on a running pair the id is only looked at when the receiver connects.
    bench.sql(1, ["SET GLOBAL server_id = 1"]).await;
    let refusals = bench.expect_codes(&[Code::SameServerId]).await;
    assert_says(&refusals[0], "db1 (127.0.0.1:", "give db2 another server_id");
    bench.sql(1, [stop_io, start_io]).await;
    bench.expect_codes(&[Code::SameServerId, Code::IoThread, Code::LagUnknown]).await;
    bench.sql(1, [stop, "SET GLOBAL server_id = 2", start]).await;
    bench.expect_codes(&[]).await;

    // F3: a third server, with the same accounts and the very same transactions. No lag, no errors.
    let other = Pair::start(flavor, &PairOptions::default()).await.unwrap();
    other.run(0, vec!["SET GLOBAL server_id = 77".to_owned()]).await.unwrap();
    if flavor == Flavor::MySql {
        // There the transactions bear the server's uuid and would be applied a second time.
        other.run(0, vec!["RESET BINARY LOGS AND GTIDS".to_owned()]).await.unwrap();
    }
    let port = other.server(0).address().port();
    let change =
        bench.either("CHANGE MASTER TO MASTER_PORT", "CHANGE REPLICATION SOURCE TO SOURCE_PORT");
    bench.sql(1, [stop, &format!("{change}={port}"), start]).await;
    let refusals = bench.expect_codes(&[Code::WrongSource]).await;
    assert_says(&refusals[0], "db2", "point it at db1");
}

async fn errant_transactions_and_switches(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let [open, close] = bench.switches();
    bench.sql(1, [open]).await;
    let refusals = bench.expect_codes(&[Code::ReplicaNotFenced]).await;
    assert_says(&refusals[0], "db2", "SET GLOBAL read_only=1");
    bench.sql(1, [close]).await;
    bench.sql(0, [close]).await;
    let refusals = bench.expect_codes(&[Code::NoPrimary]).await;
    assert_says(&refusals[0], "db1", "SET GLOBAL read_only=0");
    bench.sql(0, [open]).await;
    bench.expect_codes(&[]).await;

    bench.sql(1, [open, &insert("errant"), close]).await;
    let refusals = bench.expect_codes(&[Code::ErrantTransactions]).await;
    assert_says(&refusals[0], "db2", "see what they did");
    let errant = refusals[0].sentence.rsplit(' ').next().unwrap().to_owned();
    if flavor == Flavor::MySql {
        // The mend, as it is told.
        let gtid = format!("SET gtid_next='{errant}'");
        bench.sql(0, [gtid.as_str(), "BEGIN", "COMMIT", "SET gtid_next='automatic'"]).await;
        bench.expect_codes(&[]).await;
    } else {
        assert!(errant.starts_with("0-2-"), "{errant}");
    }

    let [stop, forget] =
        bench.either(["STOP SLAVE", "RESET SLAVE ALL"], ["STOP REPLICA", "RESET REPLICA ALL"]);
    bench.sql(1, [stop, forget]).await;
    let refusals = bench.expect_codes(&[Code::NotAReplica]).await;
    assert_says(&refusals[0], "db1 (127.0.0.1:", "set up replication");
    bench.sql(1, [open]).await;
    let refusals = bench.expect_codes(&[Code::NotAReplica, Code::TwoPrimaries]).await;
    assert_says(&refusals[1], "db2 (127.0.0.1:", "make the other read-only");
}

async fn f29_f43_accounts_and_prepared_xa(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    for (user, password) in [("repl", "wrong"), ("nobody", "none")] {
        let replication = Account { user: user.to_owned(), password: Secret::new(password) };
        let parties = || {
            bench.parties_of([0, 1].map(|index| {
                let replication = replication.clone();
                Access { replication, ..bench.access(index) }
            }))
        };
        let wanted = [Code::ReplicationLogin, Code::ReplicationLogin];
        let refusals = bench.expect_codes_of(&parties, &wanted).await;
        assert_says(&refusals[1], "db2 (127.0.0.1:", "cluster.replication");
        let words = ["1045", "no such user"];
        let is_said = words.iter().any(|word| refusals[1].sentence.contains(word));
        assert!(is_said, "{}", refusals[1]);
    }

    bench.sql(0, ["REVOKE REPLICATION SLAVE ON *.* FROM repl@'%'"]).await;
    let refusals = bench.expect_codes(&[Code::ReplicationLogin, Code::ReplicationLogin]).await;
    assert_says(&refusals[0], "db1 (127.0.0.1:", "REPLICATION SLAVE");
    bench.sql(0, ["GRANT REPLICATION SLAVE ON *.* TO repl@'%'"]).await;
    bench.expect_codes(&[]).await;

    let mut app = bench.app(0).await;
    for sql in
        ["XA START 'two phases'", &insert("xa"), "XA END 'two phases'", "XA PREPARE 'two phases'"]
    {
        app.query_drop(sql).await.unwrap();
    }
    drop(app.disconnect().await);
    let refusals = bench.expect_codes(&[Code::PreparedXa, Code::PreparedXa]).await;
    assert_says(&refusals[0], "db1 (127.0.0.1:", "XA ROLLBACK");
    assert!(refusals[0].sentence.contains("two phases"), "{}", refusals[0]);
    bench.sql(0, ["XA ROLLBACK 'two phases'"]).await;
    bench.expect_codes(&[]).await;
}

async fn f5_f46_blockers(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let mut app = bench.app(0).await;
    for sql in ["BEGIN", &insert("open")] {
        app.query_drop(sql).await.unwrap();
    }
    let refusals = bench.expect_codes(&[Code::Blocked]).await;
    assert_says(&refusals[0], "db1", &format!("KILL {}", app.id()));
    assert!(refusals[0].sentence.contains("of app@"), "{}", refusals[0]);
    assert!(refusals[0].sentence.contains("1 rows changed"), "{}", refusals[0]);
    app.query_drop("COMMIT").await.unwrap();
    bench.expect_codes(&[]).await;

    app.query_drop("LOCK TABLES ledger.entries WRITE").await.unwrap();
    if flavor == Flavor::MySql {
        let refusals = bench.expect_codes(&[Code::Blocked]).await;
        assert_says(&refusals[0], "ledger entries", &format!("KILL {}", app.id()));
    } else {
        // MariaDB shows its holder to nobody (MYSQL.md §3): there the bounded fence is what saves the site.
        bench.expect_codes(&[]).await;
    }
    app.query_drop("UNLOCK TABLES").await.unwrap();
    bench.expect_codes(&[]).await;
}

async fn f40_everything_at_once(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let mut app = bench.app(0).await;
    for sql in ["XA START 'x'", &insert("xa"), "XA END 'x'", "XA PREPARE 'x'"] {
        app.query_drop(sql).await.unwrap();
    }
    // Until its session is gone it is an open transaction too, and a second later a blocker.
    app.disconnect().await.unwrap();
    bench.pair.wait_replicated().await.unwrap();
    bench
        .sql(
            1,
            [
                bench.either("STOP SLAVE IO_THREAD", "STOP REPLICA IO_THREAD"),
                "SET GLOBAL read_only = 0",
            ],
        )
        .await;
    let parties = || {
        bench.parties_of([0, 1].map(|index| {
            let mut access = bench.access(index);
            access.replication.password = Secret::new("wrong");
            access
        }))
    };
    let wanted = [
        Code::ReplicationLogin,
        Code::PreparedXa,
        Code::ReplicationLogin,
        Code::PreparedXa,
        Code::ReplicaNotFenced,
        Code::IoThread,
        Code::LagUnknown,
    ];
    bench.expect_codes_of(&parties, &wanted).await;

    // What is refused before a swap is refused without a journal, and by the swap itself just the same.
    let Report::Refused(refusals) = bench.swap().await else { panic!("not refused") };
    assert!(codes(&refusals).contains(&Code::ReplicaNotFenced), "{refusals:#?}");
    assert!(unfinished(bench.journals()).unwrap().is_empty());
    assert!(bench.asked.all().is_empty());
}

async fn servers_that_cannot_be_swapped(flavor: Flavor) {
    let start = async |options: PairOptions| Bench::with(flavor, &options).await;
    let usual = PairOptions::default;

    let bench = start(usual().with_replica("skip-log-bin")).await;
    let refusals = bench.expect_codes(&[Code::BinlogOff]).await;
    assert_says(&refusals[0], "db2", "set log_bin");

    let [option, mend] = bench.either(
        ["log-slave-updates=OFF", "set log_slave_updates=ON"],
        ["log-replica-updates=OFF", "set log_replica_updates=ON"],
    );
    let bench = start(usual().with_replica(option)).await;
    let refusals = bench.expect_codes(&[Code::ReplicaUpdatesNotLogged]).await;
    assert_says(&refusals[0], "db2", mend);
}
