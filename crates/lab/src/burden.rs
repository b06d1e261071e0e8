//! What makes a swap harder than usual: open connections, many tables, a large transaction under way.

use std::time::Duration;

use futures_util::future::try_join_all;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};

use crate::cluster::{APP, ClusterError, Pair, PairOptions};

/// Connections opened at the same time.
const OPENED_AT_ONCE: usize = 50;
/// What the servers take beside the connections that are open for nothing.
const CONNECTIONS_BESIDE: u32 = 500;
/// Tables made by one statement list.
const TABLES_AT_ONCE: usize = 50;
/// How long the large transaction stays open after its rows are written.
const STAYS_OPEN: Duration = Duration::from_millis(500);

/// How much of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Burden {
    /// Idle connections of the application's on the primary when a swap begins.
    pub connections: u16,
    /// Tables beside the ledger.
    pub tables: u32,
    /// Rows that a transaction has written and not committed when a swap begins.
    pub transaction_rows: u32,
}

/// What lasts for one swap.
#[derive(Debug)]
pub struct Bearing {
    connections: Vec<Conn>,
    transaction: Option<tokio::task::JoinHandle<Result<(), mysql_async::Error>>>,
}

impl Burden {
    /// The servers that bear it.
    #[must_use]
    pub fn options(self, options: PairOptions) -> PairOptions {
        if self.connections == 0 {
            return options;
        }
        options.with_all(&format!(
            "max-connections={}",
            u32::from(self.connections) + CONNECTIONS_BESIDE
        ))
    }

    /// Makes the tables, on the first primary.
    pub async fn set_up(self, pair: &Pair) -> Result<(), ClusterError> {
        if self.tables == 0 && self.transaction_rows == 0 {
            return Ok(());
        }
        pair.run(0, vec!["CREATE DATABASE burden".to_owned()]).await?;
        let numbers: Vec<u32> = (0..self.tables).collect();
        for some in numbers.chunks(TABLES_AT_ONCE) {
            let made = some.iter().flat_map(|number| {
                let table = format!("burden.t{number}");
                [
                    format!("CREATE TABLE {table} (id INT PRIMARY KEY, text VARCHAR(100))"),
                    format!("INSERT INTO {table} VALUES (1, 'one'), (2, 'two')"),
                ]
            });
            pair.run(0, made.collect()).await?;
        }
        if self.transaction_rows > 0 {
            let table =
                "CREATE TABLE burden.large (id INT AUTO_INCREMENT PRIMARY KEY, text CHAR(100))";
            pair.run(0, vec![table.to_owned()]).await?;
        }
        pair.wait_replicated().await
    }

    /// Opens the connections and begins the transaction, whose rows are written when this returns.
    pub async fn bear(self, pair: &Pair) -> Result<Bearing, ClusterError> {
        let mut bearing = Bearing { connections: Vec::new(), transaction: None };
        if self == Self::default() {
            return Ok(bearing);
        }
        let index = pair.primary_index().await?;
        let address = pair.server(index).address();
        let options: mysql_async::Opts = OptsBuilder::default()
            .ip_or_hostname(address.ip().to_string())
            .tcp_port(address.port())
            .prefer_socket(false)
            .user(Some(APP.user))
            .pass(Some(APP.password))
            .into();
        let connect = |source| ClusterError::Connect { index, source };
        let wanted = usize::from(self.connections);
        while bearing.connections.len() < wanted {
            let more = OPENED_AT_ONCE.min(wanted - bearing.connections.len());
            let opened = try_join_all((0..more).map(|_| Conn::new(options.clone()))).await;
            bearing.connections.extend(opened.map_err(connect)?);
        }
        if self.transaction_rows > 0 {
            let mut conn = pair.connect(index).await?;
            let sql = write_rows(self.transaction_rows);
            for sql in ["BEGIN".to_owned(), sql] {
                let done = conn.query_drop(&sql).await;
                done.map_err(|source| ClusterError::Sql { index, sql, source })?;
            }
            bearing.transaction = Some(tokio::spawn(async move {
                tokio::time::sleep(STAYS_OPEN).await;
                conn.query_drop("COMMIT").await
            }));
        }
        Ok(bearing)
    }
}

impl Bearing {
    /// Waits for the transaction and closes the connections, most of which the swap has ended; whether the transaction was
    /// committed.
    pub async fn end(self) -> bool {
        drop(self.connections);
        match self.transaction {
            Some(transaction) => matches!(transaction.await, Ok(Ok(()))),
            None => true,
        }
    }
}

/// Ten rows a bracket, so many brackets as are needed, by a join of digits that both servers know.
fn write_rows(rows: u32) -> String {
    let digits = "(SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION \
                  SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    let tables: Vec<String> = ["a", "b", "c", "d", "e", "f"]
        .into_iter()
        .map(|name| format!("{digits} AS {name}"))
        .collect();
    format!("INSERT INTO burden.large (text) SELECT 'row' FROM {} LIMIT {rows}", tables.join(", "))
}
