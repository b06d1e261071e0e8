//! The only one that acts: journals the intent, acts, journals the outcome, and asks the machine again.

mod bound;
mod fault;
mod log;
mod recording;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::log::{FileLog, Flush, Log, NoLog};
use super::{
    claim::Claim,
    guard::Guard,
    journal::JournalError,
    machine::{Decision, MachineError, State, Status},
    record::{Action, Ending, Entry, Facts, Outcome, Record, Verdict},
    server::{Effect, Server},
    step::Step,
    steps::{StepError, Steps},
};

/// The pause before an action is tried again, times the number of tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// What a step may take beyond its own bounds before it counts as hung.
const STEP_SLACK: Duration = Duration::from_secs(10);

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
    began: Instant,
    cancel: CancellationToken,
    listener: Listener,
    /// What was journaled last of the emergency card.
    card: Vec<String>,
    /// Ends when somebody else takes the journal over.
    claim: Claim,
    /// It was seen to have ended.
    superseded: bool,
    guard: Guard,
    /// What is left is done by somebody else where it is forward.
    only_back: bool,
}

/// How an executor came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The journal is closed.
    Ended(Ending),
    /// Another process has taken the journal over: nothing was done since.
    Superseded,
    /// The commit point is passed and this one may only go back: the journal stays open.
    LeftOpen,
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
        let mut executor = Self::new(steps, log, (state, 0), cancel, listener);
        let opened = Record::Opened { version: super::record::VERSION, plan };
        executor.write(opened, Flush::Done).await?;
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
        let mut executor = Self::new(steps, log, (state, next_seq), cancel, listener);
        let record = Record::Resumed { reason };
        executor.state.apply(next_seq, &record)?;
        executor.write(record, Flush::Done).await?;
        executor.take_locks_over().await;
        Ok(executor)
    }

    async fn take_locks_over(&self) {
        let bound = self.bound(Step::Lock) + STEP_SLACK;
        let Steps { old, new, .. } = &self.steps;
        if self.steps.plan.failover().is_some() {
            // The other one is dead.
            take_over(new.as_ref(), bound).await;
        } else {
            tokio::join!(take_over(old.as_ref(), bound), take_over(new.as_ref(), bound));
        }
    }

    fn new(
        steps: Steps,
        log: L,
        (state, next_seq): (State, u64),
        cancel: CancellationToken,
        listener: Listener,
    ) -> Self {
        let claim = log.claim();
        for server in [&steps.old, &steps.new].into_iter().chain(&steps.siblings) {
            server.bind(&claim);
        }
        Self {
            steps,
            state,
            log,
            has_journal: true,
            next_seq,
            began: Instant::now(),
            cancel,
            listener,
            card: Vec::new(),
            claim,
            superseded: false,
            guard: Guard::default(),
            only_back: false,
        }
    }

    /// Looks before each step whether its guardian is there, and notes what the sentinel sees.
    #[must_use]
    pub fn guarded_by(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Takes back what can be, and does not go on where it cannot.
    #[must_use]
    pub const fn only_back(mut self) -> Self {
        self.only_back = true;
        self
    }

    /// Goes on until there is nothing left to do.
    pub async fn run(mut self) -> (Finish, State) {
        loop {
            self.notice_cancel().await;
            self.notice_guard().await;
            if self.superseded {
                return (Finish::Superseded, self.state);
            }
            match self.state.decide() {
                Decision::Act(Action::Perform, _) if self.only_back => {
                    return (Finish::LeftOpen, self.state);
                }
                Decision::Act(action, step) => self.act(action, step).await,
                Decision::Close(ending) => self.close(ending).await,
                Decision::Stop(ending) => return (Finish::Ended(ending), self.state),
            }
        }
    }

    /// Before the fence nothing is lost by giving up, and behind it a guardian is missed only if this process dies as well.
    async fn notice_guard(&mut self) {
        if self.state.closed().is_some() {
            return;
        }
        for message in self.guard.take_alarms() {
            self.record(Record::Noted { message }, Flush::Later).await;
        }
        let Some(why) = self.guard.newly_gone() else { return };
        let message = format!("the guardian {why}");
        let before_fence = self.state.status(Step::Fence) == Status::Pending;
        if before_fence && !self.state.promote_was_tried() && !self.state.is_interrupted() {
            self.interrupt(&message).await;
        } else {
            let message = format!("{message}: the swap goes on without one");
            self.record(Record::Noted { message }, Flush::Later).await;
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
        self.record(Record::Interrupted { reason: reason.to_owned() }, Flush::Done).await;
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
        let emergency = self.card_before(step);
        let announces = if performs { step.announces().to_vec() } else { Vec::new() };
        let announced = performs && tries == 0 && self.state.is_announced(step);
        let durable = (step.acts() || action == Action::Undo) && !announced;
        let intent = Record::Intent { action, step, emergency, announces };
        let Some(looked) = self.intend(intent, action, step, durable).await else { return };
        fault::point("before", action, step, &self.guard).await;
        let began = Instant::now();
        let outcome = match looked {
            Ok(()) => self.outcome(action, step).await,
            Err(StepError { effect, message }) => Outcome::Failed { effect, message },
        };
        fault::point("after", action, step, &self.guard).await;
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.conclude(action, step, outcome, took_us).await;
        fault::point("recorded", action, step, &self.guard).await;
    }

    /// The emergency card, where the step changes something and the one journaled last is not right any more.
    fn card_before(&mut self, step: Step) -> Vec<String> {
        let card = if step.acts() { self.steps.emergency(&self.state) } else { Vec::new() };
        if card.is_empty() || card == self.card {
            return Vec::new();
        }
        self.card.clone_from(&card);
        card
    }

    async fn outcome(&self, action: Action, step: Step) -> Outcome {
        let bound = self.bound(step) + STEP_SLACK;
        let done = match action {
            Action::Verify => {
                let verdict = timeout(bound, self.steps.verify(&self.state)).await;
                let (verdict, message) =
                    verdict.unwrap_or_else(|_| (Verdict::CannotTell, hung(bound).to_string()));
                return Outcome::Verified { verdict, message };
            }
            Action::Undo => timeout(bound, self.steps.undo(step, &self.state)).await,
            Action::Perform => timeout(bound, self.perform(step)).await,
        };
        match done.unwrap_or_else(|_| Err(hung(bound))) {
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
        bound::of(step, &self.steps.plan)
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
        self.record(Record::Closed { ending, reason, users }, Flush::Done).await;
    }
}

impl Executor<NoLog> {
    /// As [`Executor::resume`], without a journal that could be written.
    ///
    /// # Errors
    /// When the journal cannot be resumed.
    pub async fn resume_unwritten(
        steps: Steps,
        state: State,
        cancel: CancellationToken,
        listener: Listener,
    ) -> Result<Self, MachineError> {
        let mut executor = Self::new(steps, NoLog, (state, 0), cancel, listener);
        executor.has_journal = false;
        let reason = "the journal cannot be written".to_owned();
        executor.state.apply(0, &Record::Resumed { reason })?;
        executor.take_locks_over().await;
        Ok(executor)
    }
}

fn hung(bound: Duration) -> StepError {
    StepError { effect: Effect::Unknown, message: format!("no end within {bound:?}") }
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
