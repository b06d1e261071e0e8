//! `lab soak`: a held app whose clients come by the thousand and give up after a second, for as long as one likes. The
//! gate's memory must not grow, another app of it must not notice, and who waited to the end is answered.

mod client;
mod memory;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use self::client::{Churn, Patient};
pub use self::memory::Memory;
use crate::bystander::{Bystander, BystanderFigures};
use crate::gate_bench::held::{seen, status_of};
use crate::gate_bench::peer::{FILE, Proxy, start_gate};
use crate::gate_bench::processor::resident_kib;
use crate::gate_bench::{Turn, allow_many_files, start_upstream};
use crate::stage::Programs;

/// Who waits until the release.
const PATIENT: u32 = 200;
/// The other app is asked so often.
const ASKED_EVERY: Duration = Duration::from_millis(10);
/// Memory is looked at so often.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// At first memory grows to what so many clients take: it is judged after this, and in short runs after a third.
const SETTLED_AFTER: Duration = Duration::from_mins(1);
/// From the first to the last tenth of what is judged, of the first; more is not flat.
const GROWTH_PCT_MAX: f64 = 5.0;
/// All of the other app's answers but one in a hundred come within this, on a machine that clients and gate share.
const OTHER_P99_MS_MAX: f64 = 100.0;
/// Who has left is out of the line, and who waits answered, within this.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Arguments of `lab soak`.
#[derive(Debug, clap::Args)]
pub struct SoakArgs {
    /// How long clients come and give up, s.
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    pub seconds: u64,
    /// New clients per second.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// The result. Its field names are a stable interface; new ones may be added.
#[derive(Debug, Serialize)]
pub struct SoakResult {
    pub seconds: u64,
    /// Clients that came, and of those the ones that were answered: the app was held, so none may be.
    pub clients: u64,
    pub clients_per_s: f64,
    pub answered_while_held: u64,
    /// Clients that could not even connect.
    pub unconnected: u64,
    pub held_max: u64,
    /// Resident memory of the gate.
    pub memory: Memory,
    pub memory_is_flat: bool,
    /// Of the other app, all the time.
    pub other: BystanderFigures,
    /// Of those who waited until the release.
    pub patient: u32,
    pub patient_answered: u32,
    /// Requests of who waited that came to the upstream, and of who had left: none of those may.
    pub patient_seen: usize,
    pub gone_seen: usize,
    /// Everything is as it should be.
    pub is_well: bool,
}

/// Runs it and prints the result; says whether everything was well.
pub async fn run(args: &SoakArgs) -> anyhow::Result<bool> {
    let result = measure(args).await?;
    print(args, &result).context("cannot print the result")?;
    Ok(result.is_well)
}

/// Runs it.
pub async fn measure(args: &SoakArgs) -> anyhow::Result<SoakResult> {
    allow_many_files()?;
    let programs = Programs::find_or_build().await?;
    let (_upstream, at) = start_upstream(&programs, Turn::Like).await?;
    let further = format!(
        "max_wait = \"1m\"\nlease = \"1m\"\nlease_max = \"5m\"\n\n\
         [[app]]\nname = \"blog\"\nhosts = [\"blog\"]\nupstreams = [\"{at}\"]"
    );
    let proxy = start_gate(&programs.intermission, at, &further).await?;
    // What it was asked while it started.
    seen(at).await?;
    soak(args, &programs.intermission, &proxy, at).await
}

async fn soak(
    args: &SoakArgs,
    gate: &Path,
    proxy: &Proxy,
    upstream: SocketAddr,
) -> anyhow::Result<SoakResult> {
    let told = |words: &[&str]| command(gate, proxy, words);
    let mut holder = hold(&told).await?;
    let bystander =
        Bystander::start(proxy.address, "blog", ASKED_EVERY).context("cannot ask the other app")?;
    let time = Duration::from_secs(args.seconds);
    let settled = SETTLED_AFTER.min(time / 3);
    let churn = Churn::start(proxy.address, args.rate);
    let (began, mut samples, mut held_max) = (Instant::now(), Vec::new(), 0);
    while began.elapsed() < time {
        if began.elapsed() >= settled {
            samples.push((began.elapsed(), resident_kib(proxy.part.pid())?));
        }
        held_max = held_max.max(held(&told).await?);
        if let Some(ended) = holder.try_wait().context("cannot watch the holder")? {
            bail!("the hold ended: {ended}");
        }
        sleep(SAMPLE_EVERY).await;
    }
    let churned = churn.stop().await;
    until_held(&told, 0).await?;
    let patient = Patient::send(proxy.address, PATIENT).await?;
    until_held(&told, u64::from(PATIENT)).await?;
    let released = told(&["release", "shop"]).output().await.context("cannot release")?;
    if !released.status.success() {
        bail!("cannot release: {}", String::from_utf8_lossy(&released.stderr).trim());
    }
    let patient_answered = patient.answered(PATIENCE).await;
    drop(holder.wait().await);
    let other = bystander.take();
    let (patient_seen, gone_seen) = told_apart(&seen(upstream).await?);
    let memory = Memory::of(&samples);
    let memory_is_flat = memory.growth_pct <= GROWTH_PCT_MAX;
    let is_well = memory_is_flat
        && churned.answered == 0
        && churned.unconnected == 0
        && other.failures == 0
        && other.p99_ms <= OTHER_P99_MS_MAX
        && patient_answered == PATIENT
        && patient_seen == usize::try_from(PATIENT).unwrap_or(usize::MAX)
        && gone_seen == 0;
    Ok(SoakResult {
        seconds: args.seconds,
        clients: churned.clients,
        clients_per_s: churned.per_s,
        answered_while_held: churned.answered,
        unconnected: churned.unconnected,
        held_max,
        memory,
        memory_is_flat,
        other,
        patient: PATIENT,
        patient_answered,
        patient_seen,
        gone_seen,
        is_well,
    })
}

/// Numbers of who waited, and of everybody else.
fn told_apart(numbers: &[u32]) -> (usize, usize) {
    let patient = numbers.iter().filter(|number| **number < PATIENT).count();
    (patient, numbers.len() - patient)
}

fn command(gate: &Path, proxy: &Proxy, words: &[&str]) -> Command {
    let mut command = Command::new(gate);
    command.arg("-c").arg(proxy.part.folder().join(FILE)).args(words).kill_on_drop(true);
    command
}

/// A command that keeps the lease as long as it runs.
async fn hold(told: &impl Fn(&[&str]) -> Command) -> anyhow::Result<Child> {
    let holder = told(&["hold", "shop"]).stderr(Stdio::null()).spawn();
    let holder = holder.context("cannot start the holder")?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (state, _) = status_of(told(&["status", "--json"])).await?;
        if state == "held" {
            return Ok(holder);
        }
        if Instant::now() > deadline {
            bail!("after {PATIENCE:?} the app is {state}");
        }
        sleep(POLL_EVERY).await;
    }
}

