//! Swaps that were interrupted: finished or taken back from their journals, by `recover` or by a guardian.

use std::{path::Path, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Parties, Report, RunError, steps_of};
use crate::swap::{
    executor::{Executor, FileLog, Finish, Listener, ResumeError},
    guard::Guard,
    journal::{self, JournalError, JournalLock},
    machine::State,
    plan::Plan,
    record::{Ending, Entry},
    step::Step,
};

/// How long `recover` waits for whoever is at work: a guardian is done within seconds.
const OTHERS_BOUND: Duration = Duration::from_secs(5);
const OTHERS_POLL: Duration = Duration::from_millis(20);
/// How long a process that was taken over from waits to learn what becomes of its swap: for as long as a guardian may be at work, on a
/// busy machine.
const NEWS_BOUND: Duration = Duration::from_secs(30);
const NEWS_POLL: Duration = Duration::from_millis(20);
/// How long each of the things may take that are taken back once more.
const HEAL_BOUND: Duration = Duration::from_secs(5);

/// The swaps of this folder that were begun and neither finished nor taken back.
///
/// # Errors
/// When a journal cannot be read.
pub fn unfinished(dir: &Path) -> Result<Vec<String>, RunError> {
    let mut open = Vec::new();
    // Only the newest can be: a swap is not begun while one is unfinished.
    for id in journal::list(dir)?.into_iter().rev().take(1) {
        let entries = match journal::read(dir, &id) {
            // Nothing is left to do of it, whatever else it says.
            Err(JournalError::Version { .. }) if journal::is_finished(dir, &id)? => continue,
            entries => entries?,
        };
        if entries.is_empty() {
            continue;
        }
        let state = fold(&id, &entries)?;
        if !matches!(state.closed(), Some(Ending::Swapped | Ending::RolledBack)) {
            open.push(id);
        }
    }
    Ok(open)
}

pub(super) fn fold(id: &str, entries: &[Entry]) -> Result<State, RunError> {
    State::fold(entries.iter().map(|entry| &entry.record))
        .map_err(|source| RunError::Machine { id: id.to_owned(), source })
}

/// Finishes or unwinds the newest swap that was interrupted; `None` when there is none. `foretold` hears beforehand what will
/// be done, and why.
///
/// # Errors
/// [`RunError`] when the journal cannot be used; then nothing was done.
pub async fn recover(
    parties: &Parties,
    dir: &Path,
    foretold: impl FnOnce(&str),
    cancel: CancellationToken,
    listener: Listener,
) -> Result<Option<Report>, RunError> {
    let lock = wait_for_lock(dir).await?;
    let done = recover_with(parties, &lock, foretold, cancel, listener).await;
    lock.release();
    done
}

async fn recover_with(
    parties: &Parties,
    lock: &JournalLock,
    foretold: impl FnOnce(&str),
    cancel: CancellationToken,
    listener: Listener,
) -> Result<Option<Report>, RunError> {
    let dir = lock.dir();
    let Some(id) = unfinished(dir)?.into_iter().next() else { return Ok(None) };
    let state = fold(&id, &journal::read(dir, &id)?)?;
    foretold(&foretell(parties, &state).await);
    let reason = "intermission recover".to_owned();
    let manner = Manner { reason, guard: Guard::default(), only_back: false };
    let report = match resume(parties, lock, &id, manner, cancel, listener).await? {
        (Finish::Ended(ending), state) => Report::of(&id, ending, &state),
        (Finish::Superseded | Finish::LeftOpen, _) => {
            superseded(&id, &hear_of(dir, &id, &Guard::default()).await?)
        }
    };
    Ok(Some(report))
}

async fn wait_for_lock(dir: &Path) -> Result<JournalLock, RunError> {
    let deadline = Instant::now() + OTHERS_BOUND;
    loop {
        match JournalLock::acquire(dir) {
            Err(JournalError::Locked { .. }) if Instant::now() < deadline => {
                sleep(OTHERS_POLL).await;
            }
            lock => return Ok(lock?),
        }
    }
}

