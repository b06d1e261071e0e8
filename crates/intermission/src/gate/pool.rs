//! The idle connections of one worker thread to one upstream: last in, first out.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::alarm::Alarm;
use super::dial::Socket;
use super::exchange::Free;
use super::stream::Shared;
use super::upstream::{Standing, Use};
use crate::shutdown::Shutdown;

/// An idle connection younger than this is used without asking the kernel whether it still lives: a turn of a busy worker,
/// behind which the runtime has noticed if it does not, takes no longer.
const FRESH: Duration = Duration::from_millis(5);
/// For the rest of a request that was answered before it was sent whole.
const REST_MAX: Duration = Duration::from_secs(1);

/// One connection to an upstream, for one request at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Shared<Socket>,
    /// For whoever uses it.
    pub(crate) alarm: Alarm,
    /// Where it goes; none for a unix socket.
    peer: Option<SocketAddr>,
    /// Of the upstream's addresses, when they were looked at last.
    edition: u64,
    /// Of its pool, when it was dialed or checked out.
    era: u64,
    /// While a request has it.
    in_use: Option<Use>,
    /// When it was dialed, checked out or given back.
    pub(crate) since: Instant,
}

#[derive(Debug)]
pub(crate) struct Pool {
    #[expect(
        clippy::vec_box,
        reason = "it stays in its box, which goes to requests and comes back"
    )]
    idle: RefCell<Vec<Box<Connection>>>,
    /// 0 once the pool is closed.
    idle_max: Cell<usize>,
    idle_timeout: Duration,
    /// Counts the times that everything was forgotten.
    era: Cell<u64>,
    standing: Arc<Standing>,
    tasks: Shutdown,
}

impl Connection {
    pub(crate) fn new(socket: Socket, peer: Option<SocketAddr>, edition: u64) -> Box<Self> {
        let (era, in_use, since) = (0, None, Instant::now());
        let (socket, alarm) = (Shared::new(socket), Alarm::default());
        Box::new(Self { socket, alarm, peer, edition, era, in_use, since })
    }

    /// Whether it is no longer idle though nobody uses it: closed by the upstream, or talking out of turn. The kernel is asked
    /// where the runtime has noticed something, and where it `may_not_have`.
    fn has_stirred(&self, may_not_have: bool) -> bool {
        let noticed = self.socket.with(|socket| socket.is_read_ready());
        (noticed || may_not_have) && self.socket.has_news()
    }

    /// The socket, and that it is in use.
    pub(crate) fn into_socket(self) -> (Shared<Socket>, Option<Use>) {
        (self.socket, self.in_use)
    }
}

impl Pool {
    pub(crate) fn new(
        idle_max: usize,
        idle_timeout: Duration,
        standing: Arc<Standing>,
        tasks: Shutdown,
    ) -> Rc<Self> {
        Rc::new(Self {
            idle: RefCell::new(Vec::new()),
            idle_max: Cell::new(idle_max),
            idle_timeout,
            era: Cell::new(0),
            standing,
            tasks,
        })
    }

    pub(crate) fn is_bounded_by(&self, idle_max: usize, idle_timeout: Duration) -> bool {
        (self.idle_max.get(), self.idle_timeout) == (idle_max, idle_timeout)
    }

    /// The connection that was idle for the shortest time, if it still lives. A server that closes
    /// one while a request is written to it loses that request: it may have run, so it is not
    /// sent again. Hence the look at the socket.
    pub(crate) fn check_out(&self) -> Option<Box<Connection>> {
        let now = Instant::now();
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            let idle_for = now.saturating_duration_since(connection.since);
            if idle_for > self.idle_timeout {
                // The ones below are idle for longer.
                self.idle.borrow_mut().clear();
                return None;
            }
            if !connection.has_stirred(idle_for >= FRESH) && self.leads_to(&mut connection) {
                connection.since = now;
                return Some(connection);
            }
        }
    }

    /// Counts a fresh connection among those that are given back.
    pub(crate) fn adopt(&self, mut connection: Box<Connection>, in_use: Use) -> Box<Connection> {
        connection.era = self.era.get();
        connection.in_use = Some(in_use);
        connection
    }

    pub(crate) fn check_in(self: &Rc<Self>, free: Free) {
        match free {
            Free::Now(connection) => self.keep(connection),
            Free::Later(connection, rest) => {
                let pool = Rc::clone(self);
                self.tasks.spawn_local(async move {
                    if matches!(tokio::time::timeout(REST_MAX, rest).await, Ok(Ok(true))) {
                        pool.keep(connection);
                    }
                });
            }
        }
    }

    /// Closes what is idle for too long, and what the upstream has closed.
    pub(crate) fn trim(&self) {
        self.idle.borrow_mut().retain(|connection| {
            connection.since.elapsed() <= self.idle_timeout && !connection.has_stirred(false)
        });
    }

    /// Closes what is idle now and what is in use when it is given back: while nobody sends anything, the upstream may be
    /// restarted, or close connections that it thinks idle.
    pub(crate) fn forget(&self) {
        self.era.set(self.era.get().wrapping_add(1));
        self.idle.borrow_mut().clear();
    }

    /// Closes what is idle, and keeps nothing from now on.
    pub(crate) fn close(&self) {
        self.idle_max.set(0);
        self.idle.borrow_mut().clear();
    }

    fn leads_to(&self, connection: &mut Connection) -> bool {
        self.standing.still_leads_to(connection.peer, &mut connection.edition)
    }

    fn keep(&self, mut connection: Box<Connection>) {
        if connection.era != self.era.get() || !self.leads_to(&mut connection) {
            return;
        }
        connection.in_use = None;
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.idle_max.get() {
            connection.since = Instant::now();
            idle.push(connection);
        }
    }
}
