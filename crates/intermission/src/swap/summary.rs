//! A journal, told: steps with timings, how it ended, what users saw.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    gates::Users,
    plan::{Party, kind::Kind},
    record::{Action, Ending, Entry, Outcome, Record},
    sibling,
    step::Step,
};

/// One action of a swap and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepSummary {
    pub step: Step,
    pub action: Action,
    /// Unix time in milliseconds.
    pub started_ms: f64,
    /// Absent when the process died before it knew.
    pub took_ms: Option<f64>,
    /// `done`, `failed`, or a verification's verdict; `unknown` when the process died before it knew.
    pub result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One swap.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub id: String,
    /// `swap`, `failover` or `rejoin`.
    pub kind: String,
    pub at: Timestamp,
    /// `swapped`, `rolled_back`, `needs_operator` or `unfinished`.
    pub outcome: String,
    pub old_primary: String,
    pub new_primary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was noted meanwhile: by the sentinel, or about the guardian.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// From the fence's intent to the end of the release: how long nobody could write, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_pause_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Users>,
    /// What became of the other replicas.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub siblings: Vec<sibling::Report>,
    pub steps: Vec<StepSummary>,
}

impl Summary {
    /// `None` for a journal without a first record.
    #[must_use]
    pub fn of(entries: &[Entry]) -> Option<Self> {
        let first = entries.first()?;
        let Record::Opened { plan, .. } = &first.record else { return None };
        let label = |party: &Party| format!("{} ({})", party.name, party.address);
        let mut summary = Self {
            id: plan.id.clone(),
            kind: plan.kind.word().to_owned(),
            at: first.at,
            outcome: "unfinished".to_owned(),
            old_primary: label(&plan.old),
            new_primary: label(&plan.new),
            reason: None,
            notes: Vec::new(),
            write_pause_ms: None,
            users: None,
            siblings: Vec::new(),
            steps: Vec::new(),
        };
        for entry in entries {
            summary.take(entry);
        }
        // A failover begins when nobody can write for long.
        if plan.kind == Kind::Swap {
            summary.write_pause_ms = summary.write_pause();
        }
        Some(summary)
    }

    fn take(&mut self, entry: &Entry) {
        match &entry.record {
            Record::Opened { .. } => {}
            Record::Intent { action, step, .. } => self.steps.push(StepSummary {
                step: *step,
                action: *action,
                started_ms: unix_ms(entry.at),
                took_ms: None,
                result: "unknown".to_owned(),
                note: None,
            }),
            Record::Outcome { action, step, outcome, took_us } => {
                if let Outcome::Done { facts } = outcome
                    && *step == Step::Follow
                {
                    self.siblings.clone_from(&facts.siblings);
                }
                let last =
                    self.steps.iter_mut().rev().find(|s| s.step == *step && s.action == *action);
                if let Some(last) = last {
                    last.took_ms = Some(ms_of_us(*took_us));
                    (last.result, last.note) = told(outcome);
                }
            }
            Record::Interrupted { reason } => self.reason = Some(reason.clone()),
            Record::Noted { message } => self.notes.push(message.clone()),
            Record::Resumed { .. } => "unfinished".clone_into(&mut self.outcome),
            Record::Closed { ending, reason, users } => {
                ending_word(*ending).clone_into(&mut self.outcome);
                self.reason.clone_from(reason);
                self.users.clone_from(users);
            }
        }
    }

    fn write_pause(&self) -> Option<f64> {
        let performed =
            |step| self.steps.iter().find(|s| s.step == step && s.action == Action::Perform);
        let undone = self.steps.iter().find(|s| s.step == Step::Fence && s.action == Action::Undo);
        let began = performed(Step::Fence)?.started_ms;
        let end = undone.or_else(|| performed(Step::Release))?;
        Some(end.started_ms + end.took_ms? - began)
    }
}

/// The word scripts see.
#[must_use]
pub const fn ending_word(ending: Ending) -> &'static str {
    match ending {
        Ending::Swapped => "swapped",
        Ending::RolledBack => "rolled_back",
        Ending::NeedsOperator => "needs_operator",
    }
}

fn told(outcome: &Outcome) -> (String, Option<String>) {
    match outcome {
        Outcome::Done { facts } => ("done".to_owned(), facts.note.clone()),
        Outcome::Failed { message, .. } => ("failed".to_owned(), Some(message.clone())),
        Outcome::Verified { verdict, message } => {
            let word = serde_json::to_value(verdict).ok();
            let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or("verified");
            (word.to_owned(), Some(message.clone()))
        }
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "microseconds fit 53 bits until the year 2255"
)]
fn unix_ms(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e3
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a step takes less than 285 years"
)]
fn ms_of_us(us: u64) -> f64 {
    us as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::Summary;
    use crate::swap::{
        record::{Action, Ending, Entry, Facts, Outcome, Record},
        step::Step,
    };

    #[test]
    fn the_write_pause_runs_from_the_fence_to_the_release() {
        let mut entries = Vec::new();
        let mut add = |after_ms: i64, record| {
            let at = Timestamp::UNIX_EPOCH + SignedDuration::from_millis(after_ms);
            entries.push(Entry { seq: 0, at, record });
        };
        let plan = Box::new(crate::swap::plan::example());
        add(0, Record::Opened { version: 1, plan });
        for (after_ms, step) in [(10, Step::Fence), (12, Step::Release), (30, Step::Detach)] {
            let action = Action::Perform;
            add(
                after_ms,
                Record::Intent { action, step, emergency: Vec::new(), announces: Vec::new() },
            );
            let outcome = Outcome::Done { facts: Facts::default() };
            add(after_ms + 1, Record::Outcome { action, step, outcome, took_us: 1_500 });
        }
        let unfinished = Summary::of(&entries).expect("a summary");
        assert_eq!(unfinished.outcome, "unfinished");
        assert_eq!(unfinished.write_pause_ms, Some(3.5));
        let at = Timestamp::UNIX_EPOCH;
        let record = Record::Closed { ending: Ending::Swapped, reason: None, users: None };
        entries.push(Entry { seq: 0, at, record });
        assert_eq!(Summary::of(&entries).expect("a summary").outcome, "swapped");
        assert!(Summary::of(&[]).is_none());
    }
}
