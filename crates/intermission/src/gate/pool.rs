//! The idle connections of one worker thread to one upstream: last in, first out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::oneshot;

use super::body::RequestBody;
use super::dial::Socket;
use super::passage::WrittenSlot;
use super::stream::Shared;
use crate::shutdown::Shutdown;

/// An idle connection younger than this is used without asking the kernel whether it still lives.
const FRESH: Duration = Duration::from_millis(1);
/// hyper is ready for the next request within one turn of the loop after a body's end; whoever is
/// not within this is closing.
const READY_AGAIN_MAX: Duration = Duration::from_secs(1);

/// One connection to an upstream, for one request at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<RequestBody>,
    pub(crate) written: WrittenSlot,
    socket: Shared<Socket>,
    switch: SwitchSlot,
    idle_since: Instant,
}

/// Who takes the connection over when it leaves HTTP. Empty: it is closed when HTTP ends.
pub(crate) type SwitchSlot = Rc<RefCell<Option<oneshot::Sender<Bytes>>>>;

#[derive(Debug)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Connection>>,
    /// 0 once the pool is closed.
    idle_max: Cell<usize>,
    idle_timeout: Duration,
    tasks: Shutdown,
}

impl Connection {
    pub(crate) fn new(
        sender: SendRequest<RequestBody>,
        socket: Shared<Socket>,
        written: WrittenSlot,
        switch: SwitchSlot,
    ) -> Self {
        Self { sender, written, socket, switch, idle_since: Instant::now() }
    }

    /// The next answer may be 101: then the driver leaves the socket open and gives what it has
    /// read beyond the answer.
    pub(crate) fn expect_switch(&self) -> oneshot::Receiver<Bytes> {
        let (rest, receiver) = oneshot::channel();
        self.switch.replace(Some(rest));
        receiver
    }

    pub(crate) fn expect_no_switch(&self) {
        self.switch.take();
    }

    pub(crate) fn into_socket(self) -> Shared<Socket> {
        self.socket
    }
}

impl Pool {
    pub(crate) fn new(idle_max: usize, idle_timeout: Duration, tasks: Shutdown) -> Rc<Self> {
        Rc::new(Self {
            idle: RefCell::new(Vec::new()),
            idle_max: Cell::new(idle_max),
            idle_timeout,
            tasks,
        })
    }

    /// The connection that was idle for the shortest time, if it still lives. A server that closes
    /// one while a request is written to it loses that request: it may have run, so it is not
    /// sent again. Hence the look at the socket.
    pub(crate) fn check_out(&self) -> Option<Connection> {
        loop {
            let connection = self.idle.borrow_mut().pop()?;
            let idle_for = connection.idle_since.elapsed();
            if idle_for > self.idle_timeout {
                // The ones below are idle for longer.
                self.idle.borrow_mut().clear();
                return None;
            }
            let silent = idle_for < FRESH || !connection.socket.has_news();
            if connection.sender.is_ready() && silent {
                return Some(connection);
            }
        }
    }

    pub(crate) fn check_in(self: &Rc<Self>, mut connection: Connection) {
        if connection.sender.is_ready() {
            self.keep(connection);
        } else if !connection.sender.is_closed() {
            let pool = Rc::clone(self);
            self.tasks.spawn_local(async move {
                let ready = tokio::time::timeout(READY_AGAIN_MAX, connection.sender.ready()).await;
                if matches!(ready, Ok(Ok(()))) {
                    pool.keep(connection);
                }
            });
        }
    }

    /// Closes what is idle for too long.
    pub(crate) fn trim(&self) {
        let fresh = |connection: &Connection| connection.idle_since.elapsed() <= self.idle_timeout;
        let mut idle = self.idle.borrow_mut();
        let expired = idle.iter().take_while(|connection| !fresh(connection)).count();
        idle.drain(..expired);
    }

    /// Closes what is idle, and keeps nothing from now on.
    pub(crate) fn close(&self) {
        self.idle_max.set(0);
        self.idle.borrow_mut().clear();
    }

    fn keep(&self, mut connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.idle_max.get() {
            connection.idle_since = Instant::now();
            idle.push(connection);
        }
    }
}
