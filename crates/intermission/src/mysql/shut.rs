//! What keeps administrators from committing behind the fence, and what could pass it all the same.
//!
//! MariaDB's `read_only` lets whoever has READ_ONLY ADMIN write (MYSQL.md §3), and such an account can log in at any time.
//! `FLUSH TABLES WITH READ LOCK` lets nobody commit, on 10.11 and 11.8 without waiting for reads (measured): the fence takes
//! it before the switch, on the session with the advisory lock, and it lasts until replication has to commit there.
//! MySQL's `super_read_only` is for administrators too, but an XA transaction that has written can be prepared and committed
//! behind it (measured on 9.7).

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    acting::LOCK,
    dialect::Dialect,
    farewell::is_spared,
    observe::access_of,
    privilege::as_far_as_seen,
    row::StatusRow,
    server::MySqlServer,
    transactions::{PREPARED, prepared_blockers},
};
use crate::swap::{
    observation::{Blocker, Flavor},
    server::ServerError,
};

/// How long sessions that wait behind the lock may take to end. MariaDB's end in a millisecond (measured).
const WRITERS_END_WITHIN: Duration = Duration::from_secs(2);
/// How often they are looked for meanwhile.
const WRITERS_POLL: Duration = Duration::from_millis(2);
/// What MariaDB says of a session that waits for the lock, before it writes or when it commits (measured on 10.11 and 11.8).
const WAITS: &str = "Waiting for backup lock";

/// Transactions between XA START and XA PREPARE. Prepared ones stay listed here when they are long over (measured on 9.7).
const XA_UNPREPARED: &str = "SELECT t.processlist_id, t.processlist_user, t.processlist_host \
     FROM performance_schema.events_transactions_current e JOIN performance_schema.threads t USING (thread_id) \
     WHERE e.state = 'ACTIVE' AND e.xa_state IN ('ACTIVE', 'IDLE') AND t.processlist_id IS NOT NULL LIMIT 100";

impl Dialect {
    /// Keeps everybody from committing until [`UNSHUT`] or the end of the session. It closes all tables, for about 5 µs each
    /// (measured).
    pub(super) const fn shut(self) -> Option<&'static str> {
        match self.0 {
            Flavor::MariaDb => Some("FLUSH TABLES WITH READ LOCK"),
            Flavor::MySql => None,
        }
    }

    /// As [`Dialect::look`], and then the session that has the advisory lock.
    pub(super) fn look_at_shut(self) -> String {
        format!("{}, IS_USED_LOCK('{LOCK}')", self.look())
    }
}

const UNSHUT: &str = "UNLOCK TABLES";

impl MySqlServer {
    /// Whether nobody can commit, of an answer to [`Dialect::look_at_shut`].
    pub(super) fn is_shut(&self, dialect: Dialect, row: &StatusRow) -> bool {
        match dialect.0 {
            Flavor::MariaDb => {
                let holder = row.at(3).and_then(|id| id.parse::<u32>().ok());
                let own = self.shut_by.load(Ordering::Acquire);
                own != 0 && holder == Some(own)
            }
            Flavor::MySql => access_of(row).super_read_only,
        }
    }

    /// Lets everybody commit again whom the switches do not keep from it.
    pub(super) async fn unshut(&self) -> Result<(), ServerError> {
        if self.shut_by.load(Ordering::Acquire) != 0 {
            // On a session that was opened since it does nothing, and the lock is gone with the one that had it.
            self.set("let commits go on", UNSHUT).await?;
            self.shut_by.store(0, Ordering::Release);
        }
        Ok(())
    }

    pub(super) async fn read_passing(&self) -> Result<Vec<Blocker>, ServerError> {
        // First what is not prepared yet: it may be the moment after.
        let lists: &[_] = match self.dialect().await?.0 {
            Flavor::MySql => &[XA_UNPREPARED, PREPARED],
            Flavor::MariaDb => &[PREPARED],
        };
        let mut passing = Vec::new();
        let answers = self.control.each("list XA transactions", lists).await;
        for (list, answer) in lists.iter().zip(answers) {
            let rows = as_far_as_seen(answer)?;
            if *list == PREPARED {
                passing.extend(prepared_blockers(&rows));
            } else {
                passing.extend(rows.iter().filter_map(unprepared));
            }
        }
        Ok(passing)
    }

    /// Ends who waits for the lock, then gives it back: a writer that is let go on would commit what no other server has.
    pub(super) async fn end_waiting_writers(&self) -> Result<(), ServerError> {
        if self.shut_by.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let deadline = Instant::now() + WRITERS_END_WITHIN;
        loop {
            let waiting = self.waiting_writers().await?;
            if waiting.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                // Should one of them commit, the divergence is found right after this.
                tracing::warn!(sessions = ?waiting, "still waiting to write behind the fence");
                break;
            }
            self.end_all(&waiting).await?;
            sleep(WRITERS_POLL).await;
        }
        self.unshut().await
    }

    async fn waiting_writers(&self) -> Result<Vec<u64>, ServerError> {
        let rows = self.control.rows("list sessions", "SHOW PROCESSLIST").await?;
        Ok(rows
            .iter()
            .filter(|row| row.get(&["State"]) == Some(WAITS) && !is_spared(row))
            .filter_map(|row| row.number(&["Id"]))
            .collect())
    }
}

fn unprepared(row: &StatusRow) -> Option<Blocker> {
    Some(Blocker {
        session: row.at(0)?.parse().ok()?,
        user: row.at(1).unwrap_or_default().to_owned(),
        host: row.at(2).unwrap_or_default().to_owned(),
        age_s: 0,
        rows: None,
        what: "an XA transaction, which can be prepared and committed through a fence".to_owned(),
    })
}
