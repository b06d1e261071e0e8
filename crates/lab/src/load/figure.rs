//! The figures a run is judged by, from its samples.

use std::time::Duration;

use super::record::{Kind, Sample};

/// A span of the load's time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first moment.
    pub from: Duration,
    /// Its last moment.
    pub to: Duration,
}

impl Window {
    /// From its first moment to its last.
    #[must_use]
    pub const fn length(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }

    /// Whether the span from `from` to `to` shares a moment with this one.
    fn touches(&self, from: Duration, to: Duration) -> bool {
        from <= self.to && to >= self.from
    }
}

/// The longest time within a window in which no write was acknowledged, from the last acknowledgement before it to the
/// first after it. `None` when fewer than two writes were acknowledged around the window.
///
/// The gap need only touch the window, so a pause that began before the swap's first moment counts in full.
#[must_use]
pub fn write_pause(samples: &[Sample], window: Window) -> Option<Window> {
    let mut acknowledged: Vec<Duration> = samples
        .iter()
        .filter(|sample| sample.acknowledged())
        .map(|sample| sample.finished)
        .collect();
    acknowledged.sort_unstable();
    acknowledged
        .iter()
        .zip(acknowledged.iter().skip(1))
        .filter(|(last, first)| window.touches(**last, **first))
        .map(|(last, first)| Window { from: *last, to: *first })
        .max_by_key(Window::length)
}

/// The median latency of the successful requests of one kind intended within a window.
#[must_use]
pub fn median_latency(samples: &[Sample], kind: Kind, window: Window) -> Option<Duration> {
    let mut latencies: Vec<Duration> = samples
        .iter()
        .filter(|sample| sample.kind == kind && !sample.failed())
        .filter(|sample| window.touches(sample.intended, sample.intended))
        .map(Sample::latency)
        .collect();
    latencies.sort_unstable();
    percentile(&latencies, 500)
}

/// The longest latency any request had more than the median of its kind in the quiet time, over all requests under way
/// at some moment of the window.
#[must_use]
pub fn added_latency(samples: &[Sample], window: Window, quiet: Window) -> Option<Duration> {
    [Kind::Read, Kind::Write]
        .into_iter()
        .filter_map(|kind| {
            let usual = median_latency(samples, kind, quiet)?;
            samples
                .iter()
                .filter(|sample| sample.kind == kind)
                .filter(|sample| window.touches(sample.intended, sample.finished))
                .map(|sample| sample.latency().saturating_sub(usual))
                .max()
        })
        .max()
}

/// The nearest-rank percentile of sorted values, `permille` of 1000. `None` without values.
#[must_use]
pub fn percentile<T: Copy>(sorted: &[T], permille: usize) -> Option<T> {
    let rank = (sorted.len() * permille.min(1000)).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::super::record::{Failure, Outcome};
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn sample(kind: Kind, intended: u64, finished: u64, outcome: Outcome) -> Sample {
        let intended = ms(intended);
        let finished = ms(finished);
        Sample { kind, client: 0, seq: 1, token: 1, intended, sent: intended, finished, outcome }
    }

    fn write(intended: u64, finished: u64) -> Sample {
        sample(Kind::Write, intended, finished, Outcome::Answered(201))
    }

    const fn window(from: u64, to: u64) -> Window {
        Window { from: ms(from), to: ms(to) }
    }

    #[test]
    fn the_write_pause_is_the_longest_gap_between_acknowledgements_touching_the_window() {
        let samples = [write(0, 5), write(10, 12), write(20, 48), write(30, 50), write(55, 58)];
        assert_eq!(write_pause(&samples, window(15, 40)), Some(window(12, 48)));
        // A gap reaching into the window counts in full; one outside does not count.
        assert_eq!(write_pause(&samples, window(47, 55)), Some(window(12, 48)));
        assert_eq!(write_pause(&samples, window(49, 55)), Some(window(50, 58)));
    }

    #[test]
    fn a_write_that_failed_or_a_read_does_not_end_the_write_pause() {
        let samples = [
            write(0, 10),
            sample(Kind::Write, 11, 15, Outcome::Answered(503)),
            sample(Kind::Write, 11, 16, Outcome::Failed(Failure::Transport)),
            sample(Kind::Read, 12, 17, Outcome::Answered(200)),
            write(12, 30),
        ];
        assert_eq!(write_pause(&samples, window(0, 100)), Some(window(10, 30)));
        assert_eq!(write_pause(&samples[..1], window(0, 100)), None);
    }

    #[test]
    fn added_latency_compares_each_kind_with_its_own_quiet_median() {
        let read = |from, to| sample(Kind::Read, from, to, Outcome::Answered(200));
        let samples = [
            read(0, 1),
            read(5, 6),
            write(0, 10),
            write(10, 20),
            // In the window: a read held 30 ms and a write held 30 ms.
            read(110, 140),
            write(110, 140),
            // Begun before the window, ended in it.
            write(60, 105),
        ];
        assert_eq!(median_latency(&samples, Kind::Write, window(0, 50)), Some(ms(10)));
        assert_eq!(added_latency(&samples, window(100, 200), window(0, 50)), Some(ms(35)));
        assert_eq!(added_latency(&samples, window(106, 200), window(0, 50)), Some(ms(29)));
        assert_eq!(added_latency(&samples, window(100, 200), window(500, 600)), None);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&values, 500), Some(50));
        assert_eq!(percentile(&values, 990), Some(99));
        assert_eq!(percentile(&values, 1000), Some(100));
        assert_eq!(percentile(&values, 0), Some(1));
        assert_eq!(percentile(&[7], 500), Some(7));
        assert_eq!(percentile::<u32>(&[], 500), None);
    }
}
