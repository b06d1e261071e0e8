//! `lab swaps`: many swaps in a row under continuous load, and the figures they are judged by.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use crate::burden::Burden;
use crate::cluster::PairOptions;
use crate::display::Display;
use crate::load::percentile;
use crate::report::{self, show_ms};
use crate::server::Series;
use crate::stage::{Programs, Stage, StageOptions};
use crate::trial::{self, Event, PauseParts, Trial, TrialOptions};

/// Arguments of `lab swaps`.
#[derive(Debug, clap::Args)]
pub struct SwapsArgs {
    /// Which server: `mariadb`, `mariadb-11.8` or `mysql`.
    #[arg(long, default_value_t = Series::MariaDb)]
    pub server: Series,
    /// Swaps in a row, there and back in turn.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// Requests per second, half of them writes.
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub rate: u32,
    /// Replicas of the primary, all together. With more than one the first two servers swap, the others follow.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4))]
    pub replicas: u32,
    /// Put the servers on hosts of their own, in network namespaces, with a floating IP between them.
    #[arg(long, conflicts_with = "replicas")]
    pub floating_ip: bool,
    /// Replicate by file and position, on MySQL without GTIDs.
    #[arg(long)]
    pub coordinates: bool,
    /// Let commits on the primary wait for a replica.
    #[arg(long)]
    pub semi_sync: bool,
    /// Idle connections of the application's on the primary when a swap begins.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "floating_ip", value_parser = clap::value_parser!(u16).range(0..=8000))]
    pub connections: u16,
    /// Tables beside the ledger.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub tables: u32,
    /// Rows written and not committed when a swap begins.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub transaction_rows: u32,
    /// Load without a swap before each swap, ms.
    #[arg(long, value_name = "MS", default_value_t = 400)]
    pub quiet: u64,
    /// Draw the worst swaps and the whole run into this file.
    #[arg(long, value_name = "PATH")]
    pub report: Option<PathBuf>,
    /// Print one JSON object on stdout instead of lines.
    #[arg(long)]
    pub json: bool,
}

/// The result. Its field names are a stable interface; new ones may be added.
#[derive(Debug, Serialize)]
pub struct SwapsResult {
    server: String,
    version: String,
    rate: u32,
    /// Replicas of the primary.
    replicas: usize,
    /// Swaps that were done.
    swaps: usize,
    /// Swaps that were tried and not done; the run ends with the first.
    failed_swaps: usize,
    requests: usize,
    failed_requests: usize,
    writes_acknowledged: usize,
    lost_writes: usize,
    duplicated_writes: usize,
    out_of_order: usize,
    /// Rows the servers did not agree on in the end.
    differing_rows: usize,
    /// Large transactions under way when a swap began that could not be committed.
    transactions_lost: usize,
    write_pause_ms: Spread,
    /// Median of each part of the write pause, ms.
    write_pause_parts_ms: BTreeMap<&'static str, f64>,
    /// Over the swaps, of the longest added latency in each.
    added_latency_ms: Spread,
    /// The same of the time before each swap, `--quiet` of it: what the machine adds by itself.
    quiet_added_latency_ms: Spread,
    /// Over the swaps, of the whole command.
    swap_ms: Spread,
    /// Median of every step, ms.
    steps: BTreeMap<String, f64>,
}

/// Nearest-rank percentiles; zero without values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Spread {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |permille| percentile(&values, permille).map_or(0.0, rounded);
        Self { p50: at(500), p99: at(990), max: at(1000) }
    }
}

