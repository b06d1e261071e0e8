//! Semi-synchronous replication and events: read, and handed over.

use std::time::Duration;

use super::{
    dialect::{Dialect, identifier, literal},
    privilege::UNKNOWN_DATABASE,
    row::StatusRow,
    server::MySqlServer,
};
use crate::swap::{
    observation::{Flavor, ServerView},
    role::{Event, EventsView, RoleSettings, Scheduler, SemiSync},
    server::{Effect, ServerError},
};

/// One more than a swap moves: whoever plans it sees that there are too many.
const EVENTS_READ: usize = 1001;
/// MySQL's source half is turned off only when its receiver of acknowledgements has woken: a second and more were measured.
const SEMI_SYNC_BOUND: Duration = Duration::from_secs(5);
/// "Unknown event."
const UNKNOWN_EVENT: u16 = 1539;
/// Each server's and each version's words; MySQL's plugins before 8.0.26 and MariaDB say master and slave.
const SOURCE: [&str; 2] = ["rpl_semi_sync_source_enabled", "rpl_semi_sync_master_enabled"];
const REPLICA: [&str; 2] = ["rpl_semi_sync_replica_enabled", "rpl_semi_sync_slave_enabled"];
const WAIT_FOR: [&str; 2] =
    ["rpl_semi_sync_source_wait_for_replica_count", "rpl_semi_sync_master_wait_for_slave_count"];
const WAIT_ALONE: [&str; 2] =
    ["rpl_semi_sync_source_wait_no_replica", "rpl_semi_sync_master_wait_no_slave"];
const CLIENTS: [&str; 2] = ["Rpl_semi_sync_source_clients", "Rpl_semi_sync_master_clients"];

const SETTINGS: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name = 'event_scheduler' \
                        OR Variable_name LIKE 'rpl\\_semi\\_sync\\_%'";

/// The settings of a server by name.
struct Settings(Vec<StatusRow>);

impl Settings {
    /// The name that this server has of those, and its value.
    fn find(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        self.0.iter().find_map(|row| {
            let found = row.at(0)?;
            let name = names.iter().find(|name| found.eq_ignore_ascii_case(name))?;
            Some((*name, row.at(1)?))
        })
    }

