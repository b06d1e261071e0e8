//! Makes the controls of apps, at the start and when the configuration is read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hold::Hold;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, RwLock, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::audit::Audit;
use super::bypass::Bypass;
use super::control::{AppControl, EVENTS_MAX};
use super::error_pages::ErrorPages;
use super::flight::Flights;
use super::live::{GivenApp, Lanes};
use super::predecessor::Predecessor;
use super::share::Shares;
use super::state::{StateDir, StateError};
use super::upstream::{Standing, keep_resolving};
use super::warm_up::Asked;
use super::{at_least_one, limits};
use crate::admin::api::Event;
use crate::config::gate::{App as AppSettings, Gate as Settings, Upstream as Address};
use crate::shutdown::Shutdown;

#[derive(Debug)]
pub(super) struct Registry {
    /// Locked until the gate is gone.
    state: StateDir,
    /// Of each worker.
    flights: Vec<Arc<Flights>>,
    events: broadcast::Sender<Event>,
    warm_ups: mpsc::Sender<Asked>,
    shutdown: Shutdown,
    next_id: AtomicUsize,
    predecessor: Option<Arc<Predecessor>>,
    audit: Audit,
    calls: Arc<RwLock<()>>,
    /// Where holds are led.
    runtime: Handle,
}

impl Registry {
    pub(super) fn new(
        state: StateDir,
        workers: usize,
        warm_ups: mpsc::Sender<Asked>,
        predecessor: Option<Arc<Predecessor>>,
        audit: Audit,
        shutdown: Shutdown,
    ) -> Self {
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let flights = (0..workers).map(|_| Arc::default()).collect();
        let (next_id, calls, runtime) = (AtomicUsize::new(0), Arc::default(), Handle::current());
        Self {
            state,
            flights,
            events,
            warm_ups,
            shutdown,
            next_id,
            predecessor,
            audit,
            calls,
            runtime,
        }
    }

    pub(super) fn calls(&self) -> Arc<RwLock<()>> {
        Arc::clone(&self.calls)
    }

    pub(super) const fn events(&self) -> &broadcast::Sender<Event> {
        &self.events
    }

    pub(super) const fn state(&self) -> &StateDir {
        &self.state
    }

    pub(super) const fn predecessor(&self) -> Option<&Arc<Predecessor>> {
        self.predecessor.as_ref()
    }

    pub(super) fn flights(&self) -> &[Arc<Flights>] {
        &self.flights
    }

    /// Comes up as its state file says. Its lanes are put into `lanes`, one for each worker.
    pub(super) fn make(
        &self,
        app: &AppSettings,
        settings: &Settings,
        lanes: &mut [Lanes],
    ) -> Result<Arc<AppControl>, StateError> {
        let file = self.state.file(&app.name);
        let record = file.read()?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (hold, of_app) = Hold::new(limits(app), at_least_one(self.flights.len()));
        for (lanes, lane) in lanes.iter_mut().zip(of_app) {
            lanes.insert(id, lane);
        }
        let control = Arc::new(AppControl {
            name: app.name.clone(),
            id,
            settings: watch::Sender::new(Arc::new(app.clone())),
            standings: self.standings(app, settings.upstream_resolve_interval, &[]).into(),
            hold,
            retired: CancellationToken::new(),
            predecessor: self.predecessor.clone(),
            led: AtomicBool::new(false),
            file,
            file_order: Mutex::default(),
            flights: self.flights.clone(),
            events: self.events.clone(),
            audit: self.audit.clone(),
            calls: Arc::clone(&self.calls),
            runtime: self.runtime.clone(),
            holds: watch::Sender::new(()),
            kills: watch::Sender::new(()),
            shutdown: self.shutdown.clone(),
            warm_ups: self.warm_ups.clone(),
            warming: Mutex::default(),
            held_shares: Shares::new(app.held_per_client_max),
        });
        if let Some(record) = record {
            if let (Some(predecessor), Some(_)) = (&self.predecessor, &record.hold) {
                predecessor.has_held(&app.name, record.generation);
            }
            control.restore(&record);
        }
        Ok(control)
    }

    /// One for each upstream; those of `old` stay what they are.
    pub(super) fn standings(
        &self,
        app: &AppSettings,
        resolve_interval: Duration,
        old: &[Arc<Standing>],
    ) -> Vec<Arc<Standing>> {
        let standing = |address: &Address| {
            if let Some(old) = old.iter().find(|old| old.address() == address) {
                return Arc::clone(old);
            }
            let new = Arc::new(Standing::new(address.clone()));
            keep_resolving(&new, resolve_interval, &self.shutdown);
            new
        };
        app.upstreams.iter().map(standing).collect()
    }
}

impl AppControl {
    /// What workers are to serve it by.
    pub(super) fn given(self: &Arc<Self>, files: (Arc<ErrorPages>, Arc<Bypass>)) -> GivenApp {
        let (pages, bypass) = files;
        GivenApp {
            id: self.id,
            settings: self.settings(),
            control: Arc::clone(self),
            holds: self.holds.subscribe(),
            standings: self.standings(),
            pages,
            bypass,
        }
    }
}
