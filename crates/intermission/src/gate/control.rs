//! Holding and releasing one app: the core's steps, in order with what is written to disk.
//!
//! A hold is written before the gate closes; a release opens the gate before it is written. So a
//! crash in between never lets a request through a hold that somebody relies on, and costs at most
//! the rest of a lease.

mod change;
mod error;
mod lease;
mod ramp;
mod succession;

use std::future::pending;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use hold::{Drain, Generation, Hold, Holder, Summary};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, RwLock, broadcast, mpsc, oneshot, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use self::change::{Asked, Change, Release};
pub use self::error::HoldError;
use super::actor::Actor;
use super::audit::{Action, Audit, Outcome};
use super::flight::{Flights, Seen};
use super::live::AppId;
use super::predecessor::Predecessor;
use super::share::Shares;
use super::state::{HoldRecord, StateError, StateFile};
use super::upstream::Standing;
use super::warm_up::Asked as WarmUpAsked;
use crate::admin::api::{Event, EventKind};
use crate::config::gate::{App as Settings, Stragglers};
use crate::shutdown::Shutdown;

/// Events a slow subscriber may be behind before it loses some.
pub(crate) const EVENTS_MAX: usize = 256;
/// A drain names no more stragglers than a person reads.
const STRAGGLERS_MAX: usize = 100;

/// Requests are cut off so long before the end of the drain, or a quarter of it: who is counted out of it has to be seen.
const KILLED_BEFORE: Duration = Duration::from_millis(500);

/// One app from the side of whoever holds it.
#[derive(Debug)]
pub struct AppControl {
    pub name: String,
    pub(super) id: AppId,
    pub(super) settings: watch::Sender<Arc<Settings>>,
    /// The upstreams' standing, in the settings' order.
    pub(super) standings: std::sync::Mutex<Vec<Arc<Standing>>>,
    pub(crate) hold: Hold,
    /// Cancelled when the configuration has the app no more.
    pub(super) retired: CancellationToken,
    /// The gate that this one has taken over from.
    pub(super) predecessor: Option<Arc<Predecessor>>,
    pub(super) led: AtomicBool,
    /// Held while a call holds or releases: nothing changes hands in the middle of one.
    pub(super) calls: Arc<RwLock<()>>,
    pub(super) runtime: Handle,
    pub(super) file: StateFile,
    /// Held over every write of the state file, so that the file never goes back in time.
    pub(super) file_order: Mutex<()>,
    pub(super) flights: Vec<Arc<Flights>>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) audit: Audit,
    /// Changes when a hold begins; upgraded connections listen.
    pub(super) holds: watch::Sender<()>,
    /// Changes when requests in flight are to be cut off; workers listen.
    pub(super) kills: watch::Sender<()>,
    pub(super) shutdown: Shutdown,
    pub(super) warm_ups: mpsc::Sender<WarmUpAsked>,
    /// Held while the app is warmed up: one caller at a time.
    pub(super) warming: Mutex<()>,
    /// What each client has of the line.
    pub(super) held_shares: Arc<Shares>,
}

/// A hold that is in force: nothing is in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub generation: Generation,
    pub drained: Duration,
    /// Requests that were cut off for it (`app.stragglers`).
    pub killed: Vec<Seen>,
}

/// A release or a renewal that is in effect, and may not have been written down.
#[derive(Debug)]
pub struct Done<T> {
    pub value: T,
    pub unwritten: Option<StateError>,
}

impl AppControl {
    /// As they are now; they may be others after the configuration was read again.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// The generation of the hold of that holder, if that is in force.
    pub(super) fn held_by(&self, holder: &str) -> Option<Generation> {
        let status = self.hold.status();
        status.hold.filter(|current| current.holder.name == holder).map(|_| status.generation)
    }

