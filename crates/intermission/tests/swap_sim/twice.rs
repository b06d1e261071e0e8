//! Every action and every undo done twice in a row comes to the same as done once.

use std::sync::Arc;

use intermission::swap::{
    gtid::GtidSet,
    machine::State,
    observation::{Access, Flavor},
    record::{Action, Outcome, Record},
    step::Step,
    steps::Steps,
};

use crate::{
    db::Link,
    harness::{FLAVORS, listener, on_paused_clock, plan, stage, steps},
    stage::Stage,
    world::{Traffic, World},
};

/// What is to be the same.
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    access: Vec<Access>,
    sources: Vec<Option<usize>>,
    locked: Vec<bool>,
    is_held: bool,
    endpoint: Option<usize>,
    executed: Option<Vec<GtidSet>>,
}

fn picture(world: &mut World, step: Step) -> Picture {
    world.apply_all();
    let flavor = world.flavor;
    let servers = &world.servers;
    let source = |link: Option<Link>| link.map(|link| link.source);
    Picture {
        access: servers.iter().map(|db| db.access).collect(),
        sources: servers.iter().map(|db| source(db.link)).collect(),
        locked: servers.iter().map(|db| db.lock.is_some()).collect(),
        is_held: world.gate.held.is_some(),
        endpoint: world.endpoint,
        // The marker is one row, however often it is written; each time is a transaction.
        executed: (step < Step::Follow && !matches!(step, Step::Canary | Step::Events))
            .then(|| servers.iter().map(|db| db.executed(flavor)).collect()),
    }
}

async fn perform(steps: &Steps, state: &mut State, step: Step, times: u32) {
    for _ in 0..times {
        let intent = Record::Intent {
            action: Action::Perform,
            step,
            emergency: Vec::new(),
            announces: Vec::new(),
        };
        state.apply(1, &intent).unwrap();
        let facts = steps.perform(step, state).await.unwrap_or_else(|e| panic!("{step}: {e}"));
        let outcome = Outcome::Done { facts };
        let done = Record::Outcome { action: Action::Perform, step, outcome, took_us: 1 };
        state.apply(2, &done).unwrap();
    }
}

async fn played(flavor: Flavor, last: Step, times: u32) -> (Arc<Stage>, Steps, State) {
    let stage = stage(flavor, []);
    stage.with(|world| world.traffic = Traffic { gated: 0, direct: 0 });
    let steps = steps(&stage, plan(flavor));
    let mut state = State::new(plan(flavor));
    drop(listener(&stage));
    for step in Step::ALL.into_iter().take_while(|step| *step <= last) {
        let times = if step == last { times } else { 1 };
        perform(&steps, &mut state, step, times).await;
    }
    (stage, steps, state)
}

fn after(flavor: Flavor, last: Step, performs: u32, undos: u32) -> Picture {
    on_paused_clock(async {
        let (stage, steps, state) = played(flavor, last, performs).await;
        for _ in 0..undos {
            steps.undo(last, &state).await.unwrap_or_else(|e| panic!("undo of {last}: {e}"));
        }
        stage.with(|world| {
            assert!(world.violations.is_empty(), "{last}: {:?}", world.violations);
            picture(world, last)
        })
    })
}

#[test]
fn every_step_done_twice_comes_to_the_same() {
    for flavor in FLAVORS {
        for step in Step::ALL {
            let (once, twice) = (after(flavor, step, 1, 0), after(flavor, step, 2, 0));
            assert_eq!(once, twice, "{flavor:?} {step}");
        }
    }
}

#[test]
fn every_undo_done_twice_comes_to_the_same_and_takes_its_step_back() {
    for flavor in FLAVORS {
        for step in Step::ALL {
            let (once, twice) = (after(flavor, step, 1, 1), after(flavor, step, 1, 2));
            assert_eq!(once, twice, "{flavor:?} {step}");
            let all = Step::ALL;
            let before = all.iter().rev().find(|earlier| **earlier < step);
            if step.has_undo()
                && let Some(before) = before
            {
                assert_eq!(once, after(flavor, *before, 1, 0), "{flavor:?} undo of {step}");
            }
        }
    }
}

#[test]
fn an_undo_of_what_was_never_done_does_nothing() {
    for flavor in FLAVORS {
        for step in Step::ALL {
            on_paused_clock(async {
                let (stage, steps, state) = played(flavor, Step::Quiet, 1).await;
                let before = stage.with(|world| picture(world, step));
                if step != Step::Lock && step != Step::Unlock {
                    steps.undo(step, &state).await.unwrap();
                    assert_eq!(stage.with(|world| picture(world, step)), before, "{step}");
                }
            });
        }
    }
}
