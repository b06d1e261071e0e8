//! The gate: HTTP requests come in, and go on to their app's upstreams unless it is held.
//!
//! It does not know MySQL, and nothing of it is shared between worker threads on the way of a
//! request.

mod actor;
mod admit;
mod alarm;
mod arrival;
mod audit;
mod beat;
mod body;
mod bypass;
mod certificate;
mod client;
mod client_socket;
mod control;
mod converse;
mod dial;
mod error_pages;
mod exchange;
mod files;
mod flight;
mod forward;
mod framing;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod header;
mod hold_file;
mod http2;
mod inherited;
mod listener;
mod live;
mod message;
mod page;
mod passage;
mod pool;
mod predecessor;
mod proxy;
mod proxy_protocol;
mod question;
mod receive;
mod registry;
mod reload;
mod route;
mod share;
mod state;
mod straggler;
mod stream;
mod succession;
mod switch;
mod taking;
mod upgrade;
mod upstream;
mod warm_up;
mod websocket;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use hold::{Limits, Pace};
use tokio::sync::{Mutex, Semaphore, broadcast, mpsc};

pub use self::actor::Actor;
use self::audit::Audit;
pub use self::audit::AuditError;
use self::beat::Beat;
use self::bypass::Bypass;
pub use self::certificate::CertificateError;
use self::certificate::Certificates;
pub use self::control::{AppControl, Done, Held, HoldError};
pub use self::error_pages::ErrorPageError;
use self::error_pages::ErrorPages;
use self::files::connections_max;
pub use self::flight::Seen;
pub use self::inherited::{Inherited, InheritedError};
use self::listener::Bound;
pub use self::listener::ListenError;
use self::live::{Given, Lanes};
pub(crate) use self::predecessor::Predecessor;
use self::registry::Registry;
pub use self::reload::ReloadError;
use self::route::Routes;
use self::share::Shares;
use self::state::StateDir;
pub use self::state::StateError;
pub(crate) use self::state::millis;
pub(crate) use self::succession::Busy;
pub(crate) use self::upstream::{Health, Standing};
pub use self::warm_up::{WarmUpError, Warmed};
use self::worker::{Order, Plan};
use crate::admin::api::Event;
use crate::config::Config;
use crate::config::gate::{App as AppSettings, Gate as Settings, OnExpiry};
use crate::config::token::TokenError;
use crate::shutdown::Shutdown;

/// This part of all connections is not for held requests: whoever no hold holds must get in, and whoever comes is to be told.
const KEPT_FREE_PART: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("cannot start a worker thread")]
    Thread(#[source] io::Error),
}

