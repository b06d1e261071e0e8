//! `lab gate-bench`: the gate beside nginx and HAProxy on this machine, and what it takes to hold many requests.

pub(crate) mod client;
pub(crate) mod held;
mod load;
pub(crate) mod peer;
pub(crate) mod processor;
mod table;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;

use crate::stage::{Part, Programs};

pub use held::HeldFigures;
use held::{Ground, Protocol};
pub use load::Shape;
pub use peer::Peer;
use peer::Proxy;
use processor::{BESIDE, describe, pinned, used_us};

/// Before anything is measured: connections to the upstream are there, memory has been touched.
const WARM_UP: Duration = Duration::from_secs(1);
/// As many connections as 20 000 open files leave room for, in the gate as in the clients.
const HELD_HTTP1: u32 = 9_900;
const HELD_HTTP2: u32 = 50_000;

/// Arguments of `lab gate-bench`.
#[derive(Debug, clap::Args)]
pub struct GateBenchArgs {
    /// Rounds; in each, every proxy has every kind of load once. Medians are reported.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// How long each load lasts, s.
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// What to measure; everything when left out.
    #[arg(long, value_enum)]
    pub only: Option<Only>,
    /// Print one JSON object on stdout; the lines go to stderr then.
    #[arg(long)]
    pub json: bool,
    /// Put the tables into this page, between its two marks.
    #[arg(long, value_name = "FILE", conflicts_with = "only")]
    pub table: Option<PathBuf>,
}

/// One of the two halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Only {
    /// The proxies beside each other.
    Peers,
    /// Many held requests.
    Held,
}

/// The result. Its field names are a stable interface; new ones may be added.
#[derive(Debug, Serialize)]
pub struct GateBenchResult {
    processor: String,
    processors: usize,
    rounds: u32,
    seconds: u64,
    peers: BTreeMap<Peer, BTreeMap<Shape, Figures>>,
    /// Processor time of a request, the gate's divided by the other's: the median of the rounds' own ratios, so that a machine that
    /// is slower for some of the rounds is so for both.
    ratios: BTreeMap<Peer, BTreeMap<Shape, f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_http1: Option<HeldFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_http2: Option<HeldFigures>,
}

/// What each round came to.
type Rounds = BTreeMap<Peer, BTreeMap<Shape, Vec<Figures>>>;

/// Of one round, or medians over all.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figures {
    /// Microseconds of processor time, user and system, that the proxy took for a request.
    cpu_us: f64,
    rps: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Runs it; an error if a single request failed.
pub async fn run(args: &GateBenchArgs) -> anyhow::Result<()> {
    let (processor, processors) = describe();
    if processors < 2 {
        bail!(
            "this machine has one processor: the proxy needs one for itself, load and upstream another"
        );
    }
    if let Some(page) = &args.table {
        table::ensure_place(page)?;
    }
    allow_many_files()?;
    let programs = Programs::find_or_build().await?;
    let (_upstream, at) = start_upstream(&programs, Turn::Like).await?;
    let mut result = GateBenchResult {
        processor,
        processors,
        rounds: args.rounds,
        seconds: args.seconds,
        peers: BTreeMap::new(),
        ratios: BTreeMap::new(),
        held_http1: None,
        held_http2: None,
    };
    if args.only != Some(Only::Held) {
        let measured = compare(args, &programs.intermission, at).await?;
        result.ratios = ratios(&measured);
        let medians = |shapes: &BTreeMap<Shape, Vec<Figures>>| {
            shapes.iter().map(|(shape, rounds)| (*shape, Figures::median(rounds))).collect()
        };
        result.peers = measured.iter().map(|(peer, shapes)| (*peer, medians(shapes))).collect();
    }
    if args.only != Some(Only::Peers) {
        // Of the other app, so that nobody waits there behind who is released.
        let (_other, other) = start_upstream(&programs, Turn::First).await?;
        let ground = Ground { gate: &programs.intermission, upstream: at, other };
        result.held_http1 = Some(held::measure(ground, Protocol::Http1, HELD_HTTP1).await?);
        result.held_http2 = Some(held::measure(ground, Protocol::Http2, HELD_HTTP2).await?);
    }
    let printed = if args.json {
        print(&mut io::stderr().lock(), &result).and_then(|()| {
            let mut out = io::stdout().lock();
            serde_json::to_writer(&mut out, &result)?;
            writeln!(out)
        })
    } else {
        print(&mut io::stdout().lock(), &result)
    };
    printed.context("cannot print the result")?;
    let today = Timestamp::now().strftime("%Y-%m-%d").to_string();
    args.table.as_deref().map_or(Ok(()), |page| table::write(page, &result, &today))
}

