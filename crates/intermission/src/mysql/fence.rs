//! The fence, bounded from outside, and the end of the sessions behind it.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    acting::{Acting, UNKNOWN_THREAD},
    row::StatusRow,
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
    /// Makes the server read-only for everybody. While a statement of it is pending all new writers hang, so after `bound`
    /// it is killed from the second session, and this returns only when it is known to be gone.
    pub(super) async fn fence_within(&self, bound: Duration) -> Result<(), ServerError> {
        const DOING: &str = "make it read-only";
        let dialect = self.dialect().await?;
        let mut acting = self.acting.lock().await;
        self.ensure_locked(&mut acting, false).await?;
        let deadline = Instant::now() + bound;
        if let Some(shut) = dialect.shut() {
            let id = self.act_until(&mut acting, DOING, shut, bound, deadline).await?;
            self.shut_by.store(id, Ordering::Release);
        }
        self.act_until(&mut acting, DOING, dialect.fence(), bound, deadline).await?;
        Ok(())
    }

    /// Runs one statement on the acting session; at the deadline, the end of `bound`, it is killed. Returns the session.
    async fn act_until(
        &self,
        acting: &mut Acting,
        doing: &str,
        statement: &str,
        bound: Duration,
        deadline: Instant,
    ) -> Result<u32, ServerError> {
        let conn = self.take(acting, doing)?;
        let id = conn.id();
        let pending = request(&self.login, conn, doing, statement, bound + KILLED_BOUND);
        tokio::pin!(pending);
        let mut was_killed = false;
        let (conn, answer) = tokio::select! {
            done = &mut pending => done,
            () = sleep_until(deadline) => {
                was_killed = true;
                let kill = format!("KILL QUERY {id}");
                let (kill, done) = tokio::join!(self.control.rows("kill our own statement", &kill), pending);
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
            Ok(_) => Ok(id),
            Err(failure) if was_killed && failure.code == Some(INTERRUPTED) => {
                Err(self.login.error(
                    doing,
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
            .filter(|row| !is_spared(row))
            .filter_map(|row| row.number(&["Id"]))
            .filter(|id| !own.contains(id))
            .collect();
        let mut ended = 0;
        for some in ids.chunks(KILLS_AT_ONCE) {
            ended += self.end_all(some).await?;
        }
        Ok(ended)
    }

    pub(super) async fn end_all(&self, ids: &[u64]) -> Result<usize, ServerError> {
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

/// The server's own and replication's, in a row of the process list.
pub(super) fn is_spared(row: &StatusRow) -> bool {
    row.get(&["Command"]).is_some_and(|c| SPARED_COMMANDS.contains(&c))
        || row.get(&["User"]).is_some_and(|u| SPARED_USERS.contains(&u))
}

/// One session left by itself, or is an administrator's whom not even `CONNECTION_ADMIN` may end (MySQL's
/// `SYSTEM_USER`): no reason to leave the others.
const fn is_about_one(code: Option<u16>) -> bool {
    matches!(code, Some(UNKNOWN_THREAD | NOT_OWNER))
}
