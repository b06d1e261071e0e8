//! A request in line.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::line::Number;
use crate::line::Verdict;
use crate::{Excess, Lane, Ticket, TurnedAway, sync};

/// A held request: ready with its ticket when its turn has come, or told that the hold ended
/// without a release. Dropping it leaves the line; if its turn had just come, the turn passes to
/// the next.
///
/// A granted place counts until the task fetches it, so a task must poll when it is woken.
#[derive(Debug)]
#[must_use = "dropping it leaves the line"]
pub struct Wait {
    lane: Lane,
    /// `None` once it has left the line.
    number: Option<Number>,
}

impl Wait {
    pub(crate) const fn new(lane: Lane, number: Number) -> Self {
        Self { lane, number: Some(number) }
    }

    /// Waits no longer than `deadline`, then gives up.
    #[cfg(not(loom))]
    pub async fn until(mut self, deadline: std::time::Instant) -> Result<Ticket, TurnedAway> {
        match tokio::time::timeout_at(deadline.into(), &mut self).await {
            Ok(settled) => settled,
            Err(_elapsed) => self.give_up(),
        }
    }

    /// The request has waited as long as it may. A turn that came first is taken; otherwise the
    /// request is out of the line and never has a turn again.
    pub fn give_up(mut self) -> Result<Ticket, TurnedAway> {
        let Some(number) = self.number.take() else {
            return Err(TurnedAway::TimedOut { waited: Duration::ZERO });
        };
        let now = sync::now();
        let shared = self.lane.shared();
        match shared.settle(|inner, outbox| inner.time_out(number, now, outbox)) {
            Ok(verdict) => self.settled(verdict),
            Err(waited) => Err(TurnedAway::TimedOut { waited }),
        }
    }

    /// Its place is taken back, as if the line had been full: whoever holds many is told so. A turn
    /// that came first is taken.
    pub fn refuse(mut self) -> Result<Ticket, Excess> {
        let Some(number) = self.number.take() else { return Err(Excess) };
        let now = sync::now();
        let shared = self.lane.shared();
        let verdict = shared.settle(|inner, outbox| inner.refuse(number, now, outbox));
        verdict.and_then(|verdict| self.settled(verdict).ok()).ok_or(Excess)
    }

    fn settled(&self, verdict: Verdict) -> Result<Ticket, TurnedAway> {
        match verdict {
            Verdict::Granted(grant) => Ok(Ticket::new(self.lane.clone(), Some(grant))),
            Verdict::Rejected { waited } => Err(TurnedAway::HoldExpired { waited }),
        }
    }
}

impl Future for Wait {
    type Output = Result<Ticket, TurnedAway>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(number) = self.number else { return Poll::Pending };
        let shared = self.lane.shared();
        match shared.settle(|inner, outbox| inner.fetch(number, cx.waker(), outbox)) {
            Some(verdict) => {
                self.number = None;
                Poll::Ready(self.settled(verdict))
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let now = sync::now();
            let word = self.lane.word();
            self.lane.shared().settle(|inner, outbox| inner.abandon(number, word, now, outbox));
        }
    }
}