    /// How its upstreams are, in the settings' order.
    pub(crate) fn standings(&self) -> Vec<Arc<Standing>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the app and waits until nothing is in flight, `drain` at most. Not held in the end →
    /// released again, and nothing was killed. So it is if the caller drops this future.
    ///
    /// # Errors
    /// Held by somebody else; the drain took too long; it was released meanwhile; the state could
    /// not be written.
    pub async fn hold(
        self: &Arc<Self>,
        actor: Actor,
        holder: Holder,
        lease: Duration,
        drain: Duration,
    ) -> Result<Held, HoldError> {
        let (reply, answer) = oneshot::channel();
        let control = Arc::clone(self);
        let asked = Asked { actor, holder, lease, drain };
        // A task of its own: a caller who leaves must not stop it half-way.
        self.shutdown.spawn(async move { control.hold_for(asked, reply).await });
        answer.await.unwrap_or(Err(HoldError::Stopping))
    }

    /// Lets the line go on.
    ///
    /// # Errors
    /// The generation is not in force; nothing was changed.
    pub async fn release(
        self: &Arc<Self>,
        actor: &Actor,
        generation: Generation,
    ) -> Result<Done<Summary>, HoldError> {
        let how =
            Release { actor: actor.clone(), action: Action::Release, outcome: Outcome::Released };
        self.release_as(generation, how).await
    }

    /// Extends the lease to `lease` from now.
    ///
    /// # Errors
    /// The generation is not in force; nothing was changed.
    pub async fn renew(
        self: &Arc<Self>,
        actor: &Actor,
        generation: Generation,
        lease: Duration,
    ) -> Result<Done<()>, HoldError> {
        let holder = self.holder_of(generation);
        let change = Change { action: Action::Renew, actor, generation, holder: holder.as_ref() };
        self.hold
            .renew(generation, Instant::now() + lease)
            .inspect_err(|error| self.note(&change, Outcome::Refused, Some(error)))?;
        self.tell(&change, EventKind::Renewed, Outcome::Renewed);
        self.renew_before(lease).await;
        let unwritten = self.write_renewed(generation, lease).await.err();
        Ok(Done { value: (), unwritten })
    }

    async fn hold_for(
        self: Arc<Self>,
        asked: Asked,
        mut reply: oneshot::Sender<Result<Held, HoldError>>,
    ) {
        let drain = asked.drain;
        let generation = match self.close(&asked).await {
            Ok(generation) => generation,
            Err(error) => {
                self.note_not_held(&asked, &error);
                return drop(reply.send(Err(error)));
            }
        };
        let change = asked.change(generation);
        let closed = Instant::now();
        let mut killed = Vec::new();
        let drained = tokio::select! {
            drained = self.drained(generation, &asked, closed + drain) => drained,
            () = self.cut_off(&change, (closed, drain), &mut killed) => return,
            () = reply.closed() => return self.give_up(&asked.actor, generation).await,
        };
        let result = match drained {
            Ok(Drain::Drained) => {
                self.tell(&change, EventKind::Held, Outcome::Held);
                Ok(Held { generation, drained: closed.elapsed(), killed })
            }
            Ok(Drain::TimedOut { in_flight }) => {
                let stragglers = self.stragglers(closed);
                self.tell(&change, EventKind::DrainTimedOut, Outcome::DrainTimedOut);
                self.look_after_release(generation);
                self.write_open_or_log(generation).await;
                Err(HoldError::DrainTimedOut { drain, in_flight, stragglers })
            }
            Ok(Drain::Over) => {
                self.note(&change, Outcome::ReleasedWhileDraining, None);
                Err(HoldError::ReleasedWhileDraining { generation })
            }
            Err(error) => {
                self.note(&change, Outcome::Refused, Some(&error));
                self.give_up(&asked.actor, generation).await;
                Err(error)
            }
        };
        let held = result.is_ok();
        if reply.send(result).is_err() && held {
            self.give_up(&asked.actor, generation).await;
        }
    }

