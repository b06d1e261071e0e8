//! Who would write through the fence: administrators on MariaDB, XA transactions on MySQL.

use std::sync::mpsc;

use intermission::swap::{record::Ending, server::Server, step::Step};
use lab::server::{Flavor, Series};
use mysql_async::{Conn, prelude::Queryable};
use tokio::{
    task::JoinHandle,
    time::{Duration, timeout},
};

use crate::{
    bench::{Bench, ending_of, insert},
    moment::{Moment, at},
};

lab::on_both!(
    f8_an_administrator_does_not_write_behind_the_fence,
    f8_an_administrator_goes_on_when_the_fence_is_lifted,
    f8_a_fence_whose_session_is_ended_is_none,
    f43_xa_between_the_last_look_and_the_fence,
    f38_by_hand_writes_go_on_while_a_swap_stands_still,
);
lab::on_mariadb_11_8!(
    f8_an_administrator_does_not_write_behind_the_fence,
    f8_an_administrator_goes_on_when_the_fence_is_lifted,
    f43_xa_between_the_last_look_and_the_fence,
);

/// How long what a test has begun may take to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Sessions that wait to commit.
const WAITING: &str = "SELECT COUNT(*) FROM information_schema.processlist \
     WHERE state = 'Waiting for backup lock' AND info LIKE 'INSERT%'";

type Written = JoinHandle<Result<(), mysql_async::Error>>;

