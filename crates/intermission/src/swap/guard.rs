//! What a swap knows of its guardian: a process of its own that takes the swap back if this one dies or stands still before
//! the commit point.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    journal::JournalLock,
    plan::Plan,
    record::{Action, Entry, Outcome, Record, Verdict},
    step::Step,
};

/// How many alarms are kept: whoever has read so many reads no more.
const ALARMS_MAX: usize = 16;

/// What a guardian is told: with every beat, and at once when more than the step changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The step whose intent was recorded last before the beat.
    pub step: Option<Step>,
    /// Promote took effect: there is nothing to take back any more.
    pub committed: bool,
    /// How often this process has taken its journal over, as after a panic.
    pub resumed: u32,
    /// The swap is over.
    pub ended: Option<Ended>,
}

/// What is left for the guardian when the swap is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// To look at both servers for a while.
    Watch,
    Nothing,
}

impl Told {
    /// Learns from a record that was made.
    pub fn learn(&mut self, entry: &Entry) {
        match &entry.record {
            Record::Intent { step, .. } => self.step = Some(*step),
            Record::Resumed { .. } => self.resumed = self.resumed.saturating_add(1),
            Record::Outcome { step, action, outcome, .. } if *step == Step::COMMIT => {
                self.committed |= match outcome {
                    Outcome::Done { .. } => *action == Action::Perform,
                    Outcome::Verified { verdict, .. } => *verdict == Verdict::TookEffect,
                    Outcome::Failed { .. } => false,
                };
            }
            Record::Opened { .. }
            | Record::Outcome { .. }
            | Record::Interrupted { .. }
            | Record::Noted { .. }
            | Record::Closed { .. } => {}
        }
    }

    /// How far the swap had come, as the last beat and the intents on disk tell: what came behind both is not known.
    #[must_use]
    pub fn last_step(&self, journal: &[Entry]) -> String {
        let mut intents = journal.iter().filter_map(|entry| match &entry.record {
            Record::Intent { step, .. } => Some(*step),
            Record::Opened { .. }
            | Record::Resumed { .. }
            | Record::Outcome { .. }
            | Record::Noted { .. }
            | Record::Interrupted { .. }
            | Record::Closed { .. } => None,
        });
        match self.step.max(intents.next_back()) {
            Some(step) => format!("at or behind: {step}"),
            None => "at its beginning".to_owned(),
        }
    }
}

/// What is known of the guardian, shared by whoever hears it and the executor. The default is that of a swap without one.
#[derive(Debug, Clone, Default)]
pub struct Guard(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    pid: Option<u32>,
    /// Its sessions, by server.
    sessions: BTreeMap<String, Vec<u64>>,
    gone: Option<String>,
    told_of_gone: bool,
    alarms: Vec<String>,
    /// How many of them the executor has noted.
    noted: usize,
}

impl Guard {
    #[must_use]
    pub fn of_process(pid: u32, sessions: BTreeMap<String, Vec<u64>>) -> Self {
        Self(Arc::new(Mutex::new(Known { pid: Some(pid), sessions, ..Known::default() })))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.known().pid
    }

    /// The sessions that it had on a server when it was ready.
    #[must_use]
    pub fn sessions_on(&self, server: &str) -> Vec<u64> {
        self.known().sessions.get(server).cloned().unwrap_or_default()
    }

    /// The guardian is there no more, or not to be heard.
    pub fn lose(&self, why: impl Into<String>) {
        self.known().gone.get_or_insert_with(|| why.into());
    }

    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.known().gone.is_some()
    }

    /// Why it is gone; said once.
    #[must_use]
    pub fn newly_gone(&self) -> Option<String> {
        let mut known = self.known();
        if known.told_of_gone || known.gone.is_none() {
            return None;
        }
        known.told_of_gone = true;
        known.gone.clone()
    }

    /// The sentinel has seen something.
    pub fn alarm(&self, alarm: String) {
        let mut known = self.known();
        if known.alarms.len() < ALARMS_MAX {
            known.alarms.push(alarm);
        }
    }

    /// The alarms that were not noted yet.
    #[must_use]
    pub fn take_alarms(&self) -> Vec<String> {
        let mut known = self.known();
        let new = known.alarms.get(known.noted..).unwrap_or_default().to_vec();
        known.noted = known.alarms.len();
        new
    }

    /// Every alarm so far.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        self.known().alarms.clone()
    }
}

/// Starts guardians.
#[async_trait]
pub trait Guardians: Send + Sync + fmt::Debug {
    /// Starts one, which has the journal's lock too, and returns when it has everything that it would need.
    ///
    /// # Errors
    /// Why there is none: then the swap is not begun.
    async fn start(&self, lock: &JournalLock, plan: &Plan) -> Result<Box<dyn Guardian>, String>;
}

/// A guardian at work.
#[async_trait]
pub trait Guardian: Send + Sync + fmt::Debug {
    fn guard(&self) -> Guard;
    /// Tells it of a record; must not block.
    fn tell(&self, entry: &Entry);
    /// The swap is over: returns when the guardian is gone, with everything that its sentinel has seen.
    async fn end(&self, ended: Ended) -> Vec<String>;
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{ALARMS_MAX, Guard, Told};
    use crate::swap::{
        record::{Action, Entry, Record},
        step::Step,
    };

    #[test]
    fn the_last_step_is_the_later_of_beat_and_journal() {
        let intent = |step| {
            let (emergency, announces) = (Vec::new(), Vec::new());
            let record = Record::Intent { action: Action::Perform, step, emergency, announces };
            Entry { seq: 0, at: Timestamp::UNIX_EPOCH, elapsed_us: 0, record }
        };
        let journal = [intent(Step::Lock), intent(Step::Hold)];
        let told = |step| Told { step, ..Told::default() };
        assert_eq!(told(None).last_step(&[]), "at its beginning");
        assert_eq!(told(Some(Step::Quiet)).last_step(&[]), "at or behind: quiet");
        assert_eq!(told(Some(Step::Quiet)).last_step(&journal), "at or behind: hold");
        assert_eq!(told(Some(Step::Fence)).last_step(&journal), "at or behind: fence");
    }

    #[test]
    fn its_end_is_told_once_and_alarms_are_bounded() {
        let guard = Guard::default();
        assert_eq!((guard.newly_gone(), guard.is_gone()), (None, false));
        guard.lose("has ended");
        guard.lose("is silent");
        assert_eq!(guard.newly_gone().as_deref(), Some("has ended"));
        assert_eq!((guard.newly_gone(), guard.is_gone()), (None, true));
        for number in 0..2 * ALARMS_MAX {
            guard.alarm(number.to_string());
        }
        assert_eq!(guard.take_alarms().len(), ALARMS_MAX);
        assert_eq!((guard.take_alarms().len(), guard.alarms().len()), (0, ALARMS_MAX));
    }
}
