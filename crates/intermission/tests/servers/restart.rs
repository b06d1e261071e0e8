//! Servers that are restarted after a swap.

use std::sync::Arc;

use intermission::swap::{
    executor::FileLog,
    gates::Gates as _,
    journal::JournalLock,
    record::{Ending, Outcome},
    run::{self, Report},
    step::Step,
};
use lab::server::Flavor;
use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Bench, outcome_of},
    card::{die_with, planned},
};

lab::on_both!(
    a_restarted_old_primary_is_no_second_writer,
    f16_a_promote_that_neither_journal_nor_switches_tell_of_is_finished,
);

/// Over two swaps, so that what the first one kept for a server's restart must not stop the second one's primary.
async fn a_restarted_old_primary_is_no_second_writer(flavor: Flavor) {
    let mut bench = Bench::new(flavor).await;
    for primary in [1, 0] {
        let old = 1 - primary;
        let report = bench.swap().await;
        assert!(matches!(report, Report::Ended { ending: Ending::Swapped, .. }), "{report:?}");
        assert_eq!(bench.pair.primary_index().await.unwrap(), primary, "{flavor}");
        let journal = bench.journal();
        let Some(Outcome::Done { facts }) = outcome_of(&journal, Step::Rejoin) else {
            panic!("{flavor}: not rejoined")
        };
        for server in [old, primary] {
            bench.pair.servers[server].restart().await.unwrap();
        }
        let is_read_only = bench.pair.is_read_only(old).await.unwrap();
        match flavor {
            Flavor::MySql => assert!(is_read_only, "the old primary is writable again"),
            // It cannot be told; the journal says what to do.
            Flavor::MariaDb => {
                let note = facts.note.as_deref().unwrap_or_default();
                assert!(!is_read_only && note.contains("option file"), "{note:?}");
                bench.sql(old, ["SET GLOBAL read_only=1"]).await;
            }
        }
        assert!(!bench.pair.is_read_only(primary).await.unwrap(), "{flavor}: nobody can write");
        // Its source restarted too: it would try again by itself, but after up to a minute.
        let again = bench.either(["STOP SLAVE", "START SLAVE"], ["STOP REPLICA", "START REPLICA"]);
        bench.sql(old, again).await;
        bench.write(primary, &format!("after the restart of {old}")).await.unwrap();
        bench.pair.wait_caught_up(primary, old).await.unwrap();
        bench.assert_same_rows().await;
    }
}

/// The machine that swaps died and its disk has nothing behind the intent to promote; the new primary, which was written to, died too and has
/// started again as its option file says.
async fn f16_a_promote_that_neither_journal_nor_switches_tell_of_is_finished(flavor: Flavor) {
    let mut bench = Bench::new(flavor).await;
    bench.write(0, "before").await.unwrap();
    let plan = planned(&bench).await;
    let lock = JournalLock::acquire(bench.journals()).unwrap();
    let log = FileLog::new(lock.create(&plan.id).unwrap());
    die_with(bench.parties(), plan, Step::Detach, Some(log)).await;
    drop(lock);
    bench.asked.release("").await.unwrap();
    bench.write(1, "taken").await.unwrap();
    bench.pair.server(1).kill().await.unwrap();
    bench.pair.servers[1].restart().await.unwrap();
    bench.sql(1, [bench.either("SET GLOBAL read_only=1", "SET GLOBAL super_read_only=1")]).await;
    assert!(bench.pair.is_read_only(0).await.unwrap(), "{flavor}");
    let mut way = String::new();
    let parties = bench.parties();
    let report = run::recover(
        &parties,
        bench.journals(),
        |foretold| foretold.clone_into(&mut way),
        CancellationToken::new(),
        Arc::new(|_: &_| {}),
    );
    let report = report.await.unwrap();
    let Some(Report::Ended { ending: Ending::Swapped, .. }) = report else {
        panic!("{flavor}: {report:?}")
    };
    assert!(way.contains("it was promoted and written to"), "{flavor}: {way}");
    assert_eq!(bench.pair.primary_index().await.unwrap(), 1, "{flavor}");
    bench.pair.wait_caught_up(1, 0).await.unwrap();
    bench.assert_same_rows().await;
    assert_eq!(bench.ask(0, "SELECT COUNT(*) FROM ledger.entries").await, "2", "{flavor}");
}
