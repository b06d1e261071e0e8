//! A real server, as a swap uses it.

use std::{
    sync::{
        Mutex as StdMutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{
    access::Access,
    acting::Acting,
    by_hand::WAITED_BY_HAND_S,
    dialect::Dialect,
    marker::Marker,
    session::{Login, Session},
};
use crate::{
    config::secret::Account,
    swap::{
        claim::Claim,
        condition::ChannelTls,
        gtid::GtidSet,
        observation::{self, Address, Blocker, Flavor, ReplicaView, ServerView},
        position::{Barrier, Coordinates, Position, Tracking},
        role::{Event, SemiSync},
        server::{Detail, Life, Look, Server, ServerError},
        sibling::{Repoint, Threads},
    },
};

/// How long STOP, RESET and CHANGE of replication may take: on MySQL up to 212 ms were measured idle (MYSQL.md §5).
pub(super) const REPLICATION_BOUND: Duration = Duration::from_secs(20);

/// A MySQL or MariaDB server.
#[derive(Debug)]
pub struct MySqlServer {
    pub(super) login: Login,
    pub(super) replication: Account,
    pub(super) source_replication: Account,
    pub(super) database: Option<String>,
    pub(super) exec: Option<Vec<String>>,
    pub(super) clients_host: Option<String>,
    pub(super) marker: Marker,
    pub(super) flavor: OnceLock<Flavor>,
    pub(super) assumed: OnceLock<Flavor>,
    /// `@@version`, read with the flavor.
    pub(super) version: OnceLock<String>,
    pub(super) acting: Mutex<Acting>,
    /// Whether whoever changes things here may still do so.
    claim: StdMutex<Claim>,
    /// The session of ours that keeps everybody from committing; none is 0.
    pub(super) shut_by: AtomicU32,
    /// Of another process of ours, which are not ended with the application's.
    pub(super) spared: StdMutex<Vec<u64>>,
    /// How many times open transactions were listed.
    pub(super) looks: AtomicU32,
    /// Whether prepared XA transactions may be seen, as far as is known.
    pub(super) sees_prepared: AtomicBool,
    /// A second session, kept open: for reading, and for killing what the first waits for.
    pub(super) control: Session,
}

impl MySqlServer {
    #[must_use]
    pub fn new(access: Access) -> Self {
        let replication = access.replication.clone();
        let source_replication = access.source_replication.clone();
        let database = access.database.clone();
        let exec = access.exec.clone();
        let clients_host = access.clients_host.clone();
        let marker = Marker::new(&access.marker_schema);
        let login = access.into_login();
        Self {
            control: Session::new(login.clone()),
            login,
            replication,
            source_replication,
            database,
            exec,
            clients_host,
            marker,
            flavor: OnceLock::new(),
            assumed: OnceLock::new(),
            version: OnceLock::new(),
            acting: Mutex::new(Acting::Closed),
            claim: StdMutex::default(),
            shut_by: AtomicU32::new(0),
            spared: StdMutex::default(),
            looks: AtomicU32::new(0),
            sees_prepared: AtomicBool::new(false),
        }
    }

    pub(super) async fn dialect(&self) -> Result<Dialect, ServerError> {
        if let Some(flavor) = self.flavor.get() {
            return Ok(Dialect(*flavor));
        }
        let rows = self.control.rows("read its version", "SELECT @@version").await?;
        let version = rows.first().and_then(|row| row.at(0)).unwrap_or_default();
        self.version.get_or_init(|| version.to_owned());
        Ok(Dialect(*self.flavor.get_or_init(|| super::dialect::flavor_of(version))))
    }

    pub(super) async fn set(&self, doing: &str, sql: &str) -> Result<(), ServerError> {
        self.act(doing, sql, self.login.statement).await?;
        Ok(())
    }

    pub(super) fn is_superseded(&self) -> bool {
        !self.claim.lock().unwrap_or_else(PoisonError::into_inner).stands()
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

    fn assume(&self, flavor: Flavor) {
        // What it says itself counts for more.
        self.assumed.get_or_init(|| flavor);
    }

    fn bind(&self, claim: &Claim) {
        *self.claim.lock().unwrap_or_else(PoisonError::into_inner) = claim.clone();
    }

    async fn sessions(&self) -> Vec<u64> {
        self.own_ids().await
    }

    fn spare(&self, sessions: Vec<u64>) {
        *self.spared.lock().unwrap_or_else(PoisonError::into_inner) = sessions;
    }

    async fn stand_by(&self) -> Result<(), ServerError> {
        self.dialect().await?;
        self.control.open().await?;
        self.open_ahead().await
    }

    async fn lock(&self, take_over: bool) -> Result<(), ServerError> {
        self.dialect().await?;
        // Both sessions are opened before users wait.
        self.control.open().await?;
        let mut acting = self.acting.lock().await;
        self.ensure_locked(&mut acting, take_over).await
    }

    async fn unlock(&self) -> Result<(), ServerError> {
        self.give_lock_back().await
    }

    async fn observe(&self, detail: Detail) -> Result<ServerView, ServerError> {
        self.view(detail).await
    }

    async fn life(&self) -> Life {
        self.listen().await
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

    async fn passing(&self) -> Result<Vec<Blocker>, ServerError> {
        self.read_passing().await
    }

    async fn restore(&self, access: observation::Access) -> Result<(), ServerError> {
        let dialect = self.dialect().await?;
        self.set("restore its read-only switches", &dialect.restore(access)).await?;
        self.unshut().await
    }

    async fn look(&self, by: Tracking) -> Result<Look, ServerError> {
        self.read_look(by).await
    }

    async fn coordinates(&self) -> Result<Coordinates, ServerError> {
        self.read_coordinates().await
    }

    async fn wait_applied(
        &self,
        barrier: &Barrier,
        channel: &str,
        bound: Duration,
    ) -> Result<bool, ServerError> {
        self.wait_for(barrier, channel, bound).await
    }

    async fn set_checkpoint_period(&self, ms: u32) -> Result<(), ServerError> {
        let sql = format!("SET GLOBAL replica_checkpoint_period={ms}");
        self.set("set how often its applier tells how far it has come", &sql).await
    }

    async fn promote(&self) -> Result<(), ServerError> {
        let dialect = self.dialect().await?;
        let mut acting = self.acting.lock().await;
        self.act_on(&mut acting, "make it writable", dialect.open(), self.login.statement).await?;
        Ok(())
    }

    async fn end_sessions(&self, patience: Duration) -> Result<usize, ServerError> {
        self.end_application_sessions(patience).await
    }

    async fn let_replication_in(&self) -> Result<(), ServerError> {
        self.end_waiting_writers().await
    }

    async fn stop_receiving(&self, channel: &str) -> Result<(), ServerError> {
        self.stop_receiver(channel).await
    }

    async fn receive_again(&self, channel: &str, run: Threads) -> Result<(), ServerError> {
        self.start_threads(channel, run).await
    }

    async fn detach(&self) -> Result<(), ServerError> {
        let dialect = self.dialect().await?;
        for channel in self.read_channels().await? {
            let [stop, reset] = dialect.detach(&channel.channel);
            self.act("stop replication", &stop, REPLICATION_BOUND).await?;
            self.act("forget its replication source", &reset, REPLICATION_BOUND).await?;
        }
        Ok(())
    }

    async fn follow(
        &self,
        source: &Address,
        tls: &ChannelTls,
        from: &Position,
    ) -> Result<(), ServerError> {
        let dialect = self.dialect().await?;
        let channels = self.read_channels().await?;
        if let Some(channel) = channels.first() {
            if channel.source == *source && channel.is_running() {
                return Ok(());
            }
            self.act("stop replication", dialect.stop(), REPLICATION_BOUND).await?;
            // Coordinates are of the first time: what came since would come again.
            if channel.source == *source && *from != Position::Gtid {
                self.act("start replication", dialect.start(), REPLICATION_BOUND).await?;
                return Ok(());
            }
        }
        let Account { user, password } = &self.source_replication;
        for sql in dialect.follow(source, user, password.reveal(), tls, from) {
            if let Err(failure) = self.act("make it a replica", &sql, REPLICATION_BOUND).await {
                return Err(without_quotes(failure.into()));
            }
        }
        Ok(())
    }

    async fn repoint(&self, to: &Repoint) -> Result<(), ServerError> {
        self.lead_channel(to).await
    }

    async fn persist_read_only(&self, read_only: bool) -> Result<bool, ServerError> {
        let statements = self.dialect().await?.persist(read_only);
        for sql in statements {
            self.set("keep its read-only switches over a restart", sql).await?;
        }
        Ok(!statements.is_empty())
    }

    async fn set_semi_sync(&self, semi_sync: SemiSync) -> Result<(), ServerError> {
        self.switch_semi_sync(semi_sync).await
    }

    async fn has_semi_sync_replicas(&self) -> Result<bool, ServerError> {
        self.meets_semi_sync().await
    }

    async fn set_scheduler(&self, on: bool) -> Result<(), ServerError> {
        self.switch_scheduler(on).await
    }

    async fn enabled_events(&self) -> Result<Vec<Event>, ServerError> {
        self.read_enabled_events().await
    }

    async fn enable_events(&self, events: &[Event]) -> Result<usize, ServerError> {
        self.switch_events_on(events).await
    }

    async fn write_marker(&self, id: &str) -> Result<(), ServerError> {
        self.put_marker(id).await
    }

    async fn has_marker(&self, id: &str) -> Result<bool, ServerError> {
        Ok(self.marker().await?.as_deref() == Some(id))
    }

    fn command_to_open(&self) -> String {
        self.client(self.known_dialect().open_by_hand())
    }

    fn command_to_fence(&self) -> String {
        self.client(self.known_dialect().fence())
    }

    fn command_to_ask(&self) -> String {
        self.plain_client(self.known_dialect().ask())
    }

    fn command_to_wait_for(&self, asked: &str) -> String {
        self.waiting(&self.known_dialect().wait(&format!("$({asked})"), WAITED_BY_HAND_S))
    }

    fn command_to_wait(&self, barrier: &Barrier, channel: &str) -> String {
        self.waiting(&match barrier {
            Barrier::Gtid(set) => self.known_dialect().wait(&set.to_string(), WAITED_BY_HAND_S),
            Barrier::At(end) => self.known_dialect().wait_at(end, channel, WAITED_BY_HAND_S),
        })
    }

    fn command_to_start(&self, channel: &str) -> String {
        self.client(&self.known_dialect().start_channel(channel))
    }

    fn command_to_run_events(&self, events: &[Event]) -> String {
        self.running(events)
    }

    fn command_to_look(&self) -> String {
        self.client(self.known_dialect().show_status())
    }

    fn command_to_repoint(&self, flavor: Flavor, to: &Repoint) -> String {
        self.client(&super::repoint::statements(flavor, to, None).join("; "))
    }
}
