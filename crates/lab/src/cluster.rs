//! A throwaway cluster: a primary and its replicas over GTIDs, with the accounts and the ledger a swap needs. Usually a pair.

mod account;
mod dialect;
mod position;

use std::time::Duration;

use futures_util::future::try_join_all;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tokio::time::Instant;

use crate::server::{Flavor, Series, Server, ServerError, ServerOptions};

pub use account::{APP, Account, LEDGER_TABLE, OPERATOR, REPLICATION};
pub(crate) use dialect::follow;

/// How long a replica may take to have everything.
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(30);
const CATCH_UP_POLL: Duration = Duration::from_millis(5);

/// How a pair differs from the usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairOptions {
    /// The primary's and the replica's.
    pub servers: [ServerOptions; 2],
    /// Further replicas of the primary.
    pub siblings: Vec<ServerOptions>,
    /// Whether the replica follows by GTID (`false`: by file and position, from the start). `MySQL` needs
    /// `gtid-mode=OFF` besides to have no GTIDs at all.
    pub gtid: bool,
}

impl Default for PairOptions {
    fn default() -> Self {
        let servers = [ServerOptions::new(1), ServerOptions::new(2)];
        Self { servers, siblings: Vec::new(), gtid: true }
    }
}

impl PairOptions {
    /// So many further replicas of the primary.
    #[must_use]
    pub fn with_siblings(self, count: u32) -> Self {
        Self { siblings: (3..3 + count).map(ServerOptions::new).collect(), ..self }
    }

    /// Makes the replica one of another series of `MariaDB`.
    #[must_use]
    pub fn with_replica_of(self, series: Series) -> Self {
        let [primary, replica] = self.servers;
        Self { servers: [primary, ServerOptions { series: Some(series), ..replica }], ..self }
    }

    /// Adds a line to the option file of both servers.
    #[must_use]
    pub fn with_both(self, line: &str) -> Self {
        let [primary, replica] = self.servers;
        Self { servers: [primary.with(line), replica.with(line)], ..self }
    }

    /// Adds a line to the option file of every server.
    #[must_use]
    pub fn with_all(self, line: &str) -> Self {
        let options = self.with_both(line);
        let siblings = options.siblings.into_iter().map(|sibling| sibling.with(line)).collect();
        Self { siblings, ..options }
    }

    /// By file and position, on `MySQL` without GTIDs.
    #[must_use]
    pub fn by_coordinates(self, flavor: Flavor) -> Self {
        let options = Self { gtid: false, ..self };
        match flavor {
            // It has GTIDs always.
            Flavor::MariaDb => options,
            Flavor::MySql => options.with_all("gtid-mode=OFF"),
        }
    }

    /// Commits on the primary wait for a replica.
    #[must_use]
    pub fn with_semi_sync(self, flavor: Flavor) -> Self {
        let (source, replica, options) = match flavor {
            Flavor::MariaDb => {
                ("rpl_semi_sync_master_enabled", "rpl_semi_sync_slave_enabled", self)
            }
            Flavor::MySql => (
                "rpl_semi_sync_source_enabled",
                "rpl_semi_sync_replica_enabled",
                self.with_all("plugin-load-add=semisync_source.so")
                    .with_all("plugin-load-add=semisync_replica.so"),
            ),
        };
        let (source, replica) = (format!("{source}=ON"), format!("{replica}=ON"));
        let [primary, first] = options.servers;
        let servers = [primary.with(&source), first.with(&replica)];
        let siblings = options.siblings.into_iter().map(|sibling| sibling.with(&replica)).collect();
        Self { servers, siblings, ..options }
    }

    /// Adds a line to the option file of the replica only.
    #[must_use]
    pub fn with_replica(self, line: &str) -> Self {
        let [primary, replica] = self.servers;
        Self { servers: [primary, replica.with(line)], ..self }
    }
}

/// Two servers, and more where siblings are asked for; server 0 starts as the primary. Dropping the pair ends all and
/// removes their data.
#[derive(Debug)]
pub struct Pair {
    pub servers: Vec<Server>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("server {index} refused: {sql}")]
    Sql {
        index: usize,
        sql: String,
        #[source]
        source: mysql_async::Error,
    },
    #[error("server {index} takes no connection")]
    Connect {
        index: usize,
        #[source]
        source: mysql_async::Error,
    },
    #[error("of the servers {writable:?} are writable: exactly one must be")]
    NoPrimary { writable: Vec<usize> },
    #[error("the replica had not caught up with {position} after {CATCH_UP_DEADLINE:?}: {status}")]
    NotReplicated { position: String, status: String },
}

// === impl Pair ===

impl Pair {
    /// Replicating and caught up when this returns.
    pub async fn start(
        series: impl Into<Series>,
        options: &PairOptions,
    ) -> Result<Self, ClusterError> {
        let series = series.into();
        let all = options.servers.iter().chain(&options.siblings);
        let servers = try_join_all(all.map(|server| Server::start(series, server))).await?;
        let pair = Self { servers };
        pair.run(0, account::set_up(series.flavor())).await?;
        for replica in 1..pair.servers.len() {
            pair.replicate(0, replica, options.gtid).await?;
            pair.wait_caught_up(0, replica).await?;
        }
        Ok(pair)
    }

    pub fn flavor(&self) -> Flavor {
        self.server(0).flavor()
    }

    /// Of server 0; a cluster may be made of several.
    pub fn series(&self) -> Series {
        self.server(0).series()
    }

