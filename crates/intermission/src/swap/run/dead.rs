//! A failover and a rejoin, by the way of a swap: observe, plan, execute.

use std::{collections::BTreeMap, path::Path};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{Parties, Report, RunError, carry_out, fold, observe, refuse_unfinished};
use crate::swap::{
    executor::Listener,
    journal::{self, JournalLock},
    observation::Observation,
    plan::{Plan, Rejoin, Request, kind::Proof, plan_failover, plan_rejoin},
    record::Ending,
    refusal::Refusal,
    server::Life,
    steps::Steps,
};

/// How many of the newest journals are asked who is primary.
const JOURNALS_ASKED: usize = 100;

/// Looks and plans a failover; changes nothing.
///
/// # Errors
/// [`RunError`] when the journals cannot be read.
pub async fn look_at_failover(
    parties: &Parties,
    dir: &Path,
    request: &Request,
) -> Result<Result<Plan, Vec<Refusal>>, RunError> {
    if let Some(refusal) = refuse_unfinished(dir, request)?
        && !was_given_up(dir)?
    {
        return Ok(Err(vec![refusal]));
    }
    let missing: Vec<Refusal> = parties.fencing.iter().flat_map(|hook| hook.refusals()).collect();
    if !missing.is_empty() {
        let mend = |refusal| Refusal { mend: "correct failover.fence".to_owned(), ..refusal };
        return Ok(Err(missing.into_iter().map(mend).collect()));
    }
    let observation = observe(parties).await;
    let lives = listen(parties, &observation).await;
    let life = |name: &str| {
        let silent = || Life::Silent("it was not listened to".to_owned());
        lives.get(name).cloned().unwrap_or_else(silent)
    };
    Ok(plan_failover(&observation, life, request, proof_of(parties)))
}

/// Whether the newest was left to a person: a swap whose old primary has died meanwhile cannot be taken back by anybody, and
/// what a failover looks at is enough to go on.
fn was_given_up(dir: &Path) -> Result<bool, RunError> {
    let Some(id) = journal::list(dir)?.pop() else { return Ok(false) };
    let state = fold(&id, &journal::read(dir, &id)?)?;
    Ok(state.closed() == Some(Ending::NeedsOperator))
}

fn proof_of(parties: &Parties) -> Proof {
    let bound = parties.fencing.as_ref().and_then(|fencing| fencing.bound());
    bound.map_or(Proof::Word, |bound| Proof::Hook { bound })
}

/// Whether those that could not be read run all the same.
async fn listen(parties: &Parties, observation: &Observation) -> BTreeMap<String, Life> {
    let unread =
        |name: &str| observation.servers.iter().any(|seen| seen.name == name && seen.view.is_err());
    let servers = parties.servers.iter().filter(|server| unread(server.name()));
    let lives = servers.map(|server| async { (server.name().to_owned(), server.life().await) });
    join_all(lives).await.into_iter().collect()
}

/// Plans a failover and, where nothing speaks against it and `confirm` agrees, carries it out.
///
/// # Errors
/// [`RunError`] when the journal cannot be used; then nothing was done.
pub async fn failover(
    parties: &Parties,
    dir: &Path,
    request: &Request,
    confirm: impl FnOnce(&Steps) -> bool,
    cancel: CancellationToken,
    listener: Listener,
) -> Result<Report, RunError> {
    let lock = JournalLock::acquire(dir)?;
    let done = match look_at_failover(parties, dir, request).await {
        Ok(Ok(plan)) => carry_out(parties, &lock, plan, confirm, None, (cancel, listener)).await,
        Ok(Err(refusals)) => Ok(Report::Refused(refusals)),
        Err(error) => Err(error),
    };
    lock.release();
    done
}

/// What comes of looking at a rejoin.
pub type LookedAtRejoin = Result<Rejoin, Vec<Refusal>>;

/// Looks and plans a rejoin; changes nothing.
///
/// # Errors
/// [`RunError`] when the journals cannot be read.
pub async fn look_at_rejoin(
    parties: &Parties,
    dir: &Path,
    request: &Request,
) -> Result<LookedAtRejoin, RunError> {
    if let Some(refusal) = refuse_unfinished(dir, request)? {
        return Ok(Err(vec![refusal]));
    }
    let last = last_carried_out(dir)?;
    Ok(plan_rejoin(&observe(parties).await, request, last.as_ref()))
}

/// The newest swap or failover that went through.
fn last_carried_out(dir: &Path) -> Result<Option<Plan>, RunError> {
    for id in journal::list(dir)?.into_iter().rev().take(JOURNALS_ASKED) {
        let entries = journal::read(dir, &id)?;
        // One of another version says nothing here.
        let Ok(state) = fold(&id, &entries) else { continue };
        if state.closed() == Some(Ending::Swapped) || state.is_committed() {
            return Ok(Some(state.plan().clone()));
        }
    }
    Ok(None)
}

/// Plans a rejoin and, where nothing speaks against it and `confirm` agrees, carries it out.
///
/// # Errors
/// [`RunError`] when the journal cannot be used; then nothing was done.
pub async fn rejoin(
    parties: &Parties,
    dir: &Path,
    request: &Request,
    confirm: impl FnOnce(&Steps) -> bool,
    cancel: CancellationToken,
    listener: Listener,
) -> Result<Report, RunError> {
    let lock = JournalLock::acquire(dir)?;
    let done = match look_at_rejoin(parties, dir, request).await {
        Ok(Ok(Rejoin::Planned(plan))) => {
            carry_out(parties, &lock, *plan, confirm, None, (cancel, listener)).await
        }
        Ok(Ok(Rejoin::Follows(primary))) => Ok(Report::NothingToDo(primary)),
        Ok(Err(refusals)) => Ok(Report::Refused(refusals)),
        Err(error) => Err(error),
    };
    lock.release();
    done
}
