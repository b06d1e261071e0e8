//! The primary is dead and a replica takes over: every call of it goes wrong, the process is killed at every call, and the dead one comes
//! back at every call.

use std::{sync::Arc, time::Duration};

use intermission::swap::{
    plan::{Plan, kind::Proof, plan_failover},
    record::Ending,
    run::observe,
    server::Life,
    sibling::{Report, Standing},
};

use crate::{
    db::{What, fenced},
    fault::{Blow, Death, Fault, Moment, Point, Reached, Strike},
    harness::{End, ID, KINDS, Kind, begin, on_paused_clock, parties, recover, stage},
    log::SimLog,
    oracle::{aftermath, assert_safe, report_of},
    stage::Stage,
    whole::request,
    world::{Called, Traffic, World},
};

const FOR_GOOD: Duration = Duration::from_hours(10_000);
/// Before it dies.
const WRITES: usize = 9;
const NEW: usize = 1;

/// The last so many of the dead primary's transactions have come to nobody.
fn die(world: &mut World, lost: usize) {
    world.traffic = Traffic { gated: 0, direct: 1 };
    // They receive, and apply nothing.
    world.servers[1..].iter_mut().for_each(|db| db.is_stuck = true);
    (0..WRITES).for_each(|_| world.tick());
    world.servers[1..].iter_mut().for_each(|db| db.is_stuck = false);
    let received = world.servers[0].log.len() - lost;
    world.die(Death { server: 0, call: 0, landed: false, down: FOR_GOOD });
    // One that goes by coordinates has to stand where the new primary stands.
    for (replica, behind) in [(NEW, 0), (2, usize::from(world.kind.has_gtids()))] {
        let link = world.servers[replica].link.as_mut().unwrap();
        assert!(link.read < received - behind, "nothing is left to apply");
        link.received = Some(received - behind);
    }
    let came = |write: &u64| {
        world.servers[0].log[..received].iter().any(|t| t.what == What::Write(*write))
    };
    world.acknowledged.retain(came);
    world.traffic = Traffic { gated: 1, direct: 3 };
}

/// A dead primary, and the plan of a failover from it.
async fn dead(kind: Kind, lost: usize) -> (Arc<Stage>, Plan) {
    let stage = stage(kind, []);
    stage.with(|world| die(world, lost));
    let observation = observe(&parties(&stage)).await;
    let silent = |_: &str| Life::Silent("refused".to_owned());
    let planned = plan_failover(&observation, silent, &request(ID, Some("db2")), Proof::Word);
    stage.with(|world| world.trace.clear());
    (stage, planned.unwrap())
}

async fn fail_over(stage: &Arc<Stage>, plan: Plan) -> End {
    begin(stage, plan, SimLog::new(stage)).await
}

fn calls(kind: Kind) -> Vec<Called> {
    on_paused_clock(async {
        let (stage, plan) = dead(kind, 1).await;
        let end = fail_over(&stage, plan).await;
        assert_eq!(end.ending(), Some(Ending::Swapped), "{kind:?}: {end:?}");
        check_end(&stage, Ending::Swapped, "nothing goes wrong").await;
        stage.with(|world| world.trace.clone())
    })
}

async fn check_end(stage: &Arc<Stage>, ending: Ending, case: &str) {
    stage.with(|world| world.process_ends(false));
    aftermath(stage).await;
    stage.with(|world| {
        world.apply_all();
        assert_safe(world, case);
        assert!(world.gate.held.is_none(), "{case}: users stay held");
        let new = &world.servers[NEW];
        assert_eq!(new.lock, None, "{case}: the lock stays");
        match ending {
            Ending::Swapped => assert_whole(world, case),
            Ending::RolledBack => {
                assert_eq!(new.access, fenced(world.flavor), "{case}");
                assert_eq!(new.link.map(|link| link.source), Some(0), "{case}: its source");
                assert!(!new.receives_nothing, "{case}: its receiver stays stopped");
            }
            Ending::NeedsOperator => {
                let is_left = report_of(world, "db3").is_some_and(is_failed);
                assert!(is_left, "{case}: not ended, and nobody has to see to the sibling");
                assert_whole(world, case);
            }
        }
    });
}

fn is_failed(report: &Report) -> bool {
    report.standing == Standing::Failed && !report.mend.is_empty()
}

