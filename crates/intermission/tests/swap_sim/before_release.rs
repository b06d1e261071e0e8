//! What is done between the commit point and the release, while users wait.

use std::{sync::Arc, time::Duration};

use intermission::swap::{
    machine::State,
    observation::Flavor,
    record::{Action, Ending, Record},
    settings::Bounds,
    step::Step,
};
use tokio::time::sleep;

use crate::{
    fault::{Blow, Fault, Moment, Point, Reached, Strike},
    harness::{End, on_paused_clock, plan, recover, stage, steps, swap},
    stage::Stage,
};

const BOTH: [(Step, &str); 2] = [(Step::BeforeRelease, "hook"), (Step::WarmUp, "warm_up")];

#[test]
fn f13_f18_whatever_hangs_before_the_release_users_are_released_and_it_is_told() {
    for (step, what) in BOTH {
        for moment in [Moment::HangBefore, Moment::BeforeEffect] {
            on_paused_clock(async {
                let fault = Fault::always(Action::Perform, step, moment);
                let stage = stage(Flavor::MySql, [fault]);
                let End::Closed(ending, state) = swap(&stage).await else { panic!("{step}") };
                assert_eq!(ending, Ending::NeedsOperator, "{step} {moment:?}");
                assert!(state.cause().is_some_and(|cause| cause.starts_with(step.name())));
                stage.with(|world| {
                    let calls = world.trace.iter().filter(|call| call.what == what).count();
                    assert_eq!(calls, 1, "{step}: users waited again");
                    assert!(world.gate.held.is_none(), "{step}: users stay held");
                    assert_eq!((world.user_errors, world.gate.expired), (0, 0), "{step}");
                });
            });
        }
    }
}

#[test]
fn a_swap_with_nothing_to_do_before_the_release_does_nothing() {
    on_paused_clock(async {
        let stage = stage(Flavor::MySql, []);
        let mut plan = plan(Flavor::MySql);
        (plan.before_release, plan.warm_up) = (None, None);
        let log = crate::log::SimLog::new(&stage);
        let end = crate::harness::begin(&stage, plan, log).await;
        assert_eq!(end.ending(), Some(Ending::Swapped));
        let asked = |world: &mut crate::world::World| {
            world.trace.iter().any(|call| BOTH.iter().any(|(_, what)| *what == call.what))
        };
        assert!(!stage.with(asked));
    });
}

/// A recovery has the whole lease for what users wait for, however late it comes.
#[test]
fn f20_a_recovery_renews_the_hold_before_it_repeats_a_hook() {
    for (step, what) in BOTH {
        on_paused_clock(async {
            let stage = killed_in(step).await;
            sleep(Bounds::LEASE - Duration::from_secs(1)).await;
            let hang = Fault::once(Action::Perform, step, 0, Moment::HangBefore);
            stage.with(|world| {
                world.trace.clear();
                world.faults.push(hang);
            });
            assert_eq!(recover(&stage).await.ending(), Some(Ending::NeedsOperator), "{step}");
            stage.with(|world| {
                let calls = world.trace.iter().filter(|call| call.what == what).count();
                assert_eq!(calls, 1, "{step}");
                assert_eq!((world.gate.expired, world.user_errors), (0, 0), "{step}");
            });
        });
    }
}

/// Killed when it is about to record what came of the step.
async fn killed_in(step: Step) -> Arc<Stage> {
    let rehearsal = stage(Flavor::MySql, []);
    drop(swap(&rehearsal).await);
    let is_intent =
        |record: &Record| matches!(record, Record::Intent { step: of, .. } if *of == step);
    let intent = rehearsal
        .with(|world| world.journal.iter().position(|(entry, _)| is_intent(&entry.record)))
        .expect("an intent");
    let stage = stage(Flavor::MySql, []);
    let kill = Strike::new(Blow::Kill, Point::Append(intent + 1), Reached::NotLanded);
    stage.with(|world| world.strike = Some(kill));
    assert!(matches!(swap(&stage).await, End::Killed));
    stage.with(|world| world.process_ends(false));
    stage
}

#[test]
fn f13_to_finish_by_hand_the_hooks_are_run_and_keep_nobody_held() {
    on_paused_clock(async {
        let steps = steps(&stage(Flavor::MySql, []), plan(Flavor::MySql));
        let finish = steps
            .emergency(&State::new(steps.plan.as_ref().clone()))
            .into_iter()
            .find(|line| line.contains("to finish"));
        let finish = finish.expect("a line");
        assert!(finish.ends_with(" && { restart ; true ; } && release shop"), "{finish}");
    });
}
