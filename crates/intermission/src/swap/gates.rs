//! What a swap asks of the gates.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{
    future::join_all,
    stream::{FuturesUnordered, StreamExt},
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::refusal::Refusal;

/// What a gate may take beyond the drain until its acknowledgement is here: its write to disk and the network.
pub const ACKNOWLEDGE: Duration = Duration::from_secs(1);

/// When a hold that is to end and has not is released again.
const RELEASE_AGAIN: Duration = Duration::from_millis(20);

/// What a gate did not do.
#[derive(Debug, thiserror::Error)]
#[error("{gate}: cannot {doing}: {reason}")]
pub struct GateError {
    /// The gate's address.
    pub gate: String,
    pub doing: String,
    pub reason: String,
}

/// What users saw of a hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// Requests that waited in line.
    pub held: u64,
    /// The longest wait of one of them, in milliseconds.
    pub longest_ms: u64,
    /// Requests refused because the line was full or their time ran out.
    pub refused: u64,
    /// Clients that left the line by themselves.
    pub left: u64,
}

/// What a swap has to know of the gates before it is planned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateBounds {
    /// Where an app has a warm-up.
    pub warm_up: Option<WarmUp>,
    /// The app whose requests are refused first when they are held for long.
    pub max_wait: Option<MaxWait>,
}

/// The warm-ups of all apps, which are done at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUp {
    /// The longest of them.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub bound: Duration,
    /// What each of them does, for the person who watches.
    pub said: Vec<String>,
}

/// How long a request may be held before it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxWait {
    pub app: String,
    pub bound: Duration,
}

impl GateBounds {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let warm_up = match (self.warm_up, other.warm_up) {
            (Some(mut one), Some(two)) => {
                one.bound = one.bound.max(two.bound);
                one.said.extend(two.said);
                Some(one)
            }
            (one, two) => one.or(two),
        };
        let max_wait = self.max_wait.into_iter().chain(other.max_wait);
        Self { warm_up, max_wait: max_wait.min_by_key(|wait| wait.bound) }
    }
}

/// What there is to say of several warm-ups; of those that failed, everything.
pub(crate) fn all_warm(each: Vec<Result<String, GateError>>) -> Result<String, GateError> {
    let (mut said, mut failed) = (Vec::new(), None::<GateError>);
    for warmed in each {
        match (warmed, &mut failed) {
            (Ok(words), _) if words.is_empty() => {}
            (Ok(words), _) => said.push(words),
            (Err(error), Some(first)) => first.reason.push_str(&format!("; {error}")),
            (Err(error), None) => failed = Some(error),
        }
    }
    failed.map_or_else(|| Ok(said.join("; ")), Err)
}

/// Every gate of a swap, held and released together.
#[async_trait]
pub trait Gates: Send + Sync + fmt::Debug {
    /// What speaks against holding now: unreachable, unknown app, held by somebody else.
    async fn preflight(&self) -> Vec<Refusal>;
    /// How long requests may be held and the warm-up may take.
    async fn bounds(&self) -> Result<GateBounds, GateError> {
        Ok(GateBounds::default())
    }
    /// Asks every upstream of every app until it answers as its warm-up demands, `bound` at most, past any hold. Returns
    /// what there is to say of it; an app without a warm-up says nothing.
    async fn warm_up(&self, bound: Duration) -> Result<String, GateError> {
        let _: Duration = bound;
        Ok(String::new())
    }
    /// Makes sure, while nobody waits, that a hold would be acknowledged: it may follow at once.
    async fn prepare(&self) -> Result<(), GateError> {
        Ok(())
    }
    /// Holds every app and returns when nothing is in flight any more, after `drain` and [`ACKNOWLEDGE`] at the latest; on an
    /// error nothing stays held, as far as the gate can be told, and its lease sees to the rest.
    async fn hold(&self, holder: &str, lease: Duration, drain: Duration) -> Result<(), GateError>;
    /// Lengthens what `holder` holds.
    async fn renew(&self, holder: &str, lease: Duration) -> Result<(), GateError>;
    /// Releases what `holder` holds, if anything.
    async fn release(&self, holder: &str) -> Result<(), GateError>;
    /// Whether everyone whom `holder`'s last release let go on has been answered.
    async fn answered(&self, holder: &str) -> Result<bool, GateError>;
    /// What users saw of `holder`'s last hold.
    async fn users(&self, holder: &str) -> Result<Users, GateError>;
    /// How an operator releases by hand.
    fn commands_to_release(&self) -> Vec<String>;
}

/// Several apps at several gates as one: all of them are held, or none is.
#[derive(Debug)]
pub struct AllGates(Vec<Arc<dyn Gates>>);

