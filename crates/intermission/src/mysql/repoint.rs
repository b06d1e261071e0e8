//! A channel of a replica led to another source.
//!
//! Both servers keep user, password, TLS, filters, delay and the use of GTIDs when only host and port are given, and throw
//! away what is not applied yet, to fetch it anew; only the heartbeat's period goes back to its default (measured), so it is
//! given too.

use super::{
    dialect::{Dialect, literal},
    server::{MySqlServer, REPLICATION_BOUND},
};
use crate::swap::{
    observation::{Flavor, ReplicaView, ThreadState},
    position::Position,
    server::ServerError,
    sibling::{Repoint, Threads},
};

impl MySqlServer {
    pub(super) async fn lead_channel(&self, to: &Repoint) -> Result<(), ServerError> {
        const DOING: &str = "lead it to its new source";
        let channels = self.read_channels().await?;
        let Some(now) = channels.iter().find(|channel| channel.channel == to.channel) else {
            let reason = format!("it has no channel {:?} any more", to.channel);
            return Err(self.login.error(DOING, reason, crate::swap::server::Effect::Refused));
        };
        if now.source == to.source && runs(now, to.run) {
            return Ok(());
        }
        let dialect = self.dialect().await?;
        // Led already: coordinates are of the first time, and what came since would come again.
        if now.source == to.source && to.position != Position::Gtid {
            for sql in restart(dialect.0, to) {
                self.act(DOING, &sql, REPLICATION_BOUND).await?;
            }
            return Ok(());
        }
        let heartbeat = self.heartbeat(&to.channel).await;
        // Never in one: what a dead process has sent may come late, and a server does not change a channel that runs. So it stands where
        // it stood when its place was looked up, or nothing happens.
        for sql in statements(dialect.0, to, heartbeat.as_deref()) {
            self.act(DOING, &sql, REPLICATION_BOUND).await?;
        }
        Ok(())
    }

    /// Seconds, as the server prints them; none where it may not be read: then it goes back to its default.
    async fn heartbeat(&self, channel: &str) -> Option<String> {
        let (sql, column) = match self.flavor.get()? {
            Flavor::MariaDb => ("SHOW ALL SLAVES STATUS".to_owned(), "Slave_heartbeat_period"),
            Flavor::MySql => (
                format!(
                    "SELECT HEARTBEAT_INTERVAL FROM performance_schema.replication_connection_configuration \
                     WHERE CHANNEL_NAME = {}",
                    literal(channel)
                ),
                "HEARTBEAT_INTERVAL",
            ),
        };
        let rows = self.control.rows("read its heartbeat period", &sql).await.ok()?;
        let is_it = |row: &&super::row::StatusRow| {
            row.get(&["Connection_name"]).is_none_or(|name| name == channel)
        };
        let period = rows.iter().find(is_it)?.text(&[column])?;
        period.parse::<f64>().ok().map(|_| period)
    }
}

fn runs(channel: &ReplicaView, wanted: Threads) -> bool {
    let receives = channel.io == ThreadState::Yes;
    let applies = channel.sql == ThreadState::Yes;
    (receives || !wanted.receiver) && (applies || !wanted.applier)
}

/// Stops a channel and starts of it what is to run.
fn restart(flavor: Flavor, to: &Repoint) -> Vec<String> {
    let all = statements(flavor, to, None);
    let changes = |sql: &&String| sql.starts_with("CHANGE ");
    all.iter().filter(|sql| !changes(sql)).cloned().collect()
}

