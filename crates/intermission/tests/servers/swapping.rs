//! Whole swaps, with something going wrong at an exact moment.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use intermission::swap::{
    plan::Request,
    record::{Action, Ending, Outcome, Record},
    refusal::Code,
    run::Report,
    step::Step,
};
use lab::server::{Flavor, Series};
use mysql_async::{Conn, prelude::Queryable};
use tokio::time::{Instant, sleep};

use crate::{
    bench::{Bench, app_options, codes, insert, outcome_of},
    moment::{Moment, at, connect},
};

lab::on_both!(
    f15_f30_there_and_back_and_nothing_to_do,
    f1_f5_f43_what_is_unwound_leaves_a_healthy_pair,
    f5_a_large_transaction_is_not_quiet_however_young,
    f11_what_is_still_in_the_relay_log,
    f10_f12_never_two_writers,
    f38_somebody_else_lifts_the_fence,
    f44_f48_an_idle_transaction_on_the_old_primary,
    f16_an_unfinished_swap_is_refused,
);
lab::on_mariadb_11_8!(f15_f30_there_and_back_and_nothing_to_do);

async fn f15_f30_there_and_back_and_nothing_to_do(series: impl Into<Series>) {
    let bench = Bench::new(series).await;
    let to_primary = Request { to: Some("db1".to_owned()), ..Bench::request() };
    let report = bench.swap_with(&to_primary, Arc::new(|_: &_| {})).await;
    assert!(matches!(report, Report::NothingToDo(_)), "{report:?}");
    assert_eq!(journals(&bench), 0);

    for (turn, expected) in [1, 0, 1].into_iter().enumerate() {
        bench.write(1 - expected, &format!("before {turn}")).await.unwrap();
        let report = bench.swap().await;
        assert!(matches!(report, Report::Ended { .. }), "{report:?}");
        assert_eq!(bench.pair.primary_index().await.unwrap(), expected);
        // F30: the old primary is a healthy replica without another command.
        bench.expect_codes(&[]).await;
        bench.write(expected, &format!("after {turn}")).await.unwrap();
        bench.assert_same_rows().await;
        assert_eq!(journals(&bench), turn + 1);
    }
    let asked = bench.asked.all();
    assert_eq!(asked.len(), 9, "{asked:?}");
    assert_eq!((asked[0].as_str(), asked[2].as_str()), ("hold", "release"));
}

fn journals(bench: &Bench) -> usize {
    intermission::swap::journal::list(bench.journals()).unwrap().len()
}

async fn f1_f5_f43_what_is_unwound_leaves_a_healthy_pair(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    f1_a_catch_up_that_never_ends(&bench).await;
    bench.expect_codes(&[]).await;
    f43_a_transaction_prepared_after_the_check(&bench).await;
    bench.expect_codes(&[]).await;
    f5_a_lock_taken_after_the_quiet_moment(&bench).await;
}

