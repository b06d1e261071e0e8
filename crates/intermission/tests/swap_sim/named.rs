//! Failures that really hurt users of other tools (FAULTS.md), each by its number.

use std::sync::Arc;
use std::time::Duration;

use intermission::swap::{
    executor::Executor,
    observation::{Access, Flavor},
    record::{Action, Ending, Entry, Record},
    settings::Bounds,
    step::Step,
};
use tokio::{
    join,
    time::{Instant, sleep},
};

use crate::{
    db::What,
    fault::{Fault, Moment},
    harness::{
        End, FLAVORS, begin, closed, fresh_token, on_paused_clock, plan, recover, stage, steps,
        swap,
    },
    log::SimLog,
    oracle::{aftermath, check_end},
    stage::Stage,
    world::World,
};

/// Swaps, and changes the world when the intent of `step` is recorded.
async fn swap_and(stage: &Arc<Stage>, at: Step, change: fn(&mut World)) -> End {
    let flavor = stage.with(|world| world.flavor);
    let (told, token) = (Arc::clone(stage), fresh_token(stage));
    let listener = Arc::new(move |entry: &Entry| {
        told.with(|world| {
            world.hear(entry);
            if let Record::Intent { action: Action::Perform, step, .. } = entry.record
                && step == at
            {
                change(world);
            }
        });
    });
    let log = SimLog::new(stage);
    let executor = Executor::begin(steps(stage, plan(flavor)), log, token, listener).await.unwrap();
    closed(executor.run().await)
}

/// The ending, the first cause and how long users were held.
async fn rolled_back(stage: &Arc<Stage>, end: &End) -> (String, Duration) {
    let End::Closed(ending, state) = end else { panic!("{end:?}") };
    assert_eq!(*ending, Ending::RolledBack, "{:?}", state.cause());
    check_end(stage, Ending::RolledBack, "a named fault").await;
    stage.with(|world| {
        assert_eq!((world.user_errors, world.gate.expired), (0, 0));
        (state.cause().unwrap_or_default().to_owned(), world.gate.longest)
    })
}

#[test]
fn f1_a_catch_up_that_never_finishes_is_found_before_anybody_is_held() {
    on_paused_clock(async {
        let stage = stage(Flavor::MySql, []);
        stage.with(|world| world.servers[1].is_stuck = true);
        let end = swap(&stage).await;
        let (cause, held) = rolled_back(&stage, &end).await;
        assert!(cause.contains("db2 has not caught up after 29."), "{cause}");
        assert!(cause.contains("receiver Yes, applier Yes"), "{cause}");
        assert!(held.is_zero(), "users were held for {held:?}");
    });
}

#[test]
fn f1_a_catch_up_that_takes_too_long_is_told_with_how_long_it_took() {
    on_paused_clock(async {
        let stage = stage(Flavor::MySql, []);
        stage.with(|world| world.servers[1].is_stuck = true);
        let mut plan = plan(Flavor::MySql);
        plan.bounds.quiet = Duration::from_secs(1);
        plan.bounds.catch_up_sample = Duration::from_millis(800);
        let swap = begin(&stage, plan, SimLog::new(&stage));
        let applies_again = async {
            sleep(Duration::from_millis(1300)).await;
            stage.with(|world| world.servers[1].is_stuck = false);
        };
        let (end, ()) = join!(swap, applies_again);
        let (cause, held) = rolled_back(&stage, &end).await;
        let told = cause
            .split("db2 took ")
            .nth(1)
            .and_then(|rest| rest.split_once(" ms to catch up, more than 800ms"));
        let took: u32 =
            told.and_then(|(ms, _)| ms.parse().ok()).unwrap_or_else(|| panic!("{cause}"));
        assert!((1_000..1_300).contains(&took), "{took} ms of 1300");
        assert!(held.is_zero(), "users were held for {held:?}");
    });
}