/// Which way a recovery will go, by the journal and a look at the new primary; what the steps themselves find decides.
async fn foretell(parties: &Parties, state: &State) -> String {
    let plan = state.plan();
    let (old, new) = (&plan.old.name, &plan.new.name);
    let back = if plan.failover().is_some() {
        format!("{new} stays a replica and users are released")
    } else {
        format!("{old} is made writable again and users are released")
    };
    let server = parties.servers.iter().find(|server| server.name() == *new);
    let access = match server {
        Some(server) => server.access().await.map_err(|error| error.reason),
        None => Err("it is not configured any more".to_owned()),
    };
    match (access, state.promote_was_tried()) {
        (Ok(access), true) if access.is_writable() => {
            format!("{new} is writable: the swap is finished")
        }
        (Ok(_), true) if state.is_committed() => format!(
            "{new} was promoted and is read-only, as after a restart: where {old} is read-only, too, it is promoted again and the {} \
             is finished",
            plan.kind.word()
        ),
        (Ok(_), true) => match written_since(parties, state).await {
            Some(why) => format!("{why}: it is promoted again, and the swap is finished"),
            None => format!("{new} was not promoted, it is read-only: {back}"),
        },
        (Err(why), true) => format!(
            "whether {new} was promoted cannot be told ({why}): {old} stays read-only, users are released and can read"
        ),
        (Ok(access), false) if access.is_writable() => format!(
            "{new} is writable, and not by this swap, which had not come to promote: {old} stays as it is, users are released"
        ),
        (Ok(_) | Err(_), false) => format!("the swap had not come to promote: {back}"),
    }
}

/// What tells that the new primary was promoted though it is read-only; what cannot be asked now tells nothing yet.
async fn written_since(parties: &Parties, state: &State) -> Option<String> {
    steps_of(parties, state.plan().clone())?.written_since(state).await.ok().flatten()
}

/// How a journal is resumed.
pub(super) struct Manner {
    pub(super) reason: String,
    pub(super) guard: Guard,
    pub(super) only_back: bool,
}

pub(super) async fn resume(
    parties: &Parties,
    lock: &JournalLock,
    id: &str,
    manner: Manner,
    cancel: CancellationToken,
    listener: Listener,
) -> Result<(Finish, State), RunError> {
    // Whether the servers are there is settled before the journal is taken over.
    let plan = fold(id, &journal::read(lock.dir(), id)?)?.plan().clone();
    let planned = format!("{} and {}", plan.old.address, plan.new.address);
    let Some(steps) = steps_of(parties, plan) else {
        return Err(RunError::OtherCluster { id: id.to_owned(), planned });
    };
    let (journal, entries) = lock.open(id)?;
    let state = fold(id, &entries)?;
    if matches!(state.closed(), Some(Ending::Swapped | Ending::RolledBack)) {
        // By the other one of a swap and its guardian: to print a panic's trace may take longer than a guardian waits.
        return Ok((Finish::Superseded, state));
    }
    let next_seq = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    let log = FileLog::new(journal);
    let Manner { reason, guard, only_back } = manner;
    let executor = Executor::resume(steps, log, (state, next_seq), reason, cancel, listener)
        .await
        .map_err(|error| match error {
            ResumeError::Journal(error) => RunError::Journal(error),
            ResumeError::Machine(source) => RunError::Machine { id: id.to_owned(), source },
        })?;
    let executor = executor.guarded_by(guard);
    Ok(if only_back { executor.only_back().run().await } else { executor.run().await })
}

/// What came of a guardian's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakenBack {
    /// The swap was not begun, or is over.
    Nothing,
    /// The old primary is writable and users are released.
    Back,
    /// The commit point is passed: the fence stays, and a recovery finishes.
    Committed,
    /// Its process took it over in the middle of this, as after a panic, and has the say.
    GoesOn,
    /// Not everything could be done, or it cannot be told whether the commit point was passed.
    NeedsOperator { cause: Option<String> },
}