/// Begins to write, and waits until it is seen to wait or is done.
async fn begin_to_write(mut conn: Conn, watcher: &mut Conn, token: String) -> Written {
    let written = tokio::spawn(async move { conn.query_drop(insert(&token)).await });
    while !written.is_finished() {
        let waiting: Option<u64> = watcher.query_first(WAITING).await.unwrap();
        if waiting.unwrap() > 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    written
}

async fn outcome(written: Written) -> Result<(), mysql_async::Error> {
    timeout(PATIENCE, written).await.expect("it ends").unwrap()
}

async fn f8_an_administrator_does_not_write_behind_the_fence(series: impl Into<Series>) {
    let bench = Bench::new(series).await;
    bench.write(0, "row").await.unwrap();
    for moment in [Moment::After(Step::Fence), Moment::After(Step::EndSessions)] {
        let old = bench.pair.primary_index().await.unwrap();
        let (root, mut watcher) = (bench.root(old).await, bench.root(old).await);
        let token = format!("{moment:?} {old}");
        let row = token.clone();
        let (told, begun) = mpsc::channel();
        // A session of before the swap would be ended with the application's.
        let listener = at(moment, async move {
            told.send(begin_to_write(root, &mut watcher, token).await).unwrap();
        });
        let report = bench.swap_with(&Bench::request(), listener).await;
        if let Ok(written) = begun.recv() {
            let refused = outcome(written).await;
            assert!(refused.is_err(), "{moment:?}: written behind the fence");
        }
        assert_eq!(ending_of(&report).0, Ending::Swapped, "{moment:?}: {report:?}");
        for index in [0, 1] {
            assert!(!bench.has_row(index, &row).await, "{moment:?}: server {index} has it");
        }
        bench.assert_same_rows().await;
        bench.expect_codes(&[]).await;
    }
}

async fn f8_an_administrator_goes_on_when_the_fence_is_lifted(series: impl Into<Series>) {
    let bench = Bench::new(series).await;
    let applier = bench.either("SLAVE", "REPLICA");
    let (root, mut watcher) = (bench.root(0).await, bench.root(0).await);
    let mut replica = bench.root(1).await;
    let mut app = bench.app(0).await;
    let (told, begun) = mpsc::channel();
    let listener = at(Moment::Before(Step::Fence), async move {
        // What the replica does not apply keeps the swap from its commit point.
        replica.query_drop(format!("STOP {applier} SQL_THREAD")).await.unwrap();
        app.query_drop(insert("not applied")).await.unwrap();
        told.send(tokio::spawn(async move {
            while watcher.query_first::<u8, _>("SELECT @@global.read_only").await.unwrap()
                != Some(1)
            {
                tokio::task::yield_now().await;
            }
            outcome(begin_to_write(root, &mut watcher, "by root".to_owned()).await).await
        }))
        .unwrap();
    });
    let report = bench.swap_with(&Bench::request(), listener).await;
    let cause = bench.assert_rolled_back(&report).await;
    assert!(cause.contains("has not applied"), "{cause}");
    let written = outcome(begun.recv().unwrap()).await;
    // MySQL answers an administrator as it answers everybody: with an error, at once.
    let is_mariadb = bench.flavor() == Flavor::MariaDb;
    assert_eq!(written.is_ok(), is_mariadb);
    assert_eq!(bench.has_row(0, "by root").await, is_mariadb);
    bench.sql(1, [format!("START {applier} SQL_THREAD")]).await;
    bench.assert_same_rows().await;
    bench.expect_codes(&[]).await;
}

async fn f8_a_fence_whose_session_is_ended_is_none(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    for moment in [Moment::After(Step::Fence), Moment::After(Step::Barrier)] {
        let mut root = bench.root(0).await;
        let token = format!("{moment:?}");
        let row = token.clone();
        let (told, written) = mpsc::channel();
        let listener = at(moment, async move {
            let id: Option<u32> =
                root.query_first("SELECT IS_USED_LOCK('intermission')").await.unwrap();
            root.query_drop(format!("KILL {}", id.unwrap())).await.unwrap();
            told.send(root.query_drop(insert(&token)).await.is_ok()).unwrap();
        });
        let report = bench.swap_with(&Bench::request(), listener).await;
        let was_written = written.recv().unwrap();
        if flavor == Flavor::MySql {
            assert!(!was_written, "super_read_only is no session's");
            assert_eq!(ending_of(&report).0, Ending::Swapped, "{moment:?}: {report:?}");
            break;
        }
        assert!(was_written, "nothing keeps an administrator from it any more");
        let cause = bench.assert_rolled_back(&report).await;
        assert!(cause.contains("administrators can write through the fence of db1"), "{cause}");
        assert!(bench.has_row(0, &row).await);
        bench.assert_same_rows().await;
    }
    bench.expect_codes(&[]).await;
}

/// Prepared XA commits through MySQL's fence, and what is not prepared yet can be.
async fn f43_xa_between_the_last_look_and_the_fence(series: impl Into<Series>) {
    let bench = Bench::new(series).await;
    bench.write(0, "row").await.unwrap();
    let begin = ["XA START 'late'".to_owned(), insert("xa")];
    let prepare = ["XA END 'late'", "XA PREPARE 'late'"];
    for prepared in [true, false] {
        let mut app = bench.app(0).await;
        let (kept, back) = mpsc::channel();
        let mut statements = begin.to_vec();
        statements.extend(prepare.iter().filter(|_| prepared).map(|sql| (*sql).to_owned()));
        let listener = at(Moment::After(Step::Settle), async move {
            for sql in statements {
                app.query_drop(sql).await.unwrap();
            }
            kept.send(app).unwrap();
        });
        let report = bench.swap_with(&Bench::request(), listener).await;
        let mut app = back.recv().unwrap();
        if !prepared && bench.flavor() == Flavor::MariaDb {
            // There it cannot be prepared behind the fence, and goes with its session.
            assert_eq!(ending_of(&report).0, Ending::Swapped, "{report:?}");
            assert!(app.query_drop("XA END 'late'").await.is_err());
            assert_eq!(
                bench.ask(0, "SELECT COUNT(*) FROM ledger.entries WHERE token = 'xa'").await,
                "0"
            );
        } else {
            let cause = bench.assert_rolled_back(&report).await;
            assert!(cause.contains("the fence of db1 does not stop"), "{cause}");
            assert!(cause.contains("XA transaction"), "{cause}");
            for sql in prepare.iter().filter(|_| !prepared).chain(["XA ROLLBACK 'late'"].iter()) {
                app.query_drop(*sql).await.unwrap();
            }
        }
        bench.assert_same_rows().await;
        bench.expect_codes(&[]).await;
    }
}

/// A process that stands still keeps its session, and the session its lock.
async fn f38_by_hand_writes_go_on_while_a_swap_stands_still(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let server = bench.server(0);
    server.lock(false).await.unwrap();
    server.fence(Duration::from_secs(5)).await.unwrap();
    let by_hand = crate::emergency::typed(flavor, &server.command_to_open());
    assert!(by_hand.status.success(), "{}", String::from_utf8_lossy(&by_hand.stderr));
    timeout(PATIENCE, bench.write(0, "by hand")).await.expect("nothing waits").unwrap();
}
