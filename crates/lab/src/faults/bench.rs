//! A stage under load with a short lease, on which one case after another is played.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::Instant;

use super::Kind;
use super::case::Ground;
use super::command::Words;
use crate::cluster::PairOptions;
use crate::load::Load;
use crate::oracle::Write;
use crate::server::Flavor;
use crate::stage::{Programs, Stage, StageOptions};

/// How long a hold outlives the process that holds: at least what [`BOUNDS`] may make users wait. Twice as long where an
/// address is moved between hosts, which may take time.
pub(super) const LEASE: Duration = Duration::from_secs(14);
/// Short, so that a case is short; long enough for a machine that is busy with two servers.
const BOUNDS: &str = r#"before_release = [{ command = ["true"], timeout = "1s" }]
attempts = 1
backoff = "100ms"

[swap.bounds]
quiet = "6s"
lease = "14s"
drain = "1s"
settle = "500ms"
fence = "500ms"
catch_up = "1s"
catch_up_sample = "250ms"
lag = "10s"
statement = "1s"
connect = "2s"
prove = "10s"
"#;
/// By the app's pool, so that a swap has every step there is but that of the floating IP.
const WARM_UP: &str =
    r#"{ path = "/entries/latest", successes = 1, interval = "5ms", timeout = "1s" }"#;
const RATE: u32 = 100;
const CLIENTS: u32 = 32;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests answered before a case begins.
const WARM_UP_REQUESTS: u64 = 20;
const WARM_UP_DEADLINE: Duration = Duration::from_secs(40);
const WARM_UP_POLL: Duration = Duration::from_millis(5);

/// The stage, its load and everything that was said on it.
#[derive(Debug)]
pub struct Bench {
    pub(super) ground: Ground,
    pub(super) stage: Stage,
    pub(super) configuration: PathBuf,
    /// Where other configurations are; gone with the stage.
    pub(super) folder: PathBuf,
    pub(super) load: Option<Load>,
    /// Single writes that were answered for.
    pub(super) acknowledged: Vec<Write>,
    /// Single writes so far.
    pub(super) singles: u32,
    /// Every word every command said.
    pub(super) said: Words,
    /// What was measured in the case.
    figures: Mutex<Vec<String>>,
}

/// What was so before a case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// Index of the primary.
    pub(super) primary: usize,
    pub(super) journals: usize,
}

impl Bench {
    /// A new stage, without load.
    pub async fn new(kind: Kind, ground: Ground, programs: Programs) -> anyhow::Result<Self> {
        let Kind { series, coordinates } = kind;
        let mut pair = PairOptions::default();
        if coordinates {
            pair = pair.by_coordinates(series.flavor());
        }
        let warm_up = Some(WARM_UP.to_owned());
        let floating_ip = ground == Ground::Network;
        let clock = ground == Ground::Loopback;
        let usual = StageOptions::new(series);
        let options = StageOptions { pair, warm_up, floating_ip, clock, ..usual };
        let stage = Stage::start_with(&options, programs).await?;
        // Not the gate's: that is searched for passwords, and one configuration has one.
        let folder = stage.app.folder().join("cases");
        std::fs::create_dir(&folder).context("no folder for configurations")?;
        let configuration = folder.join("faults.toml");
        let usual = std::fs::read_to_string(stage.configuration())?;
        let bounds = match ground {
            Ground::Loopback => BOUNDS.to_owned(),
            Ground::Network => BOUNDS.replace("14s", "28s"),
        };
        write_file(&configuration, &format!("{usual}{bounds}"))?;
        let bench = Self {
            ground,
            stage,
            configuration,
            folder,
            load: None,
            acknowledged: Vec::new(),
            singles: 0,
            said: Words::default(),
            figures: Mutex::default(),
        };
        bench.make_bystanders().await?;
        bench.wait_seen().await?;
        Ok(bench)
    }

