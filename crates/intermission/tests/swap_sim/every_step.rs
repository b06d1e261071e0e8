//! Every call of every step goes wrong in every way, with every undo working and failing.

use std::sync::Arc;

use intermission::swap::{
    machine::FORWARD_ATTEMPTS,
    position::Tracking,
    record::{Action, Ending},
    settings::Bounds,
    step::Step,
};

use crate::{
    fault::{Fault, Moment},
    harness::{End, KINDS, Kind, on_paused_clock, recover, stage, swap},
    oracle::check_end,
    stage::Stage,
};

const UNDOABLE: [Step; 4] = [Step::Lock, Step::Ready, Step::Hold, Step::Fence];
/// Before the promote step acts it looks twice at the old primary, at what passes the fence and at the fence, and by coordinates, before
/// the latter, at the new one's log.
const fn looks(kind: Kind) -> usize {
    match kind.tracking {
        Tracking::Gtid => 2,
        Tracking::Coordinates => 3,
    }
}

/// The calls of a whole run: which step makes how many.
fn calls(kind: Kind) -> Vec<(Step, usize)> {
    on_paused_clock(async {
        let stage = stage(kind, []);
        let end = swap(&stage).await;
        assert_eq!(end.ending(), Some(Ending::Swapped));
        check_end(&stage, Ending::Swapped, "nothing goes wrong").await;
        stage.with(|world| {
            assert_eq!(world.user_errors, 0);
            let calls = world.trace.iter().filter_map(|call| Some((call.current?, call.nth)));
            calls.map(|((_, step), nth)| (step, nth)).collect()
        })
    })
}

#[derive(Debug)]
struct Seen {
    ending: Ending,
    user_errors: u64,
    expired: u32,
    hits: Vec<u32>,
}

fn run(kind: Kind, faults: &[Fault]) -> Seen {
    let case = format!("{kind:?} {faults:?}");
    on_paused_clock(async {
        let stage = stage(kind, faults.iter().cloned());
        let end = swap(&stage).await;
        let End::Closed(ending, _) = end else { panic!("{case}: {end:?}") };
        check_end(&stage, ending, &case).await;
        let seen = stage.with(|world| Seen {
            ending,
            user_errors: world.user_errors,
            expired: world.gate.expired,
            hits: world.faults.iter().map(|fault| fault.hits).collect(),
        });
        if ending == Ending::NeedsOperator {
            recover_when_mended(&stage, &case).await;
        }
        seen
    })
}

/// Once nothing is broken any more a recovery does what was left.
async fn recover_when_mended(stage: &Arc<Stage>, case: &str) {
    let expected = stage.with(|world| {
        world.faults.clear();
        world.process_ends(false);
        if world.servers[1].access.is_writable() { Ending::Swapped } else { Ending::RolledBack }
    });
    let end = recover(stage).await;
    assert_eq!(end.ending(), Some(expected), "{case}: recovered");
    stage.with(|world| world.process_ends(false));
    check_end(stage, expected, case).await;
}

/// The only legal ending of a swap in which this call goes wrong and, where it is taken back, this undo never succeeds.
fn expected(kind: Kind, fault: &Fault, undo: Option<&Fault>) -> Ending {
    let is_look = fault.nth == Some(looks(kind) - 1);
    // What passes the fence, and whether something was written on the new primary, has to be known.
    let is_needed = !is_look && fault.nth.is_some_and(|nth| nth < looks(kind));
    let is_lost = fault.step == Step::Promote
        && if is_needed {
            true
        } else if is_look {
            // A look without an answer does not stop the promote; one that hangs takes the step's time.
            matches!(fault.moment, Moment::BeforeEffect | Moment::HangBefore | Moment::HangAfter)
        } else {
            !fault.moment.lands()
        };
    let unwinds = fault.step < Step::COMMIT || is_lost;
    // An undo that never works is met only where there is something to undo. To unlock never fails for long: closing
    // a connection that does not answer gives its lock back too.
    let is_met = undo.is_some_and(|undo| {
        let fails = undo.step != Step::Lock || undo.moment == Moment::BeforeEffect;
        fails && undo.step <= fault.step
    });
    // F31: what goes wrong with a sibling is never the swap's.
    let is_siblings = fault.step == Step::Follow;
    // Whether everyone is answered is asked out of courtesy.
    let is_asked = fault.step == Step::Detach;
    // Where the old primary does not answer whether it has started again, whoever needs it finds out.
    let is_old = matches!(fault.step, Step::Prove | Step::Settings | Step::Unlock);
    let is_courtesy = (is_asked && fault.nth == Some(1))
        || (is_old && !fault.moment.hangs() && fault.nth == Some(2));
    let is_behind = fault.step > Step::COMMIT && !is_courtesy && !is_siblings;
    // Where users wait as long as it takes there is one try.
    let is_final = fault.always || fault.step.tries_by_itself();
    match (unwinds, is_met, is_behind && is_final) {
        (true, false, _) => Ending::RolledBack,
        (_, true, _) | (_, _, true) => Ending::NeedsOperator,
        (false, false, false) => Ending::Swapped,
    }
}

