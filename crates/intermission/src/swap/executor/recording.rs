//! What is done with a record: journaled, told, folded into the state; and what becomes of a swap whose journal is lost.

use jiff::Timestamp;

use super::{Executor, Log};
use crate::swap::{
    journal::JournalError,
    record::{Action, Ending, Entry, Record},
    step::Step,
};

impl<L: Log> Executor<L> {
    /// Without a journal only what makes the site writable again is done.
    fn is_allowed_without_journal(&self, action: Action, step: Step) -> bool {
        match action {
            Action::Undo | Action::Verify => true,
            Action::Perform => self.state.is_committed() && step <= Step::Release,
        }
    }

    /// Journals and folds a record. False when it is an intent that must not be acted on.
    pub(super) async fn record(&mut self, record: Record, durable: bool) -> bool {
        if !self.claim.stands() {
            return false;
        }
        if self.has_journal
            && let Err(error) = self.write(record.clone(), durable).await
        {
            self.lose_journal(&error);
        }
        // A disk may take its time, and a process stand still there: what nobody has read is not acted on.
        if !self.claim.stands() {
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

    pub(super) async fn write(
        &mut self,
        record: Record,
        durable: bool,
    ) -> Result<(), JournalError> {
        let elapsed_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let entry = Entry { seq: self.next_seq, at: Timestamp::now(), elapsed_us, record };
        self.log.append(&entry, durable).await?;
        self.next_seq += 1;
        (self.listener)(&entry);
        Ok(())
    }
}