#[test]
fn f1_who_catches_up_late_and_then_in_time_is_swapped_to() {
    on_paused_clock(async {
        let stage = stage(Flavor::MySql, []);
        stage.with(|world| world.servers[1].is_stuck = true);
        let applies_again = async {
            sleep(Duration::from_secs(1)).await;
            stage.with(|world| world.servers[1].is_stuck = false);
        };
        let (end, ()) = join!(swap(&stage), applies_again);
        let End::Closed(ending, _) = end else { panic!("{end:?}") };
        assert_eq!(ending, Ending::Swapped);
        check_end(&stage, Ending::Swapped, "a late replica").await;
    });
}

#[test]
fn f1_an_applier_that_stops_before_the_hold_is_told() {
    on_paused_clock(async {
        let stage = stage(Flavor::MySql, []);
        let end = swap_and(&stage, Step::Quiet, |world| {
            world.servers[1].is_stopped = true;
            world.servers[1].is_stuck = true;
        })
        .await;
        let (cause, held) = rolled_back(&stage, &end).await;
        assert!(cause.contains("db2 has not caught up after "), "{cause}");
        assert!(cause.contains("applier No"), "{cause}");
        let asked =
            stage.with(|world| world.trace.iter().filter(|c| c.what == "wait_applied").count());
        assert!(asked <= 300, "asked {asked} times in 30 s");
        assert!(held.is_zero(), "users were held for {held:?}");
    });
}

#[test]
fn f1_an_applier_that_stops_during_the_hold_costs_no_more_than_its_bound() {
    for flavor in FLAVORS {
        on_paused_clock(async {
            let stage = stage(flavor, []);
            let end = swap_and(&stage, Step::Hold, |world| world.servers[1].is_stuck = true).await;
            let (cause, held) = rolled_back(&stage, &end).await;
            assert!(cause.contains("has not applied"), "{cause}");
            assert!(held < Bounds::CATCH_UP * 2, "{held:?}");
        });
    }
}

#[test]
fn f5_f7_a_fence_that_waits_is_given_up_and_named_and_nothing_of_it_comes_later() {
    on_paused_clock(async {
        let stage = stage(Flavor::MySql, []);
        let end = swap_and(&stage, Step::Fence, |world| world.servers[0].is_blocked = true).await;
        let (cause, held) = rolled_back(&stage, &end).await;
        assert!(cause.contains("a long query"), "the cause names no session: {cause}");
        assert!(held < Bounds::FENCE * 3, "{held:?}");
    });
    // The statement outlives its answer: the undo has to make an end of it.
    on_paused_clock(async {
        let late = Fault::once(Action::Perform, Step::Fence, 0, Moment::Late);
        let stage = stage(Flavor::MySql, [late]);
        let end = swap(&stage).await;
        rolled_back(&stage, &end).await;
    });
}

#[test]
fn f8_f38_a_write_through_the_fence_is_seen_by_reading_the_barrier_twice() {
    for flavor in FLAVORS {
        on_paused_clock(async {
            let stage = stage(flavor, []);
            stage.with(|world| world.is_leaky = true);
            let end = swap(&stage).await;
            let (cause, _) = rolled_back(&stage, &end).await;
            assert!(cause.contains("writes through the fence"), "{cause}");
        });
    }
}

#[test]
fn f11_no_administrator_writes_behind_the_fence() {
    for flavor in FLAVORS {
        on_paused_clock(async {
            let stage = stage(flavor, []);
            stage.with(|world| world.has_administrator = true);
            assert_eq!(swap(&stage).await.ending(), Some(Ending::Swapped));
            stage.with(|world| assert_eq!(world.violations, Vec::<String>::new()));
        });
    }
}

#[test]
fn f11_xa_that_passes_the_fence_ends_the_attempt() {
    for flavor in FLAVORS {
        on_paused_clock(async {
            let stage = stage(flavor, []);
            stage.with(|world| world.servers[0].has_xa = true);
            let end = swap(&stage).await;
            let (cause, _) = rolled_back(&stage, &end).await;
            assert!(cause.contains("does not stop"), "{cause}");
        });
    }
}

