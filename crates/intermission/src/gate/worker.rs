//! One worker thread: its listeners, its lanes, its upstream connections. On the way of a request
//! it shares nothing with the other workers as long as nobody holds.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hold::Lane;
use http::HeaderValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::LocalSet;
use tokio_rustls::rustls::ServerConfig;

use super::converse::converse;
use super::flight::Flights;
use super::listener::Listener;
use super::pool::Pool;
use super::route::Routes;
use super::sweep::{HeldSockets, SWEEP_EVERY};
use super::warm_up::{self, Asked};
use crate::config::gate::{App as AppSettings, Gate as Settings, Upgrades, Upstream as Address};
use crate::shutdown::Shutdown;

/// After an accept failed for want of file descriptors or memory: others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// For the last answers, after the grace of a stop is over.
pub(crate) const LAST_ANSWERS_MAX: Duration = Duration::from_secs(1);

/// What a worker thread is started with.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) index: usize,
    pub(crate) listeners: Vec<Listener>,
    /// What connections to its TLS listeners are accepted with.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) lanes: Vec<Lane>,
    /// Of each app: changes when a hold begins.
    pub(crate) holds: Arc<[watch::Receiver<()>]>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) apps: Arc<[AppSettings]>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) flights: Arc<Flights>,
    /// Connections that may be open, all workers together.
    pub(crate) connections: Arc<Semaphore>,
    /// Where this worker is asked to warm apps up, if it is the one.
    pub(crate) warm_ups: Option<mpsc::Receiver<Asked>>,
    pub(crate) shutdown: Shutdown,
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) settings: Arc<Settings>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) apps: Vec<App>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) held: Rc<HeldSockets>,
    pub(crate) shutdown: Shutdown,
    connections: Arc<Semaphore>,
}

/// One app as this worker sees it.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) index: usize,
    pub(crate) settings: AppSettings,
    pub(crate) lane: Lane,
    pub(crate) upstreams: Vec<Upstream>,
    holds: watch::Receiver<()>,
    turn: Cell<usize>,
}

#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: Address,
    pub(crate) pool: Rc<Pool>,
}

impl Plan {
    /// Starts the thread. It ends when the gate stops; if it ends before, the gate stops, because
    /// nobody would answer the connections the kernel goes on giving it.
    pub(crate) fn spawn(self) -> io::Result<JoinHandle<io::Result<()>>> {
        std::thread::Builder::new().name(format!("worker-{}", self.index)).spawn(move || self.run())
    }

    fn run(self) -> io::Result<()> {
        let _stops = StopsTheGate(self.shutdown.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.serve())
    }

    async fn serve(mut self) -> io::Result<()> {
        let listeners = std::mem::take(&mut self.listeners);
        let warm_ups = self.warm_ups.take();
        let tls = self.tls.take();
        let worker = Rc::new(Worker::new(self));
        if let Some(asked) = warm_ups {
            worker.shutdown.spawn_local(warm_up::serve(Rc::clone(&worker), asked));
        }
        for listener in listeners {
            let tls = tls.clone().filter(|_| listener.tls);
            let listener = TcpListener::from_std(listener.socket)?;
            worker.shutdown.spawn_local(Rc::clone(&worker).accept(listener, tls));
        }
        let tick = worker.tick();
        tokio::select! {
            () = tick => {}
            () = worker.finish() => {}
        }
        Ok(())
    }
}

impl Worker {
    fn new(plan: Plan) -> Self {
        let settings = plan.settings;
        let pool = |address: &Address| Upstream {
            address: address.clone(),
            pool: Pool::new(
                settings.upstream_idle_max,
                settings.upstream_idle_timeout,
                plan.shutdown.clone(),
            ),
        };
        let apps = plan.apps.iter().zip(plan.lanes).zip(plan.holds.iter()).enumerate();
        let apps = apps.map(|(index, ((app, lane), holds))| App {
            index,
            settings: app.clone(),
            lane,
            holds: holds.clone(),
            upstreams: app.upstreams.iter().map(pool).collect(),
            // Workers begin at different upstreams, or the first would get every first request.
            turn: Cell::new(plan.index),
        });
        Self {
            apps: apps.collect(),
            settings,
            routes: plan.routes,
            flights: plan.flights,
            held: Rc::default(),
            shutdown: plan.shutdown,
            connections: plan.connections,
        }
    }

