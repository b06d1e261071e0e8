//! Reading a server: identity, roles, positions, and who would block a fence.

use std::collections::BTreeMap;

use super::{
    channel::channel_of,
    condition::link_of,
    dialect::{Dialect, literal},
    privilege::as_far_as_seen,
    row::StatusRow,
    server::MySqlServer,
    transactions::{Transaction, prepared_blockers, prepared_id},
};
use crate::swap::{
    condition::Condition,
    gtid::GtidSet,
    observation::{Access, Blocker, Denied, Flavor, ServerView},
    role::EventsView,
    server::{Detail, Effect, ServerError},
};

/// How much of a statement an error shows, in characters.
const STATEMENT_SHOWN: usize = 120;

/// How both servers' manuals and measurement name the state of a commit that waits for a replica.
const SEMI_SYNC_WAIT: &str = "Waiting for semi-sync ACK";

const SEMI_SYNC_BLOCKER: &str = "its commit waits for a replica's acknowledgement (semi-sync)";

/// Statements that take locks a fence waits for. Reads never do (MYSQL.md §3).
const WRITING: [&str; 15] = [
    "ALTER", "CALL", "CREATE", "DELETE", "DROP", "INSERT", "LOAD", "LOCK", "OPTIMIZE", "RENAME",
    "REPAIR", "REPLACE", "TRUNCATE", "UPDATE", "XA",
];

impl MySqlServer {
    pub(super) async fn view(&self, detail: Detail) -> Result<ServerView, ServerError> {
        let dialect = self.dialect().await?;
        let doing = "read its state";
        let version = self.control.rows(doing, "SELECT @@version").await?;
        let version = version.first().and_then(|row| row.at(0)).unwrap_or_default().to_owned();
        let bare = ServerView::too_old(dialect.0, version.clone());
        if bare.is_too_old() {
            return Ok(bare);
        }
        let rows = self.control.rows(doing, dialect.identity()).await?;
        let row = rows.first().ok_or_else(|| self.unreadable(doing, "an empty answer"))?;
        let mut view = ServerView {
            flavor: dialect.0,
            version,
            server_id: row
                .at(0)
                .and_then(|id| id.parse().ok())
                .ok_or_else(|| self.unreadable(doing, "a server_id that is no number"))?,
            uuid: row.at(1).map(str::to_owned),
            access: Access { read_only: is_on(row.at(2)), super_read_only: is_on(row.at(3)) },
            gtid_on: is_on(row.at(4)),
            checkpoint_ms: row.at(10).and_then(|ms| ms.parse().ok()),
            binlog_on: is_on(row.at(5)),
            log_replica_updates: is_on(row.at(6)),
            executed: self.parse_set(dialect, doing, row.at(7).unwrap_or_default())?,
            applied: self.parse_set(dialect, doing, row.at(8).unwrap_or_default())?,
            purged: self.parse_set(dialect, doing, row.at(9).unwrap_or_default())?,
            channels: Vec::new(),
            prepared_xa: Vec::new(),
            denied: Vec::new(),
            replication_login: None,
            blockers: Vec::new(),
            missing_database: None,
            role: self.read_role().await?,
            events: EventsView::default(),
            condition: Condition::default(),
        };
        let channels = self.control.rows("read its replication status", dialect.channels()).await;
        let channels = as_far_as_seen(channels)?;
        view.channels = channels.iter().map(channel_of).collect();
        view.condition.links = channels.iter().map(link_of).collect();
        if dialect.0 == Flavor::MariaDb && view.binlog_on {
            view.purged = self.read_purged(dialect).await?;
        }
        if detail == Detail::Preflight {
            self.add_preflight(dialect, &mut view).await?;
        }
        Ok(view)
    }

