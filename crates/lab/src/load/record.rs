//! What was sent and what came back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Samples kept, about 80 bytes each; a load that reaches it stops sending.
const SAMPLES_MAX: usize = 4_000_000;
/// Failures described in words.
const NOTES_MAX: usize = 20;

/// What a request did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `GET /entries/latest`.
    Read,
    /// `POST /entries`.
    Write,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A complete response with this status.
    Answered(u16),
    /// No complete response.
    Failed(Failure),
}

/// Why there was no complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection.
    Connect,
    /// The connection broke, or what came is not HTTP.
    Transport,
    /// Not answered in time.
    Timeout,
    /// Never sent: too many outstanding already.
    Overload,
}

/// One request. Times count from the start of the load.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What it did.
    pub kind: Kind,
    /// The logical client.
    pub client: u32,
    /// The client's write counter; 0 for reads.
    pub seq: u64,
    /// The write's token; 0 for reads. Text form: [`Sample::token_text`].
    pub token: u64,
    /// When it was to be sent.
    pub intended: Duration,
    /// When it was handed to a connection.
    pub sent: Duration,
    /// When the last byte of the answer had come, or the failure was known.
    pub finished: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

impl Sample {
    /// Latency as a user sees it: from the intended time.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.finished.saturating_sub(self.intended)
    }

    /// Whether it failed: anything but a complete 2xx answer.
    #[must_use]
    pub const fn failed(&self) -> bool {
        !matches!(self.outcome, Outcome::Answered(200..=299))
    }

    /// Whether it is a write the app answered for: the row must be there for ever.
    #[must_use]
    pub fn acknowledged(&self) -> bool {
        self.kind == Kind::Write && !self.failed()
    }

    /// The token as it is stored in the ledger.
    #[must_use]
    pub fn token_text(&self) -> String {
        token_text(self.token)
    }
}

/// The text form of a token: 16 hexadecimal digits.
pub(super) fn token_text(token: u64) -> String {
    format!("{token:016x}")
}

/// Everything a load sent and got back.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Wall clock at the start of the load: time zero of every sample.
    pub started: Timestamp,
    /// By the time they finished.
    pub samples: Vec<Sample>,
    /// The first failures in words.
    pub notes: Vec<String>,
    /// The load stopped early because its record was full.
    pub truncated: bool,
}

impl Recording {
    /// Requests that failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.samples.iter().filter(|sample| sample.failed()).count()
    }

    /// Writes the app acknowledged.
    pub fn acknowledged(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.acknowledged())
    }
}

/// Counts of a running load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
}

/// Collects samples while the load runs.
#[derive(Debug)]
pub(super) struct Recorder {
    epoch: Instant,
    started: Timestamp,
    requests: AtomicU64,
    failed: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    samples: Vec<Sample>,
    notes: Vec<String>,
    truncated: bool,
}

impl Recorder {
    pub(super) fn start() -> Self {
        Self {
            epoch: Instant::now(),
            started: Timestamp::now(),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            kept: Mutex::new(Kept::default()),
        }
    }

    pub(super) const fn epoch(&self) -> Instant {
        self.epoch
    }

    pub(super) fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.epoch)
    }

    /// Keeps a sample; `false` when the record is full and the load must stop.
    pub(super) fn keep(&self, sample: Sample, note: Option<String>) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(sample.failed()), Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(note) = note
            && kept.notes.len() < NOTES_MAX
        {
            kept.notes.push(note);
        }
        // What is outstanding when the record fills up is still kept: the limit is on sending more.
        kept.samples.push(sample);
        kept.truncated |= kept.samples.len() >= SAMPLES_MAX;
        !kept.truncated
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            requests: self.requests.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    pub(super) fn finish(&self) -> Recording {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { samples, notes, truncated } = std::mem::take(&mut *kept);
        Recording { started: self.started, samples, notes, truncated }
    }
}
