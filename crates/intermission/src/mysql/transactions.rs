//! The list of open transactions, and whether the server made it for us or some time ago for somebody else.

use std::sync::atomic::Ordering;

use tokio::time::sleep;

use super::{privilege::as_far_as_seen, row::StatusRow, server::MySqlServer};
use crate::swap::{
    observation::Blocker,
    server::{Effect, ServerError, TRANSACTIONS_FRESH_AFTER},
};

/// How many sessions are looked at.
const SESSIONS_MAX: usize = 100;
/// How often a list that is old is asked for again, each time after [`TRANSACTIONS_FRESH_AFTER`].
const LOOKS_MAX: u32 = 3;

const DOING: &str = "list open transactions";
/// Opens one of our own, which a list that was made before does not have. Where the isolation level has no snapshots
/// the transaction is begun all the same.
const OPEN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
const CLOSE: &str = "COMMIT";
/// The client library tells only of rows that there are any behind the last statement that has none.
const NOTHING: &str = "SELECT 1";

/// Lists prepared XA transactions, which have no session.
pub(super) const PREPARED: &str = "XA RECOVER";

/// One of `information_schema.innodb_trx`.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) session: u64,
    pub(super) age_s: u64,
    /// How many it has changed.
    pub(super) rows: Option<u64>,
    pub(super) statement: Option<String>,
}

impl MySqlServer {
    /// Those of sessions, ours left out, [`SESSIONS_MAX`] at most; and prepared XA transactions, as far as they may be seen.
    ///
    /// The servers keep the list until nobody has read it for 100 ms. Whoever reads it more often, a monitoring agent
    /// say, leaves everybody with the list of his first look, however long ago that was.
    ///
    /// # Errors
    /// [`ServerError`] also where the list stays old.
    pub(super) async fn list_transactions(
        &self,
    ) -> Result<(Vec<Transaction>, Vec<StatusRow>), ServerError> {
        for look in 1..=LOOKS_MAX {
            let prepared_too = self.sees_prepared.load(Ordering::Relaxed);
            if let Some((listed, prepared)) = self.list_transactions_now(prepared_too).await? {
                let prepared = if prepared_too { prepared } else { self.list_prepared().await? };
                return Ok((listed, prepared));
            }
            if look < LOOKS_MAX {
                sleep(TRANSACTIONS_FRESH_AFTER).await;
            }
        }
        let reason = "the list is an old one: something reads information_schema.innodb_trx more often than every 100 ms, so \
                      that the server never makes a new one. Let that (a monitoring agent?) ask less often";
        Err(self.login.error(DOING, reason, Effect::Refused))
    }

    /// Prepared XA transactions, as far as they may be seen.
    pub(super) async fn list_prepared(&self) -> Result<Vec<StatusRow>, ServerError> {
        let answer = self.control.rows("list prepared XA transactions", PREPARED).await;
        self.sees_prepared.store(answer.is_ok(), Ordering::Relaxed);
        as_far_as_seen(answer)
    }

    /// Nothing where the list was made for a look before. The prepared ones with it where they may be seen: a round trip less, and users
    /// wait for it.
    async fn list_transactions_now(
        &self,
        prepared_too: bool,
    ) -> Result<Option<(Vec<Transaction>, Vec<StatusRow>)>, ServerError> {
        let look = format!("look {}", self.looks.fetch_add(1, Ordering::Relaxed));
        let list = format!(
            "SELECT /* {look} */ trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()), trx_rows_modified, \
             COALESCE(trx_query, ''), trx_mysql_thread_id = CONNECTION_ID() FROM information_schema.innodb_trx \
             WHERE trx_mysql_thread_id <> 0 ORDER BY 5 DESC LIMIT {SESSIONS_MAX}"
        );
        let last = if prepared_too { PREPARED } else { NOTHING };
        let sets = self.control.sets(DOING, &[OPEN, &list, CLOSE, last]).await;
        if sets.is_err() {
            // It may be this that may not be seen any more.
            self.sees_prepared.store(false, Ordering::Relaxed);
        }
        let mut sets = sets?;
        let prepared = sets.pop().unwrap_or_default();
        let rows = sets.get(1).map(Vec::as_slice).unwrap_or_default();
        let (own, others): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.at(4) == Some("1"));
        let is_fresh = own.iter().any(|row| row.at(3).is_some_and(|text| text.contains(&look)));
        let listed = || others.into_iter().filter_map(transaction_of).collect();
        Ok(is_fresh.then(|| (listed(), prepared)))
    }
}

/// Of a row of what [`PREPARED`] lists.
pub(super) fn prepared_id(row: &StatusRow) -> Option<&str> {
    row.get(&["data"])
}

/// Of what [`PREPARED`] lists.
pub(super) fn prepared_blockers(rows: &[StatusRow]) -> impl Iterator<Item = Blocker> {
    rows.iter().filter_map(prepared_id).map(|id| Blocker {
        session: 0,
        user: String::new(),
        host: String::new(),
        age_s: 0,
        rows: None,
        what: format!("the prepared XA transaction {id}, which can commit through a fence"),
    })
}

fn transaction_of(row: &StatusRow) -> Option<Transaction> {
    Some(Transaction {
        session: row.at(0)?.parse().ok()?,
        age_s: row.at(1).and_then(|age| age.parse().ok()).unwrap_or(0),
        rows: row.at(2).and_then(|rows| rows.parse().ok()),
        statement: row.at(3).filter(|text| !text.is_empty()).map(str::to_owned),
    })
}