    async fn add_preflight(
        &self,
        dialect: Dialect,
        view: &mut ServerView,
    ) -> Result<(), ServerError> {
        view.denied = self.denied(dialect, view.access.is_writable()).await?;
        let channel = view.condition.links.first().map(|link| &link.tls);
        view.replication_login =
            self.try_replication_login(dialect, channel, &mut view.denied).await?;
        let is_denied =
            |privilege: &str| view.denied.iter().any(|d: &Denied| d.privilege == privilege);
        let prepared = self.list_prepared().await?;
        view.prepared_xa = prepared.iter().filter_map(prepared_id).map(str::to_owned).collect();
        view.events = self.read_events(dialect, view).await?;
        if let Some(database) = &self.database {
            let sql = format!("SHOW DATABASES WHERE `Database` = {}", literal(database));
            let rows = self.control.rows("look for the application's database", &sql).await?;
            view.missing_database = rows.is_empty().then(|| database.clone());
        }
        if !is_denied("PROCESS") && view.channels.is_empty() {
            let mut blockers = self.read_blockers().await?;
            blockers.retain(|blocker| blocker.age_s >= 1);
            view.blockers = blockers;
        }
        self.add_condition(dialect, view).await;
        Ok(())
    }

    /// MariaDB: the position its oldest binary log begins at. Nothing where it may not be listed, or was purged meanwhile.
    async fn read_purged(&self, dialect: Dialect) -> Result<GtidSet, ServerError> {
        let doing = "read where its binary logs begin";
        let logs = as_far_as_seen(self.control.rows(doing, "SHOW BINARY LOGS").await)?;
        let oldest = logs.first().and_then(|row| row.text(&["Log_name"])).unwrap_or_default();
        // An event of a binary log begins at byte 4 at the earliest.
        self.read_set(doing, &format!("SELECT BINLOG_GTID_POS({}, 4)", literal(&oldest)))
            .await
            .or_else(|_| self.parse_set(dialect, doing, ""))
    }

    pub(super) async fn read_access(&self) -> Result<Access, ServerError> {
        let dialect = self.dialect().await?;
        let doing = "read its read-only switches";
        let rows = self.control.rows(doing, dialect.access()).await?;
        let row = rows.first().ok_or_else(|| self.unreadable(doing, "an empty answer"))?;
        Ok(access_of(row))
    }

    pub(super) async fn read_set(&self, doing: &str, sql: &str) -> Result<GtidSet, ServerError> {
        let dialect = self.dialect().await?;
        let rows = self.control.rows(doing, sql).await?;
        let text = rows.first().and_then(|row| row.at(0)).unwrap_or_default();
        self.parse_set(dialect, doing, text)
    }

    pub(super) fn parse_set(
        &self,
        dialect: Dialect,
        doing: &str,
        text: &str,
    ) -> Result<GtidSet, ServerError> {
        let set = match dialect.0 {
            Flavor::MariaDb => GtidSet::parse_mariadb(text),
            Flavor::MySql => GtidSet::parse_mysql(text),
        };
        set.map_err(|error| self.unreadable(doing, &error.to_string()))
    }

    pub(super) fn unreadable(&self, doing: &str, what: &str) -> ServerError {
        self.login.error(doing, format!("it answered with {what}"), Effect::Unknown)
    }

    /// Application sessions with an open transaction, ours and replication's left out.
    pub(super) async fn read_transactions(&self) -> Result<Vec<Blocker>, ServerError> {
        let (open, prepared) = self.list_transactions().await?;
        let prepared = prepared_blockers(&prepared);
        if open.is_empty() {
            return Ok(prepared.collect());
        }
        let sessions = self.application_sessions().await?;
        Ok(open
            .into_iter()
            .filter_map(|Transaction { session, age_s, rows, statement }| {
                let (user, host) = sessions.get(&session).map(Session::who)?;
                let what = statement.map_or_else(
                    || "an open transaction, idle".to_owned(),
                    |text| format!("a transaction in: {}", shorten(&text)),
                );
                Some(Blocker { session, user, host, age_s, rows, what })
            })
            .chain(prepared)
            .collect())
    }

