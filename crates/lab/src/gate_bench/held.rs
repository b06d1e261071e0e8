//! Many requests held in one gate: what each takes, and how they go on.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::client::Answers;
use super::peer::{FILE, Proxy, start_gate};
use super::processor::{resident_kib, used_us};
use crate::bystander::Bystander;
use crate::upstream::SEEN;

/// How many of the line run at once: the gate's own default, and one after another.
const WIDE: &str = "{ concurrency = 64, concurrency_max = 512 }";
const ONE_BY_ONE: &str = "{ concurrency = 1, concurrency_max = 1 }";
/// The processor time of a gate that only holds is watched for so long.
const WATCHED: Duration = Duration::from_secs(3);
/// Everybody is in line, or answered, within this.
const PATIENCE: Duration = Duration::from_secs(90);
/// Another app is asked so often, and for so long before anything is held.
const ASKED_EVERY: Duration = Duration::from_millis(1);
const QUIET: Duration = Duration::from_secs(2);
const POLL_EVERY: Duration = Duration::from_millis(20);
/// When everybody has gone, memory is looked at for so long.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(60);
const GIVEN_BACK_POLL: Duration = Duration::from_millis(500);
/// It is given back when only so much of it is left, percent: what serves requests keeps some.
const LEFT_PCT_MAX: f64 = 20.0;

/// Its field names are a stable interface; new ones may be added.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct HeldFigures {
    pub count: u32,
    /// Resident memory of the gate with all of them in line, less that of the gate that had just started.
    pub kib_per_held: f64,
    /// Of one processor, while they wait.
    pub cpu_pct: f64,
    /// From the call to release until the last is answered.
    pub release_s: f64,
    /// Requests that were not answered 200, in both runs.
    pub errors: u32,
    /// Released one after another: how many came to the upstream right behind one that was sent later.
    pub inversions_k1: usize,
    /// As `release_s`, released one after another.
    pub release_k1_s: f64,
    /// What the hold, the release and all the answers add to the 99th percentile of another app of the same gate.
    pub isolation_p99_ms: f64,
    /// How long after the clients have left four fifths of what they took were given back; none: not within a minute.
    pub given_back_s: Option<f64>,
    /// How much of it was left then, percent.
    pub left_pct: f64,
}

impl HeldFigures {
    /// When most of the memory was given back, or when nobody looked any more.
    pub(super) fn given_back(&self) -> String {
        self.given_back_s.map_or("a minute".to_owned(), |after| format!("{after:.1} s"))
    }
}

struct Held {
    kib: f64,
    cpu_pct: f64,
    release_s: f64,
    errors: u32,
    inversions: usize,
    isolation_p99_ms: f64,
    left: Left,
}

/// What a gate has kept of the memory of who was held.
#[derive(Debug, Clone, Copy)]
struct Left {
    after_s: Option<f64>,
    pct: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// A connection for each request.
    Http1,
    /// Many on one.
    Http2,
}

/// What there is besides the gate itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    /// The product's program.
    pub(super) gate: &'a Path,
    pub(super) upstream: SocketAddr,
    /// Of the other app.
    pub(super) other: SocketAddr,
}

/// Two runs, each with a gate of its own.
pub(super) async fn measure(
    ground: Ground<'_>,
    protocol: Protocol,
    count: u32,
) -> anyhow::Result<HeldFigures> {
    let wide = run(ground, protocol, count, WIDE).await?;
    let one = run(ground, protocol, count, ONE_BY_ONE).await?;
    Ok(HeldFigures {
        count,
        kib_per_held: wide.kib / f64::from(count),
        cpu_pct: wide.cpu_pct,
        release_s: wide.release_s,
        errors: wide.errors + one.errors,
        inversions_k1: one.inversions,
        release_k1_s: one.release_s,
        isolation_p99_ms: wide.isolation_p99_ms,
        given_back_s: wide.left.after_s,
        left_pct: wide.left.pct,
    })
}

