//! What a simulated server tells of itself.

use intermission::swap::{
    condition::Condition,
    observation::{Flavor, ReplicaView, ServerView, ThreadState},
    role::EventsView,
};

use crate::{db::uuid, server::SimServer, world::World};

impl SimServer {
    pub(crate) fn view(&self, world: &World) -> ServerView {
        let db = &world.servers[self.index];
        ServerView {
            flavor: self.flavor,
            version: "1".to_owned(),
            server_id: db.id,
            uuid: (self.flavor == Flavor::MySql).then(|| uuid(db.id)),
            access: db.access,
            gtid_on: true,
            binlog_on: true,
            log_replica_updates: true,
            executed: db.executed(self.flavor),
            applied: db.executed(self.flavor),
            purged: db.executed(self.flavor).minus(&db.executed(self.flavor)),
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

    pub(crate) fn replica_view(&self, world: &World) -> Option<ReplicaView> {
        let db = &world.servers[self.index];
        let source = &world.servers[db.link?.source];
        let state = if db.is_stopped { ThreadState::No } else { ThreadState::Yes };
        Some(ReplicaView {
            channel: String::new(),
            source: crate::harness::address(source.id),
            source_uuid: (self.flavor == Flavor::MySql).then(|| uuid(source.id)),
            source_server_id: source.id,
            io: state.clone(),
            sql: state,
            io_error: None,
            sql_error: None,
            lag_s: db.lag_s,
            uses_gtid: true,
            user: "repl".to_owned(),
            delay_s: 0,
        })
    }
}
