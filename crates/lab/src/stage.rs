//! The whole stage as real processes: a pair, the floating address, the app and the gate in front of it.
//!
//! Everything runs as it would in production, in processes of its own, so that any of them can be killed; all of them
//! end with their owner.

mod configuration;
mod part;
mod program;
mod start;
mod swap;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::app::Checks;
use crate::clock::Clock;
use crate::cluster::{ClusterError, Pair, PairOptions};
use crate::load::LoadOptions;
use crate::network::{Host, Network};
use crate::server::{Place, Series};

pub(crate) use configuration::SENTINEL_FOR;
pub use part::Part;
pub use program::Programs;
use start::{environment, start_app, start_forwarder, start_gate};
pub(crate) use swap::from_unix_ms;
pub use swap::{StepTime, SwapRecord, SwapRun, Users};

/// The one app of the stage, as the gate's configuration names it.
pub const APP_NAME: &str = "shop";
/// The app's host name.
pub const HOST: &str = "shop.example.com";
/// Environment variables the configuration names for its passwords.
pub const OPERATOR_PASSWORD_VARIABLE: &str = "LAB_OPERATOR_PASSWORD";
/// As [`OPERATOR_PASSWORD_VARIABLE`], for the replica's login.
pub const REPLICATION_PASSWORD_VARIABLE: &str = "LAB_REPLICATION_PASSWORD";
/// The app's own password variable.
const APP_PASSWORD_VARIABLE: &str = "DATABASE_PASSWORD";

/// How long a part may take to answer.
const READY_DEADLINE: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(5);
/// Longest answer to a readiness request, bytes.
const ANSWER_MAX: u64 = 4096;
/// How often another port is tried when somebody else took the one found free.
const PORT_TRIES: u32 = 5;

/// How a stage differs from the usual.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// Which servers.
    pub series: Series,
    /// How the pair differs from the usual.
    pub pair: PairOptions,
    /// The app's database connections.
    pub pool: usize,
    /// Whether the servers are on hosts of their own and clients find the primary by a floating IP.
    pub floating_ip: bool,
    /// Whether the app's pool looks at a connection before it hands it out.
    pub checks: Checks,
    /// The app's `warm_up` in the gate's configuration, as TOML.
    pub warm_up: Option<String>,
    /// Whether the gate and what swaps have a clock that can be set.
    pub clock: bool,
}

impl StageOptions {
    /// A GTID pair and a pool of at most 16.
    #[must_use]
    pub fn new(series: impl Into<Series>) -> Self {
        Self {
            series: series.into(),
            pair: PairOptions::default(),
            pool: 16,
            floating_ip: false,
            checks: Checks::AtCheckout,
            warm_up: None,
            clock: false,
        }
    }
}

