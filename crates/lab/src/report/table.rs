//! The words and figures of the report.

use std::fmt::Write;

use super::page::{escape, show_count, show_ms};
use crate::load::Kind;
use crate::trial::{Swapped, Trial};

/// The one sentence at the top: how it went.
pub(super) fn headline(trials: &[Trial]) -> String {
    let clean = !trials.is_empty() && trials.iter().all(Trial::is_clean);
    let swaps: usize = trials.iter().map(Trial::swaps_done).sum();
    let requests: usize = trials.iter().map(|trial| trial.recording.samples.len()).sum();
    let failed: usize = trials.iter().map(|trial| trial.recording.failed()).sum();
    let lost: usize = trials.iter().map(|trial| trial.verdict.lost.len()).sum();
    let longest = trials
        .iter()
        .flat_map(|trial| trial.swaps.iter().filter_map(|swapped| trial.added_latency(swapped)))
        .max();
    let longest = longest.map_or_else(String::new, |longest| {
        format!(", longest added latency {}", show_ms(longest))
    });
    let (class, word) =
        if clean { ("good", "Nobody noticed") } else { ("bad", "Somebody noticed") };
    format!(
        r#"<p class="headline {class}"><strong>{word}.</strong> {swaps} swaps under load, {} requests, {} failed, {} acknowledged writes lost{longest}.</p>"#,
        show_count(requests),
        show_count(failed),
        show_count(lost)
    )
}

/// The load and what became of it.
pub(super) fn facts(trial: &Trial) -> String {
    let samples = &trial.recording.samples;
    let of = |kind| samples.iter().filter(|sample| sample.kind == kind).count();
    let verdict = &trial.verdict;
    let rows = [
        (
            "Load",
            format!(
                "{} requests/s by {} clients, from the time each was to be sent",
                trial.options.load.rate, trial.options.load.clients
            ),
        ),
        (
            "Requests",
            format!(
                "{} ({} reads, {} writes), {} failed",
                show_count(samples.len()),
                show_count(of(Kind::Read)),
                show_count(of(Kind::Write)),
                show_count(trial.recording.failed())
            ),
        ),
        (
            "Writes",
            format!(
                "{} acknowledged: {} lost, {} duplicated, {} out of order; {} rows differ between the servers",
                show_count(verdict.acknowledged),
                show_count(verdict.lost.len()),
                show_count(verdict.duplicated.len()),
                show_count(verdict.out_of_order.len()),
                show_count(verdict.differing.len())
            ),
        ),
    ];
    let mut html = String::from(r#"<table class="facts">"#);
    for (name, value) in rows {
        row(&mut html, &[name, &value]);
    }
    html.push_str("</table>");
    html
}

/// What users saw of one swap.
pub(super) fn swap_heading(trial: &Trial, swapped: &Swapped, number: usize) -> String {
    let mut told: Vec<String> = Vec::new();
    match trial.added_latency(swapped) {
        Some(added) => told.push(format!("longest added latency {}", show_ms(added))),
        None => told.push("no request in it".to_owned()),
    }
    if let Some(pause) = trial.write_pause(swapped) {
        told.push(format!("write pause {}", show_ms(pause)));
    }
    if let Some(held) = trial.held_count(swapped) {
        told.push(format!("{} requests held", show_count(held)));
    }
    told.push(format!("{} in all", show_ms(swapped.run.took)));
    if !swapped.run.done() {
        told.push(format!("not done: {}", swapped.run.said.trim()));
    }
    let way = swapped.record.as_ref().map_or_else(String::new, |record| {
        format!(": {} to {}", record.old_primary, record.new_primary)
    });
    let way = escape(&way);
    format!("<h3>Swap {number}{way}</h3><p>{}</p>", escape(&told.join(", ")))
}

/// The steps and their timings.
pub(super) fn steps(swapped: &Swapped) -> String {
    let Some(record) = &swapped.record else {
        return "<p>The swap left no journal.</p>".to_owned();
    };
    let first = record.steps.iter().map(|step| step.started_ms).fold(f64::INFINITY, f64::min);
    let mut html = format!(
        "<details><summary>Steps of swap {}</summary><table><thead><tr><th>step</th><th class=\"n\">at</th>\
         <th class=\"n\">took</th></tr></thead>",
        escape(&record.id)
    );
    for step in &record.steps {
        let at = step.started_ms - first;
        write!(
            html,
            r#"<tr><td>{}</td><td class="n">{at:.1} ms</td><td class="n">{}</td></tr>"#,
            escape(&step.label()),
            step.took_ms.map_or_else(|| "never ended".to_owned(), |ms| format!("{ms:.1} ms"))
        )
        .expect("writing to a string cannot fail");
    }
    html.push_str("</table></details>");
    html
}

/// The first failures in words, if there are any.
pub(super) fn failures(trial: &Trial) -> String {
    if trial.recording.notes.is_empty() {
        return String::new();
    }
    let mut html = String::from("<h3>The first failed requests</h3><ul>");
    for note in &trial.recording.notes {
        write!(html, "<li>{}</li>", escape(note)).expect("writing to a string cannot fail");
    }
    html.push_str("</ul>");
    html
}

fn row(html: &mut String, cells: &[&str]) {
    html.push_str("<tr>");
    for cell in cells {
        write!(html, "<td>{}</td>", escape(cell)).expect("writing to a string cannot fail");
    }
    html.push_str("</tr>");
}