/// The gate and its upstream inherit it.
pub(crate) fn allow_many_files() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

/// When the processor is a process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Like,
    /// Before all others, where this user may say so (`nice(1)` only warns elsewhere).
    First,
}

pub(crate) async fn start_upstream(
    programs: &Programs,
    turn: Turn,
) -> anyhow::Result<(Part, SocketAddr)> {
    let folder = Part::folder_for("upstream")?;
    let [taskset, flag, processor] = pinned(BESIDE);
    let lab = programs.lab.display().to_string();
    let first: &[&str] = if turn == Turn::First { &["nice", "-n", "-20"] } else { &[] };
    let command = [first, &[taskset.as_str(), &flag, &processor, &lab, "upstream"]].concat();
    let part = Part::start("upstream", folder, &command, &[])?;
    let address = part.wait_address().await?;
    Ok((part, address))
}

/// In each round every proxy once, each time another one first: what else the machine does meanwhile is spread.
async fn compare(
    args: &GateBenchArgs,
    gate: &Path,
    upstream: SocketAddr,
) -> anyhow::Result<Rounds> {
    let mut proxies = Vec::new();
    for peer in Peer::ALL {
        let proxy = peer.start(gate, upstream).await?;
        load::load(proxy.address, Shape::C512, WARM_UP).await?;
        proxies.push((peer, proxy));
    }
    let mut measured = Rounds::new();
    for _ in 0..args.rounds {
        for shape in Shape::ALL {
            for (peer, proxy) in &proxies {
                let figures = once(proxy, shape, Duration::from_secs(args.seconds)).await;
                let figures = figures.with_context(|| format!("{peer:?}, {shape:?}"))?;
                measured.entry(*peer).or_default().entry(shape).or_default().push(figures);
            }
        }
        proxies.rotate_left(1);
    }
    Ok(measured)
}

/// Each other proxy against the gate.
fn ratios(measured: &Rounds) -> BTreeMap<Peer, BTreeMap<Shape, f64>> {
    let of = |peer: Peer, shape: Shape| {
        let rounds = |peer| measured.get(&peer)?.get(&shape);
        let pairs = rounds(Peer::Gate)?.iter().zip(rounds(peer)?);
        median(pairs.map(|(gate, other)| gate.cpu_us / other.cpu_us).collect())
    };
    let shapes = |peer| {
        Shape::ALL.into_iter().filter_map(move |shape| Some((shape, of(peer, shape)?))).collect()
    };
    [Peer::Nginx, Peer::Haproxy].map(|peer| (peer, shapes(peer))).into()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

async fn once(proxy: &Proxy, shape: Shape, time: Duration) -> anyhow::Result<Figures> {
    let pid = proxy.part.pid();
    let before = used_us(pid)?;
    let loaded = load::load(proxy.address, shape, time).await?;
    let used = u32::try_from(used_us(pid)? - before).context("a load of hours")?;
    let requests = f64::from(u32::try_from(loaded.requests).context("a load of hours")?);
    Ok(Figures {
        cpu_us: f64::from(used) / requests,
        rps: requests / loaded.seconds,
        p50_ms: loaded.p50_ms,
        p99_ms: loaded.p99_ms,
    })
}

impl Figures {
    /// Of each figure by itself.
    fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| {
            median(rounds.iter().map(figure).collect()).unwrap_or(f64::NAN)
        };
        Self {
            cpu_us: of(|round| round.cpu_us),
            rps: of(|round| round.rps),
            p50_ms: of(|round| round.p50_ms),
            p99_ms: of(|round| round.p99_ms),
        }
    }
}

