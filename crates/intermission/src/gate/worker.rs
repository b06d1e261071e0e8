//! One worker thread: its listeners, its lanes, its upstream connections. On the way of a request
//! it shares nothing with the other workers as long as nobody holds.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio_rustls::rustls::ServerConfig;

use super::beat::Beat;
use super::converse::converse;
use super::flight::Flights;
use super::listener::Listener;
use super::live::{App, AppId, Current, Given, Lanes, Live};
use super::pool::Pool;
use super::receive::Date;
use super::share::Shares;
use super::straggler::Stragglers;
use super::upstream::watch_health;
use super::warm_up::{self, Asked};
use crate::config::gate::Stragglers as OfAHold;
use crate::shutdown::Shutdown;

/// After an accept failed for want of file descriptors or memory: others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Of what no request looks after.
const TICK_EVERY: Duration = Duration::from_millis(250);
/// For the last answers, after the grace of a stop is over.
pub(crate) const LAST_ANSWERS_MAX: Duration = Duration::from_secs(1);

/// What a worker thread is started with.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) index: usize,
    pub(crate) listeners: Vec<Listener>,
    /// What connections to its TLS listeners are accepted with.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) given: Given,
    pub(crate) lanes: Lanes,
    /// What it is told later.
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) beat: Arc<Beat>,
    pub(crate) flights: Arc<Flights>,
    /// Connections that may be open, all workers together.
    pub(crate) connections: Arc<Semaphore>,
    /// Of these, not for held requests: whoever no hold holds must get in.
    pub(crate) kept_free: usize,
    /// What each client may have of them; none: there is no limit.
    pub(crate) shares: Option<Arc<Shares>>,
    /// Where the one worker is asked to warm apps up that also looks after the upstreams' health.
    pub(crate) warm_ups: Option<mpsc::Receiver<Asked>>,
    pub(crate) shutdown: Shutdown,
}

#[derive(Debug)]
pub(crate) enum Order {
    Serve(Change),
    /// Whether to take new connections.
    Accept {
        wanted: bool,
        /// It does, or does not.
        done: oneshot::Sender<()>,
    },
}

/// From now on a worker is to serve by this.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) given: Given,
    /// Of the apps that are new.
    pub(crate) lanes: Lanes,
    /// It does.
    pub(crate) done: oneshot::Sender<()>,
}

#[derive(Debug)]
pub(crate) struct Worker {
    current: Current,
    pub(crate) flights: Arc<Flights>,
    pub(crate) stragglers: Rc<Stragglers>,
    pub(crate) date: Date,
    pub(crate) shutdown: Shutdown,
    pub(crate) shares: Option<Arc<Shares>>,
    connections: Arc<Semaphore>,
    /// Connections that are not for held requests.
    kept_free: usize,
    /// Whether new connections are taken.
    accepts: watch::Sender<bool>,
    /// Accept loops that have stopped as long as they are not.
    paused: watch::Sender<usize>,
    /// It has a successor: each answer by HTTP/1 is the last one of its connection.
    pub(crate) is_replaced: Cell<bool>,
    beat: Arc<Beat>,
    index: usize,
    checks_health: bool,
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
        let lanes = std::mem::take(&mut self.lanes);
        let live = Live::new(&self.given, &lanes, None, self.index, &self.shutdown);
        let worker = Rc::new(Worker {
            current: Current::new(live),
            flights: self.flights,
            stragglers: Rc::default(),
            date: Date::now(),
            shutdown: self.shutdown,
            connections: self.connections,
            kept_free: self.kept_free,
            shares: self.shares,
            accepts: watch::Sender::new(true),
            paused: watch::Sender::new(0),
            is_replaced: Cell::new(false),
            beat: self.beat,
            index: self.index,
            checks_health: warm_ups.is_some(),
        });
        worker.begin(&worker.live());
        if let Some(asked) = warm_ups {
            worker.shutdown.spawn_local(warm_up::serve(Rc::clone(&worker), asked));
        }
        worker.shutdown.spawn_local(Rc::clone(&worker).follow(self.orders, listeners.len()));
        worker.shutdown.spawn_local(Rc::clone(&worker).note_successor());
        for listener in listeners {
            let tls = tls.clone().filter(|_| listener.tls);
            let listener = TcpListener::from_std(listener.socket)?;
            worker.shutdown.spawn_local(Rc::clone(&worker).accept(listener, tls));
        }
        tokio::select! {
            () = worker.tick() => {}
            () = worker.finish() => {}
        }
        Ok(())
    }
}

impl Worker {
    pub(crate) fn live(&self) -> Rc<Live> {
        self.current.get()
    }

    /// Whether one more connection may wait.
    pub(crate) fn has_room_to_hold(&self) -> bool {
        self.connections.available_permits() >= self.kept_free
    }