/// To microseconds, which is more than the clocks tell.
fn rounded(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Runs them and prints the figures; `true` when nothing failed and nothing was lost.
pub async fn run(args: &SwapsArgs) -> anyhow::Result<bool> {
    let mut display = Display::new(u64::from(args.count));
    display.now("building");
    let programs = Programs::find_or_build().await?;
    display.now(&format!("starting {}", args.server));
    let burden = Burden {
        connections: args.connections,
        tables: args.tables,
        transaction_rows: args.transaction_rows,
    };
    let mut pair = burden.options(PairOptions::default().with_siblings(args.replicas - 1));
    if args.coordinates {
        pair = pair.by_coordinates(args.server.flavor());
    }
    if args.semi_sync {
        pair = pair.with_semi_sync(args.server.flavor());
    }
    let options =
        StageOptions { pair, floating_ip: args.floating_ip, ..StageOptions::new(args.server) };
    let stage = Stage::start_with(&options, programs).await?;
    let mut load = stage.load_options();
    load.rate = args.rate;
    let quiet = Duration::from_millis(args.quiet);
    burden.set_up(&stage.pair).await?;
    let options = TrialOptions { load, swaps: args.count, quiet, burden };
    let trial = trial::run(&stage, options, |event| follow(&mut display, event)).await?;
    drop(display);

    let trials = [trial];
    if let Some(path) = &args.report {
        report::write(path, &report::render(&trials, Timestamp::now()))
            .with_context(|| format!("cannot write the report {}", path.display()))?;
    }
    let [trial] = trials;
    let result = SwapsResult::of(&trial);
    let mut out = io::stdout().lock();
    print(&mut out, &result, args.json).context("cannot print the result")?;
    let mut talk = io::stderr().lock();
    explain(&mut talk, &trial).context("cannot print what failed")?;
    Ok(trial.is_clean())
}

fn follow(display: &mut Display, event: Event<'_>) {
    match event {
        Event::Loaded(load) => {
            display.follow(load.watch());
            display.now("under load");
        }
        Event::Swapping(_) => {}
        Event::Ended(number, swapped) => {
            display.advance();
            let took = show_ms(swapped.run.took);
            if swapped.run.done() {
                display.now(&format!("swap {number} in {took}"));
            } else {
                display.line(&format!("swap {number} was not done"));
            }
        }
        Event::Examining => {
            display.unfollow();
            display.now("comparing the writes");
        }
    }
}

impl SwapsResult {
    /// The figures of a trial.
    #[must_use]
    pub fn of(trial: &Trial) -> Self {
        let done = || trial.swaps.iter().filter(|swapped| swapped.run.done());
        let spread = |figure: &dyn Fn(&trial::Swapped) -> Option<Duration>| {
            Spread::of(done().filter_map(figure).map(ms).collect())
        };
        Self {
            server: trial.series.to_string(),
            version: trial.version.clone(),
            rate: trial.options.load.rate,
            replicas: trial.verdict.rows.len().saturating_sub(1),
            swaps: trial.swaps_done(),
            failed_swaps: trial.swaps.len() - trial.swaps_done(),
            requests: trial.recording.samples.len(),
            failed_requests: trial.recording.failed(),
            writes_acknowledged: trial.verdict.acknowledged,
            lost_writes: trial.verdict.lost.len(),
            duplicated_writes: trial.verdict.duplicated.len(),
            out_of_order: trial.verdict.out_of_order.len(),
            differing_rows: trial.verdict.differing.len(),
            transactions_lost: trial.transactions_lost,
            write_pause_ms: spread(&|swapped| trial.write_pause(swapped)),
            write_pause_parts_ms: part_medians(trial),
            added_latency_ms: spread(&|swapped| trial.added_latency(swapped)),
            quiet_added_latency_ms: spread(&|swapped| trial.quiet_added_latency(swapped)),
            swap_ms: spread(&|swapped| Some(swapped.run.took)),
            steps: step_medians(trial),
        }
    }
}

fn part_medians(trial: &Trial) -> BTreeMap<&'static str, f64> {
    let done = trial.swaps.iter().filter(|swapped| swapped.run.done());
    let parts: Vec<PauseParts> =
        done.filter_map(|swapped| trial.write_pause_parts(swapped)).collect();
    let median = |part: fn(&PauseParts) -> Duration| {
        Spread::of(parts.iter().map(part).map(ms).collect()).p50
    };
    BTreeMap::from([
        ("arrival", median(|parts| parts.arrival)),
        ("swap", median(|parts| parts.swap)),
        ("application", median(|parts| parts.application)),
    ])
}

