//! Everything that can happen to a hold, and how often it does.

use proptest::prelude::{Just, Strategy, prop_oneof};

pub(super) const LANES: usize = 3;
/// Beyond a lease, so that clocks jump over its end too.
const JUMP_MS_MAX: u64 = 40_000;

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Enter(usize),
    /// Polls the request in line, if it was woken.
    Fetch(usize),
    Written(usize),
    /// Answered, or its upstream lost: whether it was written before makes the difference.
    Complete(usize),
    /// The client of a request in line is gone.
    Leave(usize),
    GiveUp(usize),
    /// Its place in line is taken back.
    Refuse(usize),
    /// What was let go on has failed.
    Fail(usize),
    Close,
    /// Somebody waits for the end of the drain.
    Watch(u64),
    Command(Command),
    /// A reload.
    SetLimits(Bounds),
    /// Time goes by, and nobody is asked for that long.
    Pass(u64),
}

/// As `hold::Limits` has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) held_max: usize,
    pub(super) concurrency: u32,
    pub(super) concurrency_max: u32,
    pub(super) rejects: bool,
    /// 0: no failure stops a release.
    pub(super) failures_max: u32,
}

/// What names a generation: each with how far behind the last one it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    Release(u64),
    AbortDrain(u64),
    /// The lease is to end so many milliseconds from now.
    Renew(u64, u64),
    /// Judged by a clock that is ahead of the hold's or behind it.
    Expire(u64, i64),
    /// One more may try, or all: of a release that failures have stopped.
    GoOn(u64, bool),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let behind = prop_oneof![4 => Just(0_u64), 1 => 1_u64..3];
    let client = 0..64_usize;
    let ahead = -20_000..60_000_i64;
    let renew = (behind.clone(), 0..60_000_u64);
    let expire = (behind.clone(), ahead);
    prop_oneof![
        8 => (0..LANES).prop_map(Step::Enter),
        6 => client.clone().prop_map(Step::Fetch),
        6 => client.clone().prop_map(Step::Written),
        6 => client.clone().prop_map(Step::Complete),
        2 => client.clone().prop_map(Step::Leave),
        1 => client.clone().prop_map(Step::GiveUp),
        1 => client.clone().prop_map(Step::Refuse),
        4 => client.prop_map(Step::Fail),
        3 => Just(Step::Close),
        1 => behind.clone().prop_map(Step::Watch),
        2 => behind.clone().prop_map(|behind| Step::Command(Command::Release(behind))),
        1 => behind.clone().prop_map(|behind| Step::Command(Command::AbortDrain(behind))),
        2 => (behind, proptest::bool::weighted(0.2)).prop_map(|(behind, all)| Step::Command(Command::GoOn(behind, all))),
        1 => renew.prop_map(|(behind, ms)| Step::Command(Command::Renew(behind, ms))),
        1 => expire.prop_map(|(behind, ms)| Step::Command(Command::Expire(behind, ms))),
        1 => bounds().prop_map(Step::SetLimits),
        2 => (1..JUMP_MS_MAX).prop_map(Step::Pass),
    ]
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let pace = (1..5_u32, 1..5_u32);
    (0..9_usize, pace, proptest::bool::ANY, 0..4_u32).prop_map(
        |(held_max, (concurrency, concurrency_max), rejects, failures_max)| Bounds {
            held_max,
            concurrency,
            concurrency_max,
            rejects,
            failures_max,
        },
    )
}
