//! The only one that acts: journals the intent, acts, journals the outcome, and asks the machine again.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    journal::{Journal, JournalError},
    machine::{Decision, MachineError, State},
    record::{Action, Ending, Entry, Facts, Outcome, Record},
    server::{Effect, Server},
    step::Step,
    steps::{LED_WITHIN, StepError, Steps},
};

/// How long a write to the journal may take before the journal counts as lost.
const JOURNAL_BOUND: Duration = Duration::from_secs(2);
/// The pause before an action is tried again, times the number of tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// What a step may take beyond its own bounds before it counts as hung.
const STEP_SLACK: Duration = Duration::from_secs(10);

/// Where records go. The real one is a file; the simulated cluster cuts it anywhere.
#[async_trait]
pub trait Log: Send {
    /// Appends; with `durable` it is on disk when this returns.
    async fn append(&mut self, entry: &Entry, durable: bool) -> Result<(), JournalError>;
}

/// A journal written on a thread where a slow disk blocks nobody.
#[derive(Debug)]
pub struct FileLog {
    /// Absent after a write that never came back.
    journal: Option<Journal>,
    path: std::path::PathBuf,
}

impl FileLog {
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        Self { path: journal.path().to_owned(), journal: Some(journal) }
    }
}

#[async_trait]
impl Log for FileLog {
    async fn append(&mut self, entry: &Entry, durable: bool) -> Result<(), JournalError> {
        let lost = || JournalError::Lost { path: self.path.clone() };
        let mut journal = self.journal.take().ok_or_else(lost)?;
        if !durable && journal.has_room() {
            let written = journal.append(entry, false);
            self.journal = Some(journal);
            return written;
        }
        let entry = entry.clone();
        let write = tokio::task::spawn_blocking(move || {
            let written = journal.append(&entry, durable);
            (journal, written)
        });
        match timeout(JOURNAL_BOUND, write).await {
            Ok(Ok((journal, written))) => {
                self.journal = Some(journal);
                written
            }
            Ok(Err(_)) | Err(_) => Err(lost()),
        }
    }
}

/// Who is told of every record as it is made. It must not block.
pub type Listener = Arc<dyn Fn(&Entry) + Send + Sync>;

/// Runs one swap, new or resumed.
pub struct Executor<L> {
    steps: Steps,
    state: State,
    log: L,
    /// False once a write has failed: from then on nothing is done but making the site writable.
    has_journal: bool,
    next_seq: u64,
    cancel: CancellationToken,
    listener: Listener,
}

impl<L> std::fmt::Debug for Executor<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<L: Log> Executor<L> {
    /// Begins a journal with `plan`, which the steps were made for.
    ///
    /// # Errors
    /// When the first record cannot be written: then nothing at all was done.
    pub async fn begin(
        steps: Steps,
        log: L,
        cancel: CancellationToken,
        listener: Listener,
    ) -> Result<Self, JournalError> {
        let plan = Box::new(steps.plan.as_ref().clone());
        let state = State::new(steps.plan.as_ref().clone());
        let mut executor =
            Self { steps, state, log, has_journal: true, next_seq: 0, cancel, listener };
        let opened = Record::Opened { version: super::record::VERSION, plan };
        executor.write(opened, true).await?;
        Ok(executor)
    }

    /// Takes a journal over from a process that is surely dead.
    ///
    /// # Errors
    /// When the takeover cannot be journaled, or the journal cannot be resumed.
    pub async fn resume(
        steps: Steps,
        log: L,
        (state, next_seq): (State, u64),
        reason: String,
        cancel: CancellationToken,
        listener: Listener,
    ) -> Result<Self, ResumeError> {
        let mut executor =
            Self { steps, state, log, has_journal: true, next_seq, cancel, listener };
        let record = Record::Resumed { reason };
        executor.state.apply(next_seq, &record)?;
        executor.write(record, true).await?;
        let bound = executor.bound(Step::Lock) + STEP_SLACK;
        let Steps { old, new, .. } = &executor.steps;
        tokio::join!(take_over(old.as_ref(), bound), take_over(new.as_ref(), bound));
        Ok(executor)
    }