/// A channel is always named: without a name MySQL would stop all of them.
pub(super) fn statements(flavor: Flavor, to: &Repoint, heartbeat: Option<&str>) -> Vec<String> {
    let Repoint { channel, source, position, run } = to;
    let (channel, host, port) = (literal(channel), literal(&source.host), source.port);
    let thread = match run {
        Threads { receiver: true, applier: true } => Some(""),
        Threads { receiver: true, applier: false } => Some(" IO_THREAD"),
        Threads { receiver: false, applier: true } => Some(" SQL_THREAD"),
        Threads { receiver: false, applier: false } => None,
    };
    let beat = |key: &str| heartbeat.map_or_else(String::new, |period| format!(", {key}={period}"));
    let [stop, change] = match flavor {
        Flavor::MariaDb => {
            let go_on = match position {
                // What it uses of `slave_pos` and `current_pos` stays as it is.
                Position::Gtid => String::new(),
                Position::At(_) => format!(", {}", Dialect(flavor).go_on(position)),
            };
            [
                format!("STOP SLAVE {channel}"),
                format!(
                    "CHANGE MASTER {channel} TO MASTER_HOST={host}, MASTER_PORT={port}{go_on}{}",
                    beat("MASTER_HEARTBEAT_PERIOD")
                ),
            ]
        }
        Flavor::MySql => [
            format!("STOP REPLICA FOR CHANNEL {channel}"),
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST={host}, SOURCE_PORT={port}, {}{} FOR CHANNEL {channel}",
                Dialect(flavor).go_on(position),
                beat("SOURCE_HEARTBEAT_PERIOD")
            ),
        ],
    };
    let start = thread.map(|thread| match flavor {
        Flavor::MariaDb => format!("START SLAVE {channel}{thread}"),
        Flavor::MySql => format!("START REPLICA{thread} FOR CHANNEL {channel}"),
    });
    [stop, change].into_iter().chain(start).collect()
}

#[cfg(test)]
mod tests {
    use super::statements;
    use crate::swap::{
        observation::{Address, Flavor},
        position::{Coordinates, Position},
        sibling::{Repoint, Threads},
    };

    fn to(channel: &str, run: Threads) -> Repoint {
        let source = Address { host: "db2".to_owned(), port: 3307 };
        Repoint { channel: channel.to_owned(), source, position: Position::Gtid, run }
    }

    #[test]
    fn coordinates_are_given_once() {
        for (flavor, place) in [
            (
                Flavor::MySql,
                "SOURCE_LOG_FILE='bin.000007', SOURCE_LOG_POS=42, SOURCE_AUTO_POSITION=0",
            ),
            (
                Flavor::MariaDb,
                "MASTER_LOG_FILE='bin.000007', MASTER_LOG_POS=42, MASTER_USE_GTID=no",
            ),
        ] {
            let end = Coordinates { file: "bin.000007".to_owned(), offset: 42 };
            let to = Repoint { position: Position::At(end), ..to("", Threads::BOTH) };
            let said = statements(flavor, &to, None);
            assert!(said[1].starts_with("CHANGE") && said[1].contains(place), "{said:?}");
            let again = super::restart(flavor, &to);
            assert_eq!(again, [said[0].clone(), said[2].clone()]);
        }
    }

    #[test]
    fn only_its_own_channel_is_led_and_only_what_ran_is_started() {
        assert_eq!(
            statements(Flavor::MySql, &to("", Threads::BOTH), Some("3.000")),
            [
                "STOP REPLICA FOR CHANNEL ''",
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='db2', SOURCE_PORT=3307, SOURCE_AUTO_POSITION=1, \
                 SOURCE_HEARTBEAT_PERIOD=3.000 FOR CHANNEL ''",
                "START REPLICA FOR CHANNEL ''",
            ]
        );
        let receiver = Threads { receiver: true, applier: false };
        assert_eq!(
            statements(Flavor::MariaDb, &to("shop's", receiver), None),
            [
                r"STOP SLAVE 'shop\'s'",
                r"CHANGE MASTER 'shop\'s' TO MASTER_HOST='db2', MASTER_PORT=3307",
                r"START SLAVE 'shop\'s' IO_THREAD",
            ]
        );
        let neither = Threads { receiver: false, applier: false };
        assert_eq!(statements(Flavor::MySql, &to("", neither), None).len(), 2);
    }
}