/// The running gate, as the admin API sees it.
#[derive(Debug)]
pub struct Gate {
    apps: RwLock<Vec<Arc<AppControl>>>,
    pub listen: Vec<SocketAddr>,
    pub listen_tls: Vec<SocketAddr>,
    pub workers: usize,
    pub events: broadcast::Sender<Event>,
    pub shutdown: Shutdown,
    pub(crate) audit: Audit,
    registry: Registry,
    /// What it runs by. Locked while it is replaced.
    settings: Mutex<Arc<Settings>>,
    certificates: Option<certificate::Watcher>,
    /// To each worker.
    orders: Vec<mpsc::Sender<Order>>,
    /// What the workers listen on, once more, until it is given away or the gate stops.
    sockets: std::sync::Mutex<Vec<(SocketAddr, TcpListener)>>,
    /// Held while a call holds or releases; nothing changes hands in the middle of one.
    pub(crate) calls: Arc<tokio::sync::RwLock<()>>,
    /// Held while a successor takes over.
    pub(crate) handing_over: Mutex<()>,
    beats: Vec<Arc<Beat>>,
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
    pub fn start(
        config: &Config,
        inherited: &mut Inherited,
        shutdown: &Shutdown,
    ) -> Result<(Self, Workers), GateError> {
        let settings = Arc::new(config.gate.clone());
        let workers = settings.workers();
        let certificates = certificates(&settings)?;
        let files = Files::load(config)?;
        let state = StateDir::open(&settings.state_dir, inherited.take_lock())?;
        let audit = Audit::open(settings.audit_log.as_deref())?;
        let (warm_ups, asked) = mpsc::channel(warm_up::WAITING_MAX);
        let predecessor = inherited.predecessor().cloned();
        let registry =
            Registry::new(state, workers, warm_ups, predecessor, audit.clone(), shutdown.clone());
        let mut apps = Vec::new();
        let mut lanes: Vec<Lanes> = (0..workers).map(|_| Lanes::new()).collect();
        for app in &config.apps {
            apps.push(registry.make(app, &settings, &mut lanes)?);
        }
        let bound = Bound::new(&settings, workers, inherited)?;
        let tls = certificates.as_ref().map(Certificates::server_config).transpose()?;
        let certificates = certificates.map(|certificates| certificates.watch(shutdown));
        let given = given(&settings, &config.apps, &apps, files);
        let Bound { workers: listeners, listen, listen_tls, sockets } = bound;
        // An accept loop waits with a permit in its hand, so each may exceed the bound by one;
        // without that, a connection could wait at one loop for a permit idle in another.
        let loops: usize = listeners.iter().map(Vec::len).sum();
        let connections_max = connections_max(settings.connections_max);
        let connections = Arc::new(Semaphore::new(connections_max.saturating_add(loops)));
        let of_one = settings.connections_per_client_max;
        let shares = (of_one > 0).then(|| Shares::new(of_one));
        // The first worker has upstream connections as good as any.
        let mut asked = Some(asked);
        let (mut orders, mut beats, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        let of_workers = listeners.into_iter().zip(lanes).zip(registry.flights());
        for (index, ((listeners, lanes), flights)) in of_workers.enumerate() {
            let (orders_of_one, receiver) = mpsc::channel(1);
            orders.push(orders_of_one);
            let beat = Arc::new(Beat::new());
            beats.push(Arc::clone(&beat));
            let plan = Plan {
                index,
                listeners,
                tls: tls.clone(),
                given: given.clone(),
                lanes,
                orders: receiver,
                beat,
                flights: Arc::clone(flights),
                connections: Arc::clone(&connections),
                kept_free: connections_max / KEPT_FREE_PART,
                shares: shares.clone(),
                warm_ups: asked.take(),
                shutdown: shutdown.with_own_tasks(),
            };
            threads.push(plan.spawn().map_err(GateError::Thread)?);
        }
        apps.iter().for_each(AppControl::watch_hold_file);
        let gate = Self {
            apps: RwLock::new(apps),
            listen,
            listen_tls,
            workers,
            events: registry.events().clone(),
            calls: registry.calls(),
            handing_over: Mutex::default(),
            shutdown: shutdown.clone(),
            registry,
            settings: Mutex::new(settings),
            certificates,
            orders,
            sockets: sockets.into(),
            beats,
            audit,
        };
        Ok((gate, Workers(threads)))
    }

    /// How long ago the worker thread went round that did so the longest ago.
    #[must_use]
    pub fn beat_age(&self) -> Duration {
        self.beats.iter().map(|beat| beat.age()).max().unwrap_or_default()
    }

    /// In the configuration's order.
    #[must_use]
    pub fn apps(&self) -> Vec<Arc<AppControl>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[must_use]
    pub fn app(&self, name: &str) -> Option<Arc<AppControl>> {
        self.apps().into_iter().find(|app| app.name == name)
    }

    /// Blocks until the audit log is on disk, `bound` at most.
    pub fn finish_audit(&self, bound: Duration) {
        self.audit.finish(bound);
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

/// What a configuration's apps, in their order, and the gate itself have in files of their own.
struct Files {
    apps: Vec<(Arc<ErrorPages>, Arc<Bypass>)>,
    gate: Arc<ErrorPages>,
}

/// A file that the configuration names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(transparent)]
    ErrorPage(#[from] ErrorPageError),
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl Files {
    fn load(config: &Config) -> Result<Self, FileError> {
        let gate = config.gate.error_pages.as_deref();
        let gate = Arc::new(ErrorPages::load("gate.error_pages", gate)?);
        let apps = config.apps.iter().map(|app| {
            let pages = match app.error_pages.as_deref() {
                None => Arc::clone(&gate),
                pages => {
                    let key = format!("app.{}.error_pages", app.name);
                    Arc::new(ErrorPages::load(&key, pages)?)
                }
            };
            Ok((pages, Arc::new(Bypass::load(app)?)))
        });
        Ok(Self { apps: apps.collect::<Result<_, FileError>>()?, gate })
    }
}

/// What workers serve by. `apps` are those of `configured`, in the same order, and so are `files`.
fn given(
    settings: &Arc<Settings>,
    configured: &[AppSettings],
    apps: &[Arc<AppControl>],
    files: Files,
) -> Given {
    Given {
        settings: Arc::clone(settings),
        routes: Arc::new(Routes::new(configured)),
        apps: apps.iter().zip(files.apps).map(|(app, files)| app.given(files)).collect(),
        pages: files.gate,
    }
}

/// None where TLS is not spoken.
fn certificates(settings: &Settings) -> Result<Option<Certificates>, CertificateError> {
    if settings.listen_tls.is_empty() {
        return Ok(None);
    }
    Certificates::load(&settings.certificates).map(Some)
}

fn limits(app: &AppSettings) -> Limits {
    let at_least_one = |number: usize| {
        NonZeroU32::new(u32::try_from(number).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
    };
    let release = &app.release;
    Limits {
        held_max: app.held_max,
        pace: Pace {
            concurrency: at_least_one(release.concurrency),
            concurrency_max: at_least_one(release.concurrency_max),
        },
        on_expiry: match app.on_expiry {
            OnExpiry::Release => hold::OnExpiry::Release,
            OnExpiry::Reject => hold::OnExpiry::Reject,
        },
        failures_max: u32::try_from(release.failures_max).ok().and_then(NonZeroU32::new),
    }
}

fn at_least_one(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}
