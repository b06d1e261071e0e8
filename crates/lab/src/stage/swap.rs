//! One swap on the stage: the real command, and what its journal says of it.

use std::process::Output;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Stage, StageError};

/// How long a swap may take before it is killed and counts as failed.
const SWAP_DEADLINE: Duration = Duration::from_secs(120);
/// How long reading the journal may take.
const JOURNAL_DEADLINE: Duration = Duration::from_secs(20);
/// How much of an unreadable output an error quotes, characters.
const QUOTE_MAX: usize = 400;

/// How `intermission swap` ended.
#[derive(Debug, Clone)]
pub struct SwapRun {
    /// Its exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// What it said.
    pub stderr: String,
    /// Wall clock at its start.
    pub started: Timestamp,
    /// From start to end of the process.
    pub took: Duration,
    /// What its journal says, when it left one.
    pub record: Option<SwapRecord>,
}

impl SwapRun {
    /// Whether the roles are swapped.
    #[must_use]
    pub fn done(&self) -> bool {
        self.code == Some(0)
    }
}

/// One swap as `intermission journal --json` tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwapRecord {
    /// The journal's name of it.
    pub id: String,
    /// How it ended.
    pub outcome: String,
    /// In the order they ran.
    pub steps: Vec<StepTime>,
}

/// When a step ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// Its name.
    pub step: String,
    /// Unix time of its start, ms.
    pub started_ms: f64,
    /// How long it took, ms.
    pub took_ms: f64,
}

impl Stage {
    /// Runs `intermission swap --yes` to its end, whatever end that is, and reads its journal.
    pub async fn swap(&self) -> Result<SwapRun, StageError> {
        let started = Timestamp::now();
        let clock = std::time::Instant::now();
        let mut command = self.intermission();
        command.args(["swap", "--yes"]).stdin(std::process::Stdio::null());
        let (code, stderr) = match timeout(SWAP_DEADLINE, command.output()).await {
            Ok(Ok(Output { status, stderr, .. })) => (status.code(), text(&stderr)),
            Ok(Err(source)) => return Err(StageError::io("cannot run intermission", source)),
            Err(_) => (None, format!("killed: it was not done after {SWAP_DEADLINE:?}")),
        };
        let took = clock.elapsed();
        let record = self.last_record().await?.filter(|record| began_at(record) >= started);
        Ok(SwapRun { code, stderr, started, took, record })
    }

    /// The newest swap in the journal.
    async fn last_record(&self) -> Result<Option<SwapRecord>, StageError> {
        let mut command = self.intermission();
        command.args(["journal", "--json"]).stdin(std::process::Stdio::null());
        let output = match timeout(JOURNAL_DEADLINE, command.output()).await {
            Ok(output) => output,
            Err(elapsed) => Err(elapsed.into()),
        };
        let output =
            output.map_err(|source| StageError::io("cannot run intermission journal", source))?;
        // A refused swap may leave no journal at all.
        if !output.status.success() {
            return Ok(None);
        }
        let printed = text(&output.stdout);
        let parsed: Result<Vec<SwapRecord>, _> = serde_json::from_str(&printed);
        let records = parsed.map_err(|source| {
            let text = printed.chars().take(QUOTE_MAX).collect();
            StageError::Output { command: "journal", text, source }
        })?;
        Ok(records.into_iter().max_by(|a, b| began_at(a).cmp(&began_at(b))))
    }
}

/// When its first step began; the beginning of time for a record without steps.
fn began_at(record: &SwapRecord) -> Timestamp {
    let first = record.steps.iter().map(|step| step.started_ms).reduce(f64::min);
    first.and_then(|ms| from_unix_ms(ms).ok()).unwrap_or(Timestamp::MIN)
}

/// A time from unix milliseconds with a fraction.
pub(crate) fn from_unix_ms(ms: f64) -> Result<Timestamp, jiff::Error> {
    Timestamp::UNIX_EPOCH.checked_add(jiff::SignedDuration::try_from_secs_f64(ms / 1000.0)?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