fn step_medians(trial: &Trial) -> BTreeMap<String, f64> {
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for record in trial.swaps.iter().filter_map(|swapped| swapped.record.as_ref()) {
        for step in &record.steps {
            times.entry(step.label()).or_default().extend(step.took_ms);
        }
    }
    times.into_iter().map(|(step, times)| (step, Spread::of(times).p50)).collect()
}

fn print(out: &mut impl Write, result: &SwapsResult, json: bool) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, result)?;
        return writeln!(out);
    }
    writeln!(
        out,
        "{} {}: {} swaps ({} not done), {} requests at {}/s",
        result.server,
        result.version,
        result.swaps,
        result.failed_swaps,
        result.requests,
        result.rate
    )?;
    writeln!(
        out,
        "{} failed, {} writes acknowledged, {} lost, {} duplicated, {} out of order",
        result.failed_requests,
        result.writes_acknowledged,
        result.lost_writes,
        result.duplicated_writes,
        result.out_of_order
    )?;
    for (name, Spread { p50, p99, max }) in [
        ("write pause", result.write_pause_ms),
        ("added latency", result.added_latency_ms),
        ("without swap", result.quiet_added_latency_ms),
        ("whole swap", result.swap_ms),
    ] {
        writeln!(out, "{name:<14} p50 {p50:>8.1}  p99 {p99:>8.1}  max {max:>8.1} ms")?;
    }
    for (part, median) in &result.write_pause_parts_ms {
        writeln!(out, "pause {part:<15} {median:>8.1} ms")?;
    }
    for (step, median) in &result.steps {
        writeln!(out, "step {step:<16} {median:>8.1} ms")?;
    }
    Ok(())
}

/// What went wrong, for a person.
fn explain(out: &mut impl Write, trial: &Trial) -> io::Result<()> {
    for swapped in trial.swaps.iter().filter(|swapped| !swapped.run.done()) {
        let code = swapped.run.code.map_or_else(|| "killed".to_owned(), |code| code.to_string());
        writeln!(out, "lab: a swap was not done (exit {code}):\n{}", swapped.run.said.trim())?;
    }
    for note in &trial.recording.notes {
        writeln!(out, "lab: failed request: {note}")?;
    }
    if trial.recording.truncated {
        writeln!(out, "lab: the load stopped early: its record was full")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::made_up_trial;

    #[test]
    fn the_result_has_its_stable_fields() {
        let result = SwapsResult::of(&made_up_trial(Series::MariaDb));
        let mut out = Vec::new();
        print(&mut out, &result, true).expect("printed");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.lines().count(), 1);
        let json: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
        for field in ["swaps", "failed_requests", "lost_writes", "duplicated_writes"] {
            assert!(json[field].is_u64(), "{field} in {text}");
        }
        for field in ["write_pause_ms", "added_latency_ms"] {
            for figure in ["p50", "p99", "max"] {
                assert!(json[field][figure].is_f64(), "{field}.{figure} in {text}");
            }
        }
        assert_eq!(json["swaps"], 2);
        assert_eq!(json["steps"]["catch_up"], 2.6);
        // Every made-up hold lasts 24 ms.
        let added = json["added_latency_ms"]["p50"].as_f64().expect("a number");
        assert!((20.0..30.0).contains(&added), "{added}");
    }

    #[test]
    fn the_parts_of_a_pause_are_all_of_it() {
        let trial = made_up_trial(Series::MySql);
        for swapped in &trial.swaps {
            let PauseParts { arrival, swap, application } =
                trial.write_pause_parts(swapped).expect("a journal");
            assert_eq!(Some(arrival + swap + application), trial.write_pause(swapped));
            assert!(swap > arrival && swap > application, "{swapped:?}");
        }
    }

    #[test]
    fn a_spread_of_nothing_is_zero() {
        assert_eq!(Spread::of(Vec::new()), Spread { p50: 0.0, p99: 0.0, max: 0.0 });
    }
}
