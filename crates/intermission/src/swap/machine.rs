//! What to do next, from the journal alone. Pure: no I/O, no clock.
//!
//! Before the commit point anything that goes wrong leads back; after it only forward. At the commit point itself a
//! verification decides.

mod error;

use std::collections::BTreeMap;

pub use error::MachineError;

use super::{
    plan::Plan,
    position::{Barrier, Coordinates},
    record::{Action, Ending, Outcome, Record, VERSION, Verdict},
    step::Step,
};

/// How often a step behind the commit point is tried.
pub const FORWARD_ATTEMPTS: u32 = 5;
/// How often an undo is tried.
pub const UNDO_ATTEMPTS: u32 = 5;
/// How often the commit point is verified.
pub const VERIFY_ATTEMPTS: u32 = 5;

/// How far a step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    #[default]
    Pending,
    /// Its intent is known, its outcome is not.
    Started,
    Done,
    Failed,
    /// Taken back, or proven not to have happened.
    Undone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Progress {
    status: Status,
    /// An earlier step's intent said that this one follows: it may have begun without a record of its own.
    announced: bool,
    performs: u32,
    undos: u32,
    verifies: u32,
}

/// The fold of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    plan: Plan,
    steps: BTreeMap<Step, Progress>,
    interrupted: bool,
    barrier: Option<Barrier>,
    resume_at: Option<Coordinates>,
    /// The first thing that went wrong: the reason for what follows.
    cause: Option<String>,
    /// The step that failed first, if it was one.
    stumbled_at: Option<Step>,
    closed: Option<Ending>,
}

/// What the executor has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Act(Action, Step),
    Close(Ending),
    /// The journal is closed: nothing is left to do.
    Stop(Ending),
}

impl State {
    /// Folds a whole journal.
    ///
    /// # Errors
    /// [`MachineError`] names the record that does not fit.
    pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<Self, MachineError> {
        let mut records = records.into_iter().zip(0_u64..);
        let mut state = match records.next() {
            None => return Err(MachineError::Empty),
            Some((Record::Opened { version, .. }, _)) if *version != VERSION => {
                return Err(MachineError::Version { found: *version });
            }
            Some((Record::Opened { plan, .. }, _)) => Self::new(Plan::clone(plan)),
            Some(_) => return Err(MachineError::NotOpened),
        };
        for (record, seq) in records {
            state.apply(seq, record)?;
        }
        Ok(state)
    }

