//! The app's database connections: a pool that looks at a connection before it hands it out, as every well-kept one
//! does, or one that does not, as many still are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Pool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long closing a connection that is of no more use may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Either pool.
#[derive(Debug, Clone)]
pub(super) enum Connections {
    /// Bounded by the size it was made with.
    Checked {
        pool: Pool,
        size: usize,
    },
    Unchecked(Arc<Unchecked>),
}

/// Hands out the connection that was used last, alive or not.
#[derive(Debug)]
pub(super) struct Unchecked {
    opts: Opts,
    idle: Mutex<Vec<Conn>>,
    places: Arc<Semaphore>,
}

/// One connection in use. Dropped without a word, it is not known what state it is in: it is closed, or seen to by its
/// pool.
#[derive(Debug)]
pub(super) struct Checkout {
    pub(super) conn: Conn,
    home: Option<(Arc<Unchecked>, OwnedSemaphorePermit)>,
}

impl Unchecked {
    pub(super) fn new(opts: Opts, size: usize) -> Self {
        Self { opts, idle: Mutex::default(), places: Arc::new(Semaphore::new(size)) }
    }
}

impl Connections {
    /// A connection. A dead one (killed while idle) is replaced where the pool looks; every pooled one may be dead at
    /// once, hence one attempt more than there are connections.
    pub(super) async fn checkout(&self) -> Result<Checkout, Option<mysql_async::Error>> {
        match self {
            Self::Unchecked(pool) => {
                let place = Arc::clone(&pool.places).acquire_owned().await.map_err(|_| None)?;
                let idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let conn = match idle {
                    Some(conn) => conn,
                    None => Conn::new(pool.opts.clone()).await.map_err(Some)?,
                };
                Ok(Checkout { conn, home: Some((Arc::clone(pool), place)) })
            }
            Self::Checked { pool, size } => {
                let mut last = None;
                for _ in 0..=*size {
                    let mut conn = pool.get_conn().await.map_err(Some)?;
                    match conn.ping().await {
                        Ok(()) => return Ok(Checkout { conn, home: None }),
                        Err(error) => {
                            close(conn);
                            last = Some(error);
                        }
                    }
                }
                Err(last)
            }
        }
    }
}

impl Checkout {
    /// Its work is done: it goes back to its pool.
    pub(super) fn done(self) {
        if let Some((pool, _place)) = self.home {
            pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.conn);
        }
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