async fn f1_a_catch_up_that_never_ends(bench: &Bench) {
    let stop = bench.either("STOP SLAVE SQL_THREAD", "STOP REPLICA SQL_THREAD");
    let (mut replica, mut primary) = (bench.root(1).await, bench.app(0).await);
    let began = Instant::now();
    let listener = at(Moment::Before(Step::Hold), async move {
        replica.query_drop(stop).await.unwrap();
        primary.query_drop(insert("not applied")).await.unwrap();
    });
    let report = bench.swap_with(&Bench::request(), listener).await;
    let cause = bench.assert_rolled_back(&report).await;
    assert!(cause.starts_with("catch_up: db2 has not applied"), "{cause}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(bench.has_row(0, "not applied").await);
    // It is as it was but for the applier.
    bench.sql(1, [bench.either("START SLAVE", "START REPLICA")]).await;
    bench.expect_codes(&[]).await;
    bench.assert_same_rows().await;
}

async fn f11_what_is_still_in_the_relay_log(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    bench.write(0, "row").await.unwrap();
    bench.pair.wait_replicated().await.unwrap();
    let holder = bench.lock_rows(1).await;
    let mut primary = bench.app(0).await;
    let freed = Arc::new(AtomicBool::new(false));
    let is_freed = Arc::clone(&freed);
    let listener = at(Moment::Before(Step::Hold), async move {
        primary.query_drop("UPDATE ledger.entries SET seq = 42").await.unwrap();
        for number in 0..50 {
            primary.query_drop(insert(&format!("late {number}"))).await.unwrap();
        }
        tokio::spawn(async move {
            // Long enough for the fence to come first, much shorter than the catch-up's bound.
            sleep(Duration::from_millis(300)).await;
            is_freed.store(true, Ordering::SeqCst);
            drop(holder.disconnect().await);
        });
    });
    let request = Bench::request();
    let bounds = intermission::swap::settings::Bounds {
        catch_up: Duration::from_secs(5),
        ..request.bounds.clone()
    };
    let report = bench.swap_with(&Request { bounds, ..request }, listener).await;
    bench.assert_swapped(&report).await;
    assert!(freed.load(Ordering::SeqCst), "promoted over a relay log that was not applied");
    assert_eq!(bench.ask(1, "SELECT COUNT(*) FROM ledger.entries").await, "51");
    assert_eq!(bench.ask(1, "SELECT seq FROM ledger.entries WHERE token='row'").await, "42");
    bench.assert_same_rows().await;
}

/// How often the new and the old primary were asked who is writable, how often both were, and how often the old one was fenced.
async fn look_at_both(
    (mut new, mut old): (Conn, Conn),
    old_address: SocketAddr,
    stop: Arc<AtomicBool>,
) -> (u32, u32, u32) {
    let (mut samples, mut both, mut fenced) = (0_u32, 0_u32, 0_u32);
    while !stop.load(Ordering::SeqCst) {
        let ask = "SELECT @@global.read_only";
        // The new primary is asked first: seen writable, the old one has to be fenced a moment later at the latest.
        let new_is_closed: u8 = new.query_first(ask).await.unwrap().unwrap();
        let Ok(answer) = old.query_first::<u8, _>(ask).await else {
            // It was ended with the application's sessions.
            if let Ok(another) = connect(app_options(old_address)).await {
                old = another;
            }
            continue;
        };
        samples += 1;
        both += u32::from(new_is_closed == 0 && answer == Some(0));
        fenced += u32::from(answer == Some(1));
    }
    (samples, both, fenced)
}

async fn f10_f12_never_two_writers(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let stop = Arc::new(AtomicBool::new(false));
    let addresses = [0, 1].map(|index| bench.pair.server(index).address());
    let conns = (bench.root(1).await, bench.root(0).await);
    let sampler = tokio::spawn(look_at_both(conns, addresses[0], Arc::clone(&stop)));
    // A writer as an application is one: whichever server takes it, and only what was acknowledged counts.
    let stopped = Arc::clone(&stop);
    let gate = Arc::clone(&bench.asked.gate);
    let writer = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        let (mut number, mut at) = (0_u32, 0_usize);
        while !stopped.load(Ordering::SeqCst) {
            let Ok(mut conn) = connect(app_options(addresses[at])).await else { continue };
            loop {
                number += 1;
                let token = format!("write {number}");
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let _pass = gate.read().await;
                if conn.query_drop(insert(&token)).await.is_err() {
                    at = 1 - at;
                    break;
                }
                acknowledged.push((at, token));
            }
        }
        acknowledged
    });
    let report = bench.swap().await;
    bench.assert_swapped(&report).await;
    bench.write(1, "after the swap").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    stop.store(true, Ordering::SeqCst);
    let (samples, both, fenced) = sampler.await.unwrap();
    assert_eq!(both, 0, "of {samples} samples");
    assert!(samples > 20 && fenced > 0, "{samples} samples, {fenced} of them fenced");

    let acknowledged = writer.await.unwrap();
    bench.assert_same_rows().await;
    let tokens: Vec<&str> = acknowledged.iter().map(|(_, token)| token.as_str()).collect();
    let mut conn = bench.root(1).await;
    let rows: Vec<String> = conn
        .query("SELECT token FROM ledger.entries WHERE token LIKE 'write %' ORDER BY id")
        .await
        .unwrap();
    let lost: Vec<&&str> =
        tokens.iter().filter(|token| !rows.iter().any(|row| row == **token)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(
        acknowledged.iter().is_sorted_by_key(|(at, _)| *at),
        "writes went back to the old primary"
    );
    assert!(acknowledged.iter().any(|(at, _)| *at == 1), "nobody wrote after the swap");
}

