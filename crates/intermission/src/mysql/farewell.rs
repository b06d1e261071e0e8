//! The end of the application's sessions behind a fence.
//!
//! A KILL takes 0.3 to 0.5 ms on either server, most of which is the victim's own end (measured, two cores). MariaDB's
//! `KILL USER` ends all sessions of an account in one statement, and these go to their end when it has answered: 5000 of them
//! in 0.4 s where one after the other took 2.5 s. MySQL has nothing of the kind; several sessions of ours killing at once are no
//! quicker there, because each spins until its victim has woken, and `offline_mode` takes as long (measured).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    acting::UNKNOWN_THREAD, dialect::literal, privilege::as_far_as_seen, row::StatusRow,
    server::MySqlServer,
};
use crate::swap::{observation::Flavor, server::ServerError};

const DOING: &str = "end the application's sessions";
/// How many KILLs go into one request.
const KILLS_AT_ONCE: usize = 200;
/// From how many sessions on, all or of one account, more is done than to list them: with fewer that is as quick.
const MANY_SESSIONS: usize = 50;
/// "You are not owner of thread."
const NOT_OWNER: u16 = 1095;

/// What the server's own and replication's sessions say in `Command` (both servers' manuals, "Thread Command Values").
/// "Connect" is none of them: replication's are the system user's, and a worker of the event scheduler, which says it, too, would
/// write through a fence in the name of an administrator (measured on MariaDB 10.11). The scheduler itself says "Daemon".
const SPARED_COMMANDS: [&str; 8] = [
    "Binlog Dump",
    "Binlog Dump GTID",
    "Daemon",
    "Group Replication Data Stream",
    "Slave_IO",
    "Slave_SQL",
    "Slave_worker",
    "Killed",
];
const SPARED_USERS: [&str; 2] = ["system user", "unauthenticated user"];

/// Whom to end, and how, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Farewells {
    /// Those in a transaction: what they hold has to be rolled back.
    first: Vec<u64>,
    /// The sessions of accounts that have many, and none that has to be spared.
    accounts: BTreeMap<String, Vec<u64>>,
    rest: Vec<u64>,
}

impl MySqlServer {
    /// Ends every session but ours, replication's and the server's own, as far as they have not ended by themselves within `patience`.
    pub(super) async fn end_application_sessions(
        &self,
        patience: Duration,
    ) -> Result<usize, ServerError> {
        let dialect = self.dialect().await?;
        let began = Instant::now();
        let (rows, own) = loop {
            let rows = self.control.rows(DOING, "SHOW PROCESSLIST").await?;
            // Asked afterwards: the request above may have opened the very session it lists.
            let own = self.own_ids().await;
            if began.elapsed() >= patience || !rows.iter().any(|row| is_to_end(row, &own)) {
                break (rows, own);
            }
        };
        let open = if rows.len() >= MANY_SESSIONS {
            self.sessions_in_transactions().await?
        } else {
            BTreeSet::new()
        };
        let mut farewells = farewells(&rows, &own, &open);
        // A replica that happens to be away may be back the next moment.
        farewells.list_unless(|user| {
            dialect.0 == Flavor::MariaDb
                && user != self.login.account.user
                && user != self.replication.user
        });
        let Farewells { first, accounts, rest } = farewells;
        let mut ended = self.end_listed(&first).await?;
        for (user, ids) in accounts {
            ended += self.end_account(&user, &ids).await?;
        }
        Ok(ended + self.end_listed(&rest).await?)
    }

    /// As far as they may be seen.
    async fn sessions_in_transactions(&self) -> Result<BTreeSet<u64>, ServerError> {
        let sql = "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx";
        let rows = as_far_as_seen(self.control.rows("list open transactions", sql).await)?;
        Ok(rows.iter().filter_map(|row| row.at(0)?.parse().ok()).collect())
    }

    /// All sessions of an account, wherever they come from.
    async fn end_account(&self, user: &str, ids: &[u64]) -> Result<usize, ServerError> {
        let sql = format!("KILL USER {}@'%'", literal(user));
        match self.control.rows(DOING, &sql).await {
            Ok(_) => Ok(ids.len()),
            // One of them may not be ended: then the others are, one by one.
            Err(failure) if is_about_one(failure.code) => self.end_listed(ids).await,
            Err(failure) => Err(failure.into()),
        }
    }

    /// A large list goes in several requests.
    async fn end_listed(&self, ids: &[u64]) -> Result<usize, ServerError> {
        let mut ended = 0;
        for some in ids.chunks(KILLS_AT_ONCE) {
            ended += self.end_all(some).await?;
        }
        Ok(ended)
    }

