//! What a journal is made of. The state of a swap is the fold of these records and nothing else.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    gates::Users,
    plan::Plan,
    position::{Barrier, Coordinates},
    server::Effect,
    sibling::Report,
    step::Step,
};

/// The version of the journal's format. A journal of another version is refused.
pub const VERSION: u32 = 6;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// 0, 1, 2, … without gaps.
    pub seq: u64,
    /// By the clock on the wall, which may be set meanwhile.
    pub at: Timestamp,
    /// Microseconds since the process that wrote it began to, by a clock that nobody sets.
    pub elapsed_us: u64,
    #[serde(flatten)]
    pub record: Record,
}

/// What happened or is about to happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The first record of every journal.
    Opened { version: u32, plan: Box<Plan> },
    /// On disk before anything is done.
    Intent {
        action: Action,
        step: Step,
        /// The commands to finish or undo by hand from here on, where they are others than those told last.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        emergency: Vec<String>,
        /// Steps that this intent announces too.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        announces: Vec<Step>,
    },
    /// What came of it.
    Outcome { action: Action, step: Step, outcome: Outcome, took_us: u64 },
    /// A signal, a panic or a lost journal: unwind if that is still possible.
    Interrupted { reason: String },
    /// What somebody should know, and what changes nothing about how the swap goes on.
    Noted { message: String },
    /// Another process took over.
    Resumed { reason: String },
    /// The last record.
    Closed { ending: Ending, reason: Option<String>, users: Option<Users> },
}

/// What is done with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Perform,
    Verify,
    Undo,
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    Done {
        #[serde(default, skip_serializing_if = "Facts::is_empty")]
        facts: Facts,
    },
    Failed {
        effect: Effect,
        message: String,
    },
    /// Of a verification: whether the step has taken effect.
    Verified {
        verdict: Verdict,
        message: String,
    },
}

/// What a step found out that a later one or a person needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barrier: Option<Barrier>,
    /// Where the new primary's binary log ended before it was promoted: from there others go on who do so by coordinates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_at: Option<Coordinates>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What became of each sibling.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub siblings: Vec<Report>,
}

impl Facts {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.barrier.is_none()
            && self.resume_at.is_none()
            && self.note.is_none()
            && self.siblings.is_empty()
    }

    /// A note, unless there is nothing to say.
    #[must_use]
    pub fn said(said: String) -> Self {
        Self { note: (!said.is_empty()).then_some(said), ..Self::default() }
    }

    #[must_use]
    pub fn note(note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..Self::default() }
    }
}

/// Whether the commit point was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    TookEffect,
    /// It surely did not, and cannot any more.
    DidNot,
    CannotTell,
}

/// How a swap ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The roles are swapped and proven.
    Swapped,
    /// The old primary is writable and users are released; nothing changed.
    RolledBack,
    /// What can be done safely was done; a person has to do the rest.
    NeedsOperator,
}