async fn f38_somebody_else_lifts_the_fence(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    for moment in [Moment::After(Step::Fence), Moment::After(Step::Barrier)] {
        let (mut root, mut app) = (bench.root(0).await, bench.app(0).await);
        let token = format!("{moment:?}");
        let (told, written) = std::sync::mpsc::channel();
        let listener = at(moment, async move {
            root.query_drop("SET GLOBAL read_only = 0").await.unwrap();
            // On MariaDB it waits: the switch is not all of the fence.
            let write = tokio::spawn(async move { app.query_drop(insert(&token)).await });
            told.send(write).unwrap();
        });
        let report = bench.swap_with(&Bench::request(), listener).await;
        written.recv().unwrap().await.unwrap().unwrap();
        let cause = bench.assert_rolled_back(&report).await;
        assert!(cause.contains("db1 is writable behind its fence"), "{moment:?}: {cause}");
        bench.assert_same_rows().await;
    }
    // Somebody promotes the replica by hand meanwhile: nothing is lifted that would make two writers.
    let (mut old, mut new) = (bench.root(0).await, bench.root(1).await);
    let close = bench.switches()[1];
    let listener = at(Moment::Before(Step::Fence), async move {
        old.query_drop(close).await.unwrap();
        new.query_drop("SET GLOBAL read_only = 0").await.unwrap();
        new.query_drop(insert("by hand")).await.unwrap();
    });
    let report = bench.swap_with(&Bench::request(), listener).await;
    bench.assert_swapped(&report).await;
    bench.assert_same_rows().await;
    bench.expect_codes(&[]).await;
}

async fn f43_a_transaction_prepared_after_the_check(bench: &Bench) {
    let mut app = bench.app(0).await;
    let listener = at(Moment::After(Step::Quiet), async move {
        for sql in ["XA START 'late'", &insert("xa"), "XA END 'late'", "XA PREPARE 'late'"] {
            app.query_drop(sql).await.unwrap();
        }
        drop(app.disconnect().await);
    });
    let report = bench.swap_with(&Bench::request(), listener).await;
    let cause = bench.assert_rolled_back(&report).await;
    assert!(cause.contains("prepared"), "{cause}");
    assert!(outcome_of(&bench.journal(), Step::Fence).is_none(), "it was seen before the fence");
    bench.sql(0, ["XA COMMIT 'late'"]).await;
    bench.assert_same_rows().await;
}

async fn f44_f48_an_idle_transaction_on_the_old_primary(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    bench.write(0, "row").await.unwrap();
    let mut idle = bench.app(0).await;
    let (kept, back) = std::sync::mpsc::channel();
    let listener = at(Moment::Before(Step::Fence), async move {
        idle.query_drop("BEGIN").await.unwrap();
        idle.query_drop("SELECT * FROM ledger.entries FOR UPDATE").await.unwrap();
        kept.send(idle).unwrap();
    });
    let report = bench.swap_with(&Bench::request(), listener).await;
    bench.assert_swapped(&report).await;
    // Its row locks would hold up the applier of the old primary for as long as it lives.
    bench.sql(1, ["UPDATE ledger.entries SET seq = 7"]).await;
    bench.assert_same_rows().await;
    bench.wait_for(0, "SELECT seq FROM ledger.entries", "7").await;
    let mut idle = back.recv().unwrap();
    assert!(idle.query_drop("SELECT 1").await.is_err(), "its session is ended");
}

