//! A trial: swaps in a row under continuous load, and everything known about them afterwards.

use std::time::Duration;

use crate::burden::Burden;
use crate::load::{
    Load, LoadError, LoadOptions, Recording, Sample, Window, added_latency, write_pause,
};
use crate::oracle::{self, Verdict, Write};
use crate::server::Series;
use crate::stage::{Stage, StageError, StepTime, SwapRecord, SwapRun};

/// Load before the first swap: pools fill, caches warm up.
const WARM_UP: Duration = Duration::from_secs(2);
/// The part of the warm-up that is already steady: the first swap's quiet time.
const WARM_UP_STEADY: Duration = Duration::from_secs(1);
/// Load after the last swap, so that late failures are seen.
const AFTERMATH: Duration = Duration::from_secs(1);

/// What to run on a stage.
#[derive(Debug, Clone)]
pub struct TrialOptions {
    /// The load.
    pub load: LoadOptions,
    /// Swaps in a row, each back from where the one before went.
    pub swaps: u32,
    /// Load without a swap between two swaps. The next begins when the replicas have what was written until then.
    pub quiet: Duration,
    /// What makes each swap harder.
    pub burden: Burden,
}

impl TrialOptions {
    /// With no burden.
    #[must_use]
    pub fn new(load: LoadOptions, swaps: u32, quiet: Duration) -> Self {
        Self { load, swaps, quiet, burden: Burden::default() }
    }
}

/// A swap of a trial and when it was, in the load's time.
#[derive(Debug, Clone)]
pub struct Swapped {
    /// From the start to the end of the command.
    pub window: Window,
    /// The quiet time before it, that its latencies are compared with.
    pub quiet: Window,
    /// How it ended.
    pub run: SwapRun,
    /// What its journal says, when it left one.
    pub record: Option<SwapRecord>,
}

/// Everything known about a trial.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Which server.
    pub series: Series,
    /// Its version, such as `10.11.19`.
    pub version: String,
    /// What was asked for.
    pub options: TrialOptions,
    /// Every request.
    pub recording: Recording,
    /// Every swap that was tried. The trial ends with the first that is not done.
    pub swaps: Vec<Swapped>,
    /// What became of the writes.
    pub verdict: Verdict,
    /// Large transactions under way when a swap began that could not be committed.
    pub transactions_lost: usize,
}

/// The parts of a write pause, one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PauseParts {
    /// From the last acknowledged write until everybody was held: no write came, or none was in flight.
    pub arrival: Duration,
    /// Until the release was asked for.
    pub swap: Duration,
    /// Until the next write was acknowledged: the release, the application's login to the new primary, its transaction, and
    /// the time until a write came if none was held.
    pub application: Duration,
}

/// Why a trial has no result.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The stage.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The servers could not be examined afterwards.
    #[error("cannot compare the acknowledged writes with the servers")]
    Examine(#[source] crate::cluster::ClusterError),
}

