//! Replication by file and position, with GTIDs behind it and without.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use intermission::swap::{
    plan::Request,
    position::{Barrier, Tracking},
    record::{Outcome, Record},
    refusal::Code,
    sibling::Standing,
    step::Step,
};
use lab::{cluster::PairOptions, server::Flavor};
use mysql_async::{Conn, OptsBuilder, prelude::Queryable};

use crate::{
    bench::{Bench, insert, outcome_of},
    moment::{Moment, at},
    sibling::{find, port, source_of, status, stop_start, swap, warned, write_until},
};

lab::on_both!(
    f30_there_and_back_under_load,
    what_is_written_on_the_new_primary_before_it_is_promoted_ends_the_swap,
    a_rejoin_that_is_tried_again_applies_nothing_twice,
    f30_f31_siblings_are_led_or_stay_where_they_are,
);

#[tokio::test]
async fn mysql_with_gtids_and_without_auto_position() {
    let by_coordinates = PairOptions { gtid: false, ..PairOptions::default() };
    let bench = Bench::with(Flavor::MySql, &by_coordinates).await;
    there_and_back(&bench, Tracking::Gtid, &[Code::ReplicationWithoutGtid]).await;
}

fn warnings(flavor: Flavor) -> &'static [Code] {
    match flavor {
        Flavor::MariaDb => &[Code::ReplicationWithoutGtid],
        Flavor::MySql => &[Code::GtidOff, Code::ReplicationWithoutGtid],
    }
}

async fn f30_there_and_back_under_load(flavor: Flavor) {
    let bench = Bench::with(flavor, &PairOptions::default().by_coordinates(flavor)).await;
    let barrier = bench.either(Tracking::Gtid, Tracking::Coordinates);
    there_and_back(&bench, barrier, warnings(flavor)).await;
    if flavor == Flavor::MySql {
        for index in [0, 1] {
            // The applier tells as seldom again as before.
            assert_eq!(bench.ask(index, "SELECT @@replica_checkpoint_period").await, "300");
            assert_eq!(bench.ask(index, "SELECT @@gtid_executed").await, "");
        }
    }
}

async fn there_and_back(bench: &Bench, barrier: Tracking, wanted: &[Code]) {
    bench.expect_warnings(wanted).await;
    let stopped = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write_until(
        [0, 1].map(|index| bench.pair.server(index).address()),
        Arc::clone(&bench.asked.gate),
        Arc::clone(&stopped),
    ));
    for primary in [1, 0, 1] {
        let report = bench.swap().await;
        assert_eq!(bench.pair.primary_index().await.unwrap(), primary, "{report:?}");
        let journal = bench.journal();
        let Record::Opened { plan, .. } = &journal[0].record else { panic!("{journal:#?}") };
        assert_eq!((plan.barrier, plan.channel.tracking), (barrier, Tracking::Coordinates));
        let Some(Outcome::Done { facts }) = outcome_of(&journal, Step::Barrier) else {
            panic!("{journal:#?}")
        };
        let is_at = matches!(facts.barrier, Some(Barrier::At(_)));
        assert_eq!(is_at, barrier == Tracking::Coordinates, "{facts:?}");
        // As it was found, on the other one.
        let using = status(bench, 1 - primary, ["Using_Gtid", "Auto_Position"]).await;
        assert_eq!(using, bench.either("No", "0"));
        bench.expect_warnings(wanted).await;
    }
    stopped.store(true, Ordering::SeqCst);
    let acknowledged = writer.await.unwrap();
    assert!(acknowledged > 30, "{acknowledged}");
    bench.assert_same_rows().await;
    let rows = bench.ask(0, "SELECT COUNT(*) FROM ledger.entries WHERE token LIKE 'load %'").await;
    assert!(rows.parse::<u32>().unwrap() >= acknowledged, "{rows} of {acknowledged}");
}

async fn what_is_written_on_the_new_primary_before_it_is_promoted_ends_the_swap(flavor: Flavor) {
    let bench = Bench::with(flavor, &PairOptions::default().by_coordinates(flavor)).await;
    let mut root = bench.root(1).await;
    let listener = at(Moment::After(Step::CatchUp), async move {
        root.query_drop("FLUSH BINARY LOGS").await.unwrap();
    });
    let report = bench.swap_with(&Bench::request(), listener).await;
    let cause = bench.assert_rolled_back(&report).await;
    assert!(cause.contains("promote: something writes on db2: the end of its"), "{cause}");
    bench.expect_warnings(warnings(flavor)).await;
    bench.assert_same_rows().await;
    if flavor == Flavor::MySql {
        assert_eq!(bench.ask(1, "SELECT @@replica_checkpoint_period").await, "300");
    }
}

