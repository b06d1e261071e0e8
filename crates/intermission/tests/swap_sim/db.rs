//! One database server as the world keeps it.

use std::collections::{BTreeMap, BTreeSet};

use intermission::swap::{
    gtid::GtidSet,
    observation::{Access, Flavor},
    position::Coordinates,
    role::{Event, RoleSettings, Scheduler, SemiSync},
};
use tokio::time::Instant;

/// What both servers have before a swap and after it.
pub(crate) const ROLE: RoleSettings = RoleSettings {
    semi_sync: SemiSync { source: Some(true), replica: Some(true), waits_alone: false },
    scheduler: Scheduler::On,
};

/// The usual one of `MySQL`.
pub(crate) const CHECKPOINT_MS: u32 = 300;

pub(crate) fn event() -> Event {
    let text = str::to_owned;
    Event { schema: text("shop"), name: text("tick"), definer: text("root@localhost") }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Write(u64),
    Marker(String),
    /// The events run on its origin.
    Events,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) origin: u32,
    pub(crate) sequence: u64,
    pub(crate) what: What,
}

/// Where a replica reads, and how far it has come in that server's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) source: usize,
    pub(crate) read: usize,
    /// No more than this comes: its receiver was stopped, or its source is dead.
    pub(crate) received: Option<usize>,
}

impl Link {
    pub(crate) const fn new(source: usize, read: usize) -> Self {
        Self { source, read, received: None }
    }
}

#[derive(Debug)]
pub(crate) struct Db {
    pub(crate) id: u32,
    pub(crate) access: Access,
    /// A restart leaves it read-only.
    pub(crate) boots_read_only: bool,
    pub(crate) log: Vec<Transaction>,
    /// The last sequence number of each origin.
    pub(crate) last: BTreeMap<u32, u64>,
    /// How many of the writers' writes are here.
    pub(crate) writes: usize,
    pub(crate) link: Option<Link>,
    /// It was killed and is not back before then.
    pub(crate) down_until: Option<Instant>,
    /// It was killed once.
    pub(crate) has_died: bool,
    /// It has started again, with what its option file says, and nobody has set it since.
    pub(crate) has_woken: bool,
    /// Its applier stands still although both its threads say Yes.
    pub(crate) is_stuck: bool,
    /// Its receiver alone was stopped.
    pub(crate) receives_nothing: bool,
    /// Somebody has stopped both its threads.
    pub(crate) is_stopped: bool,
    /// Something blocks the fence.
    pub(crate) is_blocked: bool,
    pub(crate) open_transaction: bool,
    /// An XA transaction that passes a fence came after the last look at open ones.
    pub(crate) has_xa: bool,
    /// What SHOW REPLICA STATUS says; `None` is NULL.
    pub(crate) lag_s: Option<u64>,
    /// The session that keeps everybody from committing; of MariaDB's, whose `read_only` is not for administrators.
    pub(crate) shut_by: Option<u64>,
    /// The session that holds the advisory lock.
    pub(crate) lock: Option<u64>,
    pub(crate) sessions: BTreeSet<u64>,
    pub(crate) role: RoleSettings,
    pub(crate) checkpoint_ms: u32,
    /// Those that are enabled here.
    pub(crate) events: Vec<Event>,
}

impl Db {
    pub(crate) fn new(id: u32, access: Access, link: Option<Link>) -> Self {
        Self {
            id,
            access,
            boots_read_only: !access.is_writable(),
            log: Vec::new(),
            last: BTreeMap::new(),
            writes: 0,
            link,
            down_until: None,
            has_died: false,
            has_woken: false,
            is_stuck: false,
            receives_nothing: false,
            is_stopped: false,
            is_blocked: false,
            open_transaction: false,
            has_xa: false,
            lag_s: Some(0),
            shut_by: None,
            lock: None,
            sessions: BTreeSet::new(),
            role: ROLE,
            checkpoint_ms: CHECKPOINT_MS,
            events: if access.is_writable() { vec![event()] } else { Vec::new() },
        }
    }

    pub(crate) fn push(&mut self, transaction: Transaction) {
        self.last.insert(transaction.origin, transaction.sequence);
        self.writes += usize::from(matches!(transaction.what, What::Write(_)));
        if transaction.what == What::Events {
            self.events = if transaction.origin == self.id { vec![event()] } else { Vec::new() };
        }
        self.log.push(transaction);
    }

    pub(crate) const fn is_down(&self) -> bool {
        self.down_until.is_some()
    }

    /// Everything that is not on disk is gone.
    pub(crate) fn die(&mut self, flavor: Flavor, until: Instant) {
        self.down_until = Some(until);
        self.has_died = true;
        self.access = fenced(flavor);
        (self.open_transaction, self.has_xa, self.is_blocked) = (false, false, false);
        self.role = ROLE;
        self.checkpoint_ms = CHECKPOINT_MS;
    }

    pub(crate) fn wake(&mut self) {
        self.down_until = None;
        self.has_woken = true;
        if !self.boots_read_only {
            self.access = Access::WRITABLE;
        }
    }

    /// Sets its switches by hand.
    pub(crate) const fn set(&mut self, access: Access) {
        self.access = access;
        self.has_woken = false;
    }

    /// Nobody can commit, administrators included.
    pub(crate) fn is_shut(&self) -> bool {
        self.access.super_read_only || self.shut_by.is_some()
    }

    pub(crate) fn commit(&mut self, flavor: Flavor, what: What) {
        let last = match flavor {
            Flavor::MySql => self.last.get(&self.id).copied(),
            Flavor::MariaDb => self.last.values().max().copied(),
        };
        let sequence = last.unwrap_or_default() + 1;
        self.push(Transaction { origin: self.id, sequence, what });
    }

    pub(crate) fn executed(&self, flavor: Flavor) -> GtidSet {
        executed(&self.last, flavor)
    }

    /// How much of its log there is.
    pub(crate) fn end(&self) -> Coordinates {
        place(self.log.len())
    }

    /// MariaDB names only the last transaction of the domain.
    pub(crate) fn position(&self, flavor: Flavor) -> GtidSet {
        match (flavor, self.log.last()) {
            (Flavor::MySql, _) => self.executed(flavor),
            (Flavor::MariaDb, None) => GtidSet::MariaDb(BTreeMap::new()),
            (Flavor::MariaDb, Some(last)) => {
                GtidSet::MariaDb(BTreeMap::from([((0, last.origin), last.sequence)]))
            }
        }
    }
}

/// All transactions up to the last of each origin.
pub(crate) fn executed(last: &BTreeMap<u32, u64>, flavor: Flavor) -> GtidSet {
    let last = last.iter();
    match flavor {
        Flavor::MySql => {
            GtidSet::MySql(last.map(|(id, last)| (uuid(*id), vec![(1, *last)])).collect())
        }
        Flavor::MariaDb => GtidSet::MariaDb(last.map(|(id, last)| ((0, *id), *last)).collect()),
    }
}

pub(crate) fn place(offset: usize) -> Coordinates {
    Coordinates { file: "bin".to_owned(), offset: u64::try_from(offset).unwrap() }
}

pub(crate) fn uuid(id: u32) -> String {
    format!("0000000{id}-0000-0000-0000-000000000000")
}

/// The switches of a fenced server or a replica.
pub(crate) fn fenced(flavor: Flavor) -> Access {
    Access { read_only: true, super_read_only: flavor == Flavor::MySql }
}
