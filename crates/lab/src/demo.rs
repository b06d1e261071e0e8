//! `lab demo`: the main job on this machine, shown: one swap there and one back under load, then what users saw.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;

use crate::display::Display;
use crate::load::Kind;
use crate::report::{self, show_count, show_ms};
use crate::server::{SeriesChoice, lab_dir};
use crate::stage::{Programs, Stage, StageOptions};
use crate::trial::{self, Event, Swapped, Trial, TrialOptions};

/// There and back.
const SWAPS: u32 = 2;
const QUIET: Duration = Duration::from_millis(1500);
/// Steps the display counts per server: the stage, the load, two swaps, the examination.
const STEPS: u64 = 5;

/// Arguments of `lab demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Which servers to show it on.
    #[arg(long, value_enum, default_value_t = SeriesChoice::Both)]
    pub server: SeriesChoice,
    /// Where the report goes; by default `report.html` in the lab folder.
    #[arg(long, value_name = "PATH")]
    pub report: Option<PathBuf>,
    /// Requests per second, half of them writes.
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub rate: u32,
}

/// Shows it; `true` when nobody noticed.
pub async fn run(args: &DemoArgs) -> anyhow::Result<bool> {
    let series = args.server.series();
    let mut trials = Vec::new();
    let count = u64::try_from(series.len()).unwrap_or(1);
    let mut display = Display::new(STEPS * count);
    display.now("building");
    let programs = Programs::find_or_build().await?;
    for series in series {
        display.now(&format!("starting {series}"));
        let stage = Stage::start_with(&StageOptions::new(*series), programs.clone()).await?;
        display.advance();
        let mut load = stage.load_options();
        load.rate = args.rate;
        let options = TrialOptions::new(load, SWAPS, QUIET);
        trials.push(trial::run(&stage, options, |event| follow(&mut display, event)).await?);
        display.unfollow();
        display.advance();
    }
    drop(display);

    let path = args.report.clone().unwrap_or_else(|| lab_dir().join("report.html"));
    report::write(&path, &report::render(&trials, Timestamp::now()))
        .with_context(|| format!("cannot write the report {}", path.display()))?;
    let mut out = io::stdout().lock();
    for trial in &trials {
        print(&mut out, trial).context("cannot print the result")?;
    }
    let shown = path.canonicalize().unwrap_or(path);
    writeln!(out, "\nThe report with every request drawn: {}", shown.display())
        .context("cannot print the result")?;
    Ok(trials.iter().all(Trial::is_clean))
}

fn follow(display: &mut Display, event: Event<'_>) {
    match event {
        Event::Loaded(load) => {
            display.follow(load.watch());
            display.advance();
            display.now("under load");
        }
        Event::Swapping(number) => display.now(&format!("swap {number}")),
        Event::Ended(number, swapped) => {
            display.advance();
            let took = show_ms(swapped.run.took);
            if swapped.run.done() {
                display.now(&format!("swap {number} done in {took}"));
            } else {
                display.line(&format!("swap {number} ended: {}", swapped.run.said.trim()));
            }
        }
        Event::Examining => {
            display.unfollow();
            display.now("comparing the writes");
        }
    }
}

fn print(out: &mut impl Write, trial: &Trial) -> io::Result<()> {
    let samples = &trial.recording.samples;
    let writes = samples.iter().filter(|sample| sample.kind == Kind::Write).count();
    writeln!(out, "\n{}, {} requests/s", trial.server(), trial.options.load.rate)?;
    for (number, swapped) in (1..).zip(&trial.swaps) {
        print_swap(out, trial, number, swapped)?;
    }
    writeln!(
        out,
        "\n  users    {} requests ({} writes), {} failed",
        show_count(samples.len()),
        show_count(writes),
        show_count(trial.recording.failed())
    )?;
    let verdict = &trial.verdict;
    writeln!(
        out,
        "  writes   {} acknowledged, {} lost, {} duplicated, {} out of order, {} rows differ",
        show_count(verdict.acknowledged),
        verdict.lost.len(),
        verdict.duplicated.len(),
        verdict.out_of_order.len(),
        verdict.differing.len()
    )?;
    for note in &trial.recording.notes {
        writeln!(out, "  failed   {note}")?;
    }
    Ok(())
}

fn print_swap(
    out: &mut impl Write,
    trial: &Trial,
    number: u32,
    swapped: &Swapped,
) -> io::Result<()> {
    let outcome = if swapped.run.done() { "done" } else { "NOT DONE" };
    writeln!(out, "\n  swap {number}: {outcome} in {}", show_ms(swapped.run.took))?;
    if let Some(record) = &swapped.record {
        writeln!(out, "    {:<16} {:>10} {:>10}", "step", "at ms", "took ms")?;
        let first = record.steps.iter().map(|step| step.started_ms).fold(f64::INFINITY, f64::min);
        for step in &record.steps {
            let at = step.started_ms - first;
            let took = step.took_ms.map_or_else(|| "?".to_owned(), |ms| format!("{ms:.1}"));
            writeln!(out, "    {:<16} {at:>10.1} {took:>10}", step.label())?;
        }
    }
    let show = |figure: Option<Duration>| figure.map_or_else(|| "-".to_owned(), show_ms);
    writeln!(
        out,
        "    users saw: longest added latency {}, write pause {}, held {}",
        show(trial.added_latency(swapped)),
        show(trial.write_pause(swapped)),
        trial.held_count(swapped).map_or_else(|| "-".to_owned(), show_count)
    )?;
    if !swapped.run.done() {
        writeln!(out, "    {}", swapped.run.said.trim().replace('\n', "\n    "))?;
    }
    Ok(())
}
