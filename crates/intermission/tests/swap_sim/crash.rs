//! The process is killed at any point, recovers, is killed again and recovers again.

use std::{sync::Arc, time::Duration};

use intermission::swap::{
    observation::Flavor,
    record::{Action, Ending, Record},
    step::Step,
};
use tokio::time::sleep;

use crate::{
    fault::{Blow, Point, Reached, Strike},
    harness::{End, KINDS, Kind, lose_what_is_not_durable, on_paused_clock, recover, stage, swap},
    oracle::check_end,
    stage::Stage,
    world::World,
};

/// What surrounds a kill.
#[derive(Debug, Clone, Copy)]
struct Circumstance {
    kind: Kind,
    /// The servers do not notice that the process is gone: its sessions keep their locks.
    half_open: bool,
    /// The machine died too: only what was synced is left of the journal.
    durable_only: bool,
    /// Until somebody recovers.
    gap: Duration,
}

fn circumstances() -> Vec<Circumstance> {
    let mut all = Vec::new();
    for kind in KINDS {
        for half_open in [false, true] {
            for durable_only in [false, true] {
                for gap in [Duration::ZERO, Duration::from_secs(60)] {
                    all.push(Circumstance { kind, half_open, durable_only, gap });
                }
            }
        }
    }
    all
}

fn locks(world: &World) -> Vec<Option<u64>> {
    world.servers.iter().map(|db| db.lock).collect()
}

async fn bury(stage: &Stage, circumstance: Circumstance) {
    stage.with(|world| {
        world.process_ends(circumstance.half_open);
        if circumstance.durable_only {
            lose_what_is_not_durable(world);
        }
    });
    sleep(circumstance.gap).await;
    stage.with(World::tick);
}

/// Recovers; the ending is the one the servers dictate, and there is nothing left to recover.
async fn recover_and_check(stage: &Arc<Stage>, case: &str) {
    let is_empty = stage.with(|world| world.journal.is_empty());
    if is_empty {
        // Killed before there was a journal: nothing was done.
        stage.with(|world| world.process_ends(false));
        check_end(stage, Ending::RolledBack, case).await;
        return;
    }
    let expected = ending_in_sight(stage);
    let end = recover(stage).await;
    let (Some(expected), Some(ending)) = (expected, end.ending()) else {
        assert!(expected.is_none() && matches!(end, End::Refused), "{case}: {end:?}");
        return;
    };
    assert_eq!(ending, expected, "{case}");
    stage.with(|world| world.process_ends(false));
    check_end(stage, ending, case).await;
    let before = stage.with(|world| world.journal.len());
    let again = recover(stage).await;
    assert!(matches!(again, End::Refused), "{case}: recovered twice: {again:?}");
    assert_eq!(stage.with(|world| world.journal.len()), before, "{case}: the journal grew");
}

/// What a recovery has to come to; `None` when the journal is closed.
fn ending_in_sight(stage: &Stage) -> Option<Ending> {
    stage.with(|world| {
        let closed = |record: &Record| matches!(record, Record::Closed { .. });
        if world.journal.iter().any(|(entry, _)| closed(&entry.record)) {
            return None;
        }
        let is_promoted = world.servers[1].access.is_writable();
        Some(if is_promoted { Ending::Swapped } else { Ending::RolledBack })
    })
}

/// How many calls and appends a whole run makes.
fn lengths(kind: Kind) -> (usize, usize) {
    on_paused_clock(async {
        let stage = stage(kind, []);
        drop(swap(&stage).await);
        stage.with(|world| (world.trace.len(), world.appends))
    })
}

fn kills(calls: std::ops::Range<usize>, appends: std::ops::Range<usize>) -> Vec<Strike> {
    let kill = |point, reached| Strike::new(Blow::Kill, point, reached);
    let at_calls = calls.flat_map(|call| {
        [Reached::NotLanded, Reached::Landed, Reached::Late]
            .map(|reached| kill(Point::Call(call), reached))
    });
    let at_appends = appends.map(|append| kill(Point::Append(append), Reached::NotLanded));
    at_calls.chain(at_appends).collect()
}