    /// Waits until a preflight sees both servers: the first looks at its own tables take MySQL a multiple of the later ones.
    async fn wait_seen(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + WARM_UP_DEADLINE;
        loop {
            let checked = self.run(&["check"]).await?;
            if !checked.out.contains("[unreachable]") {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "a new stage: {}", checked.out);
        }
    }

    pub(super) fn flavor(&self) -> Flavor {
        self.stage.pair.flavor()
    }

    /// Empties the ledger and puts load on.
    pub(super) async fn begin(&mut self) -> anyhow::Result<Before> {
        let primary = self.stage.pair.primary_index().await?;
        self.say(primary, &["TRUNCATE TABLE ledger.entries"]).await?;
        self.stage.pair.wait_replicated().await?;
        self.acknowledged.clear();
        let journals = self.stage.records().await?.len();
        let mut options = self.stage.load_options();
        options.rate = RATE;
        options.clients = CLIENTS;
        options.timeout = REQUEST_TIMEOUT;
        options.seed = fastrand::u64(..);
        let load = Load::start(options)?;
        let deadline = Instant::now() + WARM_UP_DEADLINE;
        while load.progress().requests < WARM_UP_REQUESTS {
            ensure!(Instant::now() < deadline, "the load is not answered");
            tokio::time::sleep(WARM_UP_POLL).await;
        }
        self.load = Some(load);
        Ok(Before { primary, journals })
    }

    /// Keeps what was measured, for whoever reads the result.
    pub(super) fn figure(&self, figure: String) {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).push(figure);
    }

    pub(super) fn take_figures(&self) -> Vec<String> {
        std::mem::take(&mut *self.figures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Requests of the load that failed so far.
    pub(super) fn failed(&self) -> u64 {
        self.load.as_ref().map_or(0, |load| load.progress().failed)
    }

    /// The campaign's configuration with parts replaced, in a file of its own. Each part must be there.
    pub(super) fn configure(
        &self,
        name: &str,
        changes: &[(&str, &str)],
    ) -> anyhow::Result<PathBuf> {
        let mut text = std::fs::read_to_string(&self.configuration)?;
        for (from, to) in changes {
            ensure!(text.contains(from), "{from:?} is not in the configuration");
            text = text.replace(from, to);
        }
        let path = self.folder.join(format!("{name}.toml"));
        write_file(&path, &text)?;
        Ok(path)
    }

    /// The configuration with the endpoint hook replaced by a shell script, in which `$REPOINT` is the usual hook.
    pub(super) fn configure_hook(
        &self,
        name: &str,
        script: &str,
        timeout: &str,
    ) -> anyhow::Result<PathBuf> {
        let text = std::fs::read_to_string(&self.configuration)?;
        let line = text.lines().find(|line| line.starts_with("endpoint = ")).context("no hook")?;
        let list = line.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        let (list, _) = list.context("no command of the hook")?;
        let words: Vec<String> = serde_json::from_str(&format!("[{list}]"))?;
        let repoint: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = script.replace("$REPOINT", &repoint.join(" "));
        let command = serde_json::to_string(&["/bin/sh", "-c", script.as_str()])?;
        let other = format!("endpoint = {{ command = {command}, timeout = \"{timeout}\" }}");
        self.configure(name, &[(line, &other)])
    }

    /// Kills the gate: a crash.
    pub(super) async fn kill_gate(&self) -> anyhow::Result<()> {
        Ok(self.stage.gate.kill().await?)
    }

    /// Starts the gate again and waits for its admin socket only: its apps may be held.
    pub(super) async fn start_gate(&mut self) -> anyhow::Result<()> {
        self.stage.gate.start_again()?;
        let deadline = Instant::now() + WARM_UP_DEADLINE;
        while self.app_status().await.is_err() {
            ensure!(Instant::now() < deadline, "the gate did not come up again");
            tokio::time::sleep(WARM_UP_POLL).await;
        }
        Ok(())
    }
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
