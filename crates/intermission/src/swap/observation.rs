//! What was seen on the servers, the gates and the hook before a swap. Data only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    client_address::Identity,
    condition::Condition,
    gates::GateBounds,
    gtid::GtidSet,
    position::{Barrier, Coordinates, Tracking},
    refusal::Refusal,
    role::{EventsView, RoleSettings},
    version::Version,
};

/// Without its server's one of these nobody may see whether a server is a replica.
pub(crate) const STATUS_PRIVILEGES: [&str; 2] = ["SLAVE MONITOR", "REPLICATION CLIENT"];

/// Host and port as clients and the replica use them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Whether what is sent there stays on this machine. A name is not looked up.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<std::net::IpAddr>();
        ip.map_or(self.host == "localhost", |ip| ip.is_loopback())
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Which of the two servers' dialects it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    MariaDb,
    MySql,
}

/// The read-only switches, as recorded before they are touched and as restored by an undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    pub read_only: bool,
    /// Always false on MariaDB, which has no such variable.
    pub super_read_only: bool,
}

impl Access {
    pub const WRITABLE: Self = Self { read_only: false, super_read_only: false };

    /// Whether an application can write.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        !self.read_only && !self.super_read_only
    }
}

/// A replication thread's state, as the server words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThreadState {
    Yes,
    No,
    Connecting,
    Other(String),
}

impl ThreadState {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "Yes" => Self::Yes,
            "No" => Self::No,
            "Connecting" => Self::Connecting,
            other => Self::Other(other.to_owned()),
        }
    }

    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Yes => "Yes",
            Self::No => "No",
            Self::Connecting => "Connecting",
            Self::Other(word) => word,
        }
    }
}

/// One replication channel of a server.
#[derive(Debug, Clone)]
pub struct ReplicaView {
    pub channel: String,
    pub source: Address,
    /// MySQL: the uuid of the source it is really connected to.
    pub source_uuid: Option<String>,
    /// The server id of the source it is really connected to; 0 before the first connection.
    pub source_server_id: u32,
    pub io: ThreadState,
    pub sql: ThreadState,
    pub io_error: Option<String>,
    pub sql_error: Option<String>,
    /// Seconds; `None` is the server's NULL, which is not zero.
    pub lag_s: Option<u64>,
    pub tracking: Tracking,
    /// How far it has applied its source's binary log, where that is known.
    pub applied_to: Option<Coordinates>,
    /// The last it has received of its source's, applied or not; none where that is not known.
    pub received: Option<Barrier>,
    /// The account it logs in to its source with.
    pub user: String,
    /// Seconds it is told to stay behind.
    pub delay_s: u64,
}

impl ReplicaView {
    /// Whether both threads run.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.io == ThreadState::Yes && self.sql == ThreadState::Yes
    }
}

/// A session that would block the fence, or whose work would be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// 0 where no session is behind it.
    pub session: u64,
    pub user: String,
    pub host: String,
    /// Seconds.
    pub age_s: u64,
    /// Rows it has changed and not committed, where known.
    pub rows: Option<u64>,
    /// What it holds or does.
    pub what: String,
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A prepared XA transaction outlives its session.
        if self.session == 0 {
            return f.write_str(&self.what);
        }
        write!(f, "session {} of {}@{}, {} s", self.session, self.user, self.host, self.age_s)?;
        if let Some(rows) = self.rows {
            write!(f, ", {rows} rows changed")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// A privilege that was tried and denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// As GRANT names it; without `ON` it is a global one.
    pub privilege: String,
    /// The server's words.
    pub answer: String,
}

impl Denied {
    /// The privilege and what it is granted on.
    #[must_use]
    pub fn scoped(&self) -> String {
        if self.privilege.contains(" ON ") {
            self.privilege.clone()
        } else {
            format!("{} ON *.*", self.privilege)
        }
    }
}

