//! Load on one proxy for a few seconds, by `wrk`: one thread of C that takes less of the processor it shares with the
//! upstream than the proxies take of theirs, so that they are what is measured.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::processor::{BESIDE, pinned};
use crate::server::lab_dir;

/// How clients come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// 64 connections that are kept.
    C64,
    /// 512 of them.
    C512,
    /// 64 at a time, each for one request.
    Close,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Loaded {
    pub(super) requests: u64,
    pub(super) seconds: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Shape {
    pub const ALL: [Self; 3] = [Self::C64, Self::C512, Self::Close];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::C64 => "64 connections that are kept",
            Self::C512 => "512 connections that are kept",
            Self::Close => "a new connection for each request, 64 at a time",
        }
    }

    const fn connections(self) -> u16 {
        match self {
            Self::C64 | Self::Close => 64,
            Self::C512 => 512,
        }
    }
}

fn program() -> PathBuf {
    lab_dir().join("bin/wrk")
}

/// An error if a single request failed.
pub(super) async fn load(at: SocketAddr, shape: Shape, time: Duration) -> anyhow::Result<Loaded> {
    let connections = shape.connections();
    let [taskset, flag, processor] = pinned(BESIDE);
    let mut command = Command::new(taskset);
    command.args([flag, processor]).arg(program()).args(["-t1", "--latency"]);
    command.arg(format!("-c{connections}")).arg(format!("-d{}s", time.as_secs()));
    if shape == Shape::Close {
        command.args(["-H", "Connection: close"]);
    }
    let done = command.arg(format!("http://{at}/")).kill_on_drop(true).output().await;
    let done =
        done.with_context(|| format!("cannot start {}: run scripts/servers", program().display()))?;
    let text = String::from_utf8_lossy(&done.stdout);
    if !done.status.success() {
        bail!("wrk ended with {}: {text}{}", done.status, String::from_utf8_lossy(&done.stderr));
    }
    read(&text)
}

/// Reads what `wrk` 4 prints.
fn read(text: &str) -> anyhow::Result<Loaded> {
    if let Some(bad) =
        text.lines().find(|line| line.contains("Socket errors:") || line.contains("Non-2xx"))
    {
        bail!("requests failed: {}", bad.trim());
    }
    let mut loaded = Loaded { requests: 0, seconds: 0.0, p50_ms: 0.0, p99_ms: 0.0 };
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["50%", time] => loaded.p50_ms = milliseconds(time)?,
            ["99%", time] => loaded.p99_ms = milliseconds(time)?,
            [count, "requests", "in", time, ..] => {
                loaded.requests =
                    count.parse().with_context(|| format!("{count:?} in {line:?}"))?;
                loaded.seconds = milliseconds(time.trim_end_matches(','))? / 1000.0;
            }
            _ => {}
        }
    }
    if loaded.requests == 0 || loaded.seconds <= 0.0 || loaded.p99_ms <= 0.0 {
        bail!("cannot read what wrk printed: {text:?}");
    }
    Ok(loaded)
}

/// `1.50ms`, `720.00us`, `2.00s`, `1.01m`.
fn milliseconds(text: &str) -> anyhow::Result<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0), ("m", 60_000.0)];
    let found = units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    });
    found.with_context(|| format!("{text:?} is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "Running 2s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   700.10us  101.00us   9.11ms   90.00%
    Req/Sec    90.00k     1.00k   93.00k    70.00%
  Latency Distribution
     50%  750.00us
     75%  770.00us
     90%  800.00us
     99%    1.25ms
  181000 requests in 2.00s, 200.00MB read
Requests/sec:  90049.75
Transfer/sec:     99.50MB
";

    #[test]
    fn what_wrk_prints_is_read() {
        let loaded = Loaded { requests: 181_000, seconds: 2.0, p50_ms: 0.75, p99_ms: 1.25 };
        assert_eq!(read(PRINTED).unwrap(), loaded);
    }

    #[test]
    fn failed_requests_are_an_error() {
        for line in [
            "  Non-2xx or 3xx responses: 3\n",
            "  Socket errors: connect 0, read 1, write 0, timeout 0\n",
        ] {
            let error = read(&format!("{PRINTED}{line}")).unwrap_err().to_string();
            assert!(error.contains(line.trim()), "{error}");
        }
        assert!(read("").is_err());
    }
}
