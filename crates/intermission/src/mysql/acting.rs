//! The session that changes things, and the advisory lock it holds: whoever has the lock knows that nothing an earlier
//! holder asked for can still happen.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use super::{
    row::StatusRow,
    server::MySqlServer,
    session::{Failure, request},
};
use crate::swap::server::{Effect, ServerError};

/// The advisory lock's name. Whoever has it may change something.
pub(super) const LOCK: &str = "intermission";
/// How long to wait for the advisory lock, in seconds: a session that died needs a moment to be noticed.
const LOCK_WAIT_S: u32 = 1;
/// Backstop for the fence: our own kill comes earlier. Seconds; the smallest MySQL accepts is 1.
const LOCK_WAIT_TIMEOUT_S: u32 = 5;
/// "Unknown thread id": it is gone already.
pub(super) const UNKNOWN_THREAD: u16 = 1094;

/// The session that holds the advisory lock, on which everything is changed.
#[derive(Debug)]
pub(super) enum Acting {
    Closed,
    /// Opened ahead and without the lock: when it is needed the server may take no more logins.
    Ready(mysql_async::Conn),
    Open(mysql_async::Conn),
    /// Given up while a request was under way: it may still run on the server.
    Lost(u32),
}

impl MySqlServer {
    /// Runs one statement on the acting session.
    pub(super) async fn act(
        &self,
        doing: &str,
        sql: &str,
        bound: Duration,
    ) -> Result<Vec<StatusRow>, Failure> {
        let mut acting = self.acting.lock().await;
        self.ensure_locked(&mut acting, false).await?;
        self.act_on(&mut acting, doing, sql, bound).await
    }

    /// Runs one statement on the acting session there is. If this future is dropped, the session counts as lost.
    pub(super) async fn act_on(
        &self,
        acting: &mut Acting,
        doing: &str,
        sql: &str,
        bound: Duration,
    ) -> Result<Vec<StatusRow>, Failure> {
        let conn = self.take(acting, doing)?;
        let (conn, answer) = request(&self.login, conn, doing, sql, bound).await;
        if let Some(conn) = conn {
            *acting = Acting::Open(conn);
        }
        answer
    }

    /// Takes the acting connection out and leaves word of it.
    pub(super) fn take(
        &self,
        acting: &mut Acting,
        doing: &str,
    ) -> Result<mysql_async::Conn, ServerError> {
        match std::mem::replace(acting, Acting::Closed) {
            Acting::Open(conn) => {
                *acting = Acting::Lost(conn.id());
                Ok(conn)
            }
            other @ (Acting::Closed | Acting::Ready(_) | Acting::Lost(_)) => {
                *acting = other;
                Err(self.login.error(doing, "the session with the lock is gone", Effect::NotSent))
            }
        }
    }

    /// Opens the acting session and takes the advisory lock on it, unless both are so already.
    pub(super) async fn ensure_locked(
        &self,
        acting: &mut Acting,
        take_over: bool,
    ) -> Result<(), ServerError> {
        if matches!(acting, Acting::Open(_)) {
            return Ok(());
        }
        if let Acting::Lost(id) = acting {
            self.end_own_session(*id).await?;
        }
        if let Acting::Ready(conn) = std::mem::replace(acting, Acting::Closed) {
            match self.lock_session(acting, conn, take_over).await {
                Err(error) if error.effect != Effect::Refused => {
                    // It was ended meanwhile, or the server is another one.
                    tracing::debug!(error = %error, "the session opened ahead is of no use");
                }
                locked => return locked,
            }
        }
        let conn = self.login.connect().await?;
        self.lock_session(acting, conn, take_over).await
    }

    /// Makes `conn` the acting session with the lock, or leaves none.
    async fn lock_session(
        &self,
        acting: &mut Acting,
        conn: mysql_async::Conn,
        take_over: bool,
    ) -> Result<(), ServerError> {
        // What the session before kept shut is open, and ids begin anew when a server does.
        self.shut_by.store(0, Ordering::Release);
        *acting = Acting::Open(conn);
        let mut locked = self.lock_on(acting, take_over).await;
        if locked.is_ok() && self.is_superseded() {
            let reason = "another process has taken the swap over";
            locked = Err(self.login.error("go on", reason, Effect::Refused));
        }
        if locked.is_err() && matches!(acting, Acting::Open(_)) {
            // A session without the lock must never be mistaken for the one that has it.
            *acting = Acting::Closed;
        }
        locked
    }

