//! The report of a demonstration: one HTML file with nothing outside it, for a browser on any screen.

mod chart;
mod overview;
mod page;
mod table;
mod timeline;

use std::cmp::Reverse;
use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;

use crate::trial::{Swapped, Trial};

pub(crate) use page::{show_count, show_ms};

/// Swaps drawn per trial: a page stays a page.
const DRAWN_MAX: usize = 4;

/// The whole page.
#[must_use]
pub fn render(trials: &[Trial], generated: Timestamp) -> String {
    let mut body = String::new();
    body.push_str(&table::headline(trials));
    for trial in trials {
        body.push_str(&section(trial));
    }
    page::page("Intermission: what users saw of a swap", &body, generated)
}

fn section(trial: &Trial) -> String {
    let mut html = format!("<section><h2>{}</h2>", page::escape(&trial.server()));
    html.push_str(&table::facts(trial));
    let drawn = worth_drawing(trial);
    if drawn.len() < trial.swaps.len() {
        html.push_str("<p>Drawn are the swaps of the longest added latency.</p>");
    }
    for (number, swapped) in drawn {
        html.push_str(&table::swap_heading(trial, swapped, number));
        html.push_str(&timeline::draw(trial, swapped));
        html.push_str(page::LEGEND);
        html.push_str(&table::steps(swapped));
    }
    html.push_str("<h3>The whole run</h3><p>The longest latency in every 10 ms.</p>");
    html.push_str(&overview::draw(trial));
    html.push_str(&table::failures(trial));
    html.push_str("</section>");
    html
}

/// The swaps to draw, numbered from 1: all, or of many those that users saw most of.
fn worth_drawing(trial: &Trial) -> Vec<(usize, &Swapped)> {
    let mut swaps: Vec<(usize, &Swapped)> = (1..).zip(&trial.swaps).collect();
    if swaps.len() > DRAWN_MAX {
        swaps.sort_by_cached_key(|(_, swapped)| Reverse(trial.added_latency(swapped)));
        swaps.truncate(DRAWN_MAX);
        swaps.sort_by_key(|(number, _)| *number);
    }
    swaps
}

/// Writes a page that everybody may read, all or nothing.
pub fn write(path: &Path, page: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    let everybody = Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new().permissions(everybody).tempfile_in(folder)?;
    file.write_all(page.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