/// Takes a swap back whose process died or stands still, unless promote took effect; never goes on with it. `lock` is the one
/// that the swap has.
///
/// # Errors
/// [`RunError`] when the journal cannot be used; then nothing was done.
pub async fn take_back(
    parties: &Parties,
    lock: &JournalLock,
    id: &str,
    reason: String,
    listener: Listener,
) -> Result<TakenBack, RunError> {
    let entries = match journal::read(lock.dir(), id) {
        Ok(entries) => entries,
        Err(JournalError::Unknown { .. }) => return Ok(TakenBack::Nothing),
        Err(error) => return Err(error.into()),
    };
    if entries.is_empty() {
        return Ok(TakenBack::Nothing);
    }
    let state = fold(id, &entries)?;
    match state.closed() {
        Some(Ending::Swapped | Ending::RolledBack) => return Ok(TakenBack::Nothing),
        Some(Ending::NeedsOperator) => {
            return Ok(TakenBack::NeedsOperator { cause: state.cause().map(str::to_owned) });
        }
        None if state.is_committed() => return Ok(TakenBack::Committed),
        None => {}
    }
    let manner = Manner { reason, guard: Guard::default(), only_back: true };
    // Nothing stops it but its own bounds: nobody is there to stop it.
    let cancel = CancellationToken::new();
    let plan = state.plan().clone();
    Ok(match resume(parties, lock, id, manner, cancel, listener).await? {
        (Finish::Ended(Ending::RolledBack), _) => TakenBack::Back,
        (Finish::Ended(Ending::Swapped | Ending::NeedsOperator), state) => {
            TakenBack::NeedsOperator { cause: state.cause().map(str::to_owned) }
        }
        (Finish::Superseded, _) => {
            let_go(parties, &plan).await;
            TakenBack::GoesOn
        }
        (Finish::LeftOpen, _) => {
            let_go(parties, &plan).await;
            TakenBack::Committed
        }
    })
}

/// Gives back the locks of whoever goes on no further, for the one that does.
async fn let_go(parties: &Parties, plan: &Plan) {
    let is_of_plan = |name: &str| [&plan.old.name, &plan.new.name].iter().any(|it| *it == name);
    for server in parties.servers.iter().filter(|server| is_of_plan(server.name())) {
        if let Err(error) = server.unlock().await {
            tracing::debug!(%error, "its lock goes with its session");
        }
    }
}

/// As [`take_back`], where the journal can be read and not written: what makes the site writable again is done, and nothing is
/// recorded. Whoever swapped has to be dead. Returns the cause, if something did not succeed.
///
/// # Errors
/// [`RunError`] when the journal cannot be read; then nothing was done.
pub async fn take_back_unwritten(
    parties: &Parties,
    lock: &JournalLock,
    id: &str,
    listener: Listener,
) -> Result<Option<String>, RunError> {
    let entries = journal::read(lock.dir(), id)?;
    let state = fold(id, &entries)?;
    if state.is_committed() || state.closed().is_some() {
        return Ok(state.cause().map(str::to_owned));
    }
    let Some(steps) = steps_of(parties, state.plan().clone()) else { return Ok(None) };
    let executor = Executor::resume_unwritten(steps, state, CancellationToken::new(), listener);
    let executor =
        executor.await.map_err(|source| RunError::Machine { id: id.to_owned(), source })?;
    let (_, state) = executor.only_back().run().await;
    Ok(state.cause().map(str::to_owned))
}

/// Once more what a process that stood still may have done when all was taken back already, and no server could keep it
/// from: it withdrew the clients' address, or held.
pub async fn heal(parties: &Parties, plan: Plan) {
    let has_withdrawn = plan.has(Step::Withdraw);
    let state = State::new(plan.clone());
    let Some(steps) = steps_of(parties, plan) else { return };
    for step in [Step::Withdraw, Step::Hold] {
        if step == Step::Withdraw && !has_withdrawn {
            continue;
        }
        match timeout(HEAL_BOUND, steps.undo(step, &state)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%step, %error, "not taken back once more"),
            Err(_) => tracing::error!(%step, "not taken back once more: no end"),
        }
    }
}

/// The swap that was taken over from this process, as soon as it is clear what becomes of it.
pub(super) async fn hear_of(dir: &Path, id: &str, guard: &Guard) -> Result<State, RunError> {
    let deadline = Instant::now() + NEWS_BOUND;
    loop {
        let state = fold(id, &journal::read(dir, id)?)?;
        let is_clear = state.closed().is_some() || state.is_committed();
        if is_clear || guard.is_gone() || Instant::now() >= deadline {
            return Ok(state);
        }
        sleep(NEWS_POLL).await;
    }
}

/// What became of a swap that was taken over from this process.
pub(super) fn superseded(id: &str, heard: &State) -> Report {
    let cause = "this process stood still for too long, and its guardian has taken the swap over";
    Report::Ended {
        id: id.to_owned(),
        ending: heard.closed().unwrap_or(Ending::NeedsOperator),
        cause: Some(cause.to_owned()),
        stumbled_at: None,
        alarms: Vec::new(),
    }
}