fn assert_whole(world: &World, case: &str) {
    let (new, sibling) = (&world.servers[NEW], &world.servers[2]);
    assert!(new.access.is_writable() && !new.boots_read_only, "{case}: {new:?}");
    assert_eq!(new.link, None, "{case}: the primary replicates");
    assert_eq!(world.endpoint, Some(NEW), "{case}: the endpoint");
    assert_eq!(sibling.access, fenced(world.flavor), "{case}: the sibling");
    if !report_of(world, "db3").is_some_and(is_failed) {
        assert_eq!(sibling.link.map(|link| link.source), Some(NEW), "{case}: the sibling");
    }
}

/// Once nothing goes wrong any more a recovery ends what was left.
async fn ended(stage: &Arc<Stage>, end: End, case: &str) -> Ending {
    stage.with(|world| {
        world.process_ends(false);
        world.faults.clear();
    });
    if let Some(ending @ (Ending::Swapped | Ending::RolledBack)) = end.ending() {
        return ending;
    }
    if stage.with(|world| world.journal.is_empty()) {
        return Ending::RolledBack;
    }
    let end = recover(stage).await;
    if matches!(end, End::Refused) {
        // It was closed by a process that was killed right after.
        let is_promoted = stage.with(|world| world.servers[NEW].access.is_writable());
        return if is_promoted { Ending::Swapped } else { Ending::RolledBack };
    }
    end.ending().unwrap_or_else(|| panic!("{case}: {end:?}"))
}

#[test]
fn every_call_of_a_failover_goes_wrong_in_every_way() {
    let (mut failed_over, mut back) = (0_u32, 0_u32);
    for kind in KINDS {
        for Called { current, what, nth } in calls(kind) {
            let Some((action, step)) = current else { continue };
            for moment in Moment::ALL {
                for always in [false, true] {
                    let fault = Fault { always, ..Fault::once(action, step, nth, moment) };
                    let case = format!("{kind:?} {what} {fault:?}");
                    on_paused_clock(async {
                        let (stage, plan) = dead(kind, 1).await;
                        stage.with(|world| world.faults.push(fault));
                        let end = fail_over(&stage, plan).await;
                        stage.with(|world| {
                            assert!(world.faults[0].hits > 0, "{case} never struck");
                        });
                        let ending = ended(&stage, end, &case).await;
                        check_end(&stage, ending, &case).await;
                        let counted =
                            if ending == Ending::Swapped { &mut failed_over } else { &mut back };
                        *counted += 1;
                    });
                }
            }
        }
    }
    assert!(failed_over > 100 && back > 100, "{failed_over} failed over, {back} taken back");
}

#[test]
fn f16_a_failover_killed_anywhere_is_finished_or_taken_back() {
    for kind in KINDS {
        for call in 0..calls(kind).len() {
            for reached in [Reached::NotLanded, Reached::Landed, Reached::Late] {
                let strike = Strike::new(Blow::Kill, Point::Call(call), reached);
                let case = format!("{kind:?} {strike:?}");
                on_paused_clock(async {
                    let (stage, plan) = dead(kind, 1).await;
                    stage.with(|world| world.strike = Some(strike));
                    let end = fail_over(&stage, plan).await;
                    assert!(matches!(end, End::Killed), "{case}: {end:?}");
                    let ending = ended(&stage, end, &case).await;
                    check_end(&stage, ending, &case).await;
                });
            }
        }
    }
}

/// What proved it off was wrong. Behind the commit point nobody is led to it any more.
#[test]
fn f12_a_dead_primary_that_comes_back_before_the_promote_stops_the_failover() {
    for kind in KINDS {
        let calls = calls(kind);
        let promote = calls.iter().position(|called| called.what == "promote").unwrap();
        let last_look = calls[..promote].iter().rposition(|called| called.what == "access");
        for (call, called) in calls.iter().enumerate() {
            let case = format!("{kind:?} back at {call} {}", called.what);
            on_paused_clock(async {
                let (stage, plan) = dead(kind, 0).await;
                stage.with(|world| world.wakes = Some((0, call)));
                let end = fail_over(&stage, plan).await;
                let ending = ended(&stage, end, &case).await;
                stage.with(|world| assert_safe(world, &case));
                // Nobody can look and promote at once.
                let is_seen = Some(call) <= last_look;
                let expected = if is_seen { Ending::RolledBack } else { Ending::Swapped };
                assert_eq!(ending, expected, "{case}");
            });
        }
    }
}
