//! The fence, bounded from outside, and the end of the sessions behind it.

use std::time::Duration;

use super::{
    acting::{Acting, UNKNOWN_THREAD},
    dialect::Dialect,
    server::MySqlServer,
    session::request,
};
use crate::swap::server::{Effect, ServerError};

/// How long the killed statement may take to answer.
const KILLED_BOUND: Duration = Duration::from_secs(2);
/// How many KILLs go into one request.
const KILLS_AT_ONCE: usize = 200;
/// "You are not owner of thread."
const NOT_OWNER: u16 = 1095;
/// "Query execution was interrupted."
const INTERRUPTED: u16 = 1317;

/// What the server's own and replication's sessions say in `Command` (both servers' manuals, "Thread Command Values").
const SPARED_COMMANDS: [&str; 9] = [
    "Binlog Dump",
    "Binlog Dump GTID",
    "Connect",
    "Daemon",
    "Group Replication Data Stream",
    "Slave_IO",
    "Slave_SQL",
    "Slave_worker",
    "Killed",
];
const SPARED_USERS: [&str; 3] = ["system user", "event_scheduler", "unauthenticated user"];

impl MySqlServer {
    /// Makes the server read-only. While the statement is pending all new writers hang, so after `bound` it is killed
    /// from the second session, and this returns only when it is known to be gone.
    pub(super) async fn fence_within(&self, bound: Duration) -> Result<(), ServerError> {
        const DOING: &str = "make it read-only";
        let Dialect(flavor) = self.dialect().await?;
        let mut acting = self.acting.lock().await;
        self.ensure_locked(&mut acting, false).await?;
        let conn = self.take(&mut acting, DOING)?;
        let id = conn.id();
        let statement = Dialect(flavor).fence();
        let fencing = request(&self.login, conn, DOING, statement, bound + KILLED_BOUND);
        tokio::pin!(fencing);
        let mut was_killed = false;
        let (conn, answer) = tokio::select! {
            done = &mut fencing => done,
            () = tokio::time::sleep(bound) => {
                was_killed = true;
                let kill = format!("KILL QUERY {id}");
                let (kill, done) = tokio::join!(self.control.rows("kill our own statement", &kill), fencing);
                if let Err(failure) = kill && failure.code != Some(UNKNOWN_THREAD) {
                    tracing::warn!(error = %failure.error, "the fence may still be pending");
                }
                done
            }
        };
        if let Some(conn) = conn {
            *acting = Acting::Open(conn);
        }
        match answer {
            Ok(_) => Ok(()),
            Err(failure) if was_killed && failure.code == Some(INTERRUPTED) => {
                Err(self.login.error(
                    DOING,
                    format!(
                        "something held it up for more than {bound:?}; our statement was killed"
                    ),
                    Effect::Refused,
                ))
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Ends every session but ours, replication's and the server's own. A large list goes in several requests.
    pub(super) async fn end_application_sessions(&self) -> Result<usize, ServerError> {
        let rows = self.control.rows("list sessions", "SHOW PROCESSLIST").await?;
        // Asked afterwards: the request above may have opened the very session it lists.
        let own = self.own_ids().await;
        let ids: Vec<u64> = rows
            .iter()
            .filter(|row| {
                let is_spared = row.get(&["Command"]).is_some_and(|c| SPARED_COMMANDS.contains(&c))
                    || row.get(&["User"]).is_some_and(|u| SPARED_USERS.contains(&u));
                !is_spared
            })
            .filter_map(|row| row.number(&["Id"]))
            .filter(|id| !own.contains(id))
            .collect();
        let mut ended = 0;
        for some in ids.chunks(KILLS_AT_ONCE) {
            ended += self.end_all(some).await?;
        }
        Ok(ended)
    }

    async fn end_all(&self, ids: &[u64]) -> Result<usize, ServerError> {
        const DOING: &str = "end the application's sessions";
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

/// One session left by itself, or is an administrator's whom not even `CONNECTION_ADMIN` may end (MySQL's
/// `SYSTEM_USER`): no reason to leave the others.
const fn is_about_one(code: Option<u16>) -> bool {
    matches!(code, Some(UNKNOWN_THREAD | NOT_OWNER))
}