    /// Does as it is told, until the gate stops.
    async fn follow(self: Rc<Self>, mut orders: mpsc::Receiver<Order>, loops: usize) {
        loop {
            let order = tokio::select! {
                order = orders.recv() => order,
                () = self.shutdown.stopping() => return,
            };
            let done = match order {
                Some(Order::Serve(Change { given, lanes, done })) => {
                    let old = self.live();
                    let live = Live::new(&given, &lanes, Some(&old), self.index, &self.shutdown);
                    let live = self.current.replace(live);
                    self.begin(&live);
                    done
                }
                Some(Order::Accept { wanted, done }) => {
                    self.accepts.send_replace(wanted);
                    let all = if wanted { 0 } else { loops };
                    let mut paused = self.paused.subscribe();
                    tokio::select! {
                        _ = paused.wait_for(|paused| *paused == all) => done,
                        () = self.shutdown.stopping() => return,
                    }
                }
                None => return,
            };
            if done.send(()).is_err() {
                tracing::debug!("nobody waits any more for an order to be done");
            }
        }
    }

    async fn note_successor(self: Rc<Self>) {
        tokio::select! {
            () = self.shutdown.replaced() => self.is_replaced.set(true),
            () = self.shutdown.stopping() => {}
        }
    }

    /// What goes on beside the requests as long as it serves by `live`.
    fn begin(self: &Rc<Self>, live: &Rc<Live>) {
        let killing = |app: &&Rc<App>| app.settings.stragglers == OfAHold::Kill;
        for app in live.apps.iter().filter(killing) {
            let kills = app.control.kills();
            let (worker, live) = (Rc::clone(self), Rc::clone(live));
            self.shutdown.spawn_local(cut_off_stragglers(worker, live, app.id, kills));
        }
        for app in &live.apps {
            self.shutdown.spawn_local(forget_at_holds(
                Rc::clone(self),
                Rc::clone(live),
                Rc::clone(app),
            ));
        }
        if self.checks_health {
            watch_health(self, live);
        }
    }

    async fn accept(self: Rc<Self>, listener: TcpListener, tls: Option<Arc<ServerConfig>>) {
        let mut accepts = self.accepts.subscribe();
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.stopping() => break,
                // What waits in its queue is the successor's.
                () = self.shutdown.replaced() => return,
                _ = accepts.wait_for(|accepts| !accepts) => {}
                () = Rc::clone(&self).accept_on(&listener, tls.as_ref()) => {}
            }
            self.paused.send_modify(|paused| *paused += 1);
            tokio::select! {
                () = self.shutdown.stopping() => break,
                () = self.shutdown.replaced() => return,
                _ = accepts.wait_for(|accepts| *accepts) => {}
            }
            self.paused.send_modify(|paused| *paused -= 1);
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
            let write_timeout = worker.current.look().settings.client_write_timeout;
            if let Err(error) = prepare(&stream, write_timeout) {
                tracing::debug!(%error, "cannot prepare a client connection");
                return;
            }
            converse(worker, stream, address, tls).await;
            drop(permit);
        });
    }

    /// Looks after what no request looks after.
    async fn tick(&self) {
        let mut ticks = tokio::time::interval(TICK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.beat.beat();
            self.date.update();
            self.each_pool(Pool::trim);
        }
    }

    /// Returns when every connection has ended, or the grace and the time for last answers are over.
    async fn finish(&self) {
        self.shutdown.stopping().await;
        self.each_pool(Pool::close);
        let grace = {
            let settings = &self.current.look().settings;
            let is_replaced = self.shutdown.is_replaced();
            if is_replaced { settings.take_over_grace } else { settings.shutdown_grace }
        };
        if self.shutdown.tasks_ended(grace).await {
            return;
        }
        self.shutdown.end();
        if !self.shutdown.tasks_ended(LAST_ANSWERS_MAX).await {
            tracing::warn!("requests were still running at the end of the grace and are cut off");
        }
    }

    fn each_pool(&self, act: impl Fn(&Pool)) {
        let live = self.current.look();
        live.apps.iter().flat_map(|app| &app.upstreams).for_each(|upstream| act(&upstream.pool));
    }
}

/// The idle connections of an app end when a hold begins.
async fn forget_at_holds(worker: Rc<Worker>, live: Rc<Live>, app: Rc<App>) {
    let mut holds = app.holds_from_now_on();
    loop {
        tokio::select! {
            changed = holds.changed() => if changed.is_err() { return },
            () = live.over(&worker.shutdown) => return,
        }
        app.upstreams.iter().for_each(|upstream| upstream.pool.forget());
    }
}

async fn cut_off_stragglers(
    worker: Rc<Worker>,
    live: Rc<Live>,
    app: AppId,
    mut kills: watch::Receiver<()>,
) {
    loop {
        tokio::select! {
            changed = kills.changed() => if changed.is_err() { return },
            () = live.over(&worker.shutdown) => return,
        }
        worker.stragglers.kill(app);
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