    /// Goes on until there is nothing left to do.
    pub async fn run(mut self) -> (Ending, State) {
        loop {
            self.notice_cancel().await;
            match self.state.decide() {
                Decision::Act(action, step) => self.act(action, step).await,
                Decision::Close(ending) => self.close(ending).await,
                Decision::Stop(ending) => return (ending, self.state),
            }
        }
    }

    async fn notice_cancel(&mut self) {
        if self.cancel.is_cancelled() && !self.state.promote_was_tried() {
            self.interrupt("told to stop by a signal").await;
        }
    }

    async fn interrupt(&mut self, reason: &str) {
        if self.state.is_interrupted() || self.state.closed().is_some() {
            return;
        }
        self.record(Record::Interrupted { reason: reason.to_owned() }, true).await;
    }

    async fn act(&mut self, action: Action, step: Step) {
        let tries = self.state.tries(action, step);
        if tries > 0 {
            sleep(RETRY_PAUSE * tries).await;
            self.renew_before_retry(step).await;
        } else if step.tries_by_itself() && self.state.is_interrupted() {
            // A recovery may come when the lease has almost ended.
            self.renew_before_retry(step).await;
        }
        let performs = action == Action::Perform;
        let dangerous = performs && step == Step::COMMIT;
        let emergency = if dangerous { self.steps.emergency(&self.state) } else { Vec::new() };
        let announces = if performs { step.announces().to_vec() } else { Vec::new() };
        let announced = performs && tries == 0 && self.state.is_announced(step);
        let durable = (step.acts() || action == Action::Undo) && !announced;
        if !self.record(Record::Intent { action, step, emergency, announces }, durable).await {
            return;
        }
        fault::point("before", action, step);
        let began = Instant::now();
        let outcome = self.outcome(action, step).await;
        fault::point("after", action, step);
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.record(Record::Outcome { action, step, outcome, took_us }, false).await;
        fault::point("recorded", action, step);
    }

    /// Without a journal only what makes the site writable again is done.
    fn is_allowed_without_journal(&self, action: Action, step: Step) -> bool {
        match action {
            Action::Undo | Action::Verify => true,
            Action::Perform => self.state.is_committed() && step <= Step::Release,
        }
    }

    async fn outcome(&self, action: Action, step: Step) -> Outcome {
        let bound = self.bound(step) + STEP_SLACK;
        let hung =
            || StepError { effect: Effect::Unknown, message: format!("no end within {bound:?}") };
        let done = match action {
            Action::Verify => {
                let verdict = timeout(bound, self.steps.verify()).await;
                let (verdict, message) = verdict
                    .unwrap_or_else(|_| (super::record::Verdict::CannotTell, hung().to_string()));
                return Outcome::Verified { verdict, message };
            }
            Action::Undo => timeout(bound, self.steps.undo(step, &self.state)).await,
            Action::Perform => timeout(bound, self.perform(step)).await,
        };
        match done.unwrap_or_else(|_| Err(hung())) {
            Ok(facts) => Outcome::Done { facts },
            Err(StepError { effect, message }) => Outcome::Failed { effect, message },
        }
    }

    /// A signal cuts a step short where that is safe: everywhere before the commit point, because an undo follows.
    async fn perform(&self, step: Step) -> Result<Facts, StepError> {
        let performing = self.steps.perform(step, &self.state);
        if step >= Step::COMMIT {
            return performing.await;
        }
        tokio::select! {
            done = performing => done,
            () = self.cancel.cancelled() => Err(StepError {
                effect: Effect::Unknown,
                message: "told to stop by a signal".to_owned(),
            }),
        }
    }

