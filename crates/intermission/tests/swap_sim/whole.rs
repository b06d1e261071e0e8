//! The swap as the command runs it: observation, plan, journal file, executor, and recovery from a panic.

use std::{path::Path, sync::Arc, time::Duration};

use intermission::swap::{
    executor::Flush,
    observation::Flavor,
    record::{Ending, Record},
    refusal::Code,
    run::{self, Parties, Report},
    settings::Bounds,
    step::Step,
};

use crate::{
    db::What,
    fault::{Blow, Point, Reached, Strike},
    harness::{FLAVORS, ID, KINDS, folder, fresh_token, listener, on_paused_clock, parties, stage},
    oracle::check_end,
    stage::Stage,
    world::World,
};

pub(crate) fn request(id: &str, to: Option<&str>) -> intermission::swap::plan::Request {
    intermission::swap::plan::Request {
        id: id.to_owned(),
        program: "intermission".to_owned(),
        to: to.map(str::to_owned),
        replication_user: "repl".to_owned(),
        apps: vec!["shop".to_owned()],
        bounds: Bounds::default(),
        endpoint: Duration::from_secs(1),
        withdrawal: Some(Duration::from_secs(1)),
        canary: true,
        before_release: Some(Duration::from_secs(1)),
        allowed: intermission::swap::plan::Allowed::default(),
    }
}

async fn swap(stage: &Arc<Stage>, parties: &Parties, dir: &Path, to: Option<&str>) -> Report {
    let (token, listener) = (fresh_token(stage), listener(stage));
    run::swap(parties, dir, &request(ID, to), |_| true, None, token, listener).await.unwrap()
}

fn ended(report: &Report) -> Option<Ending> {
    match report {
        Report::Ended { ending, .. } => Some(*ending),
        Report::Refused(_) | Report::NothingToDo(_) => None,
    }
}

#[test]
fn there_and_back_with_nothing_lost() {
    for flavor in FLAVORS {
        on_paused_clock(async {
            let (dir, stage) = (folder(), stage(flavor, []));
            let parties = parties(&stage);
            let there = swap(&stage, &parties, dir.path(), Some("db2")).await;
            assert_eq!(ended(&there), Some(Ending::Swapped), "{there:?}");
            check_end(&stage, Ending::Swapped, "there").await;
            let again = swap(&stage, &parties, dir.path(), Some("db2")).await;
            assert!(matches!(again, Report::NothingToDo(_)), "F15: {again:?}");
            let (token, listener) = (fresh_token(&stage), listener(&stage));
            let back = request("20261124T020304Z-0002", Some("db1"));
            let back =
                run::swap(&parties, dir.path(), &back, |_| true, None, token, listener).await;
            assert_eq!(ended(&back.unwrap()), Some(Ending::Swapped));
            check_end(&stage, Ending::RolledBack, "and back").await;
            assert_eq!(stage.with(|world| world.user_errors), 0);
        });
    }
}

/// While users wait the disk is waited for once, before the commit point. That promote took effect, so that no recovery takes it back, is
/// flushed beside what leads clients to the new primary; the world looks whether it is on disk when they are released.
#[test]
fn users_wait_for_the_disk_once() {
    for kind in KINDS {
        on_paused_clock(async {
            let stage = stage(kind, []);
            assert_eq!(crate::harness::swap(&stage).await.ending(), Some(Ending::Swapped));
            let flushed: Vec<(Step, &str)> = stage.with(|world| {
                let records =
                    world.journal.iter().filter_map(|(entry, flush)| match entry.record {
                        Record::Intent { step, .. } => Some((step, "intent", *flush)),
                        Record::Outcome { step, .. } => Some((step, "outcome", *flush)),
                        Record::Opened { .. }
                        | Record::Resumed { .. }
                        | Record::Noted { .. }
                        | Record::Interrupted { .. }
                        | Record::Closed { .. } => None,
                    });
                let held = records.filter(|(it, ..)| (Step::Settle..=Step::Release).contains(it));
                let held: Vec<_> = held.collect();
                let steps: Vec<Step> = held.iter().map(|(step, ..)| *step).collect();
                assert!(steps.contains(&Step::Canary) && steps.contains(&Step::Release));
                let flushed = held.into_iter().filter(|(.., flush)| *flush != Flush::Later);
                flushed.map(|(step, what, _)| (step, what)).collect()
            });
            assert_eq!(
                flushed,
                [(Step::Promote, "intent"), (Step::Promote, "outcome")],
                "{kind:?}"
            );
        });
    }
}

/// Something wrong with a cluster, and the code of the refusal.
type Wrong = (Code, fn(&mut World));

#[test]
fn f2_f3_f4_f8_what_would_go_wrong_is_refused_before_anything_is_changed() {
    let wrong: [Wrong; 5] = [
        (Code::LagUnknown, |world| world.servers[1].lag_s = None),
        (Code::Lag, |world| world.servers[1].lag_s = Some(5)),
        (Code::ErrantTransactions, |world| {
            let flavor = world.flavor;
            world.servers[1].commit(flavor, What::Marker("errant".to_owned()));
        }),
        (Code::NotAReplica, |world| world.servers[1].link = None),
        (Code::NoPrimary, |world| world.servers[0].access = world.servers[1].access),
    ];
    for flavor in FLAVORS {
        for (code, spoil) in wrong {
            on_paused_clock(async {
                let (dir, stage) = (folder(), stage(flavor, []));
                stage.with(spoil);
                let report = swap(&stage, &parties(&stage), dir.path(), Some("db2")).await;
                let Report::Refused(refusals) = report else { panic!("{code:?}: {report:?}") };
                assert!(refusals.iter().any(|r| r.code == code), "{code:?}: {refusals:?}");
                stage.with(|world| {
                    let only_read = |what| ["observe", "executed", "identify"].contains(&what);
                    assert!(world.trace.iter().all(|call| only_read(call.what)), "{code:?}");
                });
                let left = intermission::swap::journal::list(dir.path()).unwrap();
                assert!(left.is_empty(), "{code:?}: {left:?}");
            });
        }
    }
}

#[test]
fn f16_a_panic_anywhere_is_recovered_from_at_once() {
    let calls = on_paused_clock(async {
        let (dir, stage) = (folder(), stage(Flavor::MySql, []));
        drop(swap(&stage, &parties(&stage), dir.path(), Some("db2")).await);
        stage.with(|world| world.trace.clone())
    });
    // What comes before the first step is not the executor's.
    let first = calls.iter().position(|call| call.current.is_some()).unwrap();
    for (call, called) in calls.iter().enumerate().skip(first) {
        for reached in [Reached::NotLanded, Reached::Landed, Reached::Late] {
            let case = format!("call {call} {called:?} {reached:?}");
            on_paused_clock(async {
                let (dir, stage) = (folder(), stage(Flavor::MySql, []));
                let strike = Strike::new(Blow::Panic, Point::Call(call), reached);
                stage.with(|world| world.strike = Some(strike));
                let report = swap(&stage, &parties(&stage), dir.path(), Some("db2")).await;
                let writer =
                    stage.with(|world| world.servers.iter().position(|s| s.access.is_writable()));
                let expected = if writer == Some(1) { Ending::Swapped } else { Ending::RolledBack };
                assert_eq!(ended(&report), Some(expected), "{case}: {report:?}");
                stage.with(|world| world.process_ends(false));
                check_end(&stage, expected, &case).await;
                assert_eq!(stage.with(|world| world.user_errors), 0, "{case}");
            });
        }
    }
}
