//! Holding and releasing also in the gate that this one has taken over from. Whoever is held there came first.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join;
use hold::{Drain, Generation, Summary};
use tokio::time::timeout;

use super::{AppControl, Asked, Done, HoldError, Release};

/// A release is acknowledged after this, also while the predecessor's line is not out; a swap waits a second for it.
const ACKNOWLEDGED_AFTER: Duration = Duration::from_millis(500);
/// The predecessor's line may take this long until this one goes on beside it.
const LINE_MAX: Duration = Duration::from_mins(1);

impl AppControl {
    /// As [`hold::Hold::drained`], here and there.
    pub(super) async fn drained(
        &self,
        generation: Generation,
        asked: &Asked,
        deadline: Instant,
    ) -> Result<Drain, HoldError> {
        let here = self.hold.drained(generation, deadline);
        let Some(predecessor) = &self.predecessor else { return Ok(here.await) };
        let there = predecessor.hold(&self.name, &asked.holder, asked.lease, asked.drain);
        match join(here, there).await {
            (Drain::Drained, Ok(())) => Ok(Drain::Drained),
            (Drain::Drained, Err(error)) => Err(error),
            (over @ (Drain::TimedOut { .. } | Drain::Over), _) => {
                predecessor.release(&self.name, Duration::ZERO).await;
                Ok(over)
            }
        }
    }

    /// Whether somebody of that hold is in the predecessor, and goes on first.
    pub(super) fn is_led_first(&self, generation: Generation) -> bool {
        let status = self.hold.status();
        let is_held = status.generation == generation && status.hold.is_some();
        let there = || self.predecessor.as_ref().is_some_and(|there| there.holds(&self.name));
        is_held && (self.is_led() || there())
    }

    /// Releases there and then here. Asked again meanwhile, it is under way.
    pub(super) async fn release_in_turn(
        self: &Arc<Self>,
        generation: Generation,
        how: Release,
    ) -> Result<Done<Summary>, HoldError> {
        let so_far = Done { value: self.hold.status().summary, unwritten: None };
        if self.led.swap(true, Ordering::SeqCst) {
            return Ok(so_far);
        }
        let control = Arc::clone(self);
        let released = self.shutdown.spawn(async move {
            if let Some(predecessor) = &control.predecessor {
                predecessor.release(&control.name, LINE_MAX).await;
            }
            let released = control.release_here(generation, &how).await;
            control.led.store(false, Ordering::SeqCst);
            released
        });
        match timeout(ACKNOWLEDGED_AFTER, released).await {
            Ok(released) => released.unwrap_or(Err(HoldError::Stopping)),
            Err(_elapsed) => Ok(so_far),
        }
    }

    /// Whether it is released as soon as the predecessor's line is out.
    pub(crate) fn is_led(&self) -> bool {
        self.led.load(Ordering::SeqCst)
    }

    pub(super) async fn renew_before(&self, lease: Duration) {
        if let Some(predecessor) = &self.predecessor {
            predecessor.renew(&self.name, lease).await;
        }
    }
}
