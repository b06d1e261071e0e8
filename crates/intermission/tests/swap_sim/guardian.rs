//! The process that swaps dies or stands still at any point, and its guardian sees to the swap; the process may go on later.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use intermission::swap::{
    executor::Executor,
    guard::{Guard, Guardian, Guardians},
    journal::{self, JournalLock},
    observation::Flavor,
    plan::Plan,
    record::{Ending, Entry, Record},
    refusal::Code,
    run::{self, Report, heal},
    step::Step,
};
use tokio::time::sleep;

use crate::{
    fault::{Blow, Point, Reached, Strike},
    harness::{
        End, FLAVORS, ID, KINDS, Kind, closed, folder, fresh_token, listener, on_paused_clock,
        parties, plan, recover, stage, steps, swap, take_back,
    },
    log::SimLog,
    oracle::{assert_safe, check_end},
    stage::Stage,
    world::Called,
};

/// How long the other process may say nothing.
const AFTER: Duration = Duration::from_secs(1);
const REACHED: [Reached; 3] = [Reached::NotLanded, Reached::Landed, Reached::Late];

/// The calls of a whole run, and how many records it makes.
fn rehearsed(kind: Kind) -> (Vec<Called>, usize) {
    on_paused_clock(async {
        let stage = stage(kind, []);
        drop(swap(&stage).await);
        stage.with(|world| (world.trace.clone(), world.appends))
    })
}

fn struck(kind: Kind, strike: Strike) -> Arc<Stage> {
    let stage = stage(kind, []);
    stage.with(|world| world.strike = Some(strike));
    stage
}

/// What the guardian came to is what the servers dictate; behind the commit point a recovery finishes.
async fn check_taken(stage: &Arc<Stage>, taken: Option<&End>, case: &str) -> Ending {
    let (promoted, fenced, is_empty) = stage.with(|world| {
        assert_safe(world, case);
        let writable = |index: usize| world.servers[index].access.is_writable();
        (writable(1), !writable(0), world.journal.is_empty())
    });
    match taken.and_then(End::ending) {
        Some(ending) => {
            assert_eq!((ending, promoted), (Ending::RolledBack, false), "{case}");
            Ending::RolledBack
        }
        None if is_empty => Ending::RolledBack,
        None => {
            assert!(promoted && fenced, "{case}: left alone without need: {taken:?}");
            let end = recover(stage).await;
            let finished = matches!(end, End::Refused | End::Closed(Ending::Swapped, _));
            assert!(finished, "{case}: {end:?}");
            stage.with(|world| world.process_ends(false));
            Ending::Swapped
        }
    }
}

#[test]
fn f16_killed_anywhere_the_guardian_takes_it_back_and_nobody_sees_an_error() {
    for kind in KINDS {
        for (call, called) in rehearsed(kind).0.into_iter().enumerate() {
            for (reached, turn) in REACHED.into_iter().zip(call..) {
                // What comes late comes only as long as the servers have not noticed.
                let half_open = reached == Reached::Late || turn.is_multiple_of(2);
                let case = format!("{kind:?} {call} {called:?} {reached:?} {half_open}");
                on_paused_clock(async {
                    let strike = Strike::new(Blow::Kill, Point::Call(call), reached);
                    let stage = struck(kind, strike);
                    assert!(matches!(swap(&stage).await, End::Killed), "{case}");
                    stage.with(|world| world.process_ends(half_open));
                    let taken = take_back(&stage).await;
                    let ending = check_taken(&stage, taken.as_ref(), &case).await;
                    stage.with(|world| {
                        assert_eq!(world.user_errors, 0, "{case}");
                        assert_eq!(world.gate.expired, 0, "{case}");
                    });
                    // The servers notice in the end.
                    stage.with(|world| world.process_ends(false));
                    check_end(&stage, ending, &case).await;
                });
            }
        }
    }
}

/// When the process goes on that stood still.
#[derive(Debug, Clone, Copy)]
enum GoesOn {
    /// When the guardian has done so many calls.
    Amid(usize),
    /// So long after the guardian is done.
    Later(Duration),
}

const GOES_ON: [GoesOn; 5] = [
    GoesOn::Amid(1),
    GoesOn::Amid(4),
    GoesOn::Amid(9),
    GoesOn::Later(Duration::ZERO),
    GoesOn::Later(Duration::from_secs(40)),
];

/// Whether something was taken back.
async fn stand_still(kind: Kind, strike: Strike, goes_on: GoesOn, case: &str) -> bool {
    let stage = struck(kind, strike);
    let guardian = async {
        stage.stood_still.notified().await;
        let at = stage.with(|world| world.told.step);
        sleep(AFTER).await;
        if let GoesOn::Amid(calls) = goes_on {
            let at = stage.with(|world| world.trace.len() + calls);
            stage.go_on_at(at);
        }
        let taken = take_back(&stage).await;
        if let GoesOn::Later(later) = goes_on {
            sleep(later).await;
        }
        // Where nobody took anything over it goes on by itself.
        stage.go_on();
        (taken, at)
    };
    let (end, (taken, at)) = tokio::join!(swap(&stage), guardian);
    let ending = match (&taken, &end) {
        // Behind the commit point it goes on by itself; a hook whose answer is lost is not asked again.
        (None, End::Closed(ending @ (Ending::Swapped | Ending::NeedsOperator), _)) => *ending,
        (Some(End::LeftOpen), End::Superseded) => check_taken(&stage, taken.as_ref(), case).await,
        (Some(End::Closed(Ending::RolledBack, _)), End::Superseded) => {
            heal(&parties(&stage), plan(kind)).await;
            Ending::RolledBack
        }
        other => panic!("{case}: {other:?}"),
    };
    stage.with(|world| {
        // Nobody but the host itself keeps it from taking the address off when it goes on: that lasts until it is healed. And
        // behind the commit point the lease ends the hold of a swap that stands still.
        let withdraws = matches!(at, Some(Step::Settle | Step::Withdraw));
        let excused = withdraws || ending != Ending::RolledBack;
        assert!(world.user_errors == 0 || excused, "{case}: {} errors", world.user_errors);
    });
    // Both processes have ended.
    stage.with(|world| world.process_ends(false));
    check_end(&stage, ending, case).await;
    ending == Ending::RolledBack
}

