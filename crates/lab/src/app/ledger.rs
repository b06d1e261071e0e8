//! The ledger behind the app: a connection pool and the two statements the app needs.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, TxOpts, Value};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::pool::{Checkout, Pool};

/// How long a request may wait for a connection, and a connection for its liveness check.
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(5);
/// Server error of a write refused by `read_only` or `super_read_only`.
const ER_OPTION_PREVENTS_STATEMENT: u16 = 1290;
/// Values the driver would otherwise ask the server for on every connect (one more round trip each).
const MAX_ALLOWED_PACKET: usize = 16 << 20;
const WAIT_TIMEOUT_S: usize = 28_800;

const LATEST: &str = "SELECT client, seq, token FROM entries ORDER BY id DESC LIMIT 1";

/// One row of the ledger: what a client asked to be remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who wrote.
    pub client: u32,
    /// The client's own counter; rises by one per write.
    pub seq: u64,
    /// Unique among all writes of a run.
    pub token: String,
}

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database URL is not one.
    #[error("the database address is not a mysql:// URL")]
    Url(#[source] mysql_async::UrlError),
    /// The pool size is zero.
    #[error("the pool must have at least one connection")]
    PoolSize,
    /// No live connection within the bound.
    #[error("no database connection within {} s", CHECKOUT_TIMEOUT.as_secs())]
    NoConnection(#[source] Option<mysql_async::Error>),
    /// The server refuses writes.
    #[error("the database is read-only")]
    ReadOnly(#[source] mysql_async::Error),
    /// A statement failed. It may have run, so nobody repeats it.
    #[error("the statement failed")]
    Statement(#[source] mysql_async::Error),
}

/// A pool of connections to the ledger's database.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: Arc<Pool>,
}

/// Whether the pool looks at a connection it has kept before it hands it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// As it should.
    AtCheckout,
    /// A dead connection is found by the request that gets it.
    Never,
}

impl Ledger {
    /// A pool of `size` connections at most to `url` (without its password); nothing is connected yet.
    pub fn new(
        url: &str,
        password: Option<String>,
        size: usize,
        checks: Checks,
    ) -> Result<Self, LedgerError> {
        let opts = Opts::from_url(url).map_err(LedgerError::Url)?;
        if size == 0 {
            return Err(LedgerError::PoolSize);
        }
        let opts = OptsBuilder::from_opts(opts)
            // The driver prefers the server's unix socket on loopback: it would go around the floating address.
            .prefer_socket(false)
            .tcp_nodelay(true)
            .max_allowed_packet(Some(MAX_ALLOWED_PACKET))
            .wait_timeout(Some(WAIT_TIMEOUT_S))
            .pass(password);
        Ok(Self { pool: Arc::new(Pool::new(opts.into(), size, checks)) })
    }

    /// Inserts one row; `Ok` only after its COMMIT was answered.
    pub async fn insert(&self, entry: &Entry) -> Result<(), LedgerError> {
        let mut checkout = self.checkout().await?;
        let done = Self::insert_on(&mut checkout.conn, entry).await;
        settle(checkout, done)
    }

    async fn insert_on(conn: &mut Conn, entry: &Entry) -> mysql_async::Result<()> {
        let mut transaction = conn.start_transaction(TxOpts::default()).await?;
        transaction.query_drop(insert(entry)).await?;
        transaction.commit().await
    }

    /// The newest row, if any.
    pub async fn latest(&self) -> Result<Option<Entry>, LedgerError> {
        let mut checkout = self.checkout().await?;
        let row: mysql_async::Result<Option<(u32, u64, String)>> =
            checkout.conn.query_first(LATEST).await;
        let row = settle(checkout, row)?;
        Ok(row.map(|(client, seq, token)| Entry { client, seq, token }))
    }

    async fn checkout(&self) -> Result<Checkout, LedgerError> {
        match timeout(CHECKOUT_TIMEOUT, self.pool.checkout()).await {
            Ok(Ok(checkout)) => Ok(checkout),
            Ok(Err(error)) => Err(LedgerError::NoConnection(Some(error))),
            Err(_) => Err(LedgerError::NoConnection(None)),
        }
    }
}

/// The connection goes back to its pool, or is thrown away.
fn settle<T>(checkout: Checkout, done: mysql_async::Result<T>) -> Result<T, LedgerError> {
    match done {
        Ok(done) => {
            checkout.done();
            Ok(done)
        }
        Err(error) => {
            checkout.discard();
            Err(classify(error))
        }
    }
}

/// As one statement of text, which is what most frameworks send unless told otherwise.
fn insert(Entry { client, seq, token }: &Entry) -> String {
    let token = Value::from(token).as_sql(false);
    format!("INSERT INTO entries (client, seq, token) VALUES ({client}, {seq}, {token})")
}

fn classify(error: mysql_async::Error) -> LedgerError {
    match &error {
        mysql_async::Error::Server(server) if server.code == ER_OPTION_PREVENTS_STATEMENT => {
            LedgerError::ReadOnly(error)
        }
        mysql_async::Error::Server(_)
        | mysql_async::Error::Driver(_)
        | mysql_async::Error::Io(_)
        | mysql_async::Error::Other(_)
        | mysql_async::Error::Url(_) => LedgerError::Statement(error),
    }
}