    /// Opens the session that the lock will be taken on.
    pub(super) async fn open_ahead(&self) -> Result<(), ServerError> {
        let mut acting = self.acting.lock().await;
        if matches!(*acting, Acting::Closed) {
            *acting = Acting::Ready(self.login.connect().await?);
        }
        Ok(())
    }

    /// Prepares the new acting session and takes the advisory lock on it.
    async fn lock_on(&self, acting: &mut Acting, take_over: bool) -> Result<(), ServerError> {
        let session =
            format!("SET SESSION sql_mode='', SESSION lock_wait_timeout={LOCK_WAIT_TIMEOUT_S}");
        self.act_on(acting, "prepare a session", &session, self.login.statement).await?;
        if take_over && let Some(id) = self.lock_holder().await? {
            // At once: it may stand still for long, and users wait.
            self.kill(id).await?;
        }
        if self.get_lock(acting).await? {
            return Ok(());
        }
        let holder = self.lock_holder().await?;
        let reason = match holder {
            Some(id) => format!(
                "session {id} has it: another swap is at work; where none is, as after one that was cut off from this server, end it: KILL {id}"
            ),
            None => "another session has it: another swap is at work".to_owned(),
        };
        Err(self.login.error("take the advisory lock", reason, Effect::Refused))
    }

    async fn get_lock(&self, acting: &mut Acting) -> Result<bool, ServerError> {
        let sql = format!("SELECT GET_LOCK('{LOCK}', {LOCK_WAIT_S})");
        let bound = self.login.statement + Duration::from_secs(u64::from(LOCK_WAIT_S));
        let rows = self.act_on(acting, "take the advisory lock", &sql, bound).await?;
        Ok(rows.first().and_then(|row| row.at(0)) == Some("1"))
    }

    async fn lock_holder(&self) -> Result<Option<u32>, ServerError> {
        let sql = format!("SELECT IS_USED_LOCK('{LOCK}')");
        let rows = self.control.rows("see who has the advisory lock", &sql).await?;
        Ok(rows.first().and_then(|row| row.at(0)).and_then(|id| id.parse().ok()))
    }

    /// Ends a session of ours that was given up, so that nothing it was asked can still happen.
    async fn end_own_session(&self, id: u32) -> Result<(), ServerError> {
        let rows = self.control.rows("list sessions", "SHOW PROCESSLIST").await?;
        // After a restart of the server the number may be somebody else's.
        let is_ours = rows.iter().any(|row| {
            row.number(&["Id"]) == Some(u64::from(id))
                && row.get(&["User"]) == Some(self.login.account.user.as_str())
        });
        if is_ours { self.kill(id).await } else { Ok(()) }
    }

    pub(super) async fn kill(&self, id: u32) -> Result<(), ServerError> {
        match self.control.rows("end a session", &format!("KILL {id}")).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.code == Some(UNKNOWN_THREAD) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The ids of our own two sessions, and of those that are to be spared like them.
    pub(super) async fn own_ids(&self) -> Vec<u64> {
        let control = self.control.open_id().await;
        let acting = match &*self.acting.lock().await {
            Acting::Open(conn) | Acting::Ready(conn) => Some(conn.id()),
            Acting::Lost(id) => Some(*id),
            Acting::Closed => None,
        };
        let spared = self.spared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        control.into_iter().chain(acting).map(u64::from).chain(spared).collect()
    }

    pub(super) async fn give_lock_back(&self) -> Result<(), ServerError> {
        let mut acting = self.acting.lock().await;
        if let Acting::Lost(id) = *acting
            && let Err(error) = self.end_own_session(id).await
        {
            // A server that does not answer ends the session, and the lock with it, by itself.
            tracing::warn!(error = %error, "a session that was given up may live on for a while");
        }
        if matches!(*acting, Acting::Open(_)) {
            let sql = format!("SELECT RELEASE_LOCK('{LOCK}')");
            self.act_on(&mut acting, "give the advisory lock back", &sql, self.login.statement)
                .await?;
        }
        if let Acting::Open(conn) | Acting::Ready(conn) =
            std::mem::replace(&mut *acting, Acting::Closed)
        {
            // Whether the goodbye arrives does not matter: the lock is given back.
            drop(tokio::time::timeout(self.login.statement, conn.disconnect()).await);
        }
        Ok(())
    }
}
