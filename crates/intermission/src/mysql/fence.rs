//! The fence, bounded from outside.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    acting::{Acting, UNKNOWN_THREAD},
    server::MySqlServer,
    session::request,
};
use crate::swap::server::{Effect, ServerError};

/// How long the killed statement may take to answer.
const KILLED_BOUND: Duration = Duration::from_secs(2);
/// "Query execution was interrupted."
const INTERRUPTED: u16 = 1317;

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
}
