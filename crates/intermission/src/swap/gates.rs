//! What a swap asks of the gates.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{
    future::join_all,
    stream::{FuturesUnordered, StreamExt},
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::refusal::Refusal;

/// What a gate may take beyond the drain until its acknowledgement is here: its write to disk and the network.
pub const ACKNOWLEDGE: Duration = Duration::from_secs(1);

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

/// Every gate of a swap, held and released together.
#[async_trait]
pub trait Gates: Send + Sync + fmt::Debug {
    /// What speaks against holding now: unreachable, unknown app, held by somebody else.
    async fn preflight(&self) -> Vec<Refusal>;
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

/// Several gates as one: all of them hold, or none does.
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
        let refusals = self.0.iter().map(|gate| gate.preflight());
        join_all(refusals).await.into_iter().flatten().collect()
    }

    async fn prepare(&self) -> Result<(), GateError> {
        join_all(self.0.iter().map(|gate| gate.prepare())).await.into_iter().collect()
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

/// Once `abort` is called, a gate that still drains is told at once; and what holds all the same is taken back by the caller.
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
        () = abort.cancelled() => {
            let (held, released) = tokio::join!(hold, gate.release(holder));
            if let Err(error) = released {
                tracing::debug!(%error, "not released while it drained");
            }
            held
        }
    }
}

async fn take_back(gate: Arc<dyn Gates>, holder: &str) {
    if let Err(error) = gate.release(holder).await {
        tracing::warn!(%error, "the lease will end the hold");
    }
}
