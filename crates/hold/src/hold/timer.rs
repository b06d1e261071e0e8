//! The timers of a hold. They decide nothing: when the time has come they ask the core.

use std::time::Instant;

use tokio::time::timeout_at;

use super::{Drain, Expiry, Hold, LeaseEnd};
use crate::Generation;
use crate::inner::Inner;
use crate::watch::Watch;

impl Hold {
    /// Waits until nothing is in flight. At `deadline` the hold ends itself instead. Dropping the
    /// future drops the deadline with it; then only the lease ends the hold.
    pub async fn drained(&self, generation: Generation, deadline: Instant) -> Drain {
        match timeout_at(deadline.into(), self.drain_end(generation)).await {
            Ok(ended) => ended,
            Err(_elapsed) => self.abort_drain(generation),
        }
    }

    /// Ends the hold when its lease does; returns as soon as the hold is over for any reason.
    pub async fn keep_lease(&self, generation: Generation) -> LeaseEnd {
        let Some(mut until) = self.0.settle(|inner, _| inner.lease_until(generation)) else {
            return LeaseEnd::Over;
        };
        loop {
            let over = Watch::new(&self.0, move |inner: &Inner| {
                inner.lease_until(generation).is_none().then_some(())
            });
            if timeout_at(until.into(), over).await.is_ok() {
                return LeaseEnd::Over;
            }
            match self.expire(generation, crate::sync::now()) {
                Expiry::Released(summary) => return LeaseEnd::Expired(summary),
                Expiry::NotYet(later) => until = later,
                Expiry::Over => return LeaseEnd::Over,
            }
        }
    }
}
