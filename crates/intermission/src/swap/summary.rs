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
            summary.write_pause_ms = write_pause_ms(entries);
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
}

/// From the fence's intent to the end of its undo, or of the release.
fn write_pause_ms(entries: &[Entry]) -> Option<f64> {
    let is_intent = |entry: &Entry| {
        matches!(entry.record, Record::Intent { action: Action::Perform, step: Step::Fence, .. })
    };
    let end_of = |wanted: (Action, Step)| {
        entries.iter().position(|entry| match &entry.record {
            Record::Outcome { action, step, .. } => (*action, *step) == wanted,
            Record::Opened { .. }
            | Record::Intent { .. }
            | Record::Interrupted { .. }
            | Record::Noted { .. }
            | Record::Resumed { .. }
            | Record::Closed { .. } => false,
        })
    };
    let began = entries.iter().position(is_intent)?;
    let end =
        end_of((Action::Undo, Step::Fence)).or_else(|| end_of((Action::Perform, Step::Release)))?;
    let paused = entries.get(began..=end)?;
    Some(ms_of_us(paused.windows(2).map(between_us).sum()))
}

/// Microseconds. From one process to the next only the clock on the wall tells.
fn between_us(pair: &[Entry]) -> u64 {
    let [one, next] = pair else { return 0 };
    if !matches!(next.record, Record::Resumed { .. }) {
        return next.elapsed_us.saturating_sub(one.elapsed_us);
    }
    let wall = next.at.as_microsecond().saturating_sub(one.at.as_microsecond());
    u64::try_from(wall).unwrap_or(0)
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
        let mut add = |after_us: u64, record| {
            // Somebody sets the clock back all the time.
            let at = Timestamp::UNIX_EPOCH - SignedDuration::from_micros(after_us.cast_signed());
            let seq = u64::try_from(entries.len()).unwrap_or_default();
            entries.push(Entry { seq, at, elapsed_us: after_us, record });
        };
        let plan = Box::new(crate::swap::plan::example());
        add(0, Record::Opened { version: 1, plan });
        let steps = [(10_000, Step::Fence), (12_000, Step::Release), (30_000, Step::Detach)];
        for (after_us, step) in steps {
            let action = Action::Perform;
            add(
                after_us,
                Record::Intent { action, step, emergency: Vec::new(), announces: Vec::new() },
            );
            let outcome = Outcome::Done { facts: Facts::default() };
            add(after_us + 1_500, Record::Outcome { action, step, outcome, took_us: 1_400 });
        }
        let unfinished = Summary::of(&entries).expect("a summary");
        assert_eq!(unfinished.outcome, "unfinished");
        assert_eq!(unfinished.write_pause_ms, Some(3.5));
        let at = Timestamp::UNIX_EPOCH;
        let record = Record::Closed { ending: Ending::Swapped, reason: None, users: None };
        let seq = u64::try_from(entries.len()).unwrap_or_default();
        entries.push(Entry { seq, at, elapsed_us: 40_000, record });
        assert_eq!(Summary::of(&entries).expect("a summary").outcome, "swapped");
        assert!(Summary::of(&[]).is_none());
    }
}