async fn held(told: &impl Fn(&[&str]) -> Command) -> anyhow::Result<u64> {
    Ok(status_of(told(&["status", "--json"])).await?.1)
}

async fn until_held(told: &impl Fn(&[&str]) -> Command, wanted: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = held(told).await?;
        if now == wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("after {PATIENCE:?} {now} are in line, not {wanted}");
        }
        sleep(POLL_EVERY).await;
    }
}

fn print(args: &SoakArgs, result: &SoakResult) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, result)?;
        return writeln!(out);
    }
    let Memory { first_kib, last_kib, growth_pct, slope_kib_per_min } = result.memory;
    writeln!(
        out,
        "{} clients in {} s, {} at most in line, {} answered while held, {} did not connect\n\
         memory {first_kib:.0} KiB, at the end {last_kib:.0} ({growth_pct:+.1} %, {slope_kib_per_min:+.0} KiB a minute)\n\
         the other app: {} requests, {} failures, p99 {:.2} ms, longest {:.2} ms\n\
         {} of {} who waited were answered; {} of their requests came to the upstream, {} of those who had left\n{}",
        result.clients,
        result.seconds,
        result.held_max,
        result.answered_while_held,
        result.unconnected,
        result.other.requests,
        result.other.failures,
        result.other.p99_ms,
        result.other.max_ms,
        result.patient_answered,
        result.patient,
        result.patient_seen,
        result.gone_seen,
        if result.is_well { "well" } else { "not well" },
    )
}
