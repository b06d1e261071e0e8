//! What is done with a record: journaled, told, folded into the state; and what becomes of a swap whose journal is lost.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use super::{Executor, Flush, Log, STEP_SLACK, hung};
use crate::swap::{
    journal::JournalError,
    record::{Action, Ending, Entry, Outcome, Record, Verdict},
    step::Step,
    steps::StepError,
};

/// How old what was seen before promote may be when it is promoted: a disk may take seconds for the intent.
const LOOK_KEEPS: Duration = Duration::from_millis(5);

impl<L: Log> Executor<L> {
    /// Journals an intent, and looks meanwhile at what the step has to see: a look changes nothing, and users wait for both. Returns what
    /// the look came to, or nothing where it must not be acted on.
    pub(super) async fn intend(
        &mut self,
        intent: Record,
        action: Action,
        step: Step,
        durable: bool,
    ) -> Option<Result<(), StepError>> {
        let flush = if durable { Flush::Done } else { Flush::Later };
        // That promote took effect is flushed beside what leads clients to the new primary, and no longer.
        if step > Step::Canary && !durable && !self.flushed().await {
            return None;
        }
        if action != Action::Perform || step != Step::COMMIT {
            return self.record(intent, flush).await.then_some(Ok(()));
        }
        let (steps, state) = (self.steps.clone(), self.state.clone());
        let bound = self.bound(step) + STEP_SLACK;
        let look = async || match timeout(bound, steps.look_before_promote(&state)).await {
            Ok(looked) => (looked, Instant::now()),
            Err(_) => (Err(hung(bound)), Instant::now()),
        };
        let (may_act, (mut looked, at)) = tokio::join!(self.record(intent, flush), look());
        if looked.is_ok() && at.elapsed() > LOOK_KEEPS {
            (looked, _) = look().await;
        }
        may_act.then_some(looked)
    }

    /// Journals what an action came to. That promote took effect is on its way to the disk at once.
    pub(super) async fn conclude(
        &mut self,
        action: Action,
        step: Step,
        outcome: Outcome,
        took_us: u64,
    ) {
        let flush = if tells_of_the_commit(step, &outcome) { Flush::Begun } else { Flush::Later };
        self.record(Record::Outcome { action, step, outcome, took_us }, flush).await;
    }

    /// Without a journal only what makes the site writable again is done.
    fn is_allowed_without_journal(&self, action: Action, step: Step) -> bool {
        match action {
            Action::Undo | Action::Verify => true,
            Action::Perform => self.state.is_committed() && step <= Step::Release,
        }
    }

    /// Journals and folds a record. False when it is an intent that must not be acted on.
    pub(super) async fn record(&mut self, record: Record, flush: Flush) -> bool {
        if self.has_journal
            && let Err(error) = self.write(record.clone(), flush).await
        {
            self.lose_journal(&error);
        }
        // A disk may take its time, and a process stand still there: what nobody has read is not acted on. What was done is done, and
        // nothing follows before the next intent.
        let is_outcome = matches!(record, Record::Outcome { .. });
        if !is_outcome && self.notice_superseded() {
            return false;
        }
        if !self.has_journal
            && let Record::Intent { action, step, .. } = record
            && !self.is_allowed_without_journal(action, step)
        {
            if self.state.is_committed() {
                // What is left is tidying up; the operator does that with a journal that works.
                let ending = Ending::NeedsOperator;
                self.fold(&Record::Closed { ending, reason: None, users: None });
            }
            return false;
        }
        self.fold(&record);
        true
    }

    /// Waits until what is being flushed is on disk. False when nothing may be done any more.
    pub(super) async fn flushed(&mut self) -> bool {
        if self.has_journal
            && let Err(error) = self.log.flushed().await
        {
            self.lose_journal(&error);
        }
        !self.notice_superseded()
    }

    /// Looks whether somebody else has taken the journal over.
    fn notice_superseded(&mut self) -> bool {
        self.superseded |= !self.claim.stands();
        self.superseded
    }

    fn lose_journal(&mut self, error: &JournalError) {
        self.has_journal = false;
        let reason = match std::error::Error::source(error) {
            Some(source) => format!("the journal is lost: {error}: {source}"),
            None => format!("the journal is lost: {error}"),
        };
        tracing::error!("{reason}");
        self.fold(&Record::Interrupted { reason });
    }

    fn fold(&mut self, record: &Record) {
        if let Err(error) = self.state.apply(self.next_seq, record) {
            // The executor makes only records that the machine asked for.
            tracing::error!(error = %error, "a record was not understood");
        }
    }

    pub(super) async fn write(&mut self, record: Record, flush: Flush) -> Result<(), JournalError> {
        let elapsed_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let entry = Entry { seq: self.next_seq, at: Timestamp::now(), elapsed_us, record };
        self.log.append(&entry, flush).await?;
        self.next_seq += 1;
        (self.listener)(&entry);
        Ok(())
    }
}

/// Whether it says that the commit point is passed.
fn tells_of_the_commit(step: Step, outcome: &Outcome) -> bool {
    let says_so = match outcome {
        Outcome::Done { .. } => true,
        Outcome::Verified { verdict, .. } => *verdict == Verdict::TookEffect,
        Outcome::Failed { .. } => false,
    };
    says_so && step == Step::COMMIT
}