#[test]
fn f16_a_process_that_stands_still_is_taken_back_and_does_nothing_when_it_goes_on() {
    let mut taken_back = 0_u32;
    for kind in KINDS {
        for (call, called) in rehearsed(kind).0.into_iter().enumerate() {
            for (reached, turn) in REACHED.into_iter().zip(call..) {
                // Two of them in turn: each meets each within a few calls.
                for goes_on in [turn, turn + 2].map(|turn| GOES_ON[turn % GOES_ON.len()]) {
                    let case = format!("{kind:?} {call} {called:?} {reached:?} {goes_on:?}");
                    let strike = Strike::new(Blow::StandStill, Point::Call(call), reached);
                    let played = on_paused_clock(stand_still(kind, strike, goes_on, &case));
                    taken_back += u32::from(played);
                }
            }
        }
    }
    assert!(taken_back > 300, "only {taken_back} were taken back");
}

/// Between two steps, when a record is written. Before the first one there is nothing to take back, and after the last one
/// nothing to do.
#[test]
fn f16_standing_still_at_any_record_comes_to_the_same() {
    for kind in KINDS {
        for append in 1..rehearsed(kind).1 - 1 {
            for goes_on in [append, append + 2].map(|turn| GOES_ON[turn % GOES_ON.len()]) {
                let case = format!("{kind:?} append {append} {goes_on:?}");
                let at = Point::Append(append);
                let strike = Strike::new(Blow::StandStill, at, Reached::NotLanded);
                on_paused_clock(stand_still(kind, strike, goes_on, &case));
            }
        }
    }
}

/// Swaps, and loses the guardian when the intent of `at` is recorded.
async fn bereft_at(flavor: Flavor, at: Step) -> (Arc<Stage>, End) {
    let stage = stage(flavor, []);
    let (guard, told) = (Guard::default(), listener(&stage));
    let lost = guard.clone();
    let hears = Arc::new(move |entry: &Entry| {
        told(entry);
        if let Record::Intent { step, .. } = &entry.record
            && *step == at
        {
            lost.lose("has ended");
        }
    });
    let (steps, log) = (steps(&stage, plan(flavor)), SimLog::new(&stage));
    let begun = Executor::begin(steps, log, fresh_token(&stage), hears).await.unwrap();
    let end = closed(begun.guarded_by(guard).run().await);
    (stage, end)
}

#[test]
fn a_guardian_that_dies_before_the_fence_ends_the_swap_and_behind_it_does_not() {
    for flavor in FLAVORS {
        for step in Step::ALL {
            let case = format!("{flavor:?} {step}");
            on_paused_clock(async {
                let (stage, end) = bereft_at(flavor, step).await;
                let is_behind = step >= Step::Fence;
                let expected = if is_behind { Ending::Swapped } else { Ending::RolledBack };
                assert_eq!(end.ending(), Some(expected), "{case}");
                stage.with(|world| {
                    let was_fenced = world.trace.iter().any(|called| called.what == "fence");
                    assert_eq!(was_fenced, is_behind, "{case}");
                    let is_note = |record: &Record| matches!(record, Record::Noted { .. });
                    let notes = world.journal.iter().filter(|(entry, _)| is_note(&entry.record));
                    assert_eq!(notes.count(), usize::from(is_behind), "{case}");
                    assert_eq!(world.user_errors, 0, "{case}");
                });
                check_end(&stage, expected, &case).await;
            });
        }
    }
}

#[derive(Debug)]
struct NoGuardians;

#[async_trait]
impl Guardians for NoGuardians {
    async fn start(&self, _: &JournalLock, _: &Plan) -> Result<Box<dyn Guardian>, String> {
        Err("db2: no room for another login".to_owned())
    }
}

#[test]
fn without_a_guardian_nothing_is_begun() {
    on_paused_clock(async {
        let (dir, stage) = (folder(), stage(Flavor::MySql, []));
        let (parties, request) = (parties(&stage), crate::whole::request(ID, Some("db2")));
        let (token, listener) = (fresh_token(&stage), listener(&stage));
        let path = dir.path();
        let guardians: Option<&dyn Guardians> = Some(&NoGuardians);
        let swapped =
            run::swap(&parties, path, &request, |_| true, guardians, token, listener).await;
        let Report::Refused(refusals) = swapped.unwrap() else { panic!("not refused") };
        assert_eq!(
            refusals.iter().map(|refusal| refusal.code).collect::<Vec<_>>(),
            [Code::NoGuardian]
        );
        assert!(refusals[0].sentence.contains("no room for another login"), "{refusals:?}");
        assert_eq!(journal::list(dir.path()).unwrap(), Vec::<String>::new());
        stage.with(|world| {
            let only_read = |what| ["observe", "executed", "identify"].contains(&what);
            assert!(world.trace.iter().all(|call| only_read(call.what)));
        });
    });
}