    async fn accept(self: Rc<Self>, listener: TcpListener, tls: Option<Arc<ServerConfig>>) {
        let stopping = self.shutdown.clone();
        tokio::select! {
            () = stopping.stopping() => {}
            () = Rc::clone(&self).accept_on(&listener, tls.as_ref()) => {}
        }
        // What the kernel has accepted already would be reset if the listener just closed.
        while let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() {
            let queued = futures_util::FutureExt::now_or_never(listener.accept());
            let Some(Ok((stream, address))) = queued else { return };
            self.connected(stream, address, tls.as_ref(), permit);
        }
    }

    async fn accept_on(self: Rc<Self>, listener: &TcpListener, tls: Option<&Arc<ServerConfig>>) {
        while let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, address)) => self.connected(stream, address, tls, permit),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn connected(
        self: &Rc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        tls: Option<&Arc<ServerConfig>>,
        permit: OwnedSemaphorePermit,
    ) {
        let worker = Rc::clone(self);
        let tls = tls.cloned();
        self.shutdown.spawn_local(async move {
            if let Err(error) = prepare(&stream, worker.settings.client_write_timeout) {
                tracing::debug!(%error, "cannot prepare a client connection");
                return;
            }
            converse(worker, stream, address, tls).await;
            drop(permit);
        });
    }

    /// Looks after what no request looks after.
    async fn tick(&self) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.held.sweep();
            self.pools().for_each(|pool| pool.trim());
        }
    }

    /// Returns when every connection has ended, or the grace and the time for last answers are over.
    async fn finish(&self) {
        self.shutdown.stopping().await;
        self.pools().for_each(|pool| pool.close());
        let grace = self.settings.shutdown_grace;
        if self.shutdown.tasks_ended(grace).await {
            return;
        }
        self.shutdown.end();
        if !self.shutdown.tasks_ended(LAST_ANSWERS_MAX).await {
            tracing::warn!("requests were still running at the end of the grace and are cut off");
        }
    }

    fn pools(&self) -> impl Iterator<Item = &Rc<Pool>> {
        self.apps.iter().flat_map(|app| &app.upstreams).map(|upstream| &upstream.pool)
    }
}

impl App {
    /// Tells of holds from now on, if they close upgraded connections.
    pub(crate) fn closing_holds(&self) -> Option<watch::Receiver<()>> {
        match self.settings.upgrades {
            Upgrades::Keep => None,
            Upgrades::Close => {
                let mut holds = self.holds.clone();
                holds.mark_unchanged();
                Some(holds)
            }
        }
    }

    pub(crate) fn is_endless(&self, content_type: &HeaderValue) -> bool {
        let kind = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        let kind = kind.trim_ascii();
        let mut endless = self.settings.endless_types.iter();
        endless.any(|endless| endless.as_bytes().eq_ignore_ascii_case(kind))
    }

    /// Every upstream once, beginning with the one whose turn it is.
    pub(crate) fn upstreams_in_turn(&self) -> impl Iterator<Item = &Upstream> {
        let first = self.turn.get() % self.upstreams.len().max(1);
        self.turn.set(first + 1);
        self.upstreams.iter().cycle().skip(first).take(self.upstreams.len())
    }
}

/// Dropped also by a panic.
struct StopsTheGate(Shutdown);

impl Drop for StopsTheGate {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Small answers go out at once, and a client that takes nothing is not waited for for ever: the
/// kernel ends the connection.
fn prepare(stream: &TcpStream, write_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(write_timeout))
}

/// The connection was over before it was accepted; the listener is well.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
