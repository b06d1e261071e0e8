//! One call is answered wrongly: a look tells the contrary of what is, a change is said to be done and is not.

use intermission::swap::{
    record::{Action, Ending},
    step::Step,
};

use crate::{
    fault::{Fault, Moment},
    harness::{End, KINDS, Kind, on_paused_clock, recover, stage, swap},
    oracle::{assert_safe, check_end},
    world::{Called, World},
};

/// What nobody looks at afterwards: who says of these that they are done is believed. No write depends on them: a gate releases by
/// itself when its lease ends, and what a restart leaves matters at the next one.
const BELIEVED: [(Step, &str); 3] = [
    (Step::Release, "release"),
    (Step::Detach, "persist_read_only"),
    (Step::Rejoin, "persist_read_only"),
];

fn calls(kind: Kind) -> Vec<Called> {
    on_paused_clock(async {
        let stage = stage(kind, []);
        drop(swap(&stage).await);
        stage.with(|world| world.trace.clone())
    })
}

/// Nobody follows the new primary for a moment, or events try to write on the old one, which refuses.
fn forgive(world: &mut World, step: Step) {
    let is_forgiven =
        |violation: &String| violation.starts_with("F6") || violation.starts_with("F47");
    world.violations.retain(|violation| step != Step::Ready || !is_forgiven(violation));
}

/// The ending, after a recovery where one is needed.
fn play(kind: Kind, step: Step, what: &str, faults: &[Fault]) -> Ending {
    let case = format!("{kind:?} {what} {faults:?}");
    on_paused_clock(async {
        let stage = stage(kind, faults.iter().cloned());
        let mut end = swap(&stage).await;
        stage.with(|world| world.process_ends(false));
        if let End::Closed(Ending::NeedsOperator, _) = end {
            end = recover(&stage).await;
            stage.with(|world| world.process_ends(false));
        }
        let ending = end.ending().unwrap_or_else(|| panic!("{case}: {end:?}"));
        stage.with(|world| {
            assert!(world.faults.iter().all(|fault| fault.hits > 0), "{case} never struck");
            forgive(world, step);
            assert_safe(world, &case);
        });
        if !BELIEVED.contains(&(step, what)) {
            check_end(&stage, ending, &case).await;
        }
        ending
    })
}

#[test]
fn one_wrong_answer_costs_no_write() {
    let (mut swapped, mut back) = (0_u32, 0_u32);
    for kind in KINDS {
        for Called { current, what, nth } in calls(kind) {
            let Some((Action::Perform, step)) = current else { continue };
            let fault = Fault::once(Action::Perform, step, nth, Moment::Wrong);
            match play(kind, step, what, &[fault]) {
                Ending::Swapped => swapped += 1,
                Ending::RolledBack => back += 1,
                // That the old primary's events never leave is told, and what to do.
                Ending::NeedsOperator => assert_eq!(what, "enable_events", "{kind:?} {step}"),
            }
        }
    }
    assert!(swapped > 100 && back > 10, "{swapped} swapped, {back} taken back");
}

#[test]
fn f12_one_wrong_answer_to_whether_it_was_promoted_makes_no_second_writer() {
    for kind in KINDS {
        let calls = calls(kind);
        let promote = calls.iter().find(|called| called.what == "promote").unwrap();
        for moment in Moment::ALL {
            // Where the session is lost, the lock is taken anew before the look.
            let look = usize::from(moment != Moment::BeforeEffect);
            let faults = [
                Fault::once(Action::Perform, Step::Promote, promote.nth, moment),
                Fault::once(Action::Verify, Step::Promote, look, Moment::Wrong),
            ];
            play(kind, Step::Promote, "promote", &faults);
        }
    }
}

#[test]
fn a_fence_that_is_said_to_be_lifted_and_is_not_is_lifted_again() {
    for kind in KINDS {
        for nth in 0..3 {
            let faults = [
                Fault::once(Action::Perform, Step::CatchUp, 0, Moment::BeforeEffect),
                Fault::once(Action::Undo, Step::Fence, nth, Moment::Wrong),
            ];
            assert_eq!(play(kind, Step::Fence, "restore", &faults), Ending::RolledBack);
        }
    }
}