async fn f5_a_lock_taken_after_the_quiet_moment(bench: &Bench) {
    // A table whose engine knows no transactions: only the fence itself meets such a statement.
    bench.sql(0, ["CREATE TABLE ledger.log (n INT) ENGINE=MyISAM"]).await;
    let blockers = ["LOCK TABLES ledger.entries WRITE", "INSERT INTO ledger.log SELECT SLEEP(60)"];
    for (turn, sql) in blockers.into_iter().enumerate() {
        let mut app = bench.app(0).await;
        let id = app.id();
        let (kept, back) = std::sync::mpsc::channel();
        let mut watcher = bench.root(0).await;
        let listener = at(Moment::After(Step::Quiet), async move {
            if turn == 0 {
                app.query_drop(sql).await.unwrap();
                kept.send(app).unwrap();
                return;
            }
            tokio::spawn(async move { app.query_drop(sql).await });
            let sleeping = format!(
                "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {id} AND state = 'User sleep'"
            );
            while watcher.query_first::<u32, _>(sleeping.as_str()).await.unwrap() != Some(1) {
                sleep(Duration::from_millis(5)).await;
            }
        });
        let report = bench.swap_with(&Bench::request(), listener).await;
        // The holder of the first still has its table: the write that proves the unwind goes elsewhere.
        let Report::Ended { ending, cause: Some(cause), .. } = &report else {
            panic!("{report:?}")
        };
        assert_eq!(*ending, Ending::RolledBack);
        assert!(cause.contains("our statement was killed"), "{cause}");
        if bench.flavor() == Flavor::MySql || turn == 1 {
            assert!(cause.contains(&format!("in the way: session {id}")), "{cause}");
        }
        // Without it the session of the first would have ended with the moment.
        if let Ok(holder) = back.try_recv() {
            drop(holder.disconnect().await);
        }
        drop(bench.root(0).await.query_drop(format!("KILL {id}")).await);
        bench.assert_rolled_back(&report).await;
    }
    let undone = bench.journal().iter().any(|entry| {
        matches!(
            &entry.record,
            Record::Outcome {
                action: Action::Undo,
                step: Step::Fence,
                outcome: Outcome::Done { .. },
                ..
            }
        )
    });
    assert!(undone, "a failed fence is undone too");
    bench.expect_codes(&[]).await;
    bench.assert_same_rows().await;
}

async fn f5_a_large_transaction_is_not_quiet_however_young(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    bench.sql(0, ["CREATE TABLE ledger.large (n INT)"]).await;
    let mut app = bench.app(0).await;
    for sql in ["BEGIN", "INSERT INTO ledger.large VALUES (1)"] {
        app.query_drop(sql).await.unwrap();
    }
    for _ in 0..14 {
        app.query_drop("INSERT INTO ledger.large SELECT n FROM ledger.large").await.unwrap();
    }
    let mut request = Bench::request();
    request.bounds.quiet_age = Duration::from_secs(3600);
    request.bounds.quiet = Duration::from_millis(300);
    let report = bench.swap_with(&request, Arc::new(|_: &_| {})).await;
    let cause = bench.assert_rolled_back(&report).await;
    assert!(cause.starts_with("quiet: no quiet moment on db1"), "{cause}");
    assert!(cause.contains("16384 rows"), "{cause}");
    app.query_drop("ROLLBACK").await.unwrap();
    let report = bench.swap_with(&Bench::request(), Arc::new(|_: &_| {})).await;
    bench.assert_swapped(&report).await;
    bench.assert_same_rows().await;
}

async fn f16_an_unfinished_swap_is_refused(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let report = bench.swap().await;
    bench.assert_swapped(&report).await;
    // The journal as a crash after the commit point leaves it: no end.
    let id = intermission::swap::journal::list(bench.journals()).unwrap().pop().unwrap();
    let path = bench.journals().join(format!("{id}.jsonl"));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let whole: usize = lines[..lines.len() - 1].iter().map(|line| line.len() + 1).sum();
    file.set_len(u64::try_from(whole).unwrap()).unwrap();
    let Report::Refused(refusals) = bench.swap().await else { panic!("not refused") };
    assert_eq!(codes(&refusals), [Code::UnfinishedSwap]);
    assert!(refusals[0].sentence.contains(&id), "{}", refusals[0]);
    assert_eq!(refusals[0].mend, "intermission recover");
    let recovered = intermission::swap::run::recover(
        &bench.parties(),
        bench.journals(),
        |_| (),
        tokio_util::sync::CancellationToken::new(),
        Arc::new(|_: &_| {}),
    )
    .await
    .unwrap();
    bench.assert_swapped(&recovered.unwrap()).await;
    let report = bench.swap().await;
    assert!(matches!(report, Report::Ended { .. }), "{report:?}");
    assert_eq!(bench.pair.primary_index().await.unwrap(), 0);
}
