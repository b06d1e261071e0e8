//! The sessions a swap works on: bounded, never out of step, never without the lock.

use std::time::Duration;

use intermission::{
    mysql::{Access, MySqlServer},
    swap::{
        position::{Barrier, Tracking},
        refusal::Code,
        server::{Effect, Server, TRANSACTIONS_FRESH_AFTER},
        step::Step,
    },
};
use lab::server::Flavor;
use mysql_async::prelude::Queryable;
use tokio::time::{Instant, sleep};

use crate::{
    bench::{Bench, insert},
    moment::{Moment, at},
};

/// How long those who leave by themselves are waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a machine that is busy may take to ask for a list often enough to keep it old.
const KEPT_OLD_WITHIN: Duration = Duration::from_secs(30);

lab::on_both!(f45_f46_what_is_read_is_what_is, a_session_changes_only_what_it_may);

async fn f45_f46_what_is_read_is_what_is(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    f45_a_late_answer_is_never_taken_for_another(&bench).await;
    f46_open_transactions_come_and_go(&bench).await;
    f46_a_list_that_is_kept_old_is_not_believed(&bench).await;
    the_age_of_a_transaction_knows_no_time_zone(&bench).await;
}

async fn a_session_changes_only_what_it_may(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    a_session_without_the_lock_changes_nothing(&bench).await;
    the_end_of_sessions_spares_our_own(&bench).await;
    the_end_of_many_sessions_spares_who_replicates(&bench).await;
    a_short_wait_timeout_does_not_end_a_swap(&bench).await;
}