    fn switch(&self, names: &[&'static str]) -> Option<bool> {
        self.find(names).map(|(_, value)| value == "ON" || value == "1")
    }

    fn number(&self, names: &[&'static str]) -> Option<u64> {
        self.find(names).and_then(|(_, value)| value.parse().ok())
    }
}

impl MySqlServer {
    async fn settings(&self) -> Result<Settings, ServerError> {
        Ok(Settings(self.control.rows("read its settings", SETTINGS).await?))
    }

    pub(super) async fn read_role(&self) -> Result<RoleSettings, ServerError> {
        let settings = self.settings().await?;
        let scheduler = match settings.find(&["event_scheduler"]).map(|(_, value)| value) {
            Some("ON" | "1") => Scheduler::On,
            Some("DISABLED") => Scheduler::Disabled,
            Some(_) | None => Scheduler::Off,
        };
        let semi_sync = SemiSync {
            source: settings.switch(&SOURCE),
            replica: settings.switch(&REPLICA),
            waits_alone: settings.switch(&WAIT_ALONE).unwrap_or(false),
        };
        Ok(RoleSettings { semi_sync, scheduler })
    }

    pub(super) async fn read_enabled_events(&self) -> Result<Vec<Event>, ServerError> {
        let sql = format!(
            "SELECT event_schema, event_name, definer FROM information_schema.events WHERE status = 'ENABLED' \
             ORDER BY event_schema, event_name LIMIT {EVENTS_READ}"
        );
        let rows = self.control.rows("list its events", &sql).await?;
        let text = |row: &StatusRow, at| row.at(at).unwrap_or_default().to_owned();
        Ok(rows
            .iter()
            .map(|row| Event { schema: text(row, 0), name: text(row, 1), definer: text(row, 2) })
            .collect())
    }

    /// The events that are enabled, and whether our account could switch them on elsewhere. Only where it may not is there
    /// anything to say of the scheduler.
    pub(super) async fn read_events(
        &self,
        dialect: Dialect,
        view: &ServerView,
    ) -> Result<EventsView, ServerError> {
        let enabled = self.read_enabled_events().await?;
        let mut events = EventsView { enabled, denied: None, scheduler_denied: None };
        if view.access.is_writable() {
            events.denied = self.try_definers(dialect, &events.enabled).await?;
        }
        let setting = "SET GLOBAL event_scheduler=@@global.event_scheduler";
        // Where it is disabled there is nothing to turn, and DISABLED is no value to set.
        if view.role.scheduler != Scheduler::Disabled {
            events.scheduler_denied = self.try_statement(setting, &[]).await?;
        }
        Ok(events)
    }

    /// An event that does not exist is changed in the name of each definer: privileges are looked at first.
    async fn try_definers(
        &self,
        dialect: Dialect,
        events: &[Event],
    ) -> Result<Option<String>, ServerError> {
        let mut tried: Vec<&str> = Vec::new();
        for Event { schema, definer, .. } in events {
            if tried.contains(&definer.as_str()) {
                continue;
            }
            tried.push(definer);
            let none = Event {
                schema: schema.clone(),
                name: "intermission_probe".to_owned(),
                definer: definer.clone(),
            };
            let allowed = [UNKNOWN_EVENT, UNKNOWN_DATABASE];
            if let Some(answer) = self.try_statement(&dialect.enable_event(&none), &allowed).await?
            {
                return Ok(Some(format!("of {definer}: {answer}")));
            }
        }
        Ok(None)
    }

    pub(super) async fn switch_semi_sync(&self, wanted: SemiSync) -> Result<(), ServerError> {
        const DOING: &str = "set its semi-synchronous replication";
        let settings = self.settings().await?;
        let mut sets = Vec::new();
        for (names, wanted) in [(&SOURCE, wanted.source), (&REPLICA, wanted.replica)] {
            match (settings.find(names), wanted) {
                (_, None) => {}
                (Some((name, value)), Some(wanted)) => {
                    if (value == "ON" || value == "1") != wanted {
                        sets.push(format!("GLOBAL {name}={}", u8::from(wanted)));
                    }
                }
                (None, Some(_)) => {
                    let reason = format!("it has no {} any more", names[0]);
                    return Err(self.login.error(DOING, reason, Effect::Refused));
                }
            }
        }
        if !sets.is_empty() {
            self.act(DOING, &format!("SET {}", sets.join(", ")), SEMI_SYNC_BOUND).await?;
        }
        Ok(())
    }

    /// As many replicas are there to acknowledge as a commit would wait for.
    pub(super) async fn meets_semi_sync(&self) -> Result<bool, ServerError> {
        let needed = self.settings().await?.number(&WAIT_FOR).unwrap_or(1);
        let sql = "SHOW GLOBAL STATUS LIKE 'rpl\\_semi\\_sync\\_%clients'";
        let status = Settings(self.control.rows("count its semi-sync replicas", sql).await?);
        Ok(status.number(&CLIENTS).unwrap_or(0) >= needed)
    }

    pub(super) async fn switch_scheduler(&self, on: bool) -> Result<(), ServerError> {
        let doing = "turn its event scheduler on or off";
        self.set(doing, &format!("SET GLOBAL event_scheduler={}", if on { "ON" } else { "OFF" }))
            .await
    }

    /// Each in its definer's name, or it would run in ours. The change is replicated, and a replica that applies it
    /// keeps the event for its source to run (measured: `SLAVESIDE_DISABLED`, `REPLICA_SIDE_DISABLED`).
    pub(super) async fn switch_events_on(&self, events: &[Event]) -> Result<usize, ServerError> {
        let dialect = self.dialect().await?;
        let (mut enabled, mut failed) = (0, None);
        for event in events {
            let sql = dialect.enable_event(event);
            match self.act(&format!("run the event {event}"), &sql, self.login.statement).await {
                Ok(_) => enabled += 1,
                // It was dropped, or has ended by itself.
                Err(failure) if failure.code == Some(UNKNOWN_EVENT) => {}
                // One that cannot be is no reason to leave the others.
                Err(failure) if failure.code.is_some() => {
                    failed.get_or_insert(failure);
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        failed.map_or(Ok(enabled), |failure| Err(failure.into()))
    }
}

impl Dialect {
    pub(super) fn enable_event(self, event: &Event) -> String {
        let Event { schema, name, definer } = event;
        let (user, host) = definer.rsplit_once('@').unwrap_or((definer, "%"));
        // A role as a definer has no host on MariaDB.
        let definer = match (self.0, definer.contains('@')) {
            (Flavor::MariaDb, false) => identifier(user),
            (Flavor::MariaDb | Flavor::MySql, _) => format!("{}@{}", literal(user), literal(host)),
        };
        format!("ALTER DEFINER={definer} EVENT {}.{} ENABLE", identifier(schema), identifier(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_names_cannot_be_left() {
        let event = Event {
            schema: "a`b".to_owned(),
            name: "tick; DROP".to_owned(),
            definer: "o'ne@two@%".to_owned(),
        };
        assert_eq!(
            Dialect(Flavor::MySql).enable_event(&event),
            r"ALTER DEFINER='o\'ne@two'@'%' EVENT `a``b`.`tick; DROP` ENABLE"
        );
        let event = Event { definer: "clerks".to_owned(), ..event };
        assert!(
            Dialect(Flavor::MariaDb)
                .enable_event(&event)
                .starts_with("ALTER DEFINER=`clerks` EVENT")
        );
    }
}
