//! The gate: HTTP requests come in, and go on to their app's upstreams unless it is held.
//!
//! It does not know MySQL, and nothing of it is shared between worker threads on the way of a
//! request.

mod arrival;
mod body;
mod certificate;
mod client;
mod client_socket;
mod control;
mod converse;
mod dial;
mod flight;
mod forward;
mod header;
mod hold_file;
mod http2;
mod listener;
mod one_by_one;
mod page;
mod passage;
mod pool;
mod proxy;
mod proxy_protocol;
mod route;
mod state;
mod stream;
mod sweep;
mod taking;
mod upgrade;
mod warm_up;
mod websocket;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::thread::JoinHandle;

use hold::{Hold, Lane, Limits, Pace};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio_rustls::rustls::ServerConfig;

pub use self::certificate::CertificateError;
use self::certificate::Certificates;
pub use self::control::{AppControl, Done, Held, HoldError};
use self::flight::Flights;
pub use self::flight::Seen;
pub use self::listener::ListenError;
use self::listener::{Bound, Listener};
use self::route::Routes;
use self::state::StateDir;
pub use self::state::StateError;
pub(crate) use self::state::millis;
pub use self::warm_up::{WarmUpError, Warmed};
use self::worker::Plan;
use crate::admin::api::Event;
use crate::config::Config;
use crate::config::gate::{App as AppSettings, Gate as Settings};
use crate::shutdown::Shutdown;

#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("cannot start a worker thread")]
    Thread(#[source] io::Error),
}

/// The running gate, as the admin API sees it.
#[derive(Debug)]
pub struct Gate {
    pub apps: Vec<Arc<AppControl>>,
    pub listen: Vec<SocketAddr>,
    pub listen_tls: Vec<SocketAddr>,
    pub workers: usize,
    pub events: broadcast::Sender<Event>,
    pub shutdown: Shutdown,
    /// Locked until the gate is gone.
    _state: StateDir,
}

/// The worker threads of a running gate.
#[derive(Debug)]
pub struct Workers(Vec<JoinHandle<io::Result<()>>>);

impl Gate {
    /// Takes up the holds of before a restart, then listens. Within a tokio runtime, which keeps
    /// the leases.
    ///
    /// # Errors
    /// The state directory, an address or a certificate cannot be used; says which and what to do.
    pub fn start(config: &Config, shutdown: &Shutdown) -> Result<(Self, Workers), GateError> {
        let settings = Arc::new(config.gate.clone());
        let workers = settings.workers();
        let tls = tls(&settings, shutdown)?;
        let state = StateDir::open(&settings.state_dir)?;
        let flights: Vec<Arc<Flights>> = (0..workers).map(|_| Arc::default()).collect();
        let (events, _) = broadcast::channel(control::EVENTS_MAX);
        let (warm_ups, asked) = mpsc::channel(warm_up::WAITING_MAX);
        let mut apps = Vec::new();
        let mut lanes: Vec<Vec<Lane>> = (0..workers).map(|_| Vec::new()).collect();
        for (index, app) in config.apps.iter().enumerate() {
            let file = state.file(&app.name);
            let record = file.read()?;
            let (hold, of_app) = Hold::new(limits(app), at_least_one(workers));
            lanes.iter_mut().zip(of_app).for_each(|(lanes, lane)| lanes.push(lane));
            let control = Arc::new(AppControl {
                settings: app.clone(),
                hold,
                index,
                file,
                file_order: tokio::sync::Mutex::default(),
                flights: flights.clone(),
                events: events.clone(),
                holds: watch::Sender::new(()),
                shutdown: shutdown.clone(),
                warm_ups: warm_ups.clone(),
                warming: tokio::sync::Mutex::default(),
            });
            if let Some(record) = record {
                control.restore(&record);
            }
            apps.push(control);
        }
        let bound = Bound::new(&settings, workers)?;
        let shared = Shared {
            // An accept loop waits with a permit in its hand, so each may exceed the bound by one;
            // without that, a connection could wait at one loop for a permit idle in another.
            connections: Arc::new(Semaphore::new(
                settings.connections_max.saturating_add(workers * bound.addresses()),
            )),
            apps: config.apps.clone().into(),
            routes: Arc::new(Routes::new(&config.apps)),
            tls,
            holds: apps.iter().map(|app| app.holds.subscribe()).collect(),
            settings,
        };
        let Bound { workers: listeners, listen, listen_tls } = bound;
        // The first worker has upstream connections as good as any.
        let mut asked = Some(asked);
        let threads = listeners.into_iter().zip(lanes).zip(flights).enumerate();
        let threads = threads.map(|(index, ((listeners, lanes), flights))| {
            let warm_ups = asked.take();
            let plan = shared.plan(index, listeners, lanes, flights, shutdown);
            Plan { warm_ups, ..plan }.spawn()
        });
        let threads: io::Result<Vec<_>> = threads.collect();
        let threads = threads.map_err(GateError::Thread)?;
        apps.iter().for_each(AppControl::watch_hold_file);
        let shutdown = shutdown.clone();
        let gate = Self { apps, listen, listen_tls, workers, events, shutdown, _state: state };
        Ok((gate, Workers(threads)))
    }

    #[must_use]
    pub fn app(&self, name: &str) -> Option<&Arc<AppControl>> {
        self.apps.iter().find(|app| app.settings.name == name)
    }
}

impl Workers {
    /// Blocks until every worker thread has ended.
    ///
    /// # Errors
    /// The first thread that failed; a panic counts as one.
    pub fn join(self) -> io::Result<()> {
        let ends = self.0.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_panic| Err(io::Error::other("a worker panicked")))
        });
        // Every thread is waited for, also after one has failed.
        ends.collect::<Vec<_>>().into_iter().collect()
    }
}

/// What all workers of a gate are started with.
struct Shared {
    settings: Arc<Settings>,
    apps: Arc<[AppSettings]>,
    routes: Arc<Routes>,
    holds: Arc<[watch::Receiver<()>]>,
    connections: Arc<Semaphore>,
    tls: Option<Arc<ServerConfig>>,
}

impl Shared {
    fn plan(
        &self,
        index: usize,
        listeners: Vec<Listener>,
        lanes: Vec<Lane>,
        flights: Arc<Flights>,
        shutdown: &Shutdown,
    ) -> Plan {
        Plan {
            index,
            listeners,
            tls: self.tls.clone(),
            lanes,
            flights,
            settings: Arc::clone(&self.settings),
            apps: Arc::clone(&self.apps),
            routes: Arc::clone(&self.routes),
            holds: Arc::clone(&self.holds),
            connections: Arc::clone(&self.connections),
            warm_ups: None,
            shutdown: shutdown.with_own_tasks(),
        }
    }
}

/// What clients are accepted with where TLS is spoken; its certificates are watched.
fn tls(
    settings: &Settings,
    shutdown: &Shutdown,
) -> Result<Option<Arc<ServerConfig>>, CertificateError> {
    if settings.listen_tls.is_empty() {
        return Ok(None);
    }
    let certificates = Certificates::load(&settings.certificates)?;
    let config = certificates.server_config()?;
    shutdown.spawn(certificates.watch(shutdown.clone()));
    Ok(Some(config))
}

fn limits(app: &AppSettings) -> Limits {
    let at_least_one = |number: usize| {
        NonZeroU32::new(u32::try_from(number).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
    };
    Limits {
        held_max: app.held_max,
        pace: Pace {
            concurrency: at_least_one(app.release.concurrency),
            concurrency_max: at_least_one(app.release.concurrency_max),
        },
    }
}

fn at_least_one(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}
