//! Axes of a latency chart: time across, latency up on a logarithmic scale.

use std::fmt::Write;
use std::time::Duration;

use crate::load::Window;

/// Width of every chart in its own units; the browser scales it.
pub(super) const WIDTH: f64 = 960.0;
/// Left of the plot: labels.
const LEFT: f64 = 112.0;
/// Right of the plot.
const RIGHT: f64 = 14.0;
/// Above the plot.
pub(super) const TOP: f64 = 22.0;
/// Lowest latency drawn, ms; everything below lies on the axis.
const LATENCY_MIN_MS: f64 = 0.3;
/// The scale reaches at least this far up, so that a quiet run does not look dramatic.
const LATENCY_TOP_MS: f64 = 100.0;
const LATENCY_TICKS_MS: [f64; 9] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0];
/// Distances of the time axis' ticks, ms: the first that gives few enough.
const TIME_TICKS_MS: [f64; 10] =
    [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0, 20_000.0];
const TIME_TICKS_MAX: f64 = 12.0;

/// Maps time and latency to places in a plot.
#[derive(Debug)]
pub(super) struct Chart {
    from_ms: f64,
    span_ms: f64,
    top_ms: f64,
    height: f64,
}

pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

impl Chart {
    /// A plot of `window`, `height` units high, for latencies up to `longest`.
    pub(super) fn new(window: Window, longest: Duration, height: f64) -> Self {
        Self {
            from_ms: ms(window.from),
            span_ms: ms(window.to.saturating_sub(window.from)).max(1.0),
            top_ms: (ms(longest) * 1.3).max(LATENCY_TOP_MS),
            height,
        }
    }

    /// Where a moment lies, kept within the plot.
    pub(super) fn x(&self, at: Duration) -> f64 {
        self.x_of((ms(at) - self.from_ms) / self.span_ms)
    }

    fn x_of(&self, share: f64) -> f64 {
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    /// Where a latency lies.
    pub(super) fn y(&self, latency: Duration) -> f64 {
        self.y_of(ms(latency))
    }

    fn y_of(&self, latency_ms: f64) -> f64 {
        let share = (latency_ms.max(LATENCY_MIN_MS) / LATENCY_MIN_MS).ln()
            / (self.top_ms / LATENCY_MIN_MS).ln();
        self.bottom() - share.clamp(0.0, 1.0) * self.height
    }

    /// The plot's lower edge.
    pub(super) fn bottom(&self) -> f64 {
        TOP + self.height
    }

    /// Left end of the labels' column.
    pub(super) const fn label_x() -> f64 {
        LEFT - 8.0
    }

    /// Grid lines and their labels; times are told relative to `zero`, down to `floor`.
    pub(super) fn axes(&self, zero: Duration, floor: f64) -> String {
        let mut svg = String::new();
        for tick in LATENCY_TICKS_MS.into_iter().filter(|tick| *tick <= self.top_ms) {
            let y = self.y_of(tick);
            let (x, end, label) = (LEFT, WIDTH - RIGHT, Self::label_x());
            let text =
                if tick < 1000.0 { format!("{tick} ms") } else { format!("{} s", tick / 1000.0) };
            put(&mut svg, format_args!(r#"<path class="grid" d="M{x:.1} {y:.1}H{end:.1}"/>"#));
            put(
                &mut svg,
                format_args!(
                    r#"<text class="end" x="{label:.1}" y="{:.1}">{text}</text>"#,
                    y + 4.0
                ),
            );
        }
        self.time_axis(&mut svg, zero, floor);
        svg
    }

    fn time_axis(&self, svg: &mut String, zero: Duration, floor: f64) {
        let distance = TIME_TICKS_MS
            .into_iter()
            .find(|distance| self.span_ms / distance <= TIME_TICKS_MAX)
            .unwrap_or(self.span_ms / TIME_TICKS_MAX);
        let zero_ms = ms(zero);
        let mut tick = ((self.from_ms - zero_ms) / distance).ceil() * distance;
        while tick + zero_ms <= self.from_ms + self.span_ms {
            let x = self.x_of((tick + zero_ms - self.from_ms) / self.span_ms);
            let text = if self.span_ms < 3000.0 {
                // Minus zero would be printed with its sign.
                format!("{:.0} ms", tick + 0.0)
            } else {
                format!("{:.1} s", tick / 1000.0 + 0.0)
            };
            put(svg, format_args!(r#"<path class="grid" d="M{x:.1} {TOP:.1}V{floor:.1}"/>"#));
            let y = TOP - 8.0;
            put(svg, format_args!(r#"<text class="mid" x="{x:.1}" y="{y:.1}">{text}</text>"#));
            tick += distance;
        }
    }
}

/// Appends to a string, which cannot fail.
pub(super) fn put(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_order_and_stay_within_the_plot() {
        let window = Window { from: Duration::from_millis(100), to: Duration::from_millis(600) };
        let chart = Chart::new(window, Duration::from_millis(50), 200.0);
        let (at, latency) = (Duration::from_millis, Duration::from_micros);
        assert!(chart.x(at(0)) >= LEFT && chart.x(at(0)) <= chart.x(at(300)));
        assert!(chart.x(at(300)) < chart.x(at(400)));
        assert!(chart.x(at(9000)) <= WIDTH - RIGHT);
        assert!(chart.y(latency(1)) <= chart.bottom());
        assert!(chart.y(latency(2000)) > chart.y(latency(20_000)));
        assert!(chart.y(latency(90_000_000)) >= TOP);
    }

    #[test]
    fn a_window_without_length_draws_no_endless_axis() {
        let moment = Window { from: Duration::ZERO, to: Duration::ZERO };
        let axes = Chart::new(moment, Duration::ZERO, 100.0).axes(Duration::ZERO, 100.0);
        assert!(axes.matches("<text").count() < 20, "{axes}");
    }
}
