//! One swap on the stage: the real command, and what its journal says of it.

use std::process::{Output, Stdio};
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
    /// What it said, progress first, result last.
    pub said: String,
    /// Wall clock at its start.
    pub started: Timestamp,
    /// From start to end of the process.
    pub took: Duration,
}

impl SwapRun {
    /// Whether the roles are swapped.
    #[must_use]
    pub fn done(&self) -> bool {
        self.code == Some(0)
    }

    /// Whether a journal was begun while it ran.
    #[must_use]
    pub fn wrote(&self, record: &SwapRecord) -> bool {
        let after = record.at.duration_since(self.started);
        Duration::try_from(after).is_ok_and(|after| after <= self.took)
    }
}

/// One swap as `intermission journal --json` tells it; what the lab has no use for is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwapRecord {
    /// The journal's name of it.
    pub id: String,
    /// When it began.
    pub at: Timestamp,
    /// `swapped`, `rolled_back`, `needs_operator` or `unfinished`.
    pub outcome: String,
    /// Name and address.
    pub old_primary: String,
    /// Name and address.
    pub new_primary: String,
    /// What users saw, by the gate's own count.
    #[serde(default)]
    pub users: Option<Users>,
    /// In the order they ran.
    pub steps: Vec<StepTime>,
}

/// What users saw of a hold, by the gate's own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// Requests that waited in line.
    pub held: u64,
    /// The longest wait of one of them, ms.
    pub longest_ms: u64,
}

/// When a step ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// Its name.
    pub step: String,
    /// `perform`, `verify` or `undo`.
    pub action: String,
    /// Unix time of its start, ms.
    pub started_ms: f64,
    /// How long it took, ms; absent when the process died in it.
    pub took_ms: Option<f64>,
}

impl StepTime {
    /// The step's name, with what was done to it when that is not to perform it.
    #[must_use]
    pub fn label(&self) -> String {
        if self.performs() { self.step.clone() } else { format!("{} {}", self.action, self.step) }
    }

    /// Whether it is the step itself and not its verification or its undo.
    #[must_use]
    pub fn performs(&self) -> bool {
        self.action == "perform"
    }
}

impl Stage {
    /// Runs `intermission swap --yes` to its end, whatever end that is.
    pub async fn swap(&self) -> Result<SwapRun, StageError> {
        let started = Timestamp::now();
        let clock = std::time::Instant::now();
        let mut command = self.intermission();
        command.args(["swap", "--yes"]).stdin(Stdio::null());
        let (code, said) = match timeout(SWAP_DEADLINE, command.output()).await {
            Ok(Ok(Output { status, stdout, stderr })) => {
                (status.code(), format!("{}{}", text(&stderr), text(&stdout)))
            }
            Ok(Err(source)) => return Err(StageError::io("cannot run intermission", source)),
            Err(_) => (None, format!("killed: it was not done after {SWAP_DEADLINE:?}")),
        };
        Ok(SwapRun { code, said, started, took: clock.elapsed() })
    }

    /// Every swap in the journal. Empty when there is none, as after a swap that was refused.
    pub async fn records(&self) -> Result<Vec<SwapRecord>, StageError> {
        let mut command = self.intermission();
        command.args(["journal", "--json"]).stdin(Stdio::null());
        let output = match timeout(JOURNAL_DEADLINE, command.output()).await {
            Ok(output) => output,
            Err(elapsed) => Err(elapsed.into()),
        };
        let output =
            output.map_err(|source| StageError::io("cannot run intermission journal", source))?;
        if !output.status.success() {
            return Ok(Vec::new());
        }
        let printed = text(&output.stdout);
        serde_json::from_str(&printed).map_err(|source| {
            let text = printed.chars().take(QUOTE_MAX).collect();
            StageError::Output { command: "journal", text, source }
        })
    }
}

/// A time from unix milliseconds with a fraction.
pub(crate) fn from_unix_ms(ms: f64) -> Result<Timestamp, jiff::Error> {
    Timestamp::UNIX_EPOCH.checked_add(jiff::SignedDuration::try_from_secs_f64(ms / 1000.0)?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