fn print(out: &mut impl Write, result: &GateBenchResult) -> io::Result<()> {
    writeln!(out, "{} × {}", result.processors, result.processor)?;
    for (peer, shapes) in &result.peers {
        for (shape, Figures { cpu_us, rps, p50_ms, p99_ms }) in shapes {
            let (peer, shape) = (format!("{peer:?}"), format!("{shape:?}"));
            writeln!(
                out,
                "{peer:<8} {shape:<6} {cpu_us:>6.1} µs  {rps:>8.0}/s  p50 {p50_ms:>6.2}  p99 {p99_ms:>6.2} ms"
            )?;
        }
    }
    for (peer, shapes) in &result.ratios {
        for (shape, ratio) in shapes {
            writeln!(out, "gate ÷ {} {shape:?}: {ratio:.2}", peer.name())?;
        }
    }
    for (name, held) in [("HTTP/1.1", result.held_http1), ("HTTP/2", result.held_http2)] {
        let Some(held) = held else { continue };
        writeln!(
            out,
            "{name:<8} {} held: {:.1} KiB each, {:.1} % CPU, all answered after {:.2} s ({:.2} s one by one, {} out of order), {} errors; \
             another app's p99 {:+.2} ms; {:.0} % of the memory left after {}",
            held.count,
            held.kib_per_held,
            held.cpu_pct,
            held.release_s,
            held.release_k1_s,
            held.inversions_k1,
            held.errors,
            held.isolation_p99_ms,
            held.left_pct,
            held.given_back()
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_the_median_of_its_own() {
        let round = |cpu_us, rps| Figures { cpu_us, rps, p50_ms: 1.0, p99_ms: 2.0 };
        let median = Figures::median(&[round(9.0, 1.0), round(1.0, 5.0), round(3.0, 9.0)]);
        assert_eq!((median.cpu_us, median.rps), (3.0, 5.0));
    }

    #[test]
    fn a_ratio_is_that_of_rounds_beside_each_other() {
        let shapes = |times: [f64; 3]| {
            let rounds = times.map(|cpu_us| Figures { cpu_us, rps: 1.0, p50_ms: 1.0, p99_ms: 2.0 });
            [(Shape::C512, rounds.to_vec())].into()
        };
        // Two of the rounds have a moment in which the machine is slow; the medians alone say 1.5.
        let measured: Rounds = [
            (Peer::Gate, shapes([12.0, 30.0, 80.0])),
            (Peer::Nginx, shapes([10.0, 40.0, 20.0])),
            (Peer::Haproxy, shapes([24.0, 60.0, 160.0])),
        ]
        .into();
        let ratios = ratios(&measured);
        assert_eq!(ratios[&Peer::Nginx], [(Shape::C512, 1.2)].into());
        assert_eq!(ratios[&Peer::Haproxy], [(Shape::C512, 0.5)].into());
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn the_names_of_the_result_are_stable() {
        let figures = Figures { cpu_us: 1.5, rps: 2.0, p50_ms: 0.5, p99_ms: 3.0 };
        let shapes: BTreeMap<_, _> = Shape::ALL.into_iter().map(|shape| (shape, figures)).collect();
        let result = GateBenchResult {
            processor: "some".to_owned(),
            processors: 2,
            rounds: 1,
            seconds: 2,
            peers: Peer::ALL.into_iter().map(|peer| (peer, shapes.clone())).collect(),
            ratios: [(Peer::Nginx, [(Shape::C64, 0.9)].into())].into(),
            held_http1: None,
            held_http2: None,
        };
        let json = serde_json::to_value(&result).unwrap();
        for peer in ["gate", "nginx", "haproxy"] {
            for shape in ["c64", "c512", "close"] {
                assert_eq!(json["peers"][peer][shape]["cpu_us"], 1.5, "{peer} {shape}");
            }
        }
        assert_eq!(json["ratios"]["nginx"]["c64"], 0.9);
    }
}
