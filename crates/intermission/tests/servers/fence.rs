//! The fence: bounded, and gone when it is given up.

use std::time::Duration;

use intermission::swap::server::{Effect, Server};
use lab::server::Flavor;
use mysql_async::prelude::Queryable;
use tokio::time::{Instant, timeout};

use crate::bench::{Bench, insert};

lab::on_both!(
    f5_f7_a_blocked_fence_is_bounded_and_gone,
    f7_a_fence_without_an_answer_cannot_come_late
);

const FENCE: Duration = Duration::from_millis(250);
const PENDING: &str = "SELECT COUNT(*) FROM information_schema.processlist \
     WHERE info LIKE 'SET GLOBAL%read_only%' OR info LIKE 'FLUSH TABLES%'";

async fn f5_f7_a_blocked_fence_is_bounded_and_gone(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    bench.write(0, "row").await.unwrap();
    bench
        .sql(0, ["CREATE TABLE ledger.other (n INT)", "INSERT INTO ledger.other VALUES (1)"])
        .await;
    let blockers = [
        "LOCK TABLES ledger.other WRITE",
        "UPDATE ledger.other SET n = 2 WHERE SLEEP(60) = 0",
        "INSERT INTO ledger.other SELECT SLEEP(60)",
    ];
    for (turn, sql) in blockers.into_iter().enumerate() {
        let server = bench.server(0);
        server.lock(false).await.unwrap();
        let mut app = bench.app(0).await;
        let id = app.id();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let ended = app.query_drop(sql).await;
            drop(begun.send(ended));
            // The session lives until it is killed.
            std::future::pending::<()>().await;
        });
        if turn == 0 {
            has_begun.await.unwrap().unwrap();
        } else {
            bench.wait_for(0, &asleep(id), "1").await;
        }
        let began = Instant::now();
        let error = server.fence(FENCE).await.expect_err(sql);
        let took = began.elapsed();
        assert_eq!(error.effect, Effect::Refused, "{error}");
        assert!(error.to_string().contains("our statement was killed"), "{error}");
        assert!(took >= FENCE && took < FENCE * 12, "{sql}: {took:?}");
        assert_eq!(bench.ask(0, PENDING).await, "0", "{sql}");
        assert_eq!(bench.ask(0, "SELECT @@global.read_only").await, "0", "{sql}");
        // What had queued behind our statement, and what comes now, goes on at once.
        let token = format!("after {turn}");
        let write = bench.write(0, &token);
        timeout(Duration::from_secs(5), write).await.expect("nothing hangs").unwrap();
        bench.sql(0, [format!("KILL {id}")]).await;
        // The same session fences as soon as nothing is in the way.
        bench
            .wait_for(
                0,
                &format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {id}"),
                "0",
            )
            .await;
        server.fence(Duration::from_secs(5)).await.expect(sql);
        assert!(!server.access().await.unwrap().is_writable());
        let refused =
            bench.write(0, "behind the fence").await.expect_err("a write behind the fence");
        assert!(
            refused.to_string().contains("1290") || refused.to_string().contains("read-only"),
            "{refused}"
        );
        server.restore(intermission::swap::observation::Access::WRITABLE).await.unwrap();
        server.unlock().await.unwrap();
    }
    bench.assert_same_rows().await;
}

/// Whether a session is in the SLEEP() of its statement.
pub(crate) fn asleep(id: u32) -> String {
    format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {id} AND state = 'User sleep'"
    )
}

async fn f7_a_fence_without_an_answer_cannot_come_late(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let mut access = bench.access(0);
    access.statement = Duration::from_secs(1);
    let server = intermission::mysql::MySqlServer::new(access);
    server.lock(false).await.unwrap();
    server.access().await.unwrap();
    bench.freeze(0).await;
    let error = server.fence(Duration::from_millis(50)).await.expect_err("nobody answers");
    assert_eq!(error.effect, Effect::Unknown, "{error}");
    bench.pair.server(0).resume().unwrap();
    // The undo comes after it, whatever became of it: it ends the session that was given up first.
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = server.restore(intermission::swap::observation::Access::WRITABLE).await {
        assert!(Instant::now() < deadline, "{error}");
    }
    let mut app = bench.app(0).await;
    for number in 0..50 {
        app.query_drop(insert(&format!("after {number}"))).await.expect("writable, and stays so");
    }
    assert_eq!(bench.ask(0, PENDING).await, "0");
}
