//! Siblings that are not well (F31), by the step that leads them.

use std::{sync::Arc, time::Duration};

use intermission::swap::{
    position::Tracking,
    record::{Action, Ending},
    sibling::{Report, Standing},
    step::Step,
};
use tokio::time::Instant;

use crate::{
    fault::{Blow, Fault, Moment, Point, Reached, Strike},
    harness::{End, FLAVORS, KINDS, Kind, on_paused_clock, recover, stage, stage_with, swap},
    oracle::{aftermath, assert_safe, check_end, report_of},
    stage::Stage,
    world::World,
};

fn report(stage: &Stage, name: &str) -> Report {
    stage.with(|world| report_of(world, name).expect(name).clone())
}

async fn swapped(stage: &Arc<Stage>) -> End {
    let end = swap(stage).await;
    assert_eq!(end.ending(), Some(Ending::Swapped), "{end:?}");
    stage.with(|world| assert_eq!((world.user_errors, world.gate.expired), (0, 0)));
    end
}

#[test]
fn f31_four_siblings_of_which_three_are_not_well() {
    for flavor in FLAVORS {
        on_paused_clock(async {
            let stage = stage_with(flavor, 4, []);
            stage.with(|world: &mut World| {
                world.servers[2].is_stuck = true;
                world.servers[3].link = None;
                world.servers[4].lag_s = Some(9000);
            });
            let began = Instant::now();
            swapped(&stage).await;
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
            let standing = |name| report(&stage, name).standing;
            assert_eq!(standing("db3"), Standing::Failed);
            assert!(report(&stage, "db3").said.contains("does not arrive"));
            assert_eq!(standing("db4"), Standing::Failed);
            assert!(report(&stage, "db4").said.contains("left alone"));
            assert_eq!(standing("db5"), Standing::Unwatched);
            assert_eq!(standing("db6"), Standing::Follows);
            check_end(&stage, Ending::Swapped, "not well").await;
        });
    }
}

#[test]
fn f31_one_that_hangs_keeps_no_other_waiting_and_leaves_no_lock() {
    for flavor in FLAVORS {
        for nth in 0..12 {
            let hang = Fault::once(Action::Perform, Step::Follow, nth, Moment::HangBefore);
            on_paused_clock(async {
                let stage = stage_with(flavor, 2, [hang.clone()]);
                swapped(&stage).await;
                let all = [report(&stage, "db3"), report(&stage, "db4")];
                let well = all.iter().filter(|one| one.standing == Standing::Follows).count();
                assert!(well >= 1, "call {nth}: {all:?}");
                check_end(&stage, Ending::Swapped, &format!("call {nth}")).await;
            });
        }
    }
}

#[test]
fn f31_by_coordinates_one_that_is_not_at_the_barrier_stays_where_it_is() {
    for flavor in FLAVORS {
        on_paused_clock(async {
            let kind = Kind { flavor, tracking: Tracking::Coordinates };
            let stage = stage_with(kind, 2, []);
            stage.with(|world| world.servers[2].is_stuck = true);
            swapped(&stage).await;
            let behind = report(&stage, "db3");
            assert_eq!(behind.standing, Standing::Failed, "{behind:?}");
            assert!(behind.said.contains("does not stand at"), "{behind:?}");
            assert_eq!(report(&stage, "db4").standing, Standing::Follows);
            stage.with(|world| {
                let sources = [2, 3].map(|index| world.servers[index].link.map(|link| link.source));
                assert_eq!(sources, [Some(0), Some(1)]);
                // By way of the old primary it comes to have everything all the same.
                world.servers[2].is_stuck = false;
            });
            aftermath(&stage).await;
            stage.with(|world| {
                let [behind, primary] = [2, 1].map(|index| world.servers[index].writes);
                assert_eq!(behind, primary);
                assert_safe(world, "by coordinates");
            });
        });
    }
}

#[test]
fn one_that_somebody_opened_meanwhile_or_that_came_there_before_is_not_touched() {
    for flavor in FLAVORS {
        on_paused_clock(async {
            let stage = stage_with(flavor, 1, []);
            // Behind the candidate.
            stage.with(|world| world.follow(2, 1));
            swapped(&stage).await;
            let there = report(&stage, "db3");
            assert_eq!(there.standing, Standing::Follows, "{there:?}");
            assert!(there.said.starts_with("follows db2"), "{there:?}");
            check_end(&stage, Ending::Swapped, "there before").await;
        });
    }
}

/// F31: the recovery does not reach the sibling, whose server does late what the dead process has told it last. By coordinates that
/// would apply everything twice if it had gone on by way of the old primary meanwhile.
#[test]
fn f31_what_a_dead_process_has_told_a_sibling_comes_late_and_no_write_comes_twice() {
    for kind in KINDS {
        let rehearsal = on_paused_clock(async {
            let stage = stage(kind, []);
            drop(swap(&stage).await);
            stage.with(|world| world.trace.clone())
        });
        for what in ["stop", "repoint", "start"] {
            let call = rehearsal.iter().position(|called| called.what == what).unwrap();
            on_paused_clock(async {
                let case = format!("{kind:?} {what}");
                let stage = stage(kind, []);
                let strike = Strike::new(Blow::Kill, Point::Call(call), Reached::Late);
                stage.with(|world| world.strike = Some(strike));
                assert!(matches!(swap(&stage).await, End::Killed), "{case}");
                stage.with(|world| {
                    world.process_ends(true);
                    world.faults.push(Fault::always(
                        Action::Perform,
                        Step::Follow,
                        Moment::BeforeEffect,
                    ));
                });
                drop(recover(&stage).await);
                stage.with(|world| world.process_ends(false));
                aftermath(&stage).await;
                stage.with(|world| assert_safe(world, &case));
            });
        }
    }
}
