//! Where a server stands in the stream of replication, and the wait until it has come somewhere.

use std::time::{Duration, Instant};

use super::{observe::access_of, row::StatusRow, server::MySqlServer};
use crate::swap::{
    observation::Flavor,
    position::{Barrier, Coordinates, Tracking},
    server::{Look, Server, ServerError},
};

/// What an answer may take beyond the bound the server itself was told.
const ANSWER_SLACK: Duration = Duration::from_millis(500);

impl MySqlServer {
    pub(super) async fn read_look(&self, by: Tracking) -> Result<Look, ServerError> {
        const DOING: &str = "read its last transaction";
        let dialect = self.dialect().await?;
        let empty = || self.unreadable(DOING, "an empty answer");
        match by {
            Tracking::Gtid => {
                let rows = self.control.rows(DOING, &dialect.look_at_shut()).await?;
                let row = rows.first().ok_or_else(empty)?;
                let set = self.parse_set(dialect, DOING, row.at(2).unwrap_or_default())?;
                let is_shut = self.is_shut(dialect, row);
                Ok(Look { access: access_of(row), is_shut, barrier: Barrier::Gtid(set) })
            }
            Tracking::Coordinates => {
                // The switches first: what they say was so before the end was read.
                let statements = [dialect.access(), dialect.binlog_status(self.known_version())];
                let sets = self.control.sets(DOING, &statements).await?;
                let [access, end] = sets.as_slice() else { return Err(empty()) };
                let row = access.first().ok_or_else(empty)?;
                let (access, is_shut) = (access_of(row), self.is_shut(dialect, row));
                let end = self.end_of(DOING, end)?;
                Ok(Look { access, is_shut, barrier: Barrier::At(end) })
            }
        }
    }

    pub(super) async fn read_coordinates(&self) -> Result<Coordinates, ServerError> {
        const DOING: &str = "read where its binary log ends";
        let dialect = self.dialect().await?;
        let rows = self.control.rows(DOING, dialect.binlog_status(self.known_version())).await?;
        self.end_of(DOING, &rows)
    }

    fn known_version(&self) -> &str {
        self.version.get().map(String::as_str).unwrap_or_default()
    }

    fn end_of(&self, doing: &str, rows: &[StatusRow]) -> Result<Coordinates, ServerError> {
        let row = rows.first();
        let end = row.and_then(|row| {
            Some(Coordinates { file: row.text(&["File"])?, offset: row.number(&["Position"])? })
        });
        end.ok_or_else(|| self.unreadable(doing, "no file and position"))
    }

    pub(super) async fn wait_for(
        &self,
        barrier: &Barrier,
        channel: &str,
        bound: Duration,
    ) -> Result<bool, ServerError> {
        let dialect = self.dialect().await?;
        let seconds = bound.as_secs_f64();
        let sql = match barrier {
            Barrier::Gtid(set) => dialect.wait(&set.to_string(), seconds),
            Barrier::At(place) => dialect.wait_at(place, channel, seconds),
        };
        let began = Instant::now();
        let rows = self.act("wait for the last transaction", &sql, bound + ANSWER_SLACK).await?;
        let answer =
            rows.first().and_then(|row| row.at(0)).and_then(|text| text.parse::<i64>().ok());
        tracing::debug!(took = ?began.elapsed(), ?answer, "waited for the barrier");
        match (barrier, dialect.0) {
            (Barrier::Gtid(_), Flavor::MySql) => Ok(answer == Some(0)),
            // Its function compares sequence numbers only: the set decides, server id included.
            (Barrier::Gtid(set), Flavor::MariaDb) => {
                Ok(answer == Some(0) && self.executed().await?.contains(set))
            }
            // How many events it waited for.
            (Barrier::At(_), Flavor::MySql | Flavor::MariaDb) => Ok(answer.is_some_and(|n| n >= 0)),
        }
    }
}