    /// A swap of which nothing is done yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let steps = Step::ALL.into_iter().map(|step| (step, Progress::default())).collect();
        Self {
            plan,
            steps,
            interrupted: false,
            barrier: None,
            resume_at: None,
            cause: None,
            stumbled_at: None,
            closed: None,
        }
    }

    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    #[must_use]
    pub const fn barrier(&self) -> Option<&Barrier> {
        self.barrier.as_ref()
    }

    /// Where the new primary's binary log ended before it was promoted, if that had to be known.
    #[must_use]
    pub const fn resume_at(&self) -> Option<&Coordinates> {
        self.resume_at.as_ref()
    }

    /// Why the swap did not go through, if it did not.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The step whose failure was the first thing that went wrong.
    #[must_use]
    pub const fn stumbled_at(&self) -> Option<Step> {
        self.stumbled_at
    }

    #[must_use]
    pub const fn closed(&self) -> Option<Ending> {
        self.closed
    }

    #[must_use]
    pub fn status(&self, step: Step) -> Status {
        self.progress(step).status
    }

    /// How often the step has been performed.
    #[must_use]
    pub fn performs(&self, step: Step) -> u32 {
        self.progress(step).performs
    }

    /// How often the action was tried on the step by this process.
    #[must_use]
    pub fn tries(&self, action: Action, step: Step) -> u32 {
        let progress = self.progress(step);
        match action {
            Action::Perform => progress.performs,
            Action::Verify => progress.verifies,
            Action::Undo => progress.undos,
        }
    }

    /// Whether the intent of an earlier step announced this one.
    #[must_use]
    pub fn is_announced(&self, step: Step) -> bool {
        self.progress(step).announced
    }

    /// Whether the swap was told to stop, or is a resumed one.
    #[must_use]
    pub const fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Whether the new primary was ever about to be promoted.
    #[must_use]
    pub fn promote_was_tried(&self) -> bool {
        self.performs(Step::COMMIT) > 0
    }

    /// Whether the commit point is passed for sure.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.status(Step::COMMIT) == Status::Done
    }

    /// Takes one more record in.
    ///
    /// # Errors
    /// [`MachineError::Illegal`] when the record cannot follow.
    pub fn apply(&mut self, seq: u64, record: &Record) -> Result<(), MachineError> {
        let legal = match record {
            Record::Opened { .. } => false,
            Record::Resumed { .. } => self.resume(),
            _ if self.closed.is_some() => false,
            Record::Intent { action, step, announces, .. } => {
                for announced in announces {
                    self.steps.entry(*announced).or_default().announced = true;
                }
                self.intend(*action, *step)
            }
            Record::Outcome { action, step, outcome, .. } => self.learn(*action, *step, outcome),
            Record::Noted { .. } => true,
            Record::Interrupted { reason } => {
                self.interrupted = true;
                self.blame(reason);
                true
            }
            Record::Closed { ending, .. } => {
                self.closed = Some(*ending);
                true
            }
        };
        if legal { Ok(()) } else { Err(MachineError::Illegal { seq, what: format!("{record:?}") }) }
    }

    /// What to do next.
    #[must_use]
    pub fn decide(&self) -> Decision {
        if let Some(ending) = self.closed {
            return Decision::Stop(ending);
        }
        match self.status(Step::COMMIT) {
            Status::Done => self.forward(),
            Status::Started | Status::Failed => self.settle_the_commit(),
            Status::Undone => self.unwind(),
            Status::Pending if self.must_unwind() => self.unwind(),
            Status::Pending => self
                .plan
                .steps()
                .find(|step| self.status(*step) == Status::Pending)
                .map_or(Decision::Close(Ending::Swapped), |step| {
                    Decision::Act(Action::Perform, step)
                }),
        }
    }

    fn progress(&self, step: Step) -> Progress {
        self.steps.get(&step).copied().unwrap_or_default()
    }

    fn must_unwind(&self) -> bool {
        self.interrupted
            || Step::ALL.into_iter().any(|step| {
                step < Step::COMMIT
                    && matches!(
                        self.status(step),
                        Status::Started | Status::Failed | Status::Undone
                    )
            })
    }

    fn unwind(&self) -> Decision {
        let to_undo = |step: &Step| {
            step.has_undo()
                && *step < Step::COMMIT
                && matches!(self.status(*step), Status::Started | Status::Failed | Status::Done)
        };
        let next = Step::ALL
            .into_iter()
            .rev()
            .filter(to_undo)
            .find(|step| self.progress(*step).undos < UNDO_ATTEMPTS);
        match next {
            Some(step) => Decision::Act(Action::Undo, step),
            None if Step::ALL.iter().any(to_undo) => Decision::Close(Ending::NeedsOperator),
            None => Decision::Close(Ending::RolledBack),
        }
    }

    /// Whether the new primary was promoted is not known. Without an answer the fence stays, but nobody stays held, and
    /// clients read from the old primary.
    fn settle_the_commit(&self) -> Decision {
        if self.progress(Step::COMMIT).verifies < VERIFY_ATTEMPTS {
            return Decision::Act(Action::Verify, Step::COMMIT);
        }
        let to_undo = |step: &Step| {
            let Progress { status, undos, .. } = self.progress(*step);
            matches!(status, Status::Started | Status::Failed | Status::Done)
                && undos < UNDO_ATTEMPTS
        };
        let next = [Step::Withdraw, Step::Hold].into_iter().find(to_undo);
        next.map_or(Decision::Close(Ending::NeedsOperator), |step| {
            Decision::Act(Action::Undo, step)
        })
    }

    /// Behind the commit point. A step that failed all its attempts is left to the operator; the others still go on,
    /// because each of them makes the site better.
    fn forward(&self) -> Decision {
        let mut incomplete = false;
        for step in self.plan.steps().filter(|step| *step > Step::COMMIT) {
            let progress = self.progress(step);
            if progress.status == Status::Done {
                continue;
            }
            let lacking = step
                .needs()
                .is_some_and(|needed| self.plan.has(needed) && self.status(needed) != Status::Done);
            let attempts = if step.tries_by_itself() { 1 } else { FORWARD_ATTEMPTS };
            if !lacking && progress.performs < attempts {
                return Decision::Act(Action::Perform, step);
            }
            incomplete = true;
        }
        Decision::Close(if incomplete { Ending::NeedsOperator } else { Ending::Swapped })
    }

    fn resume(&mut self) -> bool {
        if !matches!(self.closed, None | Some(Ending::NeedsOperator)) {
            return false;
        }
        self.closed = None;
        self.interrupted = true;
        if let Some(commit) = self.steps.get_mut(&Step::COMMIT)
            && commit.status == Status::Undone
        {
            // It had not happened then; an operator may have done it by hand since.
            commit.status = Status::Failed;
        }
        for (step, progress) in &mut self.steps {
            // Behind the commit point what is not done is done anyway.
            let before = *step < Step::COMMIT && self.plan.has(*step);
            if progress.announced && progress.status == Status::Pending && before {
                progress.status = Status::Started;
            }
            // Only the attempts of the new process count, those to undo a finished step too. That a step was ever
            // tried stays known.
            progress.performs = progress.performs.min(u32::from(!step.tries_by_itself()));
            progress.undos = 0;
            progress.verifies = 0;
        }
        true
    }

    fn intend(&mut self, action: Action, step: Step) -> bool {
        let Some(progress) = self.steps.get_mut(&step) else { return false };
        match action {
            Action::Perform => {
                progress.performs += 1;
                progress.status = Status::Started;
            }
            Action::Verify => progress.verifies += 1,
            Action::Undo => progress.undos += 1,
        }
        action != Action::Verify || step == Step::COMMIT
    }

    fn learn(&mut self, action: Action, step: Step, outcome: &Outcome) -> bool {
        let Some(progress) = self.steps.get_mut(&step) else { return false };
        match (action, outcome) {
            (Action::Perform, Outcome::Done { facts }) => {
                progress.status = Status::Done;
                if facts.barrier.is_some() {
                    self.barrier.clone_from(&facts.barrier);
                }
                if facts.resume_at.is_some() {
                    self.resume_at.clone_from(&facts.resume_at);
                }
                // Until the address is led away, ended sessions come back to the old primary.
                if step == Step::Endpoint
                    && let Some(end) = self.steps.get_mut(&Step::EndSessions)
                {
                    *end = Progress { announced: end.announced, ..Progress::default() };
                }
            }
            (Action::Perform, Outcome::Failed { message, .. }) => {
                progress.status = Status::Failed;
                if self.cause.is_none() {
                    self.stumbled_at = Some(step);
                }
                self.blame(&format!("{step}: {message}"));
            }
            (Action::Undo, Outcome::Done { .. }) => progress.status = Status::Undone,
            // What could not be undone keeps its status and is tried again.
            (Action::Undo, Outcome::Failed { message, .. }) => {
                self.blame(&format!("undo of {step}: {message}"));
            }
            (Action::Verify, Outcome::Verified { verdict, message }) => match verdict {
                Verdict::TookEffect => progress.status = Status::Done,
                Verdict::DidNot => progress.status = Status::Undone,
                Verdict::CannotTell => self.blame(&format!("verification of {step}: {message}")),
            },
            (Action::Perform | Action::Undo, Outcome::Verified { .. })
            | (Action::Verify, Outcome::Done { .. } | Outcome::Failed { .. }) => return false,
        }
        true
    }

    fn blame(&mut self, reason: &str) {
        if self.cause.is_none() {
            self.cause = Some(reason.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
