//! One swap drawn: every request a mark at its intended time and latency, and below them the swap's steps.

use std::time::Duration;

use super::chart::{Chart, TOP, WIDTH, put};
use super::page::{escape, show_ms};
use crate::load::{Kind, Sample, Window};
use crate::trial::{Swapped, Trial};

/// Drawn before and after the swap.
const MARGIN: Duration = Duration::from_millis(60);
const HEIGHT: f64 = 260.0;
/// One step's row.
const ROW: f64 = 17.0;
const GAP: f64 = 14.0;
/// A step too short to see is drawn this wide.
const BAR_MIN: f64 = 2.5;
/// Half the size of a request's mark, of a held one, of a failed one.
const MARK: f64 = 2.6;
const MARK_HELD: f64 = 3.6;
const MARK_FAILED: f64 = 5.0;

pub(super) fn draw(trial: &Trial, swapped: &Swapped) -> String {
    let window =
        Window { from: swapped.window.from.saturating_sub(MARGIN), to: swapped.window.to + MARGIN };
    let shown: Vec<&Sample> = trial
        .recording
        .samples
        .iter()
        .filter(|sample| sample.intended >= window.from && sample.intended <= window.to)
        .collect();
    let longest = shown.iter().map(|sample| sample.latency()).max().unwrap_or_default();
    let chart = Chart::new(window, longest, HEIGHT);
    let steps = swapped.record.as_ref().map_or(&[][..], |record| &record.steps);
    let rows: f64 = steps.iter().map(|_| ROW).sum();
    let floor = chart.bottom() + GAP + rows;

    let mut svg = String::new();
    let title = "Latency of every request around the swap, and the swap's steps";
    put(
        &mut svg,
        format_args!(
            r#"<div class="chart"><svg viewBox="0 0 {WIDTH} {:.0}" role="img" aria-label="{title}">"#,
            floor + 10.0
        ),
    );
    draw_hold(&mut svg, &chart, trial, swapped, floor);
    svg.push_str(&chart.axes(swapped.window.from, floor));
    let held = trial.held(swapped).unwrap_or_default();
    for sample in shown {
        let is_held = held.iter().any(|held| std::ptr::eq(*held, sample));
        draw_request(&mut svg, &chart, sample, is_held);
    }
    let mut y = chart.bottom() + GAP;
    for step in steps {
        if let Some(span) = trial.step_window(step) {
            draw_step(&mut svg, &chart, &step.label(), span, y);
        }
        y += ROW;
    }
    svg.push_str("</svg></div>");
    svg
}

/// The time users were held, and the commit point, over the whole height.
fn draw_hold(svg: &mut String, chart: &Chart, trial: &Trial, swapped: &Swapped, floor: f64) {
    let hold = trial.named_step(swapped, "hold");
    let release = trial.named_step(swapped, "release");
    if let (Some(hold), Some(release)) = (hold, release) {
        let (x, end) = (chart.x(hold.from), chart.x(release.from));
        let (width, height) = ((end - x).max(BAR_MIN), floor - TOP);
        put(
            svg,
            format_args!(
                r#"<rect class="hold" x="{x:.1}" y="{TOP}" width="{width:.1}" height="{height:.1}"/>"#
            ),
        );
    }
    if let Some(promote) = trial.named_step(swapped, "promote") {
        let x = chart.x(promote.to);
        put(svg, format_args!(r#"<path class="promote" d="M{x:.1} {TOP}V{floor:.1}"/>"#));
    }
}

fn draw_request(svg: &mut String, chart: &Chart, sample: &Sample, is_held: bool) {
    let (x, y) = (chart.x(sample.intended), chart.y(sample.latency()));
    let (class, name) = match sample.kind {
        Kind::Read => ("read", "read"),
        Kind::Write => ("write", "write"),
    };
    if is_held {
        // The wait: from where the request was to be sent to where it was answered.
        let end = chart.x(sample.finished);
        put(svg, format_args!(r#"<path class="wait {class}" d="M{x:.1} {y:.1}H{end:.1}"/>"#));
    }
    let latency = show_ms(sample.latency());
    let title = format!("<title>{name}, {latency}{}</title>", if is_held { ", held" } else { "" });
    if sample.failed() {
        let r = MARK_FAILED;
        let d = format!(
            "M{:.1} {:.1}l{} {}m0 -{}l-{} {}",
            x - r,
            y - r,
            r * 2.0,
            r * 2.0,
            r * 2.0,
            r * 2.0,
            r * 2.0
        );
        put(svg, format_args!(r#"<path class="failed" d="{d}">{title}</path>"#));
        return;
    }
    let (r, held) = if is_held { (MARK_HELD, " held") } else { (MARK, "") };
    match sample.kind {
        Kind::Read => put(
            svg,
            format_args!(
                r#"<circle class="{class}{held}" cx="{x:.1}" cy="{y:.1}" r="{r}">{title}</circle>"#
            ),
        ),
        Kind::Write => {
            let (left, top, size) = (x - r, y - r, r * 2.0);
            put(
                svg,
                format_args!(
                    r#"<rect class="{class}{held}" x="{left:.1}" y="{top:.1}" width="{size}" height="{size}">{title}</rect>"#
                ),
            );
        }
    }
}

fn draw_step(svg: &mut String, chart: &Chart, name: &str, span: Window, y: f64) {
    let (x, end) = (chart.x(span.from), chart.x(span.to));
    let (width, height, bar_y) = ((end - x).max(BAR_MIN), ROW - 6.0, y + 3.0);
    let took = show_ms(span.to.saturating_sub(span.from));
    let (name, label, text_y) = (escape(name), Chart::label_x(), y + ROW - 4.5);
    put(svg, format_args!(r#"<text class="end" x="{label:.1}" y="{text_y:.1}">{name}</text>"#));
    put(
        svg,
        format_args!(
            r#"<rect class="step" x="{x:.1}" y="{bar_y:.1}" width="{width:.1}" height="{height:.1}"><title>{name}, {took}</title></rect>"#
        ),
    );
    // Beside the bar where there is room, otherwise before it.
    let (class, text_x) =
        if x + width + 70.0 < WIDTH { ("took", x + width + 5.0) } else { ("took end", x - 5.0) };
    put(
        svg,
        format_args!(r#"<text class="{class}" x="{text_x:.1}" y="{text_y:.1}">{took}</text>"#),
    );
}
