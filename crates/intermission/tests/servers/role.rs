//! Semi-synchronous replication and events change hands with the roles.

use std::time::Duration;

use intermission::swap::{record::Ending, refusal::Code, step::Step};
use lab::{
    cluster::PairOptions,
    server::{Flavor, Series},
};
use mysql_async::prelude::Queryable;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    bench::{Bench, codes, ending_of, insert},
    moment::{Moment, at},
};

lab::on_both!(
    f6_semi_sync_changes_hands_and_stops_no_writer,
    f6_a_new_primary_does_not_wait_for_the_replica_it_has_not_yet,
    f6_a_commit_that_waits_for_a_replica_is_seen_before_anybody_waits,
    f33_f47_events_run_on_the_primary_only_there_and_back,
    f33_an_event_that_is_running_writes_nothing_behind_the_fence,
    f33_events_that_may_not_be_moved_are_refused,
    f33_an_unwound_swap_leaves_events_and_semi_sync_as_they_were,
);
lab::on_mariadb_11_8!(
    f6_semi_sync_changes_hands_and_stops_no_writer,
    f33_f47_events_run_on_the_primary_only_there_and_back
);

/// A commit would wait this long for a replica that is not there: a test that meets it fails.
const ACK_TIMEOUT_MS: u32 = 60_000;
/// Far less than that, far more than a commit.
const PROMPT: Duration = Duration::from_secs(20);

struct Words {
    source: &'static str,
    replica: &'static str,
    acknowledged: &'static str,
}

fn words(flavor: Flavor) -> Words {
    match flavor {
        Flavor::MariaDb => Words {
            source: "rpl_semi_sync_master_enabled",
            replica: "rpl_semi_sync_slave_enabled",
            acknowledged: "SHOW GLOBAL STATUS WHERE Variable_name='Rpl_semi_sync_master_yes_tx' AND Value > 0",
        },
        Flavor::MySql => Words {
            source: "rpl_semi_sync_source_enabled",
            replica: "rpl_semi_sync_replica_enabled",
            acknowledged: "SHOW GLOBAL STATUS WHERE Variable_name='Rpl_semi_sync_source_yes_tx' AND Value > 0",
        },
    }
}

/// `[source, replica]` of the primary and of the replica.
async fn semi_sync(
    series: impl Into<Series>,
    [primary, replica]: [[bool; 2]; 2],
    waits_alone: bool,
) -> Bench {
    let series = series.into();
    let mut options = PairOptions::default();
    let [timeout, alone] = match series.flavor() {
        Flavor::MariaDb => ["rpl_semi_sync_master_timeout", "rpl_semi_sync_master_wait_no_slave"],
        Flavor::MySql => {
            options = options
                .with_both("plugin-load-add=semisync_source.so")
                .with_both("plugin-load-add=semisync_replica.so");
            ["rpl_semi_sync_source_timeout", "rpl_semi_sync_source_wait_no_replica"]
        }
    };
    let options = options
        .with_both(&format!("{timeout}={ACK_TIMEOUT_MS}"))
        .with_both(&format!("{alone}={}", u8::from(waits_alone)));
    let bench = Bench::with(series, &options).await;
    let Words { source, replica: acknowledges, .. } = words(series.flavor());
    let [stop, start] =
        bench.either(["STOP SLAVE", "START SLAVE"], ["STOP REPLICA", "START REPLICA"]);
    // The replica first: the primary waits from the moment it is told to.
    for (index, [is_source, is_replica]) in [(1, replica), (0, primary)] {
        let set = |name, on| format!("SET GLOBAL {name}={}", u8::from(on));
        bench.sql(index, [set(acknowledges, is_replica), set(source, is_source)]).await;
        if index == 1 {
            bench.sql(1, [stop, start]).await;
            bench.expect_codes(&[]).await;
        }
    }
    bench
}

async fn switches(bench: &Bench, index: usize) -> [String; 2] {
    let Words { source, replica, .. } = words(bench.flavor());
    let ask = async |name| bench.ask(index, &format!("SELECT @@global.{name}")).await;
    [ask(source).await, ask(replica).await]
}

/// A write that a missing acknowledgement would hold up.
async fn writes_promptly(bench: &Bench, index: usize, token: &str) {
    timeout(PROMPT, bench.write(index, token)).await.expect("no commit waits").unwrap();
}

