//! A real server, as a swap uses it.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{
    dialect::{Dialect, literal},
    row::StatusRow,
    session::{Failure, Login, Session, request},
};
use crate::{
    config::secret::Account,
    swap::{
        gtid::GtidSet,
        observation::{self, Address, Blocker, Flavor, ReplicaView, ServerView},
        server::{Detail, Effect, Server, ServerError},
    },
};

/// The advisory lock's name. Whoever has it may change something.
pub(super) const LOCK: &str = "intermission";
/// How long to wait for the advisory lock, in seconds: a session that died needs a moment to be noticed.
const LOCK_WAIT_S: u32 = 1;
/// Backstop for the fence: our own kill comes earlier. Seconds; the smallest MySQL accepts is 1.
const LOCK_WAIT_TIMEOUT_S: u32 = 5;
/// What an answer may take beyond the bound the server itself was told.
const ANSWER_SLACK: Duration = Duration::from_millis(500);
/// How long STOP, RESET and CHANGE of replication may take: on MySQL up to 212 ms were measured idle (MYSQL.md §5).
const REPLICATION_BOUND: Duration = Duration::from_secs(20);
/// "Unknown thread id": it is gone already.
pub(super) const UNKNOWN_THREAD: u16 = 1094;
const UNKNOWN_DATABASE: u16 = 1049;
const UNKNOWN_TABLE: u16 = 1146;

/// How a server is reached.
#[derive(Debug, Clone)]
pub struct Access {
    pub name: String,
    pub address: Address,
    pub account: Account,
    /// Whose credentials the new replica is given.
    pub replication: Account,
    /// The schema of the marker table: letters, digits and underscores.
    pub marker_schema: String,
    pub connect: Duration,
    pub statement: Duration,
}

/// The session that holds the advisory lock, on which everything is changed.
#[derive(Debug)]
pub(super) enum Acting {
    Closed,
    Open(mysql_async::Conn),
    /// Given up while a request was under way: it may still run on the server.
    Lost(u32),
}

/// A MySQL or MariaDB server.
#[derive(Debug)]
pub struct MySqlServer {
    pub(super) login: Login,
    pub(super) replication: Account,
    pub(super) marker_schema: String,
    pub(super) flavor: OnceLock<Flavor>,
    pub(super) acting: Mutex<Acting>,
    /// A second session, kept open: for reading, and for killing what the first waits for.
    pub(super) control: Session,
}

impl MySqlServer {
    #[must_use]
    pub fn new(access: Access) -> Self {
        let login = Login {
            name: access.name,
            address: access.address,
            account: access.account,
            connect: access.connect,
            statement: access.statement,
        };
        Self {
            control: Session::new(login.clone()),
            login,
            replication: access.replication,
            marker_schema: access.marker_schema,
            flavor: OnceLock::new(),
            acting: Mutex::new(Acting::Closed),
        }
    }