/// Why there is no stage, or a swap on it could not even be tried.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The database servers.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A program is not built.
    #[error("{} is not there: run `cargo build --bins` (with --release if lab was built so)", path.display())]
    NoProgram {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Building the programs failed.
    #[error("`{command}` failed: {status}")]
    Build {
        /// The command.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A part did not come up.
    #[error("the {part} did not get ready: {problem}; its output ends with:\n{log}")]
    NotReady {
        /// Which one.
        part: &'static str,
        /// What was waited for.
        problem: String,
        /// The end of its output.
        log: String,
    },
    /// No port for the gate.
    #[error("no free TCP port was found on 127.0.0.1")]
    NoPort,
    /// `intermission` printed something that is not what it is asked for.
    #[error("cannot read what `intermission {command}` printed: {text:?}")]
    Output {
        /// The subcommand.
        command: &'static str,
        /// The beginning of what it printed.
        text: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The machine.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl StageError {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}

/// Everything that runs. Dropping it ends all of it.
#[derive(Debug)]
pub struct Stage {
    /// In the order requests travel, so that a dropped stage ends from the outside in.
    pub gate: Part,
    /// The ledger application.
    pub app: Part,
    /// What leads clients to the primary.
    pub endpoint: Endpoint,
    /// The servers.
    pub pair: Pair,
    /// The gate's and that of what swaps, where it can be set.
    pub clock: Option<Clock>,
    programs: Programs,
    entry: SocketAddr,
    configuration: PathBuf,
}

/// What leads clients to the primary.
#[derive(Debug)]
pub enum Endpoint {
    /// A forwarder on this machine, re-pointed by a hook.
    Forwarder(Part),
    /// An address that moves between two hosts; the app is on the third, the swap on the fourth.
    FloatingIp(Network),
}

/// Where there are hosts, those of the servers come first.
pub(crate) const HOST_OF_APP: usize = 2;
pub(crate) const HOST_OF_SWAP: usize = 3;
const HOSTS: u8 = 4;

impl Endpoint {
    /// What is put before a command to run it on a host, where there are hosts.
    fn exec(&self, host: usize) -> Vec<String> {
        match self {
            Self::Forwarder(_) => Vec::new(),
            Self::FloatingIp(network) => {
                network.hosts.get(host).map(Host::exec).unwrap_or_default()
            }
        }
    }
}

// === impl Stage ===

impl Stage {
    /// Ready for requests when this returns.
    pub async fn start(options: &StageOptions) -> Result<Self, StageError> {
        let programs = Programs::find_or_build().await?;
        Self::start_with(options, programs).await
    }

    /// As [`Stage::start`], with programs already found.
    pub async fn start_with(
        options: &StageOptions,
        programs: Programs,
    ) -> Result<Self, StageError> {
        let mut pair = options.pair.clone();
        let network = if options.floating_ip { Some(Network::start(HOSTS).await?) } else { None };
        if let Some(network) = &network {
            for (server, host) in pair.servers.iter_mut().zip(&network.hosts) {
                server.place = Some(Place { exec: host.exec(), ip: host.address() });
            }
        }
        let pair = Pair::start(options.series, &pair).await?;
        let (endpoint, database) = match network {
            Some(network) => {
                let port = pair.server(0).address().port();
                (Endpoint::FloatingIp(network), SocketAddr::from((Network::floating(), port)))
            }
            None => {
                let (forwarder, address) = start_forwarder(&programs, &pair).await?;
                (Endpoint::Forwarder(forwarder), address)
            }
        };
        let (app, upstream) = start_app(&programs, &endpoint, database, options).await?;
        let warm_up = options.warm_up.as_deref();
        let clock = if options.clock { Some(Clock::new()) } else { None };
        let clock = clock.transpose().map_err(|e| StageError::io("cannot make a clock", e))?;
        let environment = environment(clock.as_ref());
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reached = (database, upstream, warm_up);
        let (gate, entry) = start_gate(&programs, &pair, &endpoint, reached, &environment).await?;
        wait_for_answer(&gate, entry, "/entries/latest").await?;
        let configuration = gate.folder().join(configuration::FILE);
        Ok(Self { gate, app, endpoint, pair, clock, programs, entry, configuration })
    }

    /// Where users come in: the gate.
    #[must_use]
    pub const fn entry(&self) -> SocketAddr {
        self.entry
    }

    /// The configuration file of the gate and the swap.
    #[must_use]
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// The usual load on this stage.
    #[must_use]
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions::new(self.entry, HOST)
    }

    /// `intermission -c FILE` with the environment its configuration needs, to be given a subcommand.
    #[must_use]
    pub fn intermission(&self) -> tokio::process::Command {
        self.intermission_with(&self.configuration)
    }

    /// As [`Stage::intermission`], with another configuration file than the gate runs on.
    #[must_use]
    pub fn intermission_with(&self, configuration: &Path) -> tokio::process::Command {
        let mut words = self.endpoint.exec(HOST_OF_SWAP);
        words.push(self.programs.intermission.display().to_string());
        let mut words = words.iter();
        let mut command = tokio::process::Command::new(words.next().expect("the program"));
        command.args(words);
        command
            .envs(environment(self.clock.as_ref()))
            .arg("-c")
            .arg(configuration)
            .kill_on_drop(true);
        command
    }

    /// Kills the gate and starts it again on the same port, with the same state.
    pub async fn crash_gate(&mut self) -> Result<(), StageError> {
        self.gate.kill().await?;
        self.gate.start_again()?;
        wait_for_answer(&self.gate, self.entry, "/up").await
    }
}

/// Waits until a GET through a part is answered 200.
pub(crate) async fn wait_for_answer(
    part: &Part,
    at: SocketAddr,
    path: &str,
) -> Result<(), StageError> {
    let deadline = Instant::now() + READY_DEADLINE;
    loop {
        let answer = match timeout(READY_DEADLINE, get(at, path)).await {
            Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200 ") => return Ok(()),
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if part.has_ended()? || Instant::now() > deadline {
            let first = answer.lines().next().unwrap_or_default().to_owned();
            return Err(part.not_ready(format!("GET {path}: {first}")));
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

async fn get(at: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
