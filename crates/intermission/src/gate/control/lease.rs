//! The end of a lease, and what is written to the state file when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hold::{Generation, Holder, LeaseEnd};
use tokio::time::sleep;

use super::change::Change;
use super::{AppControl, log_unwritten};
use crate::admin::api::EventKind;
use crate::gate::actor::Actor;
use crate::gate::audit::{Action, Outcome};
use crate::gate::state::{HoldRecord, Record, StateError};

/// How long a release that is in effect waits until it is written down. The first of the line write to a database, whose disk may be this
/// one: beside the file's flush it takes 0.3 ms longer until the first of them is answered (measured, of 2.8).
const LINE_FIRST: Duration = Duration::from_millis(5);

impl AppControl {
    /// Comes up as the state file says. Before any lane is used.
    pub(in crate::gate) fn restore(self: &Arc<Self>, record: &Record) {
        let generation = Generation::new(record.generation);
        let Some(hold) = &record.hold else {
            self.count_on_from(generation);
            return;
        };
        let left = hold.lease_left();
        let holder = Holder { name: hold.holder.clone(), reason: hold.reason.clone() };
        let until = Instant::now() + left;
        self.hold.restore(generation, holder.clone(), until).expect("a new hold is open");
        if left.is_zero() {
            // Its end was not written down; the keeper does that now.
            tracing::info!(app = self.name, "the lease ended while no gate was running");
        } else {
            let (action, actor) = (Action::Restore, &Actor::Gate);
            let change = Change { action, actor, generation, holder: Some(&holder) };
            self.tell(&change, EventKind::Restored, Outcome::Held);
        }
        self.keep_lease(generation, holder);
    }

    /// Nobody holds, but the next generation must be above every earlier one.
    fn count_on_from(&self, generation: Generation) {
        if generation == Generation::NONE {
            return;
        }
        let holder = Holder { name: String::new(), reason: String::new() };
        self.hold.restore(generation, holder, Instant::now()).expect("a new hold is open");
        self.hold.release(generation).expect("it was just restored");
    }

    /// Releases when the lease ends, and writes that down.
    pub(super) fn keep_lease(self: &Arc<Self>, generation: Generation, holder: Holder) {
        let control = Arc::clone(self);
        self.shutdown.spawn(async move {
            let ended = tokio::select! {
                ended = control.hold.keep_lease(generation) => ended,
                () = control.shutdown.ending() => return,
            };
            if let LeaseEnd::Expired(figures) = ended {
                let (app, rejected) = (&control.name, figures.rejected);
                tracing::warn!(app, %generation, rejected, "nobody renewed the lease: the hold is over");
                let (action, actor) = (Action::LeaseEnd, &Actor::Lease);
                let change = Change { action, actor, generation, holder: Some(&holder) };
                let outcome = if rejected > 0 { Outcome::Rejected } else { Outcome::Released };
                control.tell(&change, EventKind::Expired, outcome);
                control.look_after_release(generation);
                control.write_open_or_log(generation).await;
            }
        });
    }

    pub(super) async fn write_open_or_log(self: &Arc<Self>, generation: Generation) {
        if let Err(error) = self.write_open(generation).await {
            log_unwritten(&error);
        }
    }

    /// Writes that `generation` is over, unless a newer hold has been written since.
    pub(super) async fn write_open(
        self: &Arc<Self>,
        generation: Generation,
    ) -> Result<(), StateError> {
        let control = Arc::clone(self);
        self.in_order(LINE_FIRST, async move {
            if control.hold.status().generation == generation {
                control.write(generation, None).await?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn write_renewed(
        self: &Arc<Self>,
        generation: Generation,
        lease: Duration,
    ) -> Result<(), StateError> {
        let control = Arc::clone(self);
        self.in_order(Duration::ZERO, async move {
            let status = control.hold.status();
            let Some(current) = status.hold.filter(|_| status.generation == generation) else {
                return Ok(());
            };
            let record = HoldRecord::new(&current.holder, lease.max(current.lease_left));
            control.write(generation, Some(record)).await
        })
        .await
    }

    /// A task of its own, so that a caller who leaves cannot let two writes overtake each other; nobody who writes waits for `pause`.
    async fn in_order(
        self: &Arc<Self>,
        pause: Duration,
        write: impl Future<Output = Result<(), StateError>> + Send + 'static,
    ) -> Result<(), StateError> {
        let control = Arc::clone(self);
        let written = self.shutdown.spawn(async move {
            sleep(pause).await;
            let _order = control.file_order.lock().await;
            write.await
        });
        written.await.expect("a write neither panics nor is aborted")
    }

    /// The caller holds `file_order`.
    pub(super) async fn write(
        &self,
        generation: Generation,
        hold: Option<HoldRecord>,
    ) -> Result<(), StateError> {
        let file = self.file.clone();
        let write = move || file.write(generation.get(), hold);
        self.shutdown.spawn_blocking(write).await.expect("a write neither panics nor is aborted")
    }
}
