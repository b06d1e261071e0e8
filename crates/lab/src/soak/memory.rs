//! Whether memory grows.

use std::time::Duration;

use serde::Serialize;

/// Resident memory over a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    /// The mean of the first and of the last tenth.
    pub first_kib: f64,
    pub last_kib: f64,
    /// From one to the other, of the first.
    pub growth_pct: f64,
    /// Of the straight line through all samples.
    pub slope_kib_per_min: f64,
}

impl Memory {
    /// Samples in their order: when, and how many KiB.
    pub(super) fn of(samples: &[(Duration, u64)]) -> Self {
        let points: Vec<(f64, f64)> = samples
            .iter()
            .map(|(at, kib)| {
                (at.as_secs_f64() / 60.0, f64::from(u32::try_from(*kib).unwrap_or(u32::MAX)))
            })
            .collect();
        let tenth = (points.len() / 10).max(1);
        let first_kib = mean(points.iter().take(tenth).map(|(_, kib)| *kib));
        let last_kib = mean(points.iter().rev().take(tenth).map(|(_, kib)| *kib));
        let growth_pct = (last_kib - first_kib) / first_kib * 100.0;
        Self { first_kib, last_kib, growth_pct, slope_kib_per_min: slope(&points) }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    sum / count
}

/// By least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let x = mean(points.iter().map(|(x, _)| *x));
    let y = mean(points.iter().map(|(_, y)| *y));
    let (mut both, mut square) = (0.0, 0.0);
    for (at, value) in points {
        both += (at - x) * (value - y);
        square += (at - x) * (at - x);
    }
    both / square
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_and_what_is_flat_has_none() {
        let line = |kib: fn(u64) -> u64| {
            let samples: Vec<_> =
                (0..100).map(|second| (Duration::from_secs(second), kib(second))).collect();
            Memory::of(&samples)
        };
        let grows = line(|second| 1_000 + 2 * second);
        assert!((grows.slope_kib_per_min - 120.0).abs() < 0.01, "{grows:?}");
        assert!((grows.growth_pct - 17.8).abs() < 0.1, "{grows:?}");
        let flat = line(|second| 1_000 + second % 2);
        assert!(flat.slope_kib_per_min.abs() < 1.0 && flat.growth_pct.abs() < 0.1, "{flat:?}");
        assert!(Memory::of(&[]).growth_pct.is_nan(), "no sample is no growth that was seen");
    }
}
