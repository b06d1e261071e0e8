//! Failover on real pairs whose primary is dead.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use intermission::swap::{
    hook::{CommandHooks, Hook, Hooks},
    plan::{Plan, Request},
    position::Barrier,
    record::{Ending, Outcome, Record},
    refusal::{Code, Refusal},
    run::{self, Parties, Report},
    server::Server,
    step::Step,
};
use lab::{cluster::PairOptions, server::Flavor};
use mysql_async::prelude::Queryable;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Bench, codes, ending_of, insert, outcome_of},
    moment::{Moment, at},
};

lab::on_both!(
    a_killed_primary_under_load_loses_nothing_that_was_replicated,
    a_primary_that_lives_is_refused,
    without_proof_nothing_is_done,
    f11_what_was_received_is_applied_first,
    the_replica_that_has_most_takes_over_and_the_others_follow,
    f16_a_primary_that_dies_in_a_swap_is_failed_over_from,
);

const PATIENCE: Duration = Duration::from_secs(30);
const WRITERS: usize = 3;

/// A fence hook that is this shell script.
pub(crate) fn fenced_by(bench: &Bench, script: &str) -> Parties {
    let hook = Hook {
        program: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        timeout: Duration::from_secs(5),
    };
    let fencing: Arc<dyn Hooks> = Arc::new(CommandHooks::new(vec![hook], Vec::new()));
    Parties { fencing: Some(fencing), ..bench.parties() }
}

pub(crate) async fn failover(bench: &Bench, parties: &Parties, request: &Request) -> Report {
    let (cancel, listener) = (CancellationToken::new(), Arc::new(|_: &_| {}));
    run::failover(parties, bench.journals(), request, |_| true, cancel, listener).await.unwrap()
}

/// Waits until a failover could begin: the replica notices after a moment that its source is gone.
pub(crate) async fn plan(bench: &Bench, parties: &Parties, request: &Request) -> Plan {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match run::look_at_failover(parties, bench.journals(), request).await.unwrap() {
            Ok(plan) => return plan,
            Err(refusals) => assert!(Instant::now() < deadline, "{refusals:#?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn refusals(bench: &Bench, parties: &Parties, request: &Request) -> Vec<Refusal> {
    let looked = run::look_at_failover(parties, bench.journals(), request).await.unwrap();
    looked.expect_err("refused")
}

/// Kills the primary and fails over from it, by a hook that has nothing left to do.
pub(crate) async fn kill_and_fail_over(bench: &Bench) -> Plan {
    bench.pair.server(0).kill().await.unwrap();
    let parties = fenced_by(bench, "exit 0");
    let planned = plan(bench, &parties, &Bench::request()).await;
    let report = failover(bench, &parties, &Bench::request()).await;
    assert_failed_over(bench, &report);
    planned
}

fn assert_failed_over(bench: &Bench, report: &Report) {
    let ended = matches!(report, Report::Ended { ending: Ending::Swapped, .. });
    assert!(ended, "{}: {report:?}\n{:#?}", bench.pair.series(), bench.journal());
}

async fn tokens(bench: &Bench, index: usize) -> Vec<String> {
    bench.root(index).await.query("SELECT token FROM ledger.entries").await.unwrap()
}

async fn a_killed_primary_under_load_loses_nothing_that_was_replicated(flavor: Flavor) {
    let mut bench = Bench::new(flavor).await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let mut app = bench.app(0).await;
        writers.push(tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let token = format!("{writer}-{number}");
                if app.query_drop(insert(&token)).await.is_err() {
                    break;
                }
                acknowledged.push(token);
            }
            acknowledged
        }));
    }
    let count = "SELECT COUNT(*) > 100 FROM ledger.entries";
    bench.wait_for(1, count, "1").await;
    let replicated = tokens(&bench, 1).await;
    bench.pair.server(0).kill().await.unwrap();
    let mut acknowledged = BTreeSet::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    let parties = fenced_by(&bench, "exit 0");
    let planned = plan(&bench, &parties, &Bench::request()).await;
    let loss = planned.failover().unwrap().loss.join("\n");
    let report = failover(&bench, &parties, &Bench::request()).await;
    assert_failed_over(&bench, &report);
    assert!(!bench.pair.is_read_only(1).await.unwrap());
    bench.write(1, "after").await.unwrap();

    let there = tokens(&bench, 1).await;
    let distinct: BTreeSet<String> = there.iter().cloned().collect();
    assert_eq!(there.len(), distinct.len(), "written twice");
    for token in &replicated {
        assert!(distinct.contains(token), "{token} was on the replica");
    }
    // What was said to be safe is there, and whatever is missing came after it.
    let Some(Outcome::Done { facts }) = outcome_of(&bench.journal(), Step::Barrier).cloned() else {
        panic!("no barrier in {:#?}", bench.journal())
    };
    let barrier = facts.barrier.unwrap();
    assert!(loss.contains(&format!("up to {barrier}")), "{barrier}: {loss}");
    let Barrier::Gtid(received) = barrier else { panic!("{barrier}") };
    assert!(bench.server(1).executed().await.unwrap().contains(&received));
    bench.pair.servers[0].restart().await.unwrap();
    let on_old: BTreeSet<String> = tokens(&bench, 0).await.into_iter().collect();
    let lost: Vec<&String> = acknowledged.difference(&distinct).collect();
    let diverged =
        bench.server(0).executed().await.unwrap().minus(&bench.server(1).executed().await.unwrap());
    assert!(lost.iter().all(|token| on_old.contains(*token)), "{lost:?}");
    assert_eq!(diverged.is_empty(), on_old.is_subset(&distinct), "{diverged}");
    assert!(loss.contains("is committed after that is lost"), "{loss}");
    // Nobody was asked to write to the dead one again.
    let asked = bench.asked.all();
    assert!(asked.iter().any(|asked| asked == "hold"), "{asked:?}");
    assert!(asked.iter().any(|asked| asked == "release"), "{asked:?}");
}