    fn bound(&self, step: Step) -> Duration {
        let bounds = &self.steps.plan.bounds;
        match step {
            Step::Quiet => bounds.quiet + bounds.catch_up,
            Step::Hold => bounds.drain,
            Step::Settle => bounds.settle,
            Step::Fence => bounds.fence,
            Step::CatchUp => bounds.catch_up,
            Step::Withdraw => self.steps.plan.withdrawal.unwrap_or_default(),
            Step::Endpoint => self.steps.plan.endpoint,
            Step::Ready | Step::Canary => (bounds.statement + bounds.connect) * 2,
            Step::BeforeRelease => self.steps.plan.before_release.unwrap_or_default(),
            Step::WarmUp => self.steps.plan.warm_up.as_ref().map(|w| w.bound).unwrap_or_default(),
            Step::Events => {
                let events =
                    u32::try_from(self.steps.plan.handover.events.len()).unwrap_or(u32::MAX);
                bounds.connect + bounds.statement.saturating_mul(events.saturating_add(2))
            }
            Step::Follow => {
                // The marker, two tries to give a lock back, and the last questions.
                LED_WITHIN + bounds.prove + (bounds.statement + bounds.connect) * 6
            }
            Step::Prove | Step::Settings => bounds.prove,
            Step::Lock
            | Step::Barrier
            | Step::Promote
            | Step::EndSessions
            | Step::Release
            | Step::Detach
            | Step::Rejoin
            | Step::Unlock => bounds.statement + bounds.connect,
        }
    }

    /// Behind the commit point tries may outlast the lease: users go on waiting while there is hope.
    async fn renew_before_retry(&self, step: Step) {
        if !self.state.is_committed() || step > Step::Release {
            return;
        }
        let (lease, holder) = (self.steps.plan.bounds.lease, self.steps.holder());
        match timeout(self.bound(Step::Release), self.steps.gates.renew(&holder, lease)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %error, "cannot renew the hold"),
            Err(_) => tracing::warn!("no answer to the renewal of the hold"),
        }
    }

    async fn close(&mut self, ending: Ending) {
        let ending = if self.has_journal { ending } else { Ending::NeedsOperator };
        let holder = self.steps.holder();
        let users = timeout(self.bound(Step::Release), self.steps.gates.users(&holder)).await;
        let users = users.ok().and_then(Result::ok);
        let reason = self.state.cause().map(str::to_owned);
        self.record(Record::Closed { ending, reason, users }, true).await;
    }

    /// Journals and folds a record. False when it is an intent that must not be acted on.
    async fn record(&mut self, record: Record, durable: bool) -> bool {
        if self.has_journal
            && let Err(error) = self.write(record.clone(), durable).await
        {
            self.lose_journal(&error);
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

    async fn write(&mut self, record: Record, durable: bool) -> Result<(), JournalError> {
        let entry = Entry { seq: self.next_seq, at: Timestamp::now(), record };
        self.log.append(&entry, durable).await?;
        self.next_seq += 1;
        (self.listener)(&entry);
        Ok(())
    }
}

/// Whoever cannot be reached now is dealt with by the steps that need it.
async fn take_over(server: &dyn Server, bound: Duration) {
    match timeout(bound, server.lock(true)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = %error, "cannot take the advisory lock over");
        }
        Err(_) => {
            tracing::warn!(server = server.name(), "no answer to taking the advisory lock over");
        }
    }
}

/// Why a journal cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// Where a test ends the process as abruptly as a power cut.
mod fault {
    use crate::swap::{record::Action, step::Step};

    #[cfg(feature = "fault-injection")]
    #[expect(clippy::panic, reason = "that is what the test asks for")]
    pub(super) fn point(moment: &str, action: Action, step: Step) {
        let action = match action {
            Action::Perform => "perform",
            Action::Verify => "verify",
            Action::Undo => "undo",
        };
        let here = format!("{moment}:{action}:{step}");
        if std::env::var("INTERMISSION_FAULT").is_ok_and(|wanted| wanted == format!("kill:{here}"))
        {
            let ended = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            tracing::error!(?ended, "still alive");
        }
        if std::env::var("INTERMISSION_FAULT").is_ok_and(|wanted| wanted == format!("panic:{here}"))
        {
            std::panic::panic_any(format!("fault injected at {here}"));
        }
    }

    #[cfg(not(feature = "fault-injection"))]
    pub(super) const fn point(_: &str, _: Action, _: Step) {}
}
