//! A server is killed at any call, and started again as its option file says.

use std::{sync::Arc, time::Duration};

use intermission::swap::{
    record::{Action, Ending, Record},
    step::Step,
};

use crate::{
    fault::{Death, Fault, Moment},
    harness::{End, KINDS, Kind, on_paused_clock, recover, stage, stage_with, swap},
    oracle::{assert_safe, check_end},
    stage::Stage,
    world::{Traffic, World},
};

/// How long it is gone: so shortly that who calls another one notices nothing, shorter than a try, and longer than all tries.
const DOWN: [Duration; 3] = [Duration::ZERO, Duration::from_millis(300), Duration::from_secs(90)];
/// The old primary, the new one, and a sibling.
const SERVERS: std::ops::Range<usize> = 0..3;

fn calls(kind: Kind) -> usize {
    on_paused_clock(async {
        let stage = stage(kind, []);
        drop(swap(&stage).await);
        stage.with(|world| world.trace.len())
    })
}

/// Once all servers are back, a recovery does what was left.
async fn whole_again(stage: &Arc<Stage>, end: End, case: &str) -> Ending {
    let ended = end.ending();
    stage.with(|world| {
        assert_safe(world, case);
        world.process_ends(false);
        world.wake_all();
    });
    if let Some(ending @ (Ending::Swapped | Ending::RolledBack)) = ended {
        return ending;
    }
    let end = recover(stage).await;
    stage.with(|world| world.process_ends(false));
    let cause = if let End::Closed(_, state) = &end { state.cause() } else { None };
    let ending = end.ending().filter(|ending| *ending != Ending::NeedsOperator);
    ending.unwrap_or_else(|| panic!("{case}: {end:?}: {cause:?}"))
}

#[test]
fn f16_a_server_killed_at_any_call_costs_no_write_and_in_the_end_the_cluster_is_whole() {
    let (mut swapped, mut back) = (0_u32, 0_u32);
    for kind in KINDS {
        for call in 0..calls(kind) {
            for server in SERVERS {
                for landed in [false, true] {
                    for down in DOWN {
                        if server > 1 && landed {
                            // Nobody waits for a sibling.
                            continue;
                        }
                        let death = Death { server, call, landed, down };
                        let case = format!("{kind:?} {death:?}");
                        let ending = on_paused_clock(async {
                            let stage = stage(kind, []);
                            stage.with(|world| world.death = Some(death));
                            let end = swap(&stage).await;
                            let ending = whole_again(&stage, end, &case).await;
                            let died = stage.with(|world: &mut World| world.death.is_none());
                            assert!(died, "{case} never struck");
                            check_end(&stage, ending, &case).await;
                            ending
                        });
                        match ending {
                            Ending::Swapped => swapped += 1,
                            Ending::RolledBack => back += 1,
                            Ending::NeedsOperator => unreachable!("{case}"),
                        }
                    }
                }
            }
        }
    }
    println!("{swapped} swapped, {back} taken back");
    assert!(swapped > 500 && back > 500, "{swapped} swapped, {back} taken back");
}

/// The journal was cut right behind the intent to promote, and the new primary, which was written to, has started again as a replica.
#[test]
fn f16_a_promote_that_neither_the_journal_nor_the_switches_tell_of_is_not_taken_back() {
    for kind in KINDS {
        on_paused_clock(async {
            let stage = stage(kind, []);
            stage.with(|world| world.traffic = Traffic { gated: 1, direct: 1 });
            let canary = Fault::once(Action::Perform, Step::Canary, 1, Moment::HangAfter);
            stage.with(|world| world.faults.push(canary));
            let swapping = tokio::time::timeout(Duration::from_secs(1), swap(&stage)).await;
            assert!(swapping.is_err(), "{kind:?}: {swapping:?}");
            let is_intent = |record: &Record| {
                matches!(
                    record,
                    Record::Intent { step: Step::Promote, action: Action::Perform, .. }
                )
            };
            let written = stage.with(|world| {
                let intent = world.journal.iter().position(|(entry, _)| is_intent(&entry.record));
                world.journal.truncate(intent.unwrap() + 1);
                world.process_ends(false);
                world.faults.clear();
                world.die(Death { server: 1, call: 0, landed: true, down: Duration::ZERO });
                world.wake_all();
                assert!(world.servers.iter().all(|db| !db.access.is_writable()));
                world.servers[1].writes - world.servers[0].writes
            });
            assert!(written > 0, "{kind:?}: nothing was written on the new primary");
            assert_eq!(recover(&stage).await.ending(), Some(Ending::Swapped), "{kind:?}");
            stage.with(|world| world.process_ends(false));
            check_end(&stage, Ending::Swapped, &format!("{kind:?}")).await;
        });
    }
}

/// The try to release that finds out has lost its session, and users are released whatever it finds. No sibling is there that would
/// find out, too.
#[test]
fn f16_a_new_primary_that_starts_again_while_a_gate_does_not_answer_is_promoted_again() {
    for kind in KINDS {
        on_paused_clock(async {
            let of_release = |stage: &Stage| {
                stage.with(|world| world.trace.iter().position(|called| called.what == "release"))
            };
            let smooth = stage_with(kind, 0, []);
            drop(swap(&smooth).await);
            let call = of_release(&smooth).unwrap();
            let hangs = Fault::once(Action::Perform, Step::Release, 0, Moment::HangAfter);
            let stage = stage_with(kind, 0, [hangs]);
            let death = Death { server: 1, call, landed: false, down: Duration::from_secs(1) };
            stage.with(|world| world.death = Some(death));
            let end = swap(&stage).await;
            assert_eq!(end.ending(), Some(Ending::Swapped), "{kind:?}: {end:?}");
            stage.with(|world| world.process_ends(false));
            check_end(&stage, Ending::Swapped, &format!("{kind:?}")).await;
        });
    }
}