async fn a_primary_that_lives_is_refused(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let parties = fenced_by(&bench, "exit 0");
    let found = refusals(&bench, &parties, &Bench::request()).await;
    assert_eq!(codes(&found), [Code::PrimaryAlive]);
    assert!(found[0].sentence.contains("db1") && found[0].mend.contains("swap"), "{}", found[0]);
    // Our login fails, and it lives.
    let mut stranger = bench.access(0);
    stranger.account.password = intermission::config::secret::Secret::new("wrong");
    let locked_out = bench.parties_of([stranger, bench.access(1)]);
    let locked_out = Parties { fencing: parties.fencing.clone(), ..locked_out };
    let found = refusals(&bench, &locked_out, &Bench::request()).await;
    assert_eq!(codes(&found), [Code::PrimaryAlive, Code::PrimaryAlive]);
    // Only this machine does not reach it: its replica is connected.
    let mut elsewhere = bench.access(0);
    elsewhere.address.port = 9;
    let away = bench.parties_of([elsewhere, bench.access(1)]);
    let found = refusals(&bench, &away, &Bench::request()).await;
    assert_eq!(codes(&found), [Code::PrimaryAlive]);
    assert!(found[0].sentence.contains("db2"), "{}", found[0]);
    // It hangs: a person's word is not enough, and a hook's neither while its port takes connections.
    bench.freeze(0).await;
    let [stop, start] = bench.either(
        ["STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD"],
        ["STOP REPLICA IO_THREAD", "START REPLICA IO_THREAD"],
    );
    bench.sql(1, [stop]).await;
    let short = |index| {
        let brief = Duration::from_millis(500);
        intermission::mysql::Access { connect: brief, statement: brief, ..bench.access(index) }
    };
    let hung = bench.parties_of([short(0), bench.access(1)]);
    let found = refusals(&bench, &hung, &Bench::request()).await;
    assert_eq!(codes(&found), [Code::PrimaryAlive]);
    assert!(found[0].sentence.contains("hangs"), "{}", found[0]);
    let lied_to = Parties { fencing: parties.fencing.clone(), ..hung };
    let report = failover(&bench, &lied_to, &Bench::request()).await;
    let (ending, cause) = ending_of(&report);
    assert_eq!(ending, Ending::RolledBack, "{report:?}");
    assert!(cause.unwrap().contains("accepts connections after its fencing"), "{cause:?}");
    bench.pair.server(0).resume().unwrap();
    bench.sql(1, [start]).await;
    bench.expect_codes(&[]).await;
    assert_eq!(bench.pair.primary_index().await.unwrap(), 0);
}

async fn without_proof_nothing_is_done(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    bench.write(0, "row").await.unwrap();
    bench.pair.wait_replicated().await.unwrap();
    bench.pair.server(0).kill().await.unwrap();
    let fails = fenced_by(&bench, "echo the power supply does not answer; exit 7");
    plan(&bench, &fails, &Bench::request()).await;
    let report = failover(&bench, &fails, &Bench::request()).await;
    let (ending, cause) = ending_of(&report);
    assert_eq!(ending, Ending::RolledBack, "{report:?}");
    assert!(cause.unwrap().contains("the power supply does not answer"), "{cause:?}");
    let slow = fenced_by(&bench, "sleep 60");
    let report = failover(&bench, &slow, &Bench::request()).await;
    let (ending, cause) = ending_of(&report);
    assert_eq!(ending, Ending::RolledBack, "{report:?}");
    assert!(cause.unwrap().contains("was killed after"), "{cause:?}");
    assert!(bench.pair.is_read_only(1).await.unwrap());
    let acted = bench.journal().iter().any(|entry| {
        matches!(&entry.record, Record::Intent { step: Step::Ready | Step::Hold, .. })
    });
    assert!(!acted && bench.asked.all().iter().all(|asked| asked != "hold"));
    // The hook is told who is meant.
    let told = fenced_by(
        &bench,
        "echo \"$INTERMISSION_OLD_PRIMARY goes, $INTERMISSION_NEW_PRIMARY comes\"",
    );
    let report = failover(&bench, &told, &Bench::request()).await;
    assert_failed_over(&bench, &report);
    let journal = bench.journal();
    let Some(Outcome::Done { facts }) = outcome_of(&journal, Step::Fence) else {
        panic!("no fence")
    };
    let (old, new) = (bench.access(0).address, bench.access(1).address);
    let said = facts.note.as_deref().unwrap_or_default();
    assert!(said.contains(&format!("{old} goes, {new} comes")), "{said}");
}