fn each_call(mut check: impl FnMut(Kind, &[Fault], Ending)) {
    for kind in KINDS {
        for (step, nth) in calls(kind) {
            for moment in Moment::ALL {
                for always in [false, true] {
                    let fault = Fault { always, ..Fault::once(Action::Perform, step, nth, moment) };
                    let ending = expected(kind, &fault, None);
                    check(kind, std::slice::from_ref(&fault), ending);
                    // What takes nothing back is the same run whatever an undo would do.
                    if always || ending != Ending::RolledBack {
                        continue;
                    }
                    for undo in UNDOABLE {
                        for how in [Moment::BeforeEffect, Moment::AfterEffect, Moment::HangBefore] {
                            let broken = Fault::always(Action::Undo, undo, how);
                            let ending = expected(kind, &fault, Some(&broken));
                            check(kind, &[fault.clone(), broken], ending);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_call_of_every_step_fails_in_every_way_with_every_undo() {
    let mut cases = 0_u32;
    each_call(|kind, faults, ending| {
        cases += 1;
        let seen = run(kind, faults);
        // Behind the release a later try sees to more, or to less, than the first: another call comes in this one's place.
        let is_spared = faults[0].step > Step::Release && seen.hits[0] < FORWARD_ATTEMPTS;
        let ending = if is_spared { Ending::Swapped } else { ending };
        // What strikes in every try of this step strikes its one call to the new primary.
        let is_marker = faults[0].step == Step::Follow && seen.hits[0] == FORWARD_ATTEMPTS;
        let ending = if is_marker { Ending::NeedsOperator } else { ending };
        assert_eq!(seen.ending, ending, "{kind:?} {faults:?}: {seen:?}");
        assert!(seen.hits[0] > 0, "{kind:?} {faults:?} never struck");
        if ending != Ending::NeedsOperator && faults.iter().all(|fault| !fault.always) {
            assert_eq!(seen.user_errors, 0, "{kind:?} {faults:?}");
            assert_eq!(seen.expired, 0, "{kind:?} {faults:?}: held longer than the lease");
        }
    });
    assert!(cases > 5000, "only {cases} cases");
}

#[test]
fn f12_a_promote_whose_outcome_cannot_be_read_leaves_the_fence_and_holds_nobody() {
    for kind in KINDS {
        for moment in Moment::ALL {
            for silence in [Moment::BeforeEffect, Moment::AfterEffect, Moment::HangBefore] {
                let faults = [
                    Fault::once(Action::Perform, Step::Promote, looks(kind), moment),
                    Fault::always(Action::Verify, Step::Promote, silence),
                ];
                let seen = run(kind, &faults);
                assert_eq!(seen.ending, Ending::NeedsOperator, "{kind:?} {faults:?}");
                assert!(seen.hits[1] >= 5, "{kind:?} {faults:?}: verified {} times", seen.hits[1]);
                // The same, readable at last.
                let faults = [faults[0].clone(), Fault { always: false, ..faults[1].clone() }];
                let seen = run(kind, &faults);
                let ending = if moment.lands() { Ending::Swapped } else { Ending::RolledBack };
                assert_eq!(seen.ending, ending, "{kind:?} {faults:?}");
            }
        }
    }
}

#[test]
fn one_hang_of_any_call_holds_users_no_longer_than_the_lease() {
    for (step, nth) in calls(KINDS[0]) {
        for moment in [Moment::HangBefore, Moment::HangAfter] {
            let fault = Fault::once(Action::Perform, step, nth, moment);
            on_paused_clock(async {
                let stage = stage(KINDS[0], [fault.clone()]);
                drop(swap(&stage).await);
                let longest = stage.with(|world| world.gate.longest);
                assert!(longest <= Bounds::LEASE, "{fault:?}: {longest:?}");
            });
        }
    }
}