    /// Nobody is left who would release it.
    async fn give_up(self: &Arc<Self>, actor: &Actor, generation: Generation) {
        tracing::warn!(app = self.name, %generation, "the holder left, or not everybody could be held: releasing");
        let how =
            Release { actor: actor.clone(), action: Action::Hold, outcome: Outcome::CallerLeft };
        match self.release_as(generation, how).await {
            Ok(Done { unwritten: None, .. }) => {}
            Ok(Done { unwritten: Some(error), .. }) => log_unwritten(&error),
            Err(error) => tracing::debug!(%error, "released already"),
        }
    }

    async fn release_as(
        self: &Arc<Self>,
        generation: Generation,
        how: Release,
    ) -> Result<Done<Summary>, HoldError> {
        if self.is_led_first(generation) {
            self.release_in_turn(generation, how).await
        } else {
            self.release_here(generation, &how).await
        }
    }

    async fn release_here(
        self: &Arc<Self>,
        generation: Generation,
        how: &Release,
    ) -> Result<Done<Summary>, HoldError> {
        let holder = self.holder_of(generation);
        let Release { actor, action, outcome } = how;
        let change = Change { action: *action, actor, generation, holder: holder.as_ref() };
        let released = self.hold.release(generation);
        let value =
            released.inspect_err(|error| self.note(&change, Outcome::Refused, Some(error)))?;
        self.tell(&change, EventKind::Released, *outcome);
        self.look_after_release(generation);
        let unwritten = self.write_open(generation).await.err();
        Ok(Done { value, unwritten })
    }

    /// Writes the hold down, then closes every lane.
    async fn close(self: &Arc<Self>, asked: &Asked) -> Result<Generation, HoldError> {
        let (holder, lease) = (&asked.holder, asked.lease);
        let _order = self.file_order.lock().await;
        // A successor holds what this gate has not finished.
        if self.shutdown.is_stopping() && !self.shutdown.is_replaced() {
            return Err(HoldError::Stopping);
        }
        if self.retired.is_cancelled() {
            return Err(HoldError::Retired);
        }
        let status = self.hold.status();
        if let Some(current) = status.hold {
            let (generation, state) = (status.generation, status.state);
            return Err(hold::AlreadyHeld { generation, state, current }.into());
        }
        let generation = status.generation.next();
        self.write(generation, Some(HoldRecord::new(holder, lease))).await?;
        let closed = self.hold.close(generation, holder.clone(), Instant::now() + lease)?;
        self.holds.send_replace(());
        self.tell(&asked.change(closed), EventKind::Draining, Outcome::Draining);
        self.keep_lease(closed, holder.clone());
        Ok(closed)
    }

    /// Shortly before the end of the drain, where the app says so. Pending: the drain has an end of its own.
    async fn cut_off(
        &self,
        change: &Change<'_>,
        (closed, drain): (Instant, Duration),
        killed: &mut Vec<Seen>,
    ) {
        if self.settings().stragglers == Stragglers::Kill {
            let before = KILLED_BEFORE.min(drain / 4);
            sleep_until((closed + drain.saturating_sub(before)).into()).await;
            *killed = self.stragglers(closed);
            for Seen { method, path, age } in &*killed {
                tracing::warn!(app = self.name, %method, path, ?age, "cut off: the hold waits no longer");
            }
            self.note(change, Outcome::StragglersKilled, None);
            self.kills.send_replace(());
        }
        pending::<()>().await;
    }

    /// Changes when requests in flight are to be cut off.
    pub(super) fn kills(&self) -> watch::Receiver<()> {
        self.kills.subscribe()
    }

    fn stragglers(&self, at: Instant) -> Vec<Seen> {
        let mut seen: Vec<Seen> =
            self.flights.iter().flat_map(|flights| flights.list(self.id, at)).collect();
        seen.sort_by_key(|straggler| std::cmp::Reverse(straggler.age));
        seen.truncate(STRAGGLERS_MAX);
        seen
    }
}

fn log_unwritten(error: &StateError) {
    let source = std::error::Error::source(error);
    tracing::error!(%error, source, "released, but a restart within the lease would hold again");
}