    /// Makes one server the read-only replica of the other, as §6 of the facts says.
    pub async fn replicate(&self, from: usize, to: usize, gtid: bool) -> Result<(), ClusterError> {
        let source = self.server(from);
        let mut statements = follow(self.flavor(), source.address(), gtid);
        if source.series() != self.server(to).series() {
            // MariaDB from 11.4 insists on encryption, which an older one does not offer.
            let start = statements.len().saturating_sub(1);
            statements.insert(start, "CHANGE MASTER TO MASTER_SSL=0".to_owned());
        }
        self.run(to, statements).await
    }

    /// Panics where there is no such server: what asks for it is a test.
    pub fn server(&self, index: usize) -> &Server {
        self.servers.get(index).expect("a server of this cluster")
    }

    /// As root.
    pub async fn connect(&self, index: usize) -> Result<Conn, ClusterError> {
        let connected = self.server(index).connect_root().await;
        connected.map_err(|source| ClusterError::Connect { index, source })
    }

    /// The server that accepts writes, asked of the servers themselves.
    pub async fn primary_index(&self) -> Result<usize, ClusterError> {
        let mut writable = Vec::new();
        for index in 0..self.servers.len() {
            if !self.is_read_only(index).await? {
                writable.push(index);
            }
        }
        match writable.as_slice() {
            [index] => Ok(*index),
            _ => Err(ClusterError::NoPrimary { writable }),
        }
    }

    pub async fn is_read_only(&self, index: usize) -> Result<bool, ClusterError> {
        let text = self.ask(index, "SELECT @@global.read_only").await?;
        Ok(text.is_some_and(|value| value == "1"))
    }

    /// Waits until every present replica has applied everything the present primary has.
    pub async fn wait_replicated(&self) -> Result<(), ClusterError> {
        let primary = self.primary_index().await?;
        for replica in (0..self.servers.len()).filter(|index| *index != primary) {
            self.wait_caught_up(primary, replica).await?;
        }
        Ok(())
    }

    /// Waits until server `to` has applied what server `from` has now.
    pub async fn wait_caught_up(&self, from: usize, to: usize) -> Result<(), ClusterError> {
        let position = self.position(from).await?;
        let deadline = Instant::now() + CATCH_UP_DEADLINE;
        while !self.has_applied(to, &position).await? {
            if Instant::now() > deadline {
                let status = self.replica_status(to).await?;
                return Err(ClusterError::NotReplicated { position, status });
            }
            tokio::time::sleep(CATCH_UP_POLL).await;
        }
        Ok(())
    }

    /// GTIDs where the server has them, otherwise binary log file and position.
    async fn position(&self, index: usize) -> Result<String, ClusterError> {
        let gtid = self.ask(index, dialect::gtid_query(self.flavor())).await?;
        if let Some(gtid) = gtid.filter(|text| !text.is_empty()) {
            return Ok(gtid);
        }
        let row = self.row(index, dialect::log_position_query(self.flavor())).await?;
        Ok(row.map(|row| dialect::columns(&row, &["File", "Position"])).unwrap_or_default())
    }

    async fn has_applied(&self, index: usize, target: &str) -> Result<bool, ClusterError> {
        let flavor = self.flavor();
        if position::is_log_position(target) {
            let row = self.row(index, dialect::replica_status_query(flavor)).await?;
            let applied = row.map(|row| dialect::columns(&row, dialect::applied_columns(flavor)));
            return Ok(applied.is_some_and(|applied| position::reaches_log(&applied, target)));
        }
        match flavor {
            Flavor::MariaDb => {
                let applied = self.ask(index, dialect::gtid_query(flavor)).await?;
                Ok(applied.is_some_and(|applied| position::reaches_mariadb(&applied, target)))
            }
            Flavor::MySql => {
                let sql = format!("SELECT GTID_SUBSET('{target}', @@global.gtid_executed)");
                Ok(self.ask(index, &sql).await?.is_some_and(|value| value == "1"))
            }
        }
    }

    async fn replica_status(&self, index: usize) -> Result<String, ClusterError> {
        let row = self.row(index, dialect::replica_status_query(self.flavor())).await?;
        Ok(row.map_or_else(
            || "it is no replica".to_owned(),
            |row| dialect::columns(&row, dialect::status_columns(self.flavor())),
        ))
    }

    /// Statements as root, one after another on one connection.
    pub async fn run(&self, index: usize, statements: Vec<String>) -> Result<(), ClusterError> {
        let mut conn = self.connect(index).await?;
        for sql in statements {
            let done = conn.query_drop(&sql).await;
            done.map_err(|source| ClusterError::Sql { index, sql, source })?;
        }
        drop(conn.disconnect().await);
        Ok(())
    }

    /// The first column of the first row as text; `None` for no row and for NULL.
    pub async fn ask(&self, index: usize, sql: &str) -> Result<Option<String>, ClusterError> {
        let row = self.row(index, sql).await?;
        Ok(row.and_then(|row| dialect::text(row.as_ref(0)?)))
    }

    async fn row(&self, index: usize, sql: &str) -> Result<Option<Row>, ClusterError> {
        let mut conn = self.connect(index).await?;
        let row = conn.query_first(sql).await;
        drop(conn.disconnect().await);
        row.map_err(|source| ClusterError::Sql { index, sql: sql.to_owned(), source })
    }
}
