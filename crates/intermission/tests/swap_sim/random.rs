//! Random faults, traffic, kills, standstills and signals, with a guardian and without; in one case at most one server is killed, and
//! one call at most is answered wrongly. A failing seed is printed; `SEED=… cargo test`
//! plays it again.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use intermission::swap::{
    position::Tracking,
    record::{Action, Ending},
    run::heal,
    step::Step,
};
use tokio::time::sleep;

use crate::{
    fault::{Blow, Death, Fault, Moment, Point, Reached, Strike},
    harness::{
        End, FLAVORS, Kind, lose_what_is_not_durable, on_paused_clock, parties, plan_with, recover,
        stage_with, swap, take_back,
    },
    oracle::{aftermath, assert_safe, check_end},
    stage::Stage,
    world::{Traffic, World},
};

/// Seeds of one run, unless the time ends first. `SEEDS=… cargo test` takes another number and all the time it needs.
const SEEDS: u64 = 3000;
const TIME_MAX: Duration = Duration::from_secs(10);
/// How long a process may say nothing before its guardian takes over.
const GUARDIAN_AFTER: Duration = Duration::from_secs(1);
/// After so many processes that went wrong everything goes right.
const PROCESSES_MAX: u32 = 4;

fn pick<T: Copy>(random: &mut fastrand::Rng, from: &[T]) -> T {
    from[random.usize(..from.len())]
}

fn random_fault(random: &mut fastrand::Rng) -> Fault {
    let action = pick(random, &[Action::Perform, Action::Perform, Action::Undo, Action::Verify]);
    // More often where the most can be lost.
    let is_commit = match action {
        Action::Perform => random.u8(..4) == 0,
        Action::Verify => true,
        Action::Undo => false,
    };
    let step = if is_commit { Step::COMMIT } else { pick(random, &Step::ALL) };
    Fault {
        action,
        step,
        nth: random.bool().then(|| random.usize(..4)),
        moment: if random.u8(..7) == 0 { Moment::Slow } else { pick(random, &Moment::ALL) },
        always: random.bool(),
        hits: 0,
    }
}

fn random_strike(random: &mut fastrand::Rng, world: &World) -> Strike {
    let point = if random.u8(..4) > 0 {
        Point::Call(world.trace.len() + random.usize(..60))
    } else {
        Point::Append(world.appends + random.usize(..35))
    };
    let blow = pick(random, &[Blow::Kill, Blow::Kill, Blow::Cancel, Blow::StandStill]);
    let reached = pick(random, &[Reached::NotLanded, Reached::Landed, Reached::Late]);
    Strike::new(blow, point, reached)
}

fn random_death(random: &mut fastrand::Rng, world: &World) -> Death {
    let (call, millis) = (world.trace.len() + random.usize(..60), random.u64(..100_000));
    Death {
        server: random.usize(..world.servers.len()),
        call,
        landed: random.bool(),
        down: Duration::from_millis(millis),
    }
}

/// To a step that others look after: `wrong_answer.rs` names those that nobody does.
fn wrong_answer(random: &mut fastrand::Rng) -> Fault {
    let steps = [Step::Settle, Step::Fence, Step::Barrier, Step::CatchUp, Step::Promote];
    let step = pick(random, &steps);
    // A promote that is said to be done and is not is found out by asking both servers, of which one may be dead.
    let nth = random.usize(..if step == Step::Promote { 2 } else { 4 });
    Fault::once(Action::Perform, step, nth, Moment::Wrong)
}

/// What the next process has to live with.
fn prepare(random: &mut fastrand::Rng, world: &mut World) {
    world.faults = (0..random.usize(..4)).map(|_| random_fault(random)).collect();
    if !world.was_answered_wrongly && random.u8(..4) == 0 {
        world.faults.push(wrong_answer(random));
    }
    let has_died = world.servers.iter().any(|db| db.has_died);
    world.death = (!has_died && random.u8(..3) == 0).then(|| random_death(random, world));
    world.strike = random.bool().then(|| random_strike(random, world));
    world.full_at = (random.u8(..6) == 0).then(|| world.appends + random.usize(1..35));
    world.traffic = Traffic { gated: random.usize(..4), direct: random.usize(..5) };
}

/// Whether nothing is in the next process's way but, at most, a signal to stop.
fn is_undisturbed(world: &World) -> bool {
    let is_signal = |strike: Strike| strike.blow == Blow::Cancel && strike.reached != Reached::Late;
    world.strike.is_none_or(is_signal)
        && world.faults.is_empty()
        && world.death.is_none()
        && world.full_at.is_none()
}

