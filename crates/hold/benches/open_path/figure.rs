//! What a request costs on the open path: processor time of its thread, so that being preempted is no cost. The least of
//! many short rounds: whatever else the machine does only adds.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hold::{Hold, Lane, Limits, Pace};
use rustix::time::{ClockId, clock_gettime};

/// Of one round.
const REQUESTS: u32 = 20_000;
/// A round that takes so many times its processor time was interrupted.
const PREEMPTED: f64 = 1.2;
/// What the thread beside it counts at once.
const BATCH: u64 = 64;

/// Nanoseconds for a request; none where the machine never let two threads run at once.
pub(crate) struct Figures {
    pub(crate) one_thread: f64,
    /// While another thread does the same on a lane of its own.
    pub(crate) two_threads: Option<f64>,
    /// While another thread does the same on the same lane, which nobody does: what sharing a cache line would cost.
    pub(crate) one_lane: Option<f64>,
}

impl Figures {
    pub(crate) fn measure(rounds: usize) -> Self {
        let pace = Pace { concurrency: NonZeroU32::MIN, concurrency_max: NonZeroU32::MIN };
        let lanes = NonZeroUsize::MIN.saturating_add(1);
        let (_hold, lanes) = Hold::new(Limits::new(1, pace), lanes);
        let [first, second] = lanes.try_into().expect("two lanes were asked for");
        let alone = (0..rounds).map(|_| cost(&first)).fold(f64::INFINITY, f64::min);
        Self {
            one_thread: alone,
            two_threads: beside(&first, &second, rounds),
            one_lane: beside(&first, &first.clone(), rounds),
        }
    }

    /// 1: a second thread costs the first one nothing.
    pub(crate) fn ratio(&self) -> Option<f64> {
        Some(self.two_threads? / self.one_thread)
    }
}

/// How far the thread beside has come; on cache lines of its own.
#[repr(align(128))]
struct Progress(AtomicU64);

/// The least of those rounds in which this thread had its processor all the time and another one did at least half as
/// many on `other` meanwhile: so both ran at once.
fn beside(lane: &Lane, other: &Lane, rounds: usize) -> Option<f64> {
    let (progress, is_over) = (Progress(AtomicU64::new(0)), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..BATCH {
                    drop(std::hint::black_box(other).enter());
                }
                progress.0.fetch_add(BATCH, Ordering::Relaxed);
            }
        });
        let mut least = None;
        for _ in 0..rounds {
            let (began, before) = (Instant::now(), progress.0.load(Ordering::Relaxed));
            let cost = cost(lane);
            let took = began.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS);
            let done = progress.0.load(Ordering::Relaxed) - before;
            if took < cost * PREEMPTED && done >= u64::from(REQUESTS / 2) {
                least = Some(least.map_or(cost, |least: f64| least.min(cost)));
            }
        }
        is_over.store(true, Ordering::Relaxed);
        least
    })
}

fn cost(lane: &Lane) -> f64 {
    let before = used();
    for _ in 0..REQUESTS {
        drop(std::hint::black_box(lane).enter());
    }
    used().saturating_sub(before).as_secs_f64() * 1e9 / f64::from(REQUESTS)
}

/// Processor time of this thread.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}