/// Everything read from one server.
#[derive(Debug, Clone)]
pub struct ServerView {
    pub flavor: Flavor,
    pub version: String,
    pub server_id: u32,
    /// MySQL only.
    pub uuid: Option<String>,
    pub access: Access,
    pub gtid_on: bool,
    /// How often its applier tells how far it has come, in milliseconds; of MySQL.
    pub checkpoint_ms: Option<u32>,
    pub binlog_on: bool,
    pub log_replica_updates: bool,
    /// MySQL: `gtid_executed`; MariaDB: `gtid_binlog_state`.
    pub executed: GtidSet,
    /// What it has applied as a replica: from here it goes on at another source. MySQL: `gtid_executed`; MariaDB:
    /// `gtid_current_pos`.
    pub applied: GtidSet,
    /// What its binary logs no longer have. MySQL: `gtid_purged`; MariaDB: the position its oldest one begins at. Nothing
    /// where it may not be seen.
    pub purged: GtidSet,
    pub channels: Vec<ReplicaView>,
    /// Identifiers of prepared XA transactions.
    pub prepared_xa: Vec<String>,
    pub denied: Vec<Denied>,
    /// Why the replication account cannot log in here, if it cannot.
    pub replication_login: Option<String>,
    pub blockers: Vec<Blocker>,
    /// The application's database, when it is configured and not here.
    pub missing_database: Option<String>,
    /// What goes with its role.
    pub role: RoleSettings,
    pub events: EventsView,
    /// Read for a preflight only.
    pub condition: Condition,
}

impl ServerView {
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { uuid: self.uuid.clone(), server_id: self.server_id }
    }

    /// Of a server too old to be asked anything else in the words used here.
    #[must_use]
    pub fn too_old(flavor: Flavor, version: String) -> Self {
        let nothing = match flavor {
            Flavor::MariaDb => GtidSet::MariaDb(BTreeMap::new()),
            Flavor::MySql => GtidSet::MySql(BTreeMap::new()),
        };
        Self {
            flavor,
            version,
            server_id: 0,
            uuid: None,
            access: Access::WRITABLE,
            gtid_on: false,
            checkpoint_ms: None,
            binlog_on: false,
            log_replica_updates: false,
            executed: nothing.clone(),
            applied: nothing.clone(),
            purged: nothing,
            channels: Vec::new(),
            prepared_xa: Vec::new(),
            denied: Vec::new(),
            replication_login: None,
            blockers: Vec::new(),
            missing_database: None,
            role: RoleSettings::default(),
            events: EventsView::default(),
            condition: Condition::default(),
        }
    }

    /// Whether it is older than the words used here. A version that cannot be read is not.
    #[must_use]
    pub fn is_too_old(&self) -> bool {
        Version::parse(&self.version).is_some_and(|version| version < Version::oldest(self.flavor))
    }

    /// Whether its replication could not be read, for want of the privilege.
    #[must_use]
    pub fn hides_replication(&self) -> bool {
        self.denied.iter().any(|denied| STATUS_PRIVILEGES.contains(&denied.privilege.as_str()))
    }
}

/// One configured server and what came of asking it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub name: String,
    pub address: Address,
    /// The error's text when it could not be read.
    pub view: Result<ServerView, String>,
}

/// Everything a plan is made of.
#[derive(Debug, Clone)]
pub struct Observation {
    /// All that are configured, two or more.
    pub servers: Vec<Seen>,
    /// What the gates and the endpoint have against a swap now.
    pub surroundings: Vec<Refusal>,
    pub floating_ip: Option<FloatingIpView>,
    pub gates: GateBounds,
    /// Who answers at the clients' address, where that is configured.
    pub client_address: Option<ClientAddressView>,
}

/// The clients' address and who answers there.
#[derive(Debug, Clone)]
pub struct ClientAddressView {
    pub address: Address,
    /// The error's text when nobody does.
    pub identity: Result<Identity, String>,
}

/// What an endpoint has to say before a swap.
#[derive(Debug, Clone, Default)]
pub struct EndpointView {
    pub refusals: Vec<Refusal>,
    pub floating_ip: Option<FloatingIpView>,
}

/// Where the floating IP is, by the word of both hosts and of their neighbours.
#[derive(Debug, Clone)]
pub struct FloatingIpView {
    /// With its prefix length, as configured.
    pub address: String,
    pub hosts: Vec<HostView>,
    /// The hardware addresses that answer for it when a third party asks, or why none was asked.
    pub answers: Result<Vec<String>, String>,
}

/// One host that may have the floating IP.
#[derive(Debug, Clone)]
pub struct HostView {
    /// The server's configured name.
    pub server: String,
    /// The error's text when it could not be asked.
    pub found: Result<HostFound, String>,
}

/// What was found on a host.
#[derive(Debug, Clone)]
pub struct HostFound {
    /// The configured device's hardware address.
    pub mac: String,
    /// The configured device.
    pub device: String,
    /// `ADDRESS/BITS on DEVICE` when the floating IP is here.
    pub holds_on: Option<String>,
    /// Addresses of the host's own that would vanish with the floating IP.
    pub takes_along: Vec<String>,
    /// What is missing there to announce it.
    pub lacks: Option<String>,
}