/// A process that may be made to stand still, and goes on later. Its guardian, where it has one, takes the swap over meanwhile.
async fn until_it_ends(
    stage: &Arc<Stage>,
    random: &mut fastrand::Rng,
    has_guardian: bool,
    process: impl Future<Output = End>,
) -> End {
    let later = Duration::from_secs(random.u64(..100));
    let guardian = async {
        stage.stood_still.notified().await;
        sleep(GUARDIAN_AFTER).await;
        let taken = if has_guardian { take_back(stage).await } else { None };
        sleep(later).await;
        stage.go_on();
        taken
    };
    let mut process = pin!(process);
    let taken = tokio::select! {
        biased;
        end = &mut process => return end,
        taken = guardian => taken,
    };
    match (process.await, taken) {
        (End::Superseded, Some(taken)) => {
            let (kind, servers) = stage.with(|world| (world.kind, world.servers.len()));
            let siblings = u32::try_from(servers - 2).unwrap();
            if taken.ending().is_some() {
                // Somebody else's faults are over.
                stage.with(|world| world.faults.clear());
                heal(&parties(stage), plan_with(kind, siblings)).await;
            }
            taken
        }
        (end, _) => end,
    }
}

/// A swap and, where it dies, what its guardian makes of it.
async fn swap_guarded(stage: &Arc<Stage>, random: &mut fastrand::Rng) -> End {
    let has_guardian = random.bool();
    let end = until_it_ends(stage, random, has_guardian, swap(stage)).await;
    if !has_guardian || !matches!(end, End::Killed) {
        return end;
    }
    let half_open = random.bool();
    stage.with(|world| world.process_ends(half_open));
    take_back(stage).await.unwrap_or(end)
}

/// Nobody acts any more, and everybody is there.
fn at_rest(world: &mut World) {
    world.process_ends(false);
    world.death = None;
    world.wake_all();
}

async fn play(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let case = format!("SEED={seed}");
    let tracking = pick(&mut random, &[Tracking::Gtid, Tracking::Coordinates]);
    let kind = Kind { flavor: pick(&mut random, &FLAVORS), tracking };
    let stage = stage_with(kind, random.u32(..3), []);
    let is_undisturbed = stage.with(|world| {
        prepare(&mut random, world);
        is_undisturbed(world)
    });
    let mut end = swap_guarded(&stage, &mut random).await;
    let is_whole = matches!(end.ending(), Some(Ending::Swapped | Ending::RolledBack));
    assert!(is_whole || !is_undisturbed, "{case}: nothing was in its way, and yet: {end:?}");
    for process in 0.. {
        stage.with(|world| assert_safe(world, &case));
        if let Some(ending @ (Ending::Swapped | Ending::RolledBack)) = end.ending() {
            stage.with(at_rest);
            return check_end(&stage, ending, &case).await;
        }
        let calm = process >= PROCESSES_MAX;
        assert!(
            process <= PROCESSES_MAX,
            "{case}: it does not end when nothing goes wrong: {end:?}"
        );
        stage.with(|world| {
            world.process_ends(random.bool());
            if random.u8(..4) == 0 {
                lose_what_is_not_durable(world);
            }
            prepare(&mut random, world);
            if calm {
                (world.faults, world.strike, world.full_at) = (Vec::new(), None, None);
                world.death = None;
                world.wake_all();
            }
        });
        if random.bool() {
            sleep(Duration::from_secs(random.u64(..100))).await;
        }
        if stage.with(|world| world.journal.is_empty()) {
            // Nothing was ever done.
            stage.with(at_rest);
            return check_end(&stage, Ending::RolledBack, &case).await;
        }
        end = until_it_ends(&stage, &mut random, false, recover(&stage)).await;
        if matches!(end, End::Refused) {
            // It was closed by a process that was killed right after.
            stage.with(at_rest);
            aftermath(&stage).await;
            return stage.with(|world| assert_safe(world, &case));
        }
    }
}

#[test]
fn whatever_happens_nothing_is_lost_and_in_the_end_a_recovery_succeeds() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SEED") {
        return on_paused_clock(play(seed));
    }
    let (began, wanted) = (Instant::now(), number("SEEDS"));
    let (next, seeds) = (AtomicU64::new(0), wanted.unwrap_or(SEEDS));
    let play_on = || {
        while wanted.is_some() || began.elapsed() < TIME_MAX {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                break;
            }
            let case = std::panic::AssertUnwindSafe(|| on_paused_clock(play(seed)));
            if let Err(panic) = std::panic::catch_unwind(case) {
                // Nobody begins another one.
                next.store(seeds, Ordering::Relaxed);
                eprintln!("play it again with SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let playing: Vec<_> = (0..threads).map(|_| scope.spawn(play_on)).collect();
        for thread in playing {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let (played, took) = (next.into_inner().min(seeds), began.elapsed());
    println!("{played} runs in {took:.1?}");
    assert!(played >= 100, "only {played} seeds in {TIME_MAX:?}");
}