    /// Open transactions, writing statements and holders of locks the fence would wait for.
    pub(super) async fn read_blockers(&self) -> Result<Vec<Blocker>, ServerError> {
        let dialect = self.dialect().await?;
        let mut blockers = self.read_transactions().await?;
        let sessions = self.application_sessions().await?;
        let awaits = |session| sessions.get(&session).is_some_and(|who| who.awaits_replica);
        // That it is in a transaction too says less.
        blockers.retain(|blocker| !awaits(blocker.session));
        let mut add = |session: u64, who: &Session, what: String| {
            if blockers.iter().all(|known| known.session != session) {
                let (user, host) = who.who();
                blockers.push(Blocker { session, user, host, age_s: who.age_s, rows: None, what });
            }
        };
        if let Some(sql) = dialect.lock_holders() {
            let holders = self.control.rows("list holders of locks", sql).await;
            for row in as_far_as_seen(holders)? {
                if let Some(id) = row.at(0).and_then(|id| id.parse().ok())
                    && let Some(who) = sessions.get(&id)
                {
                    add(id, who, row.at(1).unwrap_or("a lock").to_owned());
                }
            }
        }
        for (id, who) in &sessions {
            if who.awaits_replica {
                add(*id, who, SEMI_SYNC_BLOCKER.to_owned());
            } else if let Some(statement) = who.writing_statement() {
                add(*id, who, format!("running: {}", shorten(statement)));
            }
        }
        Ok(blockers)
    }

    /// Everybody but us and the server's own sessions.
    async fn application_sessions(&self) -> Result<BTreeMap<u64, Session>, ServerError> {
        let rows = self.control.rows("list sessions", "SHOW FULL PROCESSLIST").await?;
        // Asked afterwards: the request above may have opened the very session it lists.
        let own = self.own_ids().await;
        let text = |row: &StatusRow, column| row.get(&[column]).unwrap_or_default().to_owned();
        Ok(rows
            .iter()
            .filter(|row| row.get(&["User"]) != Some("system user"))
            .filter_map(|row| {
                let session = Session {
                    user: text(row, "User"),
                    host: text(row, "Host"),
                    is_running: row.get(&["Command"]) == Some("Query"),
                    awaits_replica: row
                        .get(&["State"])
                        .is_some_and(|s| s.starts_with(SEMI_SYNC_WAIT)),
                    statement: text(row, "Info"),
                    age_s: row.number(&["Time"]).unwrap_or(0),
                };
                Some((row.number(&["Id"])?, session))
            })
            .filter(|(id, _)| !own.contains(id))
            .collect())
    }
}

/// A session of the process list.
#[derive(Debug)]
struct Session {
    user: String,
    host: String,
    is_running: bool,
    /// Its commit waits for a replica's acknowledgement, and the fence would wait for the commit.
    awaits_replica: bool,
    statement: String,
    age_s: u64,
}

impl Session {
    fn who(&self) -> (String, String) {
        (self.user.clone(), self.host.clone())
    }

    fn writing_statement(&self) -> Option<&str> {
        let first = self.statement.split_whitespace().next()?.to_ascii_uppercase();
        (self.is_running && WRITING.contains(&first.as_str())).then_some(self.statement.as_str())
    }
}

/// What a person needs to know a statement by. Its literals may be passwords, or somebody's data.
fn shorten(statement: &str) -> String {
    without_literals(statement)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(STATEMENT_SHOWN)
        .collect()
}

/// Puts an ellipsis for everything between quotes. An unfinished literal, of a statement the server cut, goes too.
fn without_literals(statement: &str) -> String {
    let mut kept = String::with_capacity(statement.len());
    let mut chars = statement.chars();
    while let Some(c) = chars.next() {
        kept.push(c);
        if c != '\'' && c != '"' {
            continue;
        }
        kept.push('…');
        while let Some(inside) = chars.next() {
            if inside == '\\' {
                chars.next();
            } else if inside == c {
                kept.push(c);
                break;
            }
        }
    }
    kept
}

/// The switches, of a row that begins with them.
pub(super) fn access_of(row: &StatusRow) -> Access {
    Access { read_only: is_on(row.at(0)), super_read_only: is_on(row.at(1)) }
}

fn is_on(value: Option<&str>) -> bool {
    value.is_some_and(|text| text == "1" || text.eq_ignore_ascii_case("ON"))
}