async fn f45_a_late_answer_is_never_taken_for_another(bench: &Bench) {
    let statement = Duration::from_millis(300);
    let server = MySqlServer::new(Access { statement, ..bench.access(0) });
    server.lock(false).await.unwrap();
    let executed = server.executed().await.unwrap();
    for _ in 0..3 {
        bench.freeze(0).await;
        // The answer of this one is on its way when the next is asked.
        let error = server.access().await.expect_err("nobody answers");
        assert_eq!(error.effect, Effect::Unknown, "{error}");
        assert!(error.to_string().contains("no answer within"), "{error}");
        bench.pair.server(0).resume().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let answer = loop {
            match server.executed().await {
                Ok(answer) => break answer,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        assert_eq!(answer, executed);
        let look = server.look(Tracking::Gtid).await.unwrap();
        assert!(look.access.is_writable());
        let Barrier::Gtid(barrier) = look.barrier else { panic!("{look:?}") };
        assert_eq!(barrier.minus(&executed).to_string(), "");
    }
}

async fn f46_open_transactions_come_and_go(bench: &Bench) {
    let server = bench.server(0);
    let [mut first, mut second] = [bench.app(0).await, bench.app(0).await];
    assert_eq!(server.open_transactions().await.unwrap(), []);
    for round in 0..5 {
        let [ends, begins] =
            if round % 2 == 0 { [&mut second, &mut first] } else { [&mut first, &mut second] };
        ends.query_drop("COMMIT").await.unwrap();
        begins.query_drop("BEGIN").await.unwrap();
        begins.query_drop(insert(&format!("round {round}"))).await.unwrap();
        let id = u64::from(begins.id());
        let open = server.open_transactions().await.unwrap();
        let sessions: Vec<u64> = open.iter().map(|blocker| blocker.session).collect();
        assert_eq!(sessions, [id], "round {round}: {open:?}");
        assert_eq!((open[0].user.as_str(), open[0].rows), ("app", Some(1)));
    }
    first.query_drop("COMMIT").await.unwrap();
    second.query_drop("COMMIT").await.unwrap();
    assert_eq!(server.open_transactions().await.unwrap(), []);
}

/// A monitoring agent that asks all the time leaves everybody with its first answer.
async fn f46_a_list_that_is_kept_old_is_not_believed(bench: &Bench) {
    const LIST: &str = "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx";
    let (server, mut agent) = (bench.server(0), bench.root(0).await);
    let mut app = bench.app(0).await;
    agent.query_drop(LIST).await.unwrap();
    let agent = tokio::spawn(async move {
        loop {
            agent.query_drop(LIST).await.unwrap();
            sleep(Duration::from_millis(5)).await;
        }
    });
    app.query_drop("BEGIN").await.unwrap();
    app.query_drop(insert("kept old")).await.unwrap();
    let deadline = Instant::now() + KEPT_OLD_WITHIN;
    for look_at_blockers in [false, true] {
        let error = loop {
            let listed = match look_at_blockers {
                true => server.blockers().await,
                false => server.open_transactions().await,
            };
            match listed {
                // The agent had no processor for 100 ms, and the list is a new one.
                Ok(new) if !new.is_empty() && Instant::now() < deadline => {}
                listed => break listed.expect_err("the list does not have the transaction"),
            }
        };
        assert_eq!(error.effect, Effect::Refused);
        assert!(error.to_string().contains("more often than every 100 ms"), "{error}");
    }
    agent.abort();
    let open = server.open_transactions().await.unwrap();
    assert_eq!(open.iter().map(|one| one.session).collect::<Vec<_>>(), [u64::from(app.id())]);
    app.query_drop("ROLLBACK").await.unwrap();
}

async fn the_age_of_a_transaction_knows_no_time_zone(bench: &Bench) {
    for zone in ["+07:00", "-07:00"] {
        for index in [0, 1] {
            bench.sql(index, [format!("SET GLOBAL time_zone = '{zone}'")]).await;
        }
        let server = bench.server(0);
        let mut app = bench.app(0).await;
        app.query_drop("BEGIN").await.unwrap();
        app.query_drop(insert(zone)).await.unwrap();
        sleep(TRANSACTIONS_FRESH_AFTER).await;
        let young = server.open_transactions().await.unwrap();
        assert!(young[0].age_s < 60, "{zone}: {young:?}");
        // Older than a second it is a blocker, wherever the server stands.
        bench.expect_codes(&[Code::Blocked]).await;
        app.query_drop("ROLLBACK").await.unwrap();
    }
}

async fn a_session_without_the_lock_changes_nothing(bench: &Bench) {
    let (one, other) = (bench.server(0), bench.server(0));
    one.lock(false).await.unwrap();
    let error = other.lock(false).await.expect_err("one has it");
    let said = error.to_string();
    assert!(said.contains("another swap is at work") && said.contains("end it: KILL "), "{said}");
    // Interrupted while it waits for the lock, it has no lock: the server's error must not pass for one.
    let waiting =
        "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT GET_LOCK%'";
    let mut root = bench.root(0).await;
    let (refused, ()) = tokio::join!(other.lock(false), async {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(id) = root.query_first::<u64, _>(waiting).await.unwrap() {
                drop(root.query_drop(format!("KILL QUERY {id}")).await);
                return;
            }
            assert!(Instant::now() < deadline, "nobody waits for the lock");
        }
    });
    refused.expect_err("interrupted");
    let error = other.promote().await.expect_err("without the lock");
    assert_eq!(error.effect, Effect::NotSent, "{error}");
    other.fence(Duration::from_secs(1)).await.expect_err("without the lock");
    assert!(one.access().await.unwrap().is_writable());
    // Only a recovery takes the lock over, and then the former holder changes nothing any more.
    other.lock(true).await.unwrap();
    one.fence(Duration::from_secs(1)).await.expect_err("its session is ended");
    one.fence(Duration::from_secs(1)).await.expect_err("and the lock is the other's");
    assert!(other.access().await.unwrap().is_writable());
    other.unlock().await.unwrap();
    one.lock(false).await.unwrap();
}

async fn the_end_of_sessions_spares_our_own(bench: &Bench) {
    let server = bench.server(0);
    server.lock(true).await.unwrap();
    let mut root = bench.root(0).await;
    // Our second session dies; the one opened in its place must not end itself, again and again.
    let lock: u64 = root.query_first("SELECT IS_USED_LOCK('intermission')").await.unwrap().unwrap();
    let ids: Vec<u64> = root
        .query("SELECT id FROM information_schema.processlist WHERE user = 'operator'")
        .await
        .unwrap();
    for id in ids.iter().filter(|id| **id != lock) {
        root.query_drop(format!("KILL {id}")).await.unwrap();
    }
    let mut apps = vec![bench.app(0).await, bench.app(0).await];
    if let Err(error) = server.end_sessions(Duration::ZERO).await {
        // It notices that the session is gone, and says so; the retry has a new one.
        assert_eq!(error.effect, Effect::Unknown, "{error}");
        server.end_sessions(Duration::ZERO).await.expect("a second try");
    }
    for app in &mut apps {
        app.query_drop("SELECT 1").await.expect_err("ended");
    }
    // MySQL protects an administrator's session from our account, and that must not keep us from the others.
    assert_eq!(root.query_drop("SELECT 1").await.is_err(), bench.flavor() == Flavor::MariaDb);
    assert_eq!(server.end_sessions(Duration::ZERO).await.unwrap(), 0);
    // A guardian's are ours too.
    let guardian = bench.server(0);
    guardian.stand_by().await.unwrap();
    let sessions = guardian.sessions().await;
    server.spare(sessions.clone());
    assert_eq!(server.end_sessions(Duration::ZERO).await.unwrap(), 0);
    guardian.access().await.expect("it was left alone");
    assert_eq!((sessions.len(), guardian.sessions().await), (2, sessions));
    server.spare(Vec::new());
    assert_eq!(server.end_sessions(Duration::ZERO).await.unwrap(), 2);
    guardian.access().await.expect_err("nobody was to be spared");
    // One that ends by itself meanwhile is not told to, and one that does not, is.
    let (leaving, mut staying) = (bench.app(0).await, bench.app(0).await);
    let (ended, left) = tokio::join!(server.end_sessions(PATIENCE), leaving.disconnect());
    left.expect("a goodbye");
    assert_eq!(ended.unwrap(), 1);
    staying.query_drop("SELECT 1").await.expect_err("ended");
    // Replication goes on.
    bench.write(0, "after").await.unwrap();
    bench.pair.wait_replicated().await.unwrap();
    bench.expect_codes(&[]).await;
}

/// With so many of one account they are ended by the account where the server can do that: replication's and our own stay, as
/// does a replica that logs in with the application's account.
async fn the_end_of_many_sessions_spares_who_replicates(bench: &Bench) {
    const MANY: usize = 80;
    let server = bench.server(0);
    server.lock(true).await.unwrap();
    let mut apps = Vec::new();
    for _ in 0..MANY {
        apps.push(bench.app(0).await);
    }
    apps[MANY - 1].query_drop("BEGIN").await.unwrap();
    apps[MANY - 1].query_drop(insert("never committed")).await.unwrap();
    let another = bench.server(0);
    another.access().await.unwrap();
    let mut root = bench.root(0).await;
    let dumps = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
    let dumping: Vec<u64> = root.query(dumps).await.unwrap();
    assert_eq!(dumping.len(), 1);
    let ended = server.end_sessions(Duration::ZERO).await.unwrap();
    assert!(ended >= MANY, "{ended}");
    for app in &mut apps {
        app.query_drop("SELECT 1").await.expect_err("ended");
    }
    assert_eq!(bench.root(0).await.query::<u64, _>(dumps).await.unwrap(), dumping);
    // Still on the session that has the lock.
    server.restore(server.access().await.unwrap()).await.unwrap();
    assert!(server.look(Tracking::Gtid).await.unwrap().access.is_writable());
    server.unlock().await.unwrap();
}

async fn a_short_wait_timeout_does_not_end_a_swap(bench: &Bench) {
    for index in [0, 1] {
        bench.sql(index, ["SET GLOBAL wait_timeout = 1"]).await;
    }
    let listener = at(Moment::Before(Step::Hold), sleep(Duration::from_millis(2500)));
    let report = bench.swap_with(&Bench::request(), listener).await;
    bench.assert_swapped(&report).await;
}