async fn killed_at(circumstance: Circumstance, strike: Strike) -> Arc<Stage> {
    let stage = stage(circumstance.kind, []);
    stage.with(|world| world.strike = Some(strike));
    let end = swap(&stage).await;
    assert!(matches!(end, End::Killed), "{strike:?} never struck: {end:?}");
    bury(&stage, circumstance).await;
    stage
}

#[test]
fn f16_killed_anywhere_a_swap_is_finished_or_taken_back() {
    for circumstance in circumstances() {
        let (calls, appends) = lengths(circumstance.kind);
        for strike in kills(0..calls, 0..appends) {
            on_paused_clock(async {
                let stage = killed_at(circumstance, strike).await;
                recover_and_check(&stage, &format!("{circumstance:?} {strike:?}")).await;
            });
        }
    }
}

#[test]
fn f16_a_recovery_killed_anywhere_is_recovered_again() {
    let circumstance = Circumstance {
        kind: Flavor::MariaDb.into(),
        half_open: true,
        durable_only: true,
        gap: Duration::ZERO,
    };
    let (calls, appends) = lengths(circumstance.kind);
    let mut second_kills = 0_u32;
    for first in kills(0..calls, 0..appends) {
        for ahead in 0.. {
            let was_killed = on_paused_clock(async {
                let stage = killed_at(circumstance, first).await;
                if stage.with(|world| world.journal.is_empty()) {
                    return false;
                }
                let reached = [Reached::NotLanded, Reached::Landed, Reached::Late][ahead % 3];
                let second = stage.with(|world| {
                    let at = Point::Call(world.trace.len() + ahead);
                    let second = Strike::new(Blow::Kill, at, reached);
                    world.strike = Some(second);
                    second
                });
                if !matches!(recover(&stage).await, End::Killed) {
                    return false;
                }
                bury(&stage, circumstance).await;
                recover_and_check(&stage, &format!("{first:?}, then {second:?}")).await;
                true
            });
            if !was_killed {
                break;
            }
            second_kills += 1;
        }
    }
    assert!(second_kills > 1000, "only {second_kills} recoveries were killed");
}

#[test]
fn a_swap_does_not_take_the_lock_of_another_and_leaves_its_hold_alone() {
    let circumstance = Circumstance {
        kind: Flavor::MySql.into(),
        half_open: true,
        durable_only: false,
        gap: Duration::ZERO,
    };
    on_paused_clock(async {
        let stage = stage(circumstance.kind, []);
        let is_fence = |call: &crate::world::Called| call.what == "fence";
        let fence = {
            let rehearsal = crate::harness::stage(circumstance.kind, []);
            drop(swap(&rehearsal).await);
            rehearsal.with(|world| world.trace.iter().position(is_fence)).unwrap()
        };
        let strike = Strike::new(Blow::Kill, Point::Call(fence), Reached::NotLanded);
        stage.with(|world| world.strike = Some(strike));
        assert!(matches!(swap(&stage).await, End::Killed));
        bury(&stage, circumstance).await;
        let before = stage.with(|world| locks(world));
        let other = stage.with(|world| std::mem::take(&mut world.journal));
        let mut plan = crate::harness::plan(circumstance.kind);
        plan.id = "20261124T010204Z-0002".to_owned();
        let log = crate::log::SimLog::new(&stage);
        let end = crate::harness::begin(&stage, plan, log).await;
        assert_eq!(end.ending(), Some(Ending::RolledBack));
        stage.with(|world| {
            assert_eq!(locks(world), before);
            assert!(world.gate.held.is_some(), "the hold of the first swap was released");
            let act = |record: &Record| {
                let Record::Intent { action, step, .. } = record else { return None };
                Some((*action, *step))
            };
            let acts = world.journal.iter().filter_map(|(entry, _)| act(&entry.record));
            let expected = [(Action::Perform, Step::Lock), (Action::Undo, Step::Lock)];
            assert_eq!(acts.collect::<Vec<_>>(), expected);
            world.journal = other;
        });
        recover_and_check(&stage, "the first swap").await;
    });
}
