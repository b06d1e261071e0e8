//! What a simulated server tells of itself.

use std::collections::BTreeMap;

use intermission::swap::{
    condition::Condition,
    gtid::GtidSet,
    observation::{Flavor, ReplicaView, ServerView, ThreadState},
    position::Barrier,
    role::EventsView,
};

use crate::{
    db::{Db, executed, place, uuid},
    server::SimServer,
    world::World,
};

impl SimServer {
    /// The transactions it can tell of: without GTIDs none.
    pub(crate) fn known(&self, world: &World) -> GtidSet {
        if world.kind.has_gtids() {
            world.servers[self.index].executed(self.flavor)
        } else {
            GtidSet::MySql(BTreeMap::new())
        }
    }

    pub(crate) fn view(&self, world: &World) -> ServerView {
        let db = &world.servers[self.index];
        ServerView {
            flavor: self.flavor,
            version: "1".to_owned(),
            server_id: db.id,
            uuid: (self.flavor == Flavor::MySql).then(|| uuid(db.id)),
            access: db.access,
            gtid_on: world.kind.has_gtids(),
            checkpoint_ms: (self.flavor == Flavor::MySql).then_some(db.checkpoint_ms),
            binlog_on: true,
            log_replica_updates: true,
            executed: self.known(world),
            // Of a replica that is one position: the last of its source's.
            applied: if world.kind.has_gtids() {
                db.position(self.flavor)
            } else {
                self.known(world)
            },
            purged: self.known(world).minus(&self.known(world)),
            channels: self.replica_view(world).into_iter().collect(),
            prepared_xa: Vec::new(),
            denied: Vec::new(),
            replication_login: None,
            blockers: Vec::new(),
            missing_database: None,
            condition: Condition::default(),
            role: db.role,
            events: EventsView { enabled: db.events.clone(), ..EventsView::default() },
        }
    }

    /// What it has of its source's log, applied or not.
    fn received(&self, world: &World, source: &Db, read: usize) -> Barrier {
        if !world.kind.has_gtids() {
            return Barrier::At(place(read));
        }
        let mut last = world.servers[self.index].last.clone();
        for transaction in &source.log[..read] {
            let known = last.entry(transaction.origin).or_default();
            *known = transaction.sequence.max(*known);
        }
        Barrier::Gtid(executed(&last, self.flavor))
    }

    pub(crate) fn replica_view(&self, world: &World) -> Option<ReplicaView> {
        let db = &world.servers[self.index];
        let link = db.link?;
        let source = &world.servers[link.source];
        let state = if db.is_stopped { ThreadState::No } else { ThreadState::Yes };
        let receiver = if source.is_down() { ThreadState::Connecting } else { state.clone() };
        Some(ReplicaView {
            channel: String::new(),
            source: crate::harness::address(source.id),
            source_uuid: (self.flavor == Flavor::MySql).then(|| uuid(source.id)),
            source_server_id: source.id,
            io: if db.receives_nothing { ThreadState::No } else { receiver },
            sql: state,
            io_error: None,
            sql_error: None,
            lag_s: db.lag_s,
            tracking: world.kind.tracking,
            applied_to: db.link.map(|link| place(link.read)),
            received: Some(self.received(world, source, link.received.unwrap_or(link.read))),
            user: "repl".to_owned(),
            delay_s: 0,
        })
    }
}