async fn a_rejoin_that_is_tried_again_applies_nothing_twice(flavor: Flavor) {
    let bench = Bench::with(flavor, &PairOptions::default().by_coordinates(flavor)).await;
    bench.write(0, "before").await.unwrap();
    let [stop, _] = stop_start(&bench);
    // Sessions on the old primary are ended before: this one comes afterwards.
    let socket = bench.pair.server(0).socket().display().to_string();
    let options = OptsBuilder::default().socket(Some(socket)).user(Some("root"));
    let mut new = bench.root(1).await;
    let rows = "SELECT COUNT(*) FROM ledger.entries WHERE token = 'arrived'";
    let listener = at(Moment::Before(Step::Prove), async move {
        let mut old = Conn::new(options).await.unwrap();
        new.query_drop(insert("arrived")).await.unwrap();
        let mut seen = 0_u32;
        while seen == 0 {
            seen = old.query_first(rows).await.unwrap().unwrap_or_default();
        }
        old.query_drop(stop).await.unwrap();
        // Counted as often as it is applied.
        new.query_drop("UPDATE ledger.entries SET seq = seq + 1 WHERE token = 'arrived'")
            .await
            .unwrap();
    });
    let mut request = Bench::request();
    request.bounds.prove = Duration::from_secs(1);
    let report = bench.swap_with(&request, listener).await;
    bench.assert_swapped(&report).await;
    let failed = bench.journal().iter().any(|entry| {
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed { .. });
        matches!(&entry.record, Record::Outcome { step: Step::Prove, outcome, .. } if failed(outcome))
    });
    assert!(failed, "{:#?}", bench.journal());
    bench.assert_same_rows().await;
    assert!(bench.has_row(0, "arrived").await);
    bench.expect_warnings(warnings(flavor)).await;
}

async fn f30_f31_siblings_are_led_or_stay_where_they_are(flavor: Flavor) {
    let options = PairOptions::default().with_siblings(2).by_coordinates(flavor);
    let bench = Bench::with(flavor, &options).await;
    warned(&bench, "db2", warnings(flavor)).await;
    bench.write(0, "before").await.unwrap();
    for (name, index) in [("db2", 1), ("db1", 0)] {
        let reports = swap(&bench, name).await;
        for report in &reports {
            assert_eq!(report.standing, Standing::Follows, "{reports:?}");
        }
        for replica in [2, 3, 1 - index] {
            assert_eq!(source_of(&bench, replica).await, port(&bench, index), "{flavor} {replica}");
        }
        bench.write(index, &format!("after {name}")).await.unwrap();
        bench.assert_same_rows().await;
    }
    // One that is behind keeps its source, which has everything too.
    let applier = bench.either(
        ["STOP SLAVE SQL_THREAD", "START SLAVE SQL_THREAD"],
        ["STOP REPLICA SQL_THREAD", "START REPLICA SQL_THREAD"],
    );
    bench.sql(2, [applier[0]]).await;
    bench.write(0, "not on db3").await.unwrap();
    let reports = swap(&bench, "db2").await;
    assert_eq!(find(&reports, "db4").standing, Standing::Follows, "{reports:?}");
    let behind = find(&reports, "db3");
    assert_eq!(behind.standing, Standing::Failed, "{reports:?}");
    assert!(behind.said.contains("does not stand at"), "{behind:?}");
    assert_eq!(source_of(&bench, 2).await, port(&bench, 0));
    bench.write(1, "by way of db1").await.unwrap();
    bench.sql(2, [applier[1]]).await;
    let sql = "SELECT COUNT(*) FROM ledger.entries WHERE token IN ('not on db3', 'by way of db1')";
    bench.wait_for(2, sql, "2").await;
}

/// F11: the last transactions are on their way when the fence falls, and the wait is for exactly those.
#[tokio::test]
async fn f11_mysql_without_gtids_waits_for_the_relay_log() {
    let bench =
        Bench::with(Flavor::MySql, &PairOptions::default().by_coordinates(Flavor::MySql)).await;
    bench.write(0, "row").await.unwrap();
    bench.pair.wait_replicated().await.unwrap();
    let holder = bench.lock_rows(1).await;
    let mut primary = bench.app(0).await;
    let listener = at(Moment::Before(Step::Hold), async move {
        primary.query_drop("UPDATE ledger.entries SET seq = 42").await.unwrap();
    });
    let mut request = Bench::request();
    request.bounds.catch_up = Duration::from_millis(700);
    let report = bench.swap_with(&request, listener).await;
    let cause = bench.assert_rolled_back(&report).await;
    assert!(cause.starts_with("catch_up: db2 has not applied"), "{cause}");
    drop(holder.disconnect().await);
    bench.expect_warnings(warnings(Flavor::MySql)).await;
    let report = bench.swap_with(&Request { ..Bench::request() }, Arc::new(|_: &_| {})).await;
    bench.assert_swapped(&report).await;
    bench.assert_same_rows().await;
}
