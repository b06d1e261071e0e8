//! Random faults, traffic, kills and signals. A failing seed is printed; `SEED=… cargo test` plays it again.

use std::time::{Duration, Instant};

use intermission::swap::{
    position::Tracking,
    record::{Action, Ending},
    step::Step,
};
use tokio::time::sleep;

use crate::{
    fault::{Blow, Fault, Moment, Point, Reached, Strike},
    harness::{
        End, FLAVORS, Kind, lose_what_is_not_durable, on_paused_clock, recover, stage_with, swap,
    },
    oracle::{aftermath, assert_safe, check_end},
    world::{Traffic, World},
};

/// Seeds of one run, unless the time ends first. `SEEDS=… cargo test` takes another number and all the time it needs.
const SEEDS: u64 = 3000;
const TIME_MAX: Duration = Duration::from_secs(10);
/// After so many processes that went wrong everything goes right.
const PROCESSES_MAX: u32 = 4;

fn pick<T: Copy>(random: &mut fastrand::Rng, from: &[T]) -> T {
    from[random.usize(..from.len())]
}

fn random_fault(random: &mut fastrand::Rng) -> Fault {
    let action = pick(random, &[Action::Perform, Action::Perform, Action::Undo, Action::Verify]);
    let step = if action == Action::Verify { Step::COMMIT } else { pick(random, &Step::ALL) };
    Fault {
        action,
        step,
        nth: random.bool().then(|| random.usize(..4)),
        moment: pick(random, &Moment::ALL),
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
    let blow = pick(random, &[Blow::Kill, Blow::Kill, Blow::Cancel]);
    let reached = pick(random, &[Reached::NotLanded, Reached::Landed, Reached::Late]);
    Strike::new(blow, point, reached)
}

/// What the next process has to live with.
fn prepare(random: &mut fastrand::Rng, world: &mut World) {
    world.faults = (0..random.usize(..4)).map(|_| random_fault(random)).collect();
    world.strike = random.bool().then(|| random_strike(random, world));
    world.full_at = (random.u8(..6) == 0).then(|| world.appends + random.usize(1..35));
    world.traffic = Traffic { gated: random.usize(..4), direct: random.usize(..5) };
}

async fn play(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let case = format!("SEED={seed}");
    let tracking = pick(&mut random, &[Tracking::Gtid, Tracking::Coordinates]);
    let kind = Kind { flavor: pick(&mut random, &FLAVORS), tracking };
    let stage = stage_with(kind, random.u32(..3), []);
    stage.with(|world| prepare(&mut random, world));
    let mut end = swap(&stage).await;
    for process in 0.. {
        stage.with(|world| assert_safe(world, &case));
        if let Some(ending @ (Ending::Swapped | Ending::RolledBack)) = end.ending() {
            stage.with(|world| world.process_ends(false));
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
            }
        });
        if random.bool() {
            sleep(Duration::from_secs(random.u64(..100))).await;
        }
        if stage.with(|world| world.journal.is_empty()) {
            // Nothing was ever done.
            stage.with(|world| world.process_ends(false));
            return check_end(&stage, Ending::RolledBack, &case).await;
        }
        end = recover(&stage).await;
        if matches!(end, End::Refused) {
            // It was closed by a process that was killed right after.
            stage.with(|world| world.process_ends(false));
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
    let mut played = 0_u64;
    for seed in 0..wanted.unwrap_or(SEEDS) {
        if wanted.is_none() && began.elapsed() > TIME_MAX {
            break;
        }
        let case = std::panic::AssertUnwindSafe(|| on_paused_clock(play(seed)));
        if let Err(panic) = std::panic::catch_unwind(case) {
            eprintln!("play it again with SEED={seed}");
            std::panic::resume_unwind(panic);
        }
        played += 1;
    }
    assert!(played >= 100, "only {played} seeds in {TIME_MAX:?}");
}