#[test]
fn f10_f11_f39_h25_the_order_of_what_is_asked_of_the_servers() {
    for flavor in FLAVORS {
        on_paused_clock(async {
            let stage = stage(flavor, []);
            assert_eq!(swap(&stage).await.ending(), Some(Ending::Swapped));
            let asked = stage.with(|world| {
                let calls =
                    world.trace.iter().filter(|c| c.current.is_some_and(|(_, s)| s >= Step::Hold));
                calls.map(|call| call.what).collect::<Vec<_>>()
            });
            let at = |what| asked.iter().position(|call| *call == what).expect(what);
            let order = [
                "hold",
                "open_transactions",
                "withdraw",
                "fence",
                "look",
                "wait_applied",
                "passing",
                "promote",
                "point",
                "canary",
                "has_marker",
                "hook",
                "warm_up",
                "release",
                "detach",
                "let_replication_in",
                "follow",
                "repoint",
                "unlock",
                "write_marker",
            ];
            assert!(order.map(at).is_sorted(), "{asked:?}");
            // Begun as soon as nobody can come back, and over before anybody is released.
            let ended = ["promote", "end_sessions", "hook"];
            assert!(ended.map(at).is_sorted(), "{asked:?}");
            let count = |what| asked.iter().filter(|call| **call == what).count();
            // The second look is the last before the promote.
            let last = asked.iter().rposition(|call| *call == "look").expect("look");
            assert!(at("passing") < last && last < at("promote"), "{asked:?}");
            assert_eq!((count("look"), count("promote"), count("point")), (2, 1, 1));
        });
    }
}

#[test]
fn f38_a_fence_that_does_not_stand_stops_the_swap_at_the_barrier() {
    on_paused_clock(async {
        let stage = stage(Flavor::MariaDb, []);
        let open = |world: &mut World| world.servers[0].access = Access::WRITABLE;
        let end = swap_and(&stage, Step::Barrier, open).await;
        let (cause, _) = rolled_back(&stage, &end).await;
        assert!(cause.contains("writable behind its fence"), "{cause}");
    });
}

/// The look before promote goes on beside the flush of the intent: it is done again where that took longer.
#[test]
fn f38_a_fence_lifted_while_the_disk_takes_the_intent_to_promote_is_seen() {
    on_paused_clock(async {
        let stage = stage(Flavor::MariaDb, []);
        stage.with(|world| world.flush = Duration::from_millis(30));
        let open = |world: &mut World| world.servers[0].access = Access::WRITABLE;
        let end = swap_and(&stage, Step::Promote, open).await;
        let (cause, _) = rolled_back(&stage, &end).await;
        assert!(cause.contains("promote: db1 is writable behind its fence"), "{cause}");
    });
}

#[test]
fn f12_the_fence_is_not_lifted_while_the_new_primary_is_writable() {
    for flavor in FLAVORS {
        on_paused_clock(async {
            let stage = stage(flavor, []);
            // Somebody else promotes it by hand while we are about to fail.
            let end = swap_and(&stage, Step::Barrier, |world| {
                world.servers[1].access = Access::WRITABLE;
                world.faults.push(Fault::always(
                    Action::Perform,
                    Step::Barrier,
                    Moment::BeforeEffect,
                ));
            })
            .await;
            assert_eq!(end.ending(), Some(Ending::NeedsOperator));
            aftermath(&stage).await;
            stage.with(|world| {
                assert!(world.violations.is_empty(), "{:?}", world.violations);
                assert!(!world.servers[0].access.is_writable());
                assert!(world.gate.held.is_none());
            });
        });
    }
}

