//! The words of each server (MYSQL.md §2), so that the rest reads the same for both.

use super::row::StatusRow;
use crate::swap::{
    condition::ChannelTls,
    observation::{Access, Address, Flavor},
    position::{Coordinates, Position},
    version::Version,
};

/// The channel name of the privilege probes: no server has it, so only the privilege is tried.
const PROBE: &str = "intermission_probe";

/// The one option of a channel's encryption that is not called SSL.
const TLS_VERSION: &str = "TLS_VERSION";

/// The statements of one flavor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect(pub(super) Flavor);

/// A privilege, a statement that needs it and changes nothing, and the error numbers that say "allowed, but there is
/// no such channel". None where success is the only good answer.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) privilege: &'static str,
    pub(super) sql: String,
    pub(super) allowed: &'static [u16],
}

/// `version` is `@@version`.
pub(super) fn flavor_of(version: &str) -> Flavor {
    if version.to_ascii_lowercase().contains("mariadb") { Flavor::MariaDb } else { Flavor::MySql }
}

impl Dialect {
    /// One row: server id, uuid, read_only, super_read_only, GTIDs on, binary log on, replica updates logged,
    /// executed set, applied set, purged set, the applier's checkpoint period in milliseconds.
    pub(super) const fn identity(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => {
                "SELECT @@server_id, NULL, @@global.read_only, 0, 1, @@global.log_bin, \
                 @@global.log_slave_updates, @@global.gtid_binlog_state, @@global.gtid_current_pos, NULL, NULL"
            }
            Flavor::MySql => {
                "SELECT @@server_id, @@server_uuid, @@global.read_only, @@global.super_read_only, \
                 @@global.gtid_mode = 'ON', @@global.log_bin, @@global.log_replica_updates, @@global.gtid_executed, \
                 @@global.gtid_executed, @@global.gtid_purged, @@global.replica_checkpoint_period"
            }
        }
    }

    pub(super) const fn access(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => "SELECT @@global.read_only, 0",
            Flavor::MySql => "SELECT @@global.read_only, @@global.super_read_only",
        }
    }

    pub(super) const fn executed(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => "SELECT @@global.gtid_binlog_state",
            Flavor::MySql => "SELECT @@global.gtid_executed",
        }
    }

    /// As [`Dialect::access`], and the exact last transaction in the form the wait function takes.
    pub(super) const fn look(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => "SELECT @@global.read_only, 0, @@global.gtid_binlog_pos",
            Flavor::MySql => {
                "SELECT @@global.read_only, @@global.super_read_only, @@global.gtid_executed"
            }
        }
    }

    /// Answers 0 when applied.
    pub(super) fn wait(self, barrier: &str, seconds: f64) -> String {
        match self.0 {
            Flavor::MariaDb => format!("SELECT MASTER_GTID_WAIT('{barrier}', {seconds:.3})"),
            Flavor::MySql => {
                format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{barrier}', {seconds:.3})")
            }
        }
    }

    /// NULL where the applier does not run, negative when the time is over. MariaDB is never asked: it has GTIDs always.
    pub(super) fn wait_at(self, place: &Coordinates, channel: &str, seconds: f64) -> String {
        let function = match self.0 {
            Flavor::MariaDb => "MASTER_POS_WAIT",
            Flavor::MySql => "SOURCE_POS_WAIT",
        };
        let (file, channel) = (literal(&place.file), literal(channel));
        format!("SELECT {function}({file}, {}, {seconds:.3}, {channel})", place.offset)
    }

    pub(super) const fn channels(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => "SHOW ALL SLAVES STATUS",
            Flavor::MySql => "SHOW REPLICA STATUS",
        }
    }

    /// File and position of its own binary log, and what is left out of it.
    pub(super) fn binlog_status(self, version: &str) -> &'static str {
        let knows = Version::parse(version).is_none_or(Version::has_binary_log_status);
        match self.0 {
            Flavor::MySql if knows => "SHOW BINARY LOG STATUS",
            Flavor::MySql | Flavor::MariaDb => "SHOW MASTER STATUS",
        }
    }

    pub(super) const fn fence(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => "SET GLOBAL read_only=1",
            Flavor::MySql => "SET GLOBAL super_read_only=1",
        }
    }

    /// MySQL: `read_only=0` clears both switches.
    pub(super) const fn open(self) -> &'static str {
        "SET GLOBAL read_only=0"
    }

    /// The same without us: on MariaDB a session of ours may keep everybody from committing.
    pub(super) const fn open_by_hand(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => {
                "EXECUTE IMMEDIATE COALESCE(CONCAT('KILL ', IS_USED_LOCK('intermission')), 'DO 0'); \
                 SET GLOBAL read_only=0"
            }
            Flavor::MySql => self.open(),
        }
    }

    /// Sets the switches to what was recorded.
    pub(super) fn restore(self, access: Access) -> String {
        let bit = u8::from;
        match self.0 {
            Flavor::MariaDb => format!("SET GLOBAL read_only={}", bit(access.read_only)),
            Flavor::MySql => format!(
                "SET GLOBAL super_read_only={}, GLOBAL read_only={}",
                bit(access.super_read_only),
                bit(access.read_only)
            ),
        }
    }

    /// The statements after which a restart leaves a read-only server so, or brings it up as its option file says.
    /// MariaDB 10.11 keeps no setting over a restart (MYSQL.md §2). Both switches, as `read_only` may be persisted too.
    pub(super) const fn persist(self, read_only: bool) -> &'static [&'static str] {
        match (self.0, read_only) {
            (Flavor::MariaDb, _) => &[],
            (Flavor::MySql, true) => &["SET PERSIST read_only=ON, PERSIST super_read_only=ON"],
            (Flavor::MySql, false) => {
                &["RESET PERSIST IF EXISTS super_read_only", "RESET PERSIST IF EXISTS read_only"]
            }
        }
    }

    pub(super) const fn stop(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => "STOP SLAVE",
            Flavor::MySql => "STOP REPLICA",
        }
    }

    /// What stops a channel and forgets it. Without its name MariaDB does so with the unnamed one only.
    pub(super) fn detach(self, channel: &str) -> [String; 2] {
        let name = literal(channel);
        match self.0 {
            Flavor::MariaDb => [format!("STOP SLAVE {name}"), format!("RESET SLAVE {name} ALL")],
            Flavor::MySql => ["STOP REPLICA".to_owned(), "RESET REPLICA ALL".to_owned()],
        }
    }

    /// What is said of a channel's encryption, whatever the server's default is: MySQL 9.7 and MariaDB from 11.4 encrypt,
    /// older ones do not (MYSQL.md §1, §6). MariaDB's `RESET SLAVE ALL` keeps the files of the channel before, so those
    /// that are not set are said to be none (measured on 10.11 and 11.8). Begins with a comma.
    fn encryption(self, tls: &ChannelTls) -> String {
        let side = match self.0 {
            Flavor::MariaDb => "MASTER",
            Flavor::MySql => "SOURCE",
        };
        let bit = u8::from;
        let mut said = format!(
            ", {side}_SSL={}, {side}_SSL_VERIFY_SERVER_CERT={}",
            bit(tls.on),
            bit(tls.on && tls.verify)
        );
        for option in ChannelTls::OPTIONS {
            // MariaDB has no TLS_VERSION.
            let is_kept = self.0 == Flavor::MariaDb && option != TLS_VERSION;
            let unset = is_kept.then_some("");
            if let Some(value) = tls.options.get(option).map(String::as_str).or(unset) {
                let infix = if option == TLS_VERSION { "" } else { "SSL_" };
                said.push_str(&format!(", {side}_{infix}{option}={}", literal(value)));
            }
        }
        said
    }

    /// Where a channel goes on, in the words of CHANGE.
    pub(super) fn go_on(self, from: &Position) -> String {
        match (self.0, from) {
            (Flavor::MariaDb, Position::Gtid) => "MASTER_USE_GTID=slave_pos".to_owned(),
            (Flavor::MySql, Position::Gtid) => "SOURCE_AUTO_POSITION=1".to_owned(),
            (Flavor::MariaDb, Position::At(Coordinates { file, offset })) => format!(
                "MASTER_LOG_FILE={}, MASTER_LOG_POS={offset}, MASTER_USE_GTID=no",
                literal(file)
            ),
            (Flavor::MySql, Position::At(Coordinates { file, offset })) => format!(
                "SOURCE_LOG_FILE={}, SOURCE_LOG_POS={offset}, SOURCE_AUTO_POSITION=0",
                literal(file)
            ),
        }
    }

    pub(super) const fn start(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => "START SLAVE",
            Flavor::MySql => "START REPLICA",
        }
    }

    /// The statements that make a server a replica. They hold the password: they must never be shown.
    pub(super) fn follow(
        self,
        source: &Address,
        user: &str,
        password: &str,
        tls: &ChannelTls,
        from: &Position,
    ) -> Vec<String> {
        let encryption = self.encryption(tls);
        let (host, port) = (literal(&source.host), source.port);
        let (user, password) = (literal(user), literal(password));
        match self.0 {
            // `gtid_slave_pos` of a former primary is stale (MYSQL.md §6).
            Flavor::MariaDb => vec![
                "SET GLOBAL gtid_slave_pos=@@global.gtid_binlog_pos".to_owned(),
                format!(
                    "CHANGE MASTER TO MASTER_HOST={host}, MASTER_PORT={port}, MASTER_USER={user}, \
                     MASTER_PASSWORD={password}, {}{encryption}",
                    self.go_on(from)
                ),
                self.start().to_owned(),
            ],
            // Without the public key a login fails again after FLUSH PRIVILEGES on the source (MYSQL.md §6).
            Flavor::MySql => vec![
                format!(
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST={host}, SOURCE_PORT={port}, SOURCE_USER={user}, \
                     SOURCE_PASSWORD={password}, {}, GET_SOURCE_PUBLIC_KEY=1{encryption}",
                    self.go_on(from)
                ),
                self.start().to_owned(),
            ],
        }
    }

    /// The right to end other accounts' sessions.
    pub(super) const fn connection_admin(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => "CONNECTION ADMIN",
            Flavor::MySql => "CONNECTION_ADMIN",
        }
    }

    /// A statement of the replication account's that tells whether it may replicate. MariaDB has none that needs just
    /// this privilege: there the grants themselves have to do.
    pub(super) const fn try_replicating(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => "SHOW GRANTS",
            Flavor::MySql => "SHOW REPLICAS",
        }
    }

    /// What the answer to [`Self::try_replicating`] lacks.
    pub(super) fn lacks_replicating(self, rows: &[StatusRow]) -> Option<String> {
        let may = |grant: &str| {
            let privileges =
                grant.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" ON *.*"));
            privileges.is_some_and(|(list, _)| {
                list.split(", ").any(|one| one == "REPLICATION SLAVE" || one == "ALL PRIVILEGES")
            })
        };
        match self.0 {
            Flavor::MariaDb if rows.iter().filter_map(|row| row.at(0)).any(may) => None,
            Flavor::MariaDb => Some("it has no REPLICATION SLAVE on *.*".to_owned()),
            Flavor::MySql => None,
        }
    }

    /// Every privilege a swap needs that can be tried without an effect.
    pub(super) fn probes(self) -> Vec<Probe> {
        /// "There is no master connection of that name."
        const NO_CONNECTION: &[u16] = &[1617];
        /// "Replica channel does not exist", and "Replica is not configured".
        const NO_CHANNEL: &[u16] = &[3074, 1794];
        let probe = |privilege, sql: String, allowed| Probe { privilege, sql, allowed };
        let transactions = "SELECT 1 FROM information_schema.innodb_trx LIMIT 1".to_owned();
        // Events of schemas where the privilege lacks are not listed, which looks as if there were none.
        let events = "SHOW EVENTS FROM mysql".to_owned();
        // STOP of a channel that does not exist is answered before the privilege is looked at, on both servers.
        match self.0 {
            Flavor::MariaDb => vec![
                probe("READ_ONLY ADMIN", "SET GLOBAL read_only=@@global.read_only".to_owned(), &[]),
                probe(
                    "REPLICATION SLAVE ADMIN",
                    "SET GLOBAL slave_net_timeout=@@global.slave_net_timeout".to_owned(),
                    &[],
                ),
                probe("RELOAD", format!("RESET SLAVE '{PROBE}' ALL"), NO_CONNECTION),
                probe("SLAVE MONITOR", "SHOW ALL SLAVES STATUS".to_owned(), &[]),
                probe(
                    "REPLICATION MASTER ADMIN",
                    "SET GLOBAL rpl_semi_sync_master_enabled=@@global.rpl_semi_sync_master_enabled"
                        .to_owned(),
                    &[],
                ),
                probe("EVENT", events.clone(), &[]),
                probe("PROCESS", transactions, &[]),
            ],
            Flavor::MySql => vec![
                probe(
                    "SYSTEM_VARIABLES_ADMIN",
                    "SET GLOBAL super_read_only=@@global.super_read_only".to_owned(),
                    &[],
                ),
                probe(
                    "REPLICATION_SLAVE_ADMIN",
                    format!("CHANGE REPLICATION FILTER REPLICATE_DO_DB=() FOR CHANNEL '{PROBE}'"),
                    NO_CHANNEL,
                ),
                probe("RELOAD", format!("RESET REPLICA ALL FOR CHANNEL '{PROBE}'"), NO_CHANNEL),
                probe("REPLICATION CLIENT", "SHOW REPLICA STATUS".to_owned(), &[]),
                probe("PROCESS", transactions, &[]),
                probe("XA_RECOVER_ADMIN", "XA RECOVER".to_owned(), &[]),
                probe("EVENT", events.clone(), &[]),
                probe(
                    "SELECT ON performance_schema.*",
                    "SELECT 1 FROM performance_schema.metadata_locks LIMIT 0".to_owned(),
                    &[],
                ),
            ],
        }
    }

    /// Sessions that hold a lock the fence waits for, where the server can tell (MYSQL.md §3).
    pub(super) const fn lock_holders(self) -> Option<&'static str> {
        match self.0 {
            Flavor::MariaDb => None,
            Flavor::MySql => Some(
                "SELECT DISTINCT t.processlist_id, CONCAT_WS(' ', m.lock_type, 'on', m.object_type, m.object_schema, \
                 m.object_name) FROM performance_schema.metadata_locks m JOIN performance_schema.threads t \
                 ON t.thread_id = m.owner_thread_id WHERE m.lock_status = 'GRANTED' AND t.processlist_id IS NOT NULL \
                 AND ((m.object_type = 'TABLE' AND m.lock_type = 'SHARED_NO_READ_WRITE') \
                 OR (m.object_type IN ('GLOBAL', 'COMMIT', 'BACKUP LOCK') AND m.lock_type = 'SHARED')) LIMIT 100",
            ),
        }
    }

    pub(super) const fn show_status(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => "SELECT @@read_only; SHOW SLAVE STATUS",
            Flavor::MySql => "SELECT @@read_only, @@super_read_only; SHOW REPLICA STATUS",
        }
    }
}

/// A string literal. The sessions that use it have an empty `sql_mode`, so the backslash escapes.
pub(super) fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            '\0' => quoted.push_str("\\0"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

/// A name in backquotes.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests;
