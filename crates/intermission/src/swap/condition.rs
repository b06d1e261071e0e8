//! What a preflight reads of a server beside its role and its position. Data only.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What was read, and what could not be.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    /// Global variables by name; those asked for that this server has.
    pub variables: BTreeMap<String, String>,
    /// Global status variables, likewise.
    pub status: BTreeMap<String, String>,
    /// Minutes between UTC and the global time zone, in January and in July.
    pub zone: Option<[i64; 2]>,
    pub links: Vec<Link>,
    /// What it would leave out as a replica, whatever the channel: `replicate_do_db = shop`.
    pub replica_filters: Vec<String>,
    pub binlog: Option<BinlogView>,
    /// Who reads its binary log.
    pub readers: Vec<Reader>,
    /// Who else is connected.
    pub clients: BTreeSet<Client>,
    /// Schemas that programs which move primaries keep; those that may be seen.
    pub schemas: Vec<String>,
    /// The session of MaxScale's monitor that has its lock on this server.
    pub maxscale_lock: Option<u64>,
    /// MySQL: the states of its group replication's members, OFFLINE left out.
    pub group_members: Vec<String>,
    /// The file system of its data, where its host may be asked.
    pub disk: Option<Disk>,
    /// Our own sessions there are in clear text because it offers no TLS.
    pub clear_text: bool,
    /// Why its certificate does not do at the clients' address; none where it does, or is not looked into.
    pub disbelief: Option<String>,
    /// MariaDB: accounts but ours that may write where `read_only` is on. As far as they may be seen: without a right to read
    /// `mysql` one's own is all there is.
    pub read_only_admins: Vec<String>,
    /// MySQL: for how many seconds nothing has come from its source, heartbeats included; none where that is not told.
    pub heard_s: Option<u64>,
    pub unseen: Vec<Unseen>,
}

impl Condition {
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A status variable that is a number.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<u64> {
        self.status.get(name)?.parse().ok()
    }

    /// How its channel is encrypted; it has one only, or is refused.
    #[must_use]
    pub fn channel_tls(&self) -> ChannelTls {
        self.links.first().map(|link| link.tls.clone()).unwrap_or_default()
    }

    /// Whether it takes encrypted connections; none where that could not be read. MySQL from 8.4 has no `have_ssl`; there
    /// the end of its certificate's validity is empty without one, which MariaDB tells of the asking session only
    /// (measured).
    #[must_use]
    pub fn offers_tls(&self) -> Option<bool> {
        if let Some(word) = self.variable("have_ssl") {
            return Some(word == "YES");
        }
        self.status.get("Ssl_server_not_after").map(|until| !until.is_empty())
    }

    /// Whether its certificate is one it made for itself when it started and that nobody has signed, as MariaDB from 11.4
    /// does where none is set (measured). MySQL keeps those it makes in files, and names them.
    #[must_use]
    pub fn made_its_certificate(&self) -> bool {
        self.offers_tls() == Some(true) && self.variable("ssl_cert") == Some("")
    }
}

/// How a channel logs in to its source, and what it leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    pub channel: String,
    pub user: String,
    /// As `Replicate_Do_DB = shop`.
    pub filters: Vec<String>,
    pub tls: ChannelTls,
}

/// Whether and how a channel is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelTls {
    pub on: bool,
    /// Whether the source's certificate has to be good for its name.
    pub verify: bool,
    /// What else is set, by the last word of its option: `CA`, `CERT`, `KEY`…
    pub options: BTreeMap<String, String>,
}

impl ChannelTls {
    /// Every option there may be; only those of the server at hand are set.
    pub const OPTIONS: [&str; 8] =
        ["CA", "CAPATH", "CERT", "CIPHER", "KEY", "CRL", "CRLPATH", "TLS_VERSION"];
    /// The options that name a file or a folder.
    pub const FILES: [&str; 6] = ["CA", "CAPATH", "CERT", "KEY", "CRL", "CRLPATH"];
}

/// A server's own binary log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BinlogView {
    pub file: String,
    pub position: u64,
    /// As `Binlog_Do_DB = shop`.
    pub filters: Vec<String>,
}

/// A session that reads the binary log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    pub session: u64,
    pub user: String,
    /// Without its port.
    pub host: String,
    /// MySQL: the uuid it gave, if it gave one.
    pub uuid: Option<String>,
}

/// Somebody who is connected, however often.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    pub user: String,
    /// Without its port.
    pub host: String,
    /// MySQL: the name its program gave.
    pub program: Option<String>,
}

/// The file system that holds a server's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    pub datadir: String,
    /// Bytes, as its host said; the error's text when it did not.
    pub space: Result<Space, String>,
}

/// Room on a file system, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub size: u64,
    /// What anybody but root may still write.
    pub free: u64,
}

/// Something that was not seen: nothing is claimed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    /// As "its settings".
    pub what: String,
    /// The server's words.
    pub reason: String,
}