    pub(super) async fn end_all(&self, ids: &[u64]) -> Result<usize, ServerError> {
        let kills: Vec<String> = ids.iter().map(|id| format!("KILL {id}")).collect();
        match self.control.rows(DOING, &kills.join(";")).await {
            Ok(_) => return Ok(ids.len()),
            // The rest of the request was not done.
            Err(failure) if is_about_one(failure.code) => {}
            Err(failure) => return Err(failure.into()),
        }
        let mut left = 0;
        for kill in &kills {
            match self.control.rows(DOING, kill).await {
                Ok(_) => {}
                // Gone, mostly by the request before.
                Err(failure) if failure.code == Some(UNKNOWN_THREAD) => {}
                Err(failure) if is_about_one(failure.code) => {
                    left += 1;
                    tracing::info!(%kill, answer = %failure.error.reason, "a session was left alone");
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(ids.len() - left)
    }
}

/// The server's own and replication's, in a row of the process list.
pub(super) fn is_spared(row: &StatusRow) -> bool {
    row.get(&["Command"]).is_some_and(|c| SPARED_COMMANDS.contains(&c))
        || row.get(&["User"]).is_some_and(|u| SPARED_USERS.contains(&u))
}

fn is_to_end(row: &StatusRow, own: &[u64]) -> bool {
    !is_spared(row) && row.number(&["Id"]).is_some_and(|id| !own.contains(&id))
}

/// One session left by itself, or is an administrator's whom not even `CONNECTION_ADMIN` may end (MySQL's
/// `SYSTEM_USER`): no reason to leave the others.
const fn is_about_one(code: Option<u16>) -> bool {
    matches!(code, Some(UNKNOWN_THREAD | NOT_OWNER))
}

fn farewells(rows: &[StatusRow], own: &[u64], open: &BTreeSet<u64>) -> Farewells {
    let mut found = Farewells::default();
    for row in rows {
        let Some(id) = row.number(&["Id"]) else { continue };
        if !is_to_end(row, own) {
            continue;
        }
        if open.contains(&id) {
            found.first.push(id);
        }
        let user = row.get(&["User"]).unwrap_or_default().to_owned();
        found.accounts.entry(user).or_default().push(id);
    }
    let has_to_be_spared = |user: &str| {
        rows.iter().any(|row| {
            let id = row.number(&["Id"]);
            row.get(&["User"]) == Some(user)
                && (is_spared(row) || id.is_none_or(|id| own.contains(&id)))
        })
    };
    found.list_unless(|user| !has_to_be_spared(user));
    for ids in found.accounts.values_mut().chain([&mut found.rest]) {
        ids.retain(|id| !open.contains(id));
    }
    found
}

impl Farewells {
    /// Lists the sessions of whatever account may not be ended as a whole, or has few.
    fn list_unless(&mut self, may_end_account: impl Fn(&str) -> bool) {
        let accounts = std::mem::take(&mut self.accounts);
        for (user, ids) in accounts {
            if ids.len() >= MANY_SESSIONS && may_end_account(&user) {
                self.accounts.insert(user, ids);
            } else {
                self.rest.extend(ids);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u64, user: &str, command: &str) -> StatusRow {
        StatusRow::of(&[("Id", &id.to_string()), ("User", user), ("Command", command)])
    }

    #[test]
    fn a_running_event_is_ended_and_the_scheduler_is_not() {
        let rows = [
            row(1, "event_scheduler", "Daemon"),
            row(2, "event_scheduler", "Connect"),
            row(3, "root", "Connect"),
            row(4, "system user", "Connect"),
            row(5, "unauthenticated user", "Connect"),
        ];
        assert_eq!(farewells(&rows, &[], &BTreeSet::new()).rest, [2, 3]);
    }

    #[test]
    fn an_account_with_one_session_to_spare_is_ended_one_by_one() {
        let many = u64::try_from(MANY_SESSIONS).unwrap();
        let mut rows: Vec<StatusRow> = (0..many).map(|id| row(id, "shop", "Sleep")).collect();
        rows.extend((100..100 + many).map(|id| row(id, "both", "Sleep")));
        rows.push(row(200, "both", "Binlog Dump"));
        rows.extend((300..300 + many).map(|id| row(id, "operator", "Sleep")));
        rows.push(row(400, "system user", "Slave_IO"));
        rows.push(row(401, "few", "Query"));
        let found = farewells(&rows, &[300], &BTreeSet::from([7, 400, 401]));
        assert_eq!(found.first, [7, 401]);
        let accounts: Vec<(&str, usize)> =
            found.accounts.iter().map(|(user, ids)| (user.as_str(), ids.len())).collect();
        assert_eq!(accounts, [("shop", MANY_SESSIONS - 1)]);
        let mut rest: Vec<u64> = (100..100 + many).chain(301..300 + many).collect();
        rest.sort_unstable();
        assert_eq!(found.rest, rest);
    }
}