/// Where a trial is.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The load runs.
    Loaded(&'a Load),
    /// A swap begins; counts from 1.
    Swapping(u32),
    /// It ended.
    Ended(u32, &'a Swapped),
    /// The load has ended; the servers are compared with what was acknowledged.
    Examining,
}

/// Runs a trial to its end, telling `tell` where it is.
pub async fn run(
    stage: &Stage,
    options: TrialOptions,
    mut tell: impl FnMut(Event<'_>),
) -> Result<Trial, TrialError> {
    let series = stage.pair.series();
    let version = server_version(stage).await?;
    let load = Load::start(options.load.clone())?;
    tell(Event::Loaded(&load));
    tokio::time::sleep(WARM_UP).await;
    let mut swaps: Vec<Swapped> = Vec::new();
    let mut transactions_lost = 0;
    for number in 1..=options.swaps {
        let quiet_from = match swaps.last() {
            Some(before) => {
                tokio::time::sleep(options.quiet).await;
                stage.pair.wait_replicated().await.map_err(StageError::from)?;
                before.window.to
            }
            None => WARM_UP_STEADY,
        };
        let bearing = options.burden.bear(&stage.pair).await.map_err(StageError::from)?;
        tell(Event::Swapping(number));
        let from = load.now();
        let run = stage.swap().await?;
        let to = load.now();
        transactions_lost += usize::from(!bearing.end().await);
        let swapped = Swapped {
            window: Window { from, to },
            quiet: Window { from: quiet_from, to: from },
            run,
            record: None,
        };
        tell(Event::Ended(number, &swapped));
        let done = swapped.run.done();
        swaps.push(swapped);
        if !done {
            break;
        }
    }
    tokio::time::sleep(AFTERMATH).await;
    let recording = stop(load).await?;
    tell(Event::Examining);
    // Only now: reading the journals takes CPU from the load and grows with every swap.
    for record in stage.records().await? {
        if let Some(swapped) = swaps.iter_mut().find(|swapped| swapped.run.wrote(&record)) {
            swapped.record = Some(record);
        }
    }
    let acknowledged: Vec<Write> = recording.acknowledged().map(to_write).collect();
    let verdict = oracle::examine(&stage.pair, &acknowledged).await.map_err(TrialError::Examine)?;
    Ok(Trial { series, version, options, recording, swaps, verdict, transactions_lost })
}

async fn stop(load: Load) -> Result<Recording, LoadError> {
    tokio::task::spawn_blocking(|| load.stop()).await.map_err(|_| LoadError::Panicked)?
}

fn to_write(sample: &Sample) -> Write {
    Write { client: sample.client, seq: sample.seq, token: sample.token_text() }
}

async fn server_version(stage: &Stage) -> Result<String, TrialError> {
    let version = stage.pair.ask(0, "SELECT VERSION()").await.map_err(StageError::from)?;
    let version = version.unwrap_or_default();
    // Debian adds its own revision after the first dash.
    Ok(version.split('-').next().unwrap_or_default().to_owned())
}

// === impl Trial ===

impl Trial {
    /// The server and its version.
    #[must_use]
    pub fn server(&self) -> String {
        format!("{} {}", self.series, self.version)
    }

    /// Whether every swap was done, no request failed, and every acknowledged write is where it must be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.swaps_done() == usize::try_from(self.options.swaps).unwrap_or(usize::MAX)
            && self.recording.failed() == 0
            && !self.recording.truncated
            && self.verdict.is_clean()
            && self.transactions_lost == 0
    }

    /// Swaps that were done.
    #[must_use]
    pub fn swaps_done(&self) -> usize {
        self.swaps.iter().filter(|swapped| swapped.run.done()).count()
    }

    /// The write pause of one swap: from the last acknowledgement by the old primary to the first by the new one. Only
    /// the gap around the promote has both; without a journal it is the longest gap of the whole swap.
    #[must_use]
    pub fn write_pause(&self, swapped: &Swapped) -> Option<Duration> {
        self.write_gap(swapped).map(|gap| gap.length())
    }

    fn write_gap(&self, swapped: &Swapped) -> Option<Window> {
        let window = self.named_step(swapped, "promote").unwrap_or(swapped.window);
        write_pause(&self.recording.samples, window)
    }

    /// What the write pause of one swap is made of. `None` when the journal does not tell when users were held.
    #[must_use]
    pub fn write_pause_parts(&self, swapped: &Swapped) -> Option<PauseParts> {
        let gap = self.write_gap(swapped)?;
        let held = self.start_behind(swapped, "hold")?;
        let released = self.named_step(swapped, "release")?.from;
        Some(PauseParts {
            arrival: held.saturating_sub(gap.from),
            swap: released.saturating_sub(held),
            application: gap.to.saturating_sub(released),
        })
    }

    /// When the step behind that one began. It is later than the time that step itself took tells: its intent went to disk first.
    fn start_behind(&self, swapped: &Swapped, name: &str) -> Option<Duration> {
        let steps = &swapped.record.as_ref()?.steps;
        let at = steps.iter().position(|step| step.performs() && step.step == name)?;
        self.step_window(steps.get(at + 1)?).map(|window| window.from)
    }

    /// The longest added latency over one swap.
    #[must_use]
    pub fn added_latency(&self, swapped: &Swapped) -> Option<Duration> {
        added_latency(&self.recording.samples, swapped.window, swapped.quiet)
    }

    /// The same of the quiet time before it.
    #[must_use]
    pub fn quiet_added_latency(&self, swapped: &Swapped) -> Option<Duration> {
        added_latency(&self.recording.samples, swapped.quiet, swapped.quiet)
    }

    /// Requests that were held over one swap: sent before the release began and answered after it, with the hold in
    /// between. `None` when the journal does not tell when that was.
    #[must_use]
    pub fn held<'a>(&'a self, swapped: &Swapped) -> Option<Vec<&'a Sample>> {
        let hold = self.named_step(swapped, "hold")?;
        let release = self.named_step(swapped, "release")?;
        let held = |sample: &&Sample| {
            sample.finished >= release.from
                && sample.sent < release.from
                && sample.finished > hold.from
        };
        Some(self.recording.samples.iter().filter(held).collect())
    }

    /// How many requests were held over one swap: by the gate's own count, else by [`Trial::held`].
    #[must_use]
    pub fn held_count(&self, swapped: &Swapped) -> Option<usize> {
        let users = swapped.record.as_ref().and_then(|record| record.users);
        match users {
            Some(users) => usize::try_from(users.held).ok(),
            None => self.held(swapped).map(|held| held.len()),
        }
    }

    /// The span of a step that was performed.
    #[must_use]
    pub fn named_step(&self, swapped: &Swapped, name: &str) -> Option<Window> {
        let record = swapped.record.as_ref()?;
        let step = record.steps.iter().find(|step| step.performs() && step.step == name)?;
        self.step_window(step)
    }

    /// A step's span in the load's time. Its clock is the wall clock, as the load's time zero is.
    #[must_use]
    pub fn step_window(&self, step: &StepTime) -> Option<Window> {
        let started = crate::stage::from_unix_ms(step.started_ms).ok()?;
        let from = started.duration_since(self.recording.started);
        let from = Duration::try_from(from).ok()?;
        let took = Duration::try_from_secs_f64(step.took_ms? / 1000.0).ok()?;
        Some(Window { from, to: from + took })
    }
}
