//! The app's database connections: a pool that looks at a connection it has kept before it hands it out, as every well-kept
//! one does, or one that does not, as many still are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::ledger::Checks;

/// How long closing a connection that is of no more use may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection above the minimum that nobody needed for this long is closed, as in most production pools.
const IDLE_TTL: Duration = Duration::from_secs(1);
/// The minimum is this part of the maximum.
const KEPT_PART: usize = 4;

/// Hands out the connection that was used last.
#[derive(Debug)]
pub(super) struct Pool {
    opts: Opts,
    size: usize,
    checks: Checks,
    /// The one that was used last is the last.
    idle: Mutex<Vec<Idle>>,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Idle {
    conn: Conn,
    since: Instant,
}

/// One connection in use. Dropped without a word, it is not known what state it is in: it is closed.
#[derive(Debug)]
pub(super) struct Checkout {
    pub(super) conn: Conn,
    home: Arc<Pool>,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(opts: Opts, size: usize, checks: Checks) -> Self {
        let places = Arc::new(Semaphore::new(size));
        Self { opts, size, checks, idle: Mutex::default(), places }
    }

    /// A connection, once there is a place for it. One that died while it was idle is replaced where the pool looks; every one that is
    /// kept may be dead at once.
    pub(super) async fn checkout(self: &Arc<Self>) -> Result<Checkout, Error> {
        // Never closed.
        let place = Arc::clone(&self.places).acquire_owned().await;
        let _place = place.map_err(|closed| Error::Other(Box::new(closed)))?;
        while let Some(mut conn) = self.take() {
            let is_alive = match self.checks {
                Checks::AtCheckout => conn.ping().await.is_ok(),
                Checks::Never => true,
            };
            if is_alive {
                return Ok(Checkout { conn, home: Arc::clone(self), _place });
            }
            // What was used before it is no better.
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .drain(..)
                .for_each(|idle| close(idle.conn));
            close(conn);
        }
        let conn = Conn::new(self.opts.clone()).await?;
        Ok(Checkout { conn, home: Arc::clone(self), _place })
    }

    fn take(&self) -> Option<Conn> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().map(|idle| idle.conn)
    }

    /// Closes what has not been needed for long, too.
    fn put(&self, conn: Conn) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(Idle { conn, since: Instant::now() });
        let spare = idle.len().saturating_sub(self.size.div_ceil(KEPT_PART));
        let is_old = |idle: &&Idle| idle.since.elapsed() > IDLE_TTL;
        let old = idle.iter().take(spare).take_while(is_old).count();
        idle.drain(..old).for_each(|idle| close(idle.conn));
    }
}

impl Checkout {
    /// Its work is done: it goes back to its pool.
    pub(super) fn done(self) {
        self.home.put(self.conn);
    }

    /// After an error its state is not known: it is thrown away.
    pub(super) fn discard(self) {
        close(self.conn);
    }
}

fn close(conn: Conn) {
    tokio::spawn(async move {
        if let Err(error) = timeout(CLOSE_TIMEOUT, conn.disconnect()).await {
            tracing::debug!(%error, "a discarded connection did not close in time");
        }
    });
}
