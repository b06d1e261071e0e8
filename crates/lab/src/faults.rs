//! `lab faults`: a swap on the whole stage broken in every way there is, under load, and what is left judged.
//!
//! A case is `ok` only if every acknowledged write is there once, users are served, exactly one server is writable and
//! replicated, and the command ended as its contract says.

mod bench;
mod case;
mod command;
mod crash;
mod database;
mod endpoint;
mod gate;
mod guardian;
mod hook;
mod judge;
mod kill;
mod proof;
mod refusal;
mod request;
mod sentinel;
mod sibling;
mod signal;
mod struck;
mod unwind;

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::time::{Instant, timeout};

pub use bench::Bench;
pub use case::{Case, Ground, cases};
pub use kill::STEPS;

use crate::display::Display;
use crate::server::Series;
use crate::stage::Programs;

/// How long a case may take before it counts as stuck.
const CASE_DEADLINE: Duration = Duration::from_secs(200);

/// Arguments of `lab faults`.
#[derive(Debug, clap::Args)]
pub struct FaultsArgs {
    /// Which server: `mariadb`, `mariadb-11.8` or `mysql`.
    #[arg(long, default_value_t = Series::MariaDb)]
    pub server: Series,
    /// Replicate by file and position; on MySQL without GTIDs.
    #[arg(long)]
    pub coordinates: bool,
    /// Only the cases whose id is this or begins with it.
    #[arg(long, value_name = "ID")]
    pub only: Option<String>,
    /// Print one JSON object on stdout instead of lines.
    #[arg(long)]
    pub json: bool,
}

/// What the stage of a campaign is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub series: Series,
    /// By file and position, on MySQL without GTIDs.
    pub coordinates: bool,
}

/// The result. Its field names are a stable interface; new ones may be added.
#[derive(Debug, Serialize)]
struct FaultsResult {
    server: String,
    failed: usize,
    /// Of the whole campaign.
    seconds: f64,
    cases: Vec<CaseResult>,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseResult {
    /// The fault's number in the list of faults, or `FAMILY:STEP`.
    pub id: String,
    /// What became of the swap; what is wrong when the case failed.
    pub outcome: String,
    /// Whether all is as it must be.
    pub ok: bool,
    /// How long it took, its stage's start included where it needed a new one.
    pub seconds: f64,
    /// What was measured in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<String>,
}

/// Runs the campaign and prints what became of it; `true` when no case failed.
pub async fn run(args: &FaultsArgs) -> anyhow::Result<bool> {
    let wanted = |case: &Case| args.only.as_ref().is_none_or(|only| case.id.starts_with(only));
    let cases: Vec<Case> = cases().into_iter().filter(wanted).collect();
    ensure!(!cases.is_empty(), "no case begins with {:?}", args.only.as_deref().unwrap_or(""));
    let display = Display::new(u64::try_from(cases.len()).unwrap_or(u64::MAX));
    display.now("building");
    let programs = Programs::find_or_build_for_faults().await?;
    let kind = Kind { series: args.server, coordinates: args.coordinates };
    let mut bench = None;
    let mut results = Vec::new();
    let began = Instant::now();
    for case in &cases {
        display.now(&case.id);
        let result = play(&mut bench, case, kind, &programs).await;
        display.line(&line(&result));
        display.advance();
        results.push(result);
    }
    drop(display);
    let failed = results.iter().filter(|result| !result.ok).count();
    let seconds = rounded(began.elapsed());
    let result = FaultsResult { server: args.server.to_string(), failed, seconds, cases: results };
    print(&mut io::stdout().lock(), &result, args.json).context("cannot print the result")?;
    Ok(failed == 0)
}

/// Plays one case on the stage there is, or on a new one. After a failure the stage is not used again.
pub async fn play(
    bench: &mut Option<Bench>,
    case: &Case,
    kind: Kind,
    programs: &Programs,
) -> CaseResult {
    let began = Instant::now();
    let played = timeout(CASE_DEADLINE, play_on(bench, case, kind, programs)).await;
    let played = played.unwrap_or_else(|_| Err(anyhow::anyhow!("stuck for {CASE_DEADLINE:?}")));
    let seconds = rounded(began.elapsed());
    let figures = bench.as_ref().map(Bench::take_figures).unwrap_or_default();
    let (outcome, ok) = match played {
        Ok(outcome) => (outcome.to_owned(), true),
        Err(error) => {
            *bench = None;
            (format!("{error:#}"), false)
        }
    };
    CaseResult { id: case.id.clone(), outcome, ok, seconds, figures }
}

async fn play_on(
    bench: &mut Option<Bench>,
    case: &Case,
    kind: Kind,
    programs: &Programs,
) -> anyhow::Result<&'static str> {
    if bench.as_ref().is_some_and(|bench| bench.ground != case.ground) {
        *bench = None;
    }
    let bench = match bench {
        Some(bench) => bench,
        None => bench.insert(Bench::new(kind, case.ground, programs.clone()).await?),
    };
    let before = bench.begin().await?;
    let end = case.play(bench).await?;
    let flaws = bench.judge(before, &end).await;
    ensure!(flaws.is_empty(), "after {}: {}", end.outcome, flaws.join("; "));
    Ok(end.outcome)
}

/// Seconds, to the hundredth.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}

fn line(result: &CaseResult) -> String {
    let CaseResult { id, outcome, ok, seconds, figures } = result;
    let verdict = if *ok { "ok" } else { "FAILED" };
    let figures: String = figures.iter().map(|figure| format!("\n    {figure}")).collect();
    format!("{id:<22} {verdict:<6} {seconds:>6.1} s  {outcome}{figures}")
}

fn print(out: &mut impl Write, result: &FaultsResult, json: bool) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, result)?;
        return writeln!(out);
    }
    for case in &result.cases {
        writeln!(out, "{}", line(case))?;
    }
    let FaultsResult { server, failed, seconds, cases } = result;
    writeln!(out, "{server}: {} cases, {failed} failed, {seconds} s", cases.len())
}
