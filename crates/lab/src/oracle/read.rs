//! Reads a whole ledger.

use mysql_async::prelude::Queryable;

use super::{Entry, Write};
use crate::cluster::{ClusterError, Pair};

/// Rows per query.
const PAGE: u64 = 10_000;

/// Every row of one server, by rising `id`.
pub async fn read_ledger(pair: &Pair, index: usize) -> Result<Vec<Entry>, ClusterError> {
    let mut conn = pair.connect(index).await?;
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.id);
        let sql = format!(
            "SELECT id, client, seq, token, CAST(created AS CHAR) FROM ledger.entries \
             WHERE id > {after} ORDER BY id LIMIT {PAGE}"
        );
        let row = |(id, client, seq, token, created)| Entry {
            id,
            write: Write { client, seq, token },
            created,
        };
        let page = conn.query_map(&sql, row).await;
        let page: Vec<Entry> =
            page.map_err(|source| ClusterError::Sql { index, sql: sql.clone(), source })?;
        if page.is_empty() {
            drop(conn.disconnect().await);
            return Ok(entries);
        }
        entries.extend(page);
    }
}
