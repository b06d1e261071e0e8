//! One swap on the stage: the real command, and what its journal says of it.

use std::io::{Read, Seek};
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Stage, StageError};

/// How long a swap may take before it is killed and counts as failed.
const SWAP_DEADLINE: Duration = Duration::from_secs(60);
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
    /// How long nobody could write, at most; absent where there was no pause.
    #[serde(default)]
    pub write_pause_ms: Option<f64>,
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
    /// What the step itself has to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl SwapRecord {
    /// What a step that was performed has to say.
    #[must_use]
    pub fn note(&self, step: &str) -> Option<&str> {
        let step = self.steps.iter().find(|time| time.performs() && time.step == step)?;
        step.note.as_deref()
    }
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
        let saving = |source| StageError::io("cannot keep what intermission says", source);
        // A file and no pipe: what a swap said before it hung is what a person needs most.
        let mut said = tempfile::tempfile().map_err(saving)?;
        let mut command = self.intermission();
        command.args(["swap", "--yes"]);
        if self.pair.servers.len() > 2 {
            // There and back between the first two; the others follow.
            let target = 1 - self.pair.primary_index().await?;
            command.args(["--to", &format!("db{}", target + 1)]);
        }
        command
            .stdin(Stdio::null())
            .stdout(said.try_clone().map_err(saving)?)
            .stderr(said.try_clone().map_err(saving)?);
        let started = Timestamp::now();
        let clock = Instant::now();
        let (code, remark) = match timeout(SWAP_DEADLINE, command.status()).await {
            Ok(Ok(status)) => (status.code(), String::new()),
            Ok(Err(source)) => return Err(StageError::io("cannot run intermission", source)),
            Err(_) => (None, format!("killed: it was not done after {SWAP_DEADLINE:?}")),
        };
        let took = clock.elapsed();
        let mut text = Vec::new();
        said.rewind().and_then(|()| said.read_to_end(&mut text)).map_err(saving)?;
        let said = format!("{}{remark}", String::from_utf8_lossy(&text));
        Ok(SwapRun { code, said, started, took })
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
        let printed = String::from_utf8_lossy(&output.stdout);
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
