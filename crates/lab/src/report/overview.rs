//! The whole run drawn: the longest latency in every short slice of time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::chart::{Chart, TOP, WIDTH, put};
use crate::load::{Kind, Window};
use crate::trial::Trial;

const SLICE_MS: u128 = 10;
const HEIGHT: f64 = 170.0;

pub(super) fn draw(trial: &Trial) -> String {
    let samples = &trial.recording.samples;
    let end = samples.iter().map(|sample| sample.intended).max().unwrap_or_default();
    let longest = samples.iter().map(super::super::load::Sample::latency).max();
    let window = Window { from: Duration::ZERO, to: end };
    let chart = Chart::new(window, longest.unwrap_or_default(), HEIGHT);
    let bottom = chart.bottom();

    let mut svg = String::new();
    put(
        &mut svg,
        format_args!(
            r#"<div class="chart"><svg viewBox="0 0 {WIDTH} {:.0}" role="img" aria-label="Longest latencies over the whole run">"#,
            bottom + 10.0
        ),
    );
    for swapped in &trial.swaps {
        let (x, end) = (chart.x(swapped.window.from), chart.x(swapped.window.to));
        put(
            &mut svg,
            format_args!(
                r#"<rect class="hold" x="{x:.1}" y="{TOP}" width="{:.1}" height="{HEIGHT}"/>"#,
                (end - x).max(2.0)
            ),
        );
    }
    svg.push_str(&chart.axes(Duration::ZERO, bottom));
    // Writes last about longer than reads: drawn first, both stay visible.
    for (kind, class) in [(Kind::Write, "write"), (Kind::Read, "read")] {
        let mut path = String::new();
        for (middle, latency) in slices(trial, kind) {
            let (x, y) = (chart.x(middle), chart.y(latency));
            put(&mut path, format_args!("M{x:.1} {bottom:.0}V{y:.1}"));
        }
        put(&mut svg, format_args!(r#"<path class="slice {class}" d="{path}"/>"#));
    }
    svg.push_str("</svg></div>");
    svg
}

/// The middle of each slice and the longest latency of the requests intended in it.
fn slices(trial: &Trial, kind: Kind) -> Vec<(Duration, Duration)> {
    let mut longest: BTreeMap<u128, Duration> = BTreeMap::new();
    for sample in trial.recording.samples.iter().filter(|sample| sample.kind == kind) {
        let slot = longest.entry(sample.intended.as_millis() / SLICE_MS).or_default();
        *slot = sample.latency().max(*slot);
    }
    let middle = |slice: u128| {
        let ms = u64::try_from(slice * SLICE_MS + SLICE_MS / 2).unwrap_or(u64::MAX);
        Duration::from_millis(ms)
    };
    longest.into_iter().map(|(slice, latency)| (middle(slice), latency)).collect()
}