    pub(super) async fn dialect(&self) -> Result<Dialect, ServerError> {
        if let Some(flavor) = self.flavor.get() {
            return Ok(Dialect(*flavor));
        }
        let rows = self.control.rows("read its version", "SELECT @@version").await?;
        let version = rows.first().and_then(|row| row.at(0)).unwrap_or_default();
        Ok(Dialect(*self.flavor.get_or_init(|| super::dialect::flavor_of(version))))
    }

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
    async fn act_on(
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
            other @ (Acting::Closed | Acting::Lost(_)) => {
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
        let conn = self.login.connect().await?;
        *acting = Acting::Open(conn);
        let locked = self.lock_on(acting, take_over).await;
        if locked.is_err() && matches!(acting, Acting::Open(_)) {
            // A session without the lock must never be mistaken for the one that has it.
            *acting = Acting::Closed;
        }
        locked
    }

    /// Prepares the new acting session and takes the advisory lock on it.
    async fn lock_on(&self, acting: &mut Acting, take_over: bool) -> Result<(), ServerError> {
        let session =
            format!("SET SESSION sql_mode='', SESSION lock_wait_timeout={LOCK_WAIT_TIMEOUT_S}");
        self.act_on(acting, "prepare a session", &session, self.login.statement).await?;
        if self.get_lock(acting).await? {
            return Ok(());
        }
        let holder = self.lock_holder().await?;
        if take_over && let Some(id) = holder {
            self.kill(id).await?;
            if self.get_lock(acting).await? {
                return Ok(());
            }
        }
        let holder =
            holder.map_or_else(|| "another session".to_owned(), |id| format!("session {id}"));
        let reason = format!("{holder} has it: another swap is at work");
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

    /// The ids of our own two sessions.
    pub(super) async fn own_ids(&self) -> Vec<u64> {
        let control = self.control.open_id().await;
        let acting = match &*self.acting.lock().await {
            Acting::Open(conn) => Some(conn.id()),
            Acting::Lost(id) => Some(*id),
            Acting::Closed => None,
        };
        control.into_iter().chain(acting).map(u64::from).collect()
    }

    async fn set(&self, doing: &str, sql: &str) -> Result<(), ServerError> {
        self.act(doing, sql, self.login.statement).await?;
        Ok(())
    }

    fn client(&self, sql: &str) -> String {
        let Address { host, port } = &self.login.address;
        format!("mysql -h {host} -P {port} -u {} -p -e \"{sql}\"", self.login.account.user)
    }

    fn known_dialect(&self) -> Dialect {
        Dialect(self.flavor.get().copied().unwrap_or(Flavor::MySql))
    }

    async fn make_marker_table(&self) -> Result<(), ServerError> {
        let schema = &self.marker_schema;
        self.set("make the marker's schema", &format!("CREATE DATABASE IF NOT EXISTS {schema}"))
            .await?;
        let table = format!(
            "CREATE TABLE IF NOT EXISTS {schema}.marker (id TINYINT PRIMARY KEY, swap VARCHAR(64) NOT NULL, \
             written TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP) ENGINE=InnoDB"
        );
        self.set("make the marker's table", &table).await
    }

    /// The swap the marker names, if there is a marker table.
    async fn marker(&self) -> Result<Option<String>, ServerError> {
        let sql = format!("SELECT swap FROM {}.marker WHERE id = 1", self.marker_schema);
        match self.control.rows("read the marker", &sql).await {
            Ok(rows) => {
                Ok(Some(rows.first().and_then(|row| row.at(0)).unwrap_or_default().to_owned()))
            }
            Err(failure) if matches!(failure.code, Some(UNKNOWN_DATABASE | UNKNOWN_TABLE)) => {
                Ok(None)
            }
            Err(failure) => Err(failure.into()),
        }
    }
}

/// A server quotes what it stumbles over, and what it is given here holds a password.
fn without_quotes(error: ServerError) -> ServerError {
    let reason = match error.reason.find(['\'', '"']) {
        Some(quote) => format!("{}…", error.reason.get(..quote).unwrap_or_default()),
        None => error.reason,
    };
    ServerError { reason, ..error }
}

#[async_trait]
impl Server for MySqlServer {
    fn name(&self) -> &str {
        &self.login.name
    }

    fn address(&self) -> &Address {
        &self.login.address
    }

    fn flavor(&self) -> Option<Flavor> {
        self.flavor.get().copied()
    }

    async fn lock(&self, take_over: bool) -> Result<(), ServerError> {
        self.dialect().await?;
        // Both sessions are opened before users wait.
        self.control.open().await?;
        let mut acting = self.acting.lock().await;
        self.ensure_locked(&mut acting, take_over).await
    }

    async fn unlock(&self) -> Result<(), ServerError> {
        let mut acting = self.acting.lock().await;
        if matches!(*acting, Acting::Open(_)) {
            let sql = format!("SELECT RELEASE_LOCK('{LOCK}')");
            self.act_on(&mut acting, "give the advisory lock back", &sql, self.login.statement)
                .await?;
        }
        if let Acting::Open(conn) = std::mem::replace(&mut *acting, Acting::Closed) {
            // Whether the goodbye arrives does not matter: the lock is given back.
            drop(tokio::time::timeout(self.login.statement, conn.disconnect()).await);
        }
        Ok(())
    }

    async fn observe(&self, detail: Detail) -> Result<ServerView, ServerError> {
        self.view(detail).await
    }

    async fn access(&self) -> Result<observation::Access, ServerError> {
        self.read_access().await
    }

    async fn executed(&self) -> Result<GtidSet, ServerError> {
        let dialect = self.dialect().await?;
        self.read_set("read its executed transactions", dialect.executed()).await
    }

    async fn channels(&self) -> Result<Vec<ReplicaView>, ServerError> {
        self.read_channels().await
    }

    async fn blockers(&self) -> Result<Vec<Blocker>, ServerError> {
        self.read_blockers().await
    }

    async fn open_transactions(&self) -> Result<Vec<Blocker>, ServerError> {
        self.read_transactions().await
    }

    async fn fence(&self, bound: Duration) -> Result<(), ServerError> {
        self.fence_within(bound).await
    }

    async fn restore(&self, access: observation::Access) -> Result<(), ServerError> {
        let dialect = self.dialect().await?;
        self.set("restore its read-only switches", &dialect.restore(access)).await
    }

    async fn barrier(&self) -> Result<GtidSet, ServerError> {
        let dialect = self.dialect().await?;
        self.read_set("read its last transaction", dialect.barrier()).await
    }

    async fn wait_applied(&self, barrier: &GtidSet, bound: Duration) -> Result<bool, ServerError> {
        let dialect = self.dialect().await?;
        let doing = "wait for the last transaction";
        let began = Instant::now();
        let sql = dialect.wait(&barrier.to_string(), bound.as_secs_f64());
        let rows = self.act(doing, &sql, bound + ANSWER_SLACK).await?;
        if rows.first().and_then(|row| row.at(0)) != Some("0") {
            return Ok(false);
        }
        // MariaDB's function compares sequence numbers only: the set decides, server id included.
        let executed = self.executed().await?;
        tracing::debug!(took = ?began.elapsed(), "the barrier is applied");
        Ok(executed.contains(barrier))
    }

    async fn promote(&self) -> Result<(), ServerError> {
        let dialect = self.dialect().await?;
        let mut acting = self.acting.lock().await;
        self.act_on(&mut acting, "make it writable", dialect.open(), self.login.statement).await?;
        Ok(())
    }

    async fn end_sessions(&self) -> Result<usize, ServerError> {
        self.end_application_sessions().await
    }

    async fn detach(&self) -> Result<(), ServerError> {
        if self.read_channels().await?.is_empty() {
            return Ok(());
        }
        let dialect = self.dialect().await?;
        self.act("stop replication", dialect.stop(), REPLICATION_BOUND).await?;
        self.act("forget its replication source", dialect.reset(), REPLICATION_BOUND).await?;
        Ok(())
    }

    async fn follow(&self, source: &Address) -> Result<(), ServerError> {
        let dialect = self.dialect().await?;
        let channels = self.read_channels().await?;
        if let Some(channel) = channels.first() {
            if channel.source == *source && channel.is_running() {
                return Ok(());
            }
            self.act("stop replication", dialect.stop(), REPLICATION_BOUND).await?;
        }
        let Account { user, password } = &self.replication;
        for sql in dialect.follow(source, user, password.reveal()) {
            if let Err(failure) = self.act("make it a replica", &sql, REPLICATION_BOUND).await {
                return Err(without_quotes(failure.into()));
            }
        }
        Ok(())
    }

    async fn write_marker(&self, id: &str) -> Result<(), ServerError> {
        if self.marker().await?.is_none() {
            self.make_marker_table().await?;
        }
        let id = literal(id);
        let sql = format!(
            "INSERT INTO {}.marker (id, swap) VALUES (1, {id}) ON DUPLICATE KEY UPDATE swap = {id}",
            self.marker_schema
        );
        self.set("write the marker", &sql).await
    }

    async fn has_marker(&self, id: &str) -> Result<bool, ServerError> {
        Ok(self.marker().await?.as_deref() == Some(id))
    }

    fn command_to_open(&self) -> String {
        self.client(self.known_dialect().open())
    }

    fn command_to_fence(&self) -> String {
        self.client(self.known_dialect().fence())
    }

    fn command_to_look(&self) -> String {
        self.client(self.known_dialect().show_status())
    }
}