async fn f6_semi_sync_changes_hands_and_stops_no_writer(series: impl Into<Series>) {
    let series = series.into();
    for (before, waits_alone) in
        [([[true, false], [false, true]], true), ([[true, true], [true, true]], false)]
    {
        let bench = semi_sync(series, before, waits_alone).await;
        let on = |[source, replica]: [bool; 2]| [source, replica].map(|b| u8::from(b).to_string());
        writes_promptly(&bench, 0, "before").await;
        for (old, new) in [(0, 1), (1, 0)] {
            let mut app = bench.app(new).await;
            let insert = insert(&format!("released to {new}"));
            let write = async move {
                timeout(PROMPT, app.query_drop(insert)).await.expect("no commit waits").unwrap();
            };
            let report =
                bench.swap_with(&Bench::request(), at(Moment::Before(Step::Detach), write)).await;
            let (ending, _) = ending_of(&report);
            assert_eq!(ending, Ending::Swapped, "{report:?}");
            assert_eq!(switches(&bench, new).await, on(before[0]), "{before:?} new primary {new}");
            assert_eq!(switches(&bench, old).await, on(before[1]), "{before:?} old primary {old}");
            writes_promptly(&bench, new, &format!("after {new}")).await;
            let acknowledged = bench.ask(new, words(series.flavor()).acknowledged).await;
            assert!(!acknowledged.is_empty(), "nothing was acknowledged to {new}");
        }
        bench.assert_same_rows().await;
    }
}

/// The replica waits for replicas of its own, and has none: no harm is seen before it has something to commit.
async fn f6_a_new_primary_does_not_wait_for_the_replica_it_has_not_yet(flavor: Flavor) {
    let bench = semi_sync(flavor, [[true, true], [true, true]], true).await;
    let (mut app, insert) = (bench.app(1).await, insert("released"));
    let write = async move {
        timeout(PROMPT, app.query_drop(insert)).await.expect("no commit waits").unwrap();
    };
    let report = bench.swap_with(&Bench::request(), at(Moment::Before(Step::Detach), write)).await;
    bench.assert_swapped(&report).await;
    assert_eq!(switches(&bench, 1).await, ["1", "1"]);
    assert_eq!(
        switches(&bench, 0).await,
        ["0", "1"],
        "its applier would wait for replicas of its own"
    );
    writes_promptly(&bench, 1, "after").await;
    bench.assert_same_rows().await;
}

async fn f6_a_commit_that_waits_for_a_replica_is_seen_before_anybody_waits(flavor: Flavor) {
    // The replica replicates, healthy, and acknowledges nothing.
    let bench = semi_sync(flavor, [[true, false], [false, false]], true).await;
    let mut app = bench.app(0).await;
    let waiting = tokio::spawn(async move { app.query_drop(insert("waits")).await });
    // MySQL's replica has applied already what the primary has not committed yet.
    let expected: &[Code] =
        bench.either(&[Code::Blocked], &[Code::ErrantTransactions, Code::Blocked]);
    let refusals = bench.expect_codes(expected).await;
    assert!(refusals.last().unwrap().sentence.contains("semi-sync"), "{refusals:?}");
    assert!(!bench.asked.all().iter().any(|asked| asked == "hold"));
    bench.sql(0, [format!("SET GLOBAL {}=0", words(flavor).source)]).await;
    waiting.await.unwrap().unwrap();
    bench.expect_codes(&[]).await;
}

/// What our account needs besides where there are events of administrators.
pub(crate) async fn allow_events(bench: &Bench) {
    let more = bench.either("SUPER, SET USER", "SET_ANY_DEFINER, SYSTEM_USER");
    bench.sql(0, [format!("GRANT {more} ON *.* TO operator@'%'")]).await;
    bench.pair.wait_replicated().await.unwrap();
}

pub(crate) async fn schedule(bench: &Bench) {
    bench
        .sql(
            0,
            [
                "SET SESSION sql_mode='ANSI_QUOTES'",
                "CREATE TABLE ledger.ticks (id BIGINT AUTO_INCREMENT PRIMARY KEY, server INT, at DATETIME(6))",
                "CREATE EVENT ledger.tick ON SCHEDULE EVERY 1 SECOND DO \
                 INSERT INTO ledger.ticks (server, at) VALUES (@@server_id, NOW(6))",
                "CREATE EVENT ledger.off ON SCHEDULE EVERY 1 SECOND DISABLE DO \
                 INSERT INTO ledger.ticks (server, at) VALUES (-@@server_id, NOW(6))",
            ],
        )
        .await;
    for index in [0, 1] {
        bench.sql(index, ["SET GLOBAL event_scheduler=ON"]).await;
    }
    bench.pair.wait_replicated().await.unwrap();
}

async fn event(bench: &Bench, index: usize) -> String {
    let sql = "SELECT CONCAT_WS(' ', status, definer, sql_mode, interval_value) FROM information_schema.events \
               WHERE event_name='tick'";
    bench.ask(index, sql).await
}

async fn ticks(bench: &Bench, index: usize, server: u32) -> u64 {
    let sql = format!("SELECT COUNT(*) FROM ledger.ticks WHERE server={server}");
    bench.ask(index, &sql).await.parse().unwrap()
}

