//! A request in line.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::line::Number;
use crate::{Lane, Ticket, TimedOut, sync};

/// A held request: ready with its ticket when its turn has come. Dropping it leaves the line; if
/// its turn had just come, the turn passes to the next.
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
    pub async fn until(mut self, deadline: std::time::Instant) -> Result<Ticket, TimedOut> {
        match tokio::time::timeout_at(deadline.into(), &mut self).await {
            Ok(ticket) => Ok(ticket),
            Err(_elapsed) => self.give_up(),
        }
    }

    /// The request has waited as long as it may. A turn that came first is taken; otherwise the
    /// request is out of the line and never has a turn again.
    pub fn give_up(mut self) -> Result<Ticket, TimedOut> {
        let Some(number) = self.number.take() else {
            return Err(TimedOut { waited: Duration::ZERO });
        };
        let now = sync::now();
        self.lane
            .shared()
            .settle(|inner, outbox| inner.time_out(number, now, outbox))
            .map(|grant| Ticket::new(self.lane.clone(), Some(grant)))
            .map_err(|waited| TimedOut { waited })
    }
}

impl Future for Wait {
    type Output = Ticket;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ticket> {
        let Some(number) = self.number else { return Poll::Pending };
        let shared = self.lane.shared();
        match shared.settle(|inner, outbox| inner.fetch(number, cx.waker(), outbox)) {
            Some(grant) => {
                self.number = None;
                Poll::Ready(Ticket::new(self.lane.clone(), Some(grant)))
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