async fn f11_what_was_received_is_applied_first(flavor: Flavor) {
    const ROWS: usize = 50;
    let bench = Bench::new(flavor).await;
    let [stop, status] = bench.either(
        ["STOP SLAVE SQL_THREAD", "SHOW ALL SLAVES STATUS"],
        ["STOP REPLICA SQL_THREAD", "SHOW REPLICA STATUS"],
    );
    bench.pair.wait_replicated().await.unwrap();
    bench.sql(1, [stop]).await;
    for row in 0..ROWS {
        bench.write(0, &format!("received {row}")).await.unwrap();
    }
    let sent = bench.server(0).executed().await.unwrap();
    let replica = bench.server(1);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let executed = replica.executed().await.unwrap();
        let received = replica.channels().await.unwrap().remove(0).received;
        let Some(Barrier::Gtid(received)) = received else { panic!("{status}: {received:?}") };
        if sent.minus(&executed).minus(&received).is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{received}");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(!bench.has_row(1, "received 0").await);
    kill_and_fail_over(&bench).await;
    for row in 0..ROWS {
        assert!(bench.has_row(1, &format!("received {row}")).await, "{row}");
    }
}

async fn the_replica_that_has_most_takes_over_and_the_others_follow(flavor: Flavor) {
    let bench = Bench::with(flavor, &PairOptions::default().with_siblings(1)).await;
    let stop = bench.either("STOP SLAVE IO_THREAD", "STOP REPLICA IO_THREAD");
    bench.pair.wait_replicated().await.unwrap();
    bench.sql(1, [stop]).await;
    bench.write(0, "only on db3").await.unwrap();
    bench.wait_for(2, "SELECT COUNT(*) FROM ledger.entries", "1").await;
    bench.pair.server(0).kill().await.unwrap();
    let parties = fenced_by(&bench, "exit 0");
    let to = |name: &str| Request { to: Some(name.to_owned()), ..Bench::request() };
    plan(&bench, &parties, &to("db3")).await;
    let found = refusals(&bench, &parties, &Bench::request()).await;
    assert_eq!(codes(&found), [Code::TargetNeeded]);
    let found = refusals(&bench, &parties, &to("db2")).await;
    assert_eq!(codes(&found), [Code::CandidateBehind]);
    assert!(found[0].mend.contains("--to db3"), "{}", found[0]);
    let found = refusals(&bench, &parties, &to("db1")).await;
    assert_eq!(codes(&found), [Code::UnknownTarget]);
    let start = bench.either("START SLAVE IO_THREAD", "START REPLICA IO_THREAD");
    bench.sql(1, [start]).await;
    let report = failover(&bench, &parties, &to("db3")).await;
    assert_failed_over(&bench, &report);
    bench.write(2, "by db3").await.unwrap();
    bench.wait_for(1, "SELECT COUNT(*) FROM ledger.entries", "2").await;
    assert!(
        bench.pair.is_read_only(1).await.unwrap() && !bench.pair.is_read_only(2).await.unwrap()
    );
}

/// A swap that its primary's death has stopped cannot be taken back: the failover goes on where recovery gave up.
async fn f16_a_primary_that_dies_in_a_swap_is_failed_over_from(flavor: Flavor) {
    let bench = Arc::new(Bench::new(flavor).await);
    bench.write(0, "before").await.unwrap();
    bench.pair.wait_replicated().await.unwrap();
    let dies = Arc::clone(&bench);
    let death = async move { dies.pair.server(0).kill().await.unwrap() };
    let listener = at(Moment::Before(Step::Barrier), death);
    let report = bench.swap_with(&Bench::request(), listener).await;
    assert_eq!(ending_of(&report).0, Ending::NeedsOperator, "{report:?}");
    let parties = fenced_by(&bench, "exit 0");
    plan(&bench, &parties, &Bench::request()).await;
    let report = failover(&bench, &parties, &Bench::request()).await;
    assert_failed_over(&bench, &report);
    bench.write(1, "after").await.unwrap();
    assert!(bench.has_row(1, "before").await);
}