async fn run(
    ground: Ground<'_>,
    protocol: Protocol,
    count: u32,
    pace: &str,
) -> anyhow::Result<Held> {
    let Ground { gate, upstream, other } = ground;
    let further = format!(
        "max_wait = \"5m\"\nheld_max = {count}\nlease = \"1m\"\nlease_max = \"5m\"\nrelease = {pace}\n\n\
         [[app]]\nname = \"blog\"\nhosts = [\"blog\"]\nupstreams = [\"{other}\"]"
    );
    let proxy = start_gate(gate, upstream, &further).await?;
    let told = |words: &[&str]| {
        let mut command = Command::new(gate);
        command.arg("-c").arg(proxy.part.folder().join(FILE)).args(words).kill_on_drop(true);
        command
    };
    let pid = proxy.part.pid();
    let at_start = resident_kib(pid)?;
    let other =
        Bystander::start(proxy.address, "blog", ASKED_EVERY).context("cannot ask the other app")?;
    sleep(QUIET).await;
    let quiet = other.take();
    // Keeps the lease for as long as it runs.
    let holder = told(&["hold", "shop"]).stderr(Stdio::piped()).spawn();
    let holder = holder.context("cannot start the holder")?;
    until(|| told(&["status", "--json"]), |state, _| state == "held").await?;
    let hold = other.take();
    // Nothing but the line is watched while it is.
    drop(other);

    let line = |wanted: u32| {
        let told = &told;
        async move { until(|| told(&["status", "--json"]), |_, held| held == u64::from(wanted)).await }
    };
    let answers = match protocol {
        Protocol::Http1 => Answers::send_http1(proxy.address, count, pid).await?,
        Protocol::Http2 => Answers::send_http2(proxy.address, count, line).await?,
    };
    line(count).await?;
    let kib = difference(at_start, resident_kib(pid)?);
    let cpu_pct = watch(&proxy).await?;
    let early = seen(upstream).await?;
    if !early.is_empty() {
        bail!("{} requests came to the upstream while the app was held", early.len());
    }
    let other =
        Bystander::start(proxy.address, "blog", ASKED_EVERY).context("cannot ask the other app")?;
    let began = Instant::now();
    let released = told(&["release", "shop"]).output().await.context("cannot release")?;
    if !released.status.success() {
        bail!("cannot release: {}", String::from_utf8_lossy(&released.stderr).trim());
    }
    let answered = timeout(PATIENCE, answers.failed()).await;
    let (errors, clients) = answered.context("not all were answered")?;
    let release_s = began.elapsed().as_secs_f64();
    let release = other.take();
    drop(other);
    if quiet.failures + hold.failures + release.failures > 0 {
        bail!("requests of another app failed: {quiet:?}, {hold:?}, {release:?}");
    }
    let order = seen(upstream).await?;
    holder.wait_with_output().await.context("cannot end the holder")?;
    let inversions =
        order.iter().zip(order.iter().skip(1)).filter(|(before, after)| before > after);
    let isolation_p99_ms = hold.p99_ms.max(release.p99_ms) - quiet.p99_ms;
    let inversions = inversions.count();
    drop(clients);
    let left = watch_memory(pid, at_start, kib).await?;
    Ok(Held { kib, cpu_pct, release_s, errors, inversions, isolation_p99_ms, left })
}

async fn watch_memory(pid: u32, at_start: u64, taken_kib: f64) -> anyhow::Result<Left> {
    let began = Instant::now();
    loop {
        let pct = difference(at_start, resident_kib(pid)?) / taken_kib * 100.0;
        let elapsed = began.elapsed();
        if pct <= LEFT_PCT_MAX {
            return Ok(Left { after_s: Some(elapsed.as_secs_f64()), pct });
        }
        if elapsed >= GIVEN_BACK_WITHIN {
            return Ok(Left { after_s: None, pct });
        }
        sleep(GIVEN_BACK_POLL).await;
    }
}

async fn watch(proxy: &Proxy) -> anyhow::Result<f64> {
    let pid = proxy.part.pid();
    let (began, before) = (Instant::now(), used_us(pid)?);
    sleep(WATCHED).await;
    let used = Duration::from_micros(used_us(pid)? - before);
    Ok(used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0)
}

/// Memory of this size is exact in a float.
fn difference(before: u64, after: u64) -> f64 {
    f64::from(u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX))
}

/// Asks for the status until it is as wished.
async fn until(
    ask: impl Fn() -> Command,
    wished: impl Fn(&str, u64) -> bool,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (state, held) = status_of(ask()).await?;
        if wished(&state, held) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("after {PATIENCE:?} the app is {state} with {held} in line");
        }
        sleep(POLL_EVERY).await;
    }
}

/// The state of the first app and how many of its requests are in line, by the command `status --json`.
pub(crate) async fn status_of(mut ask: Command) -> anyhow::Result<(String, u64)> {
    let answer = ask.output().await.context("cannot ask the gate")?;
    let status: serde_json::Value = serde_json::from_slice(&answer.stdout)
        .with_context(|| format!("status said {:?}", String::from_utf8_lossy(&answer.stderr)))?;
    let state = status.pointer("/apps/0/state").and_then(serde_json::Value::as_str);
    let held = status.pointer("/apps/0/held").and_then(serde_json::Value::as_u64);
    match (state, held) {
        (Some(state), Some(held)) => Ok((state.to_owned(), held)),
        (_, _) => bail!("no status: {status}"),
    }
}

/// The numbers that came to the upstream since it was asked last.
pub(crate) async fn seen(upstream: SocketAddr) -> anyhow::Result<Vec<u32>> {
    let text = super::client::get(upstream, SEEN).await?;
    text.lines()
        .map(|line| line.parse().with_context(|| format!("{line:?} is no number")))
        .collect()
}