impl AllGates {
    #[must_use]
    pub fn new(gates: Vec<Arc<dyn Gates>>) -> Self {
        Self(gates)
    }
}

#[async_trait]
impl Gates for AllGates {
    async fn preflight(&self) -> Vec<Refusal> {
        let refusals = join_all(self.0.iter().map(|gate| gate.preflight())).await;
        // What is wrong with a gate is wrong for each of its apps.
        let mut each: Vec<Refusal> = Vec::new();
        for refusal in refusals.into_iter().flatten() {
            if !each.contains(&refusal) {
                each.push(refusal);
            }
        }
        each
    }

    async fn prepare(&self) -> Result<(), GateError> {
        join_all(self.0.iter().map(|gate| gate.prepare())).await.into_iter().collect()
    }

    async fn bounds(&self) -> Result<GateBounds, GateError> {
        let mut all = GateBounds::default();
        for bounds in join_all(self.0.iter().map(|gate| gate.bounds())).await {
            all = all.and(bounds?);
        }
        Ok(all)
    }

    async fn warm_up(&self, bound: Duration) -> Result<String, GateError> {
        all_warm(join_all(self.0.iter().map(|gate| gate.warm_up(bound))).await)
    }

    /// All are asked at once. The first that does not acknowledge takes all of them back, and nobody waits for the slower
    /// ones; where the release is not heard, the lease ends the hold.
    async fn hold(&self, holder: &str, lease: Duration, drain: Duration) -> Result<(), GateError> {
        let abort = CancellationToken::new();
        let hold = async |gate: &Arc<dyn Gates>| {
            let held = hold_unless(&abort, gate.as_ref(), holder, lease, drain).await;
            (Arc::clone(gate), held)
        };
        let mut asked: FuturesUnordered<_> = self.0.iter().map(hold).collect();
        let mut taken_back = FuturesUnordered::new();
        let (mut held, mut failed) = (Vec::new(), None);
        loop {
            tokio::select! {
                Some((gate, answer)) = asked.next() => {
                    match answer {
                        Ok(()) => held.push(gate),
                        Err(error) => {
                            abort.cancel();
                            failed.get_or_insert(error);
                        }
                    }
                    if failed.is_some() {
                        taken_back.extend(held.drain(..).map(|gate| take_back(gate, holder)));
                    }
                }
                Some(()) = taken_back.next() => {}
                else => break,
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn renew(&self, holder: &str, lease: Duration) -> Result<(), GateError> {
        let renewed = self.0.iter().map(|gate| gate.renew(holder, lease));
        join_all(renewed).await.into_iter().collect()
    }

    async fn release(&self, holder: &str) -> Result<(), GateError> {
        let released = self.0.iter().map(|gate| gate.release(holder));
        join_all(released).await.into_iter().collect()
    }

    async fn answered(&self, holder: &str) -> Result<bool, GateError> {
        let answered = join_all(self.0.iter().map(|gate| gate.answered(holder))).await;
        let answered: Vec<bool> = answered.into_iter().collect::<Result<_, _>>()?;
        Ok(answered.into_iter().all(|answered| answered))
    }

    async fn users(&self, holder: &str) -> Result<Users, GateError> {
        let mut all = Users::default();
        for users in join_all(self.0.iter().map(|gate| gate.users(holder))).await {
            let users = users?;
            all.held += users.held;
            all.longest_ms = all.longest_ms.max(users.longest_ms);
            all.refused += users.refused;
            all.left += users.left;
        }
        Ok(all)
    }

    fn commands_to_release(&self) -> Vec<String> {
        self.0.iter().flat_map(|gate| gate.commands_to_release()).collect()
    }
}

/// Once `abort` is called, a gate that still drains is told at once, and again until it answers: a release that overtook the
/// hold on its way did nothing. What holds all the same is taken back by the caller.
async fn hold_unless(
    abort: &CancellationToken,
    gate: &dyn Gates,
    holder: &str,
    lease: Duration,
    drain: Duration,
) -> Result<(), GateError> {
    let mut hold = pin!(gate.hold(holder, lease, drain));
    tokio::select! {
        held = hold.as_mut() => held,
        () = abort.cancelled() => loop {
            let (held, released) =
                tokio::join!(timeout(RELEASE_AGAIN, hold.as_mut()), gate.release(holder));
            if let Err(error) = released {
                tracing::debug!(%error, "not released while it drained");
            }
            if let Ok(held) = held {
                return held;
            }
        },
    }
}

async fn take_back(gate: Arc<dyn Gates>, holder: &str) {
    if let Err(error) = gate.release(holder).await {
        tracing::warn!(%error, "the lease will end the hold");
    }
}

#[cfg(test)]
mod tests;