pub(crate) async fn wait_for_a_tick(bench: &Bench, server: u32) {
    let index = usize::try_from(server - 1).unwrap();
    let (before, began) = (ticks(bench, index, server).await, Instant::now());
    while ticks(bench, index, server).await == before {
        assert!(began.elapsed() < PROMPT, "no event runs on server {server}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn f33_f47_events_run_on_the_primary_only_there_and_back(series: impl Into<Series>) {
    let bench = Bench::new(series).await;
    allow_events(&bench).await;
    schedule(&bench).await;
    wait_for_a_tick(&bench, 1).await;
    let enabled = event(&bench, 0).await;
    assert!(enabled.starts_with("ENABLED root@localhost "), "{enabled}");
    let elsewhere = event(&bench, 1).await;
    for (old, new) in [(0, 1), (1, 0)] {
        let report = bench.swap().await;
        let (ending, _) = ending_of(&report);
        assert_eq!(ending, Ending::Swapped, "{report:?}");
        let (from, to) = (u32::try_from(old + 1).unwrap(), u32::try_from(new + 1).unwrap());
        let stopped = ticks(&bench, old, from).await;
        wait_for_a_tick(&bench, to).await;
        wait_for_a_tick(&bench, to).await;
        assert_eq!(event(&bench, new).await, enabled, "definer, mode and interval are kept");
        assert_eq!(event(&bench, old).await, elsewhere);
        assert_eq!(ticks(&bench, old, from).await, stopped, "it runs on the old primary still");
        assert_eq!(bench.ask(old, "SELECT @@global.event_scheduler").await, "ON");
        bench.expect_codes(&[]).await;
    }
    assert_eq!(bench.ask(0, "SELECT COUNT(*) FROM ledger.ticks WHERE server < 0").await, "0");
    let differing = "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT(id, server, at)))) FROM ledger.ticks WHERE id < 4";
    assert_eq!(bench.ask(0, differing).await, bench.ask(1, differing).await);
}

/// It writes all the time, as an administrator whom MariaDB's read-only does not keep from it.
async fn f33_an_event_that_is_running_writes_nothing_behind_the_fence(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    allow_events(&bench).await;
    bench
        .sql(
            0,
            [
                "CREATE TABLE ledger.ticks (id BIGINT AUTO_INCREMENT PRIMARY KEY, server INT)",
                "CREATE EVENT ledger.tick ON SCHEDULE EVERY 1 DAY DO WHILE 1 DO \
                 INSERT INTO ledger.ticks (server) VALUES (@@server_id); DO SLEEP(0.01); END WHILE",
                "SET GLOBAL event_scheduler=ON",
            ],
        )
        .await;
    bench.sql(1, ["SET GLOBAL event_scheduler=ON"]).await;
    wait_for_a_tick(&bench, 1).await;
    let report = bench.swap().await;
    let (ending, _) = ending_of(&report);
    assert_eq!(ending, Ending::Swapped, "{report:?}");
    let running = "SELECT COUNT(*) FROM information_schema.processlist WHERE command='Connect' AND user='root'";
    assert_eq!(bench.ask(0, running).await, "0", "it runs on the old primary still");
    // Nothing of it is on one server only.
    bench.expect_codes(&[]).await;
    bench.pair.wait_replicated().await.unwrap();
    let (old, new) = (ticks(&bench, 0, 1).await, ticks(&bench, 1, 1).await);
    assert!(old > 0 && old == new, "{old} on the old primary, {new} on the new one");
}

async fn f33_events_that_may_not_be_moved_are_refused(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    schedule(&bench).await;
    let refusals = bench.refusals().await;
    assert!(codes(&refusals).iter().all(|code| *code == Code::EventsDenied), "{refusals:?}");
    assert!(refusals[0].sentence.contains("ledger.tick"), "{refusals:?}");
    // As each refusal says: then they are somebody else's business.
    bench.sql(0, ["SET GLOBAL event_scheduler=OFF"]).await;
    bench.expect_codes(&[]).await;
    bench.sql(0, ["SET GLOBAL event_scheduler=ON"]).await;
    allow_events(&bench).await;
    bench.expect_codes(&[]).await;
}

async fn f33_an_unwound_swap_leaves_events_and_semi_sync_as_they_were(flavor: Flavor) {
    let bench = semi_sync(flavor, [[true, true], [true, true]], false).await;
    allow_events(&bench).await;
    schedule(&bench).await;
    let (mut replica, mut app) = (bench.root(1).await, bench.app(0).await);
    let stop = bench.either("STOP SLAVE SQL_THREAD", "STOP REPLICA SQL_THREAD");
    let listener = at(Moment::Before(Step::Hold), async move {
        replica.query_drop(stop).await.unwrap();
        app.query_drop(insert("not applied")).await.unwrap();
    });
    let report = bench.swap_with(&Bench::request(), listener).await;
    let cause = bench.assert_rolled_back(&report).await;
    assert!(cause.starts_with("catch_up:"), "{cause}");
    assert_eq!(switches(&bench, 1).await, ["1", "1"]);
    assert_eq!(bench.ask(0, "SELECT @@global.event_scheduler").await, "ON");
    assert!(event(&bench, 0).await.starts_with("ENABLED "));
    wait_for_a_tick(&bench, 1).await;
}