#[test]
fn f43_a_transaction_that_came_through_the_fence_keeps_the_old_primary_from_rejoining() {
    on_paused_clock(async {
        let stage = stage(Flavor::MySql, []);
        let end = swap_and(&stage, Step::Rejoin, |world| {
            world.servers[0].commit(Flavor::MySql, What::Marker("an XA COMMIT".to_owned()));
        })
        .await;
        let End::Closed(ending, state) = end else { panic!("{end:?}") };
        assert_eq!(ending, Ending::NeedsOperator);
        let cause = state.cause().unwrap_or_default();
        assert!(cause.contains("lacks"), "{cause}");
        stage.with(|world| {
            assert!(world.servers[1].access.is_writable() && world.endpoint == Some(1));
            assert!(world.servers[0].link.is_none(), "it replicates over a divergence");
            assert_eq!((world.user_errors, world.gate.held.is_none()), (0, true));
        });
    });
}

#[test]
fn f49_a_background_job_in_its_transaction_is_waited_for_and_not_cut() {
    on_paused_clock(async {
        let stage = stage(Flavor::MySql, []);
        stage.with(|world| world.servers[0].open_transaction = true);
        let job = Arc::clone(&stage);
        let work = async {
            while job.with(|world| world.gate.held.is_none()) {
                sleep(crate::stage::LATENCY).await;
            }
            sleep(Bounds::SETTLE / 2).await;
            job.with(|world| std::mem::take(&mut world.servers[0].open_transaction))
        };
        let (end, was_open) = tokio::join!(swap(&stage), work);
        assert_eq!(end.ending(), Some(Ending::Swapped));
        assert!(was_open, "its session was ended in the middle of a transaction");
    });
    on_paused_clock(async {
        let stage = stage(Flavor::MySql, []);
        stage.with(|world| world.servers[0].open_transaction = true);
        let end = swap(&stage).await;
        let (cause, held) = rolled_back(&stage, &end).await;
        assert!(cause.contains("a transaction"), "{cause}");
        assert!(held < Bounds::SETTLE * 2, "{held:?}");
    });
}

#[test]
fn f20_a_hold_outlives_its_lease_while_there_is_hope_behind_the_commit_point() {
    on_paused_clock(async {
        let hang = Fault::once(Action::Perform, Step::Endpoint, 0, Moment::HangBefore);
        let stage = stage(Flavor::MySql, [hang.clone(), hang.clone(), hang]);
        let end = swap(&stage).await;
        assert_eq!(end.ending(), Some(Ending::Swapped));
        stage.with(|world| {
            assert!(world.gate.longest > Bounds::LEASE, "{:?}", world.gate.longest);
            assert_eq!((world.user_errors, world.gate.expired), (0, 0));
        });
    });
}

/// What the executor asks beside its steps must not keep it either.
#[test]
fn f16_calls_beside_the_steps_may_hang_without_stopping_a_swap_or_a_recovery() {
    for hangs in ["users", "renew"] {
        on_paused_clock(async {
            // Behind the commit point one step has to be tried again, so the hold is renewed.
            let again = Fault::once(Action::Perform, Step::Endpoint, 0, Moment::BeforeEffect);
            let stage = stage(Flavor::MySql, [again]);
            stage.with(|world| world.hangs = Some(hangs));
            let began = Instant::now();
            let end = swap(&stage).await;
            assert_eq!(end.ending(), Some(Ending::Swapped), "{hangs}");
            assert!(began.elapsed() < Bounds::LEASE, "{hangs}: {:?}", began.elapsed());
            assert_eq!(stage.with(|world| world.user_errors), 0, "{hangs}");
        });
    }
    on_paused_clock(async {
        use crate::fault::{Blow, Point, Reached, Strike};
        let stage = stage(Flavor::MySql, []);
        let strike = Strike::new(Blow::Kill, Point::Append(9), Reached::NotLanded);
        stage.with(|world| world.strike = Some(strike));
        assert!(matches!(swap(&stage).await, End::Killed));
        stage.with(|world| {
            world.process_ends(false);
            world.hangs = Some("lock");
        });
        let end = recover(&stage).await;
        assert!(end.ending().is_some(), "{end:?}");
    });
}
