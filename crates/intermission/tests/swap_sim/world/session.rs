//! The servers' sessions, and what ends them.

use tokio::time::Instant;

use super::{Effect, LATE_BY, Pending, World};
use crate::{db::Db, fault::Death};

impl World {
    /// A server dies with all its sessions and all that they were asked.
    pub(crate) fn die(&mut self, death: Death) {
        for session in self.servers[death.server].sessions.clone() {
            self.kill(death.server, session);
        }
        self.servers[death.server].die(self.flavor, Instant::now() + death.down);
        for link in self.servers.iter_mut().filter_map(|db| db.link.as_mut()) {
            if link.source == death.server {
                link.received = Some(link.received.unwrap_or(link.read));
            }
        }
    }

    /// It comes back, and who replicates from it receives again.
    pub(super) fn wake(&mut self, server: usize) {
        self.servers[server].wake();
        let receives = |db: &&mut Db| !db.receives_nothing;
        for link in self.servers.iter_mut().filter(receives).filter_map(|db| db.link.as_mut()) {
            if link.source == server {
                link.received = None;
            }
        }
    }

    /// Who is down comes back.
    pub(crate) fn wake_all(&mut self) {
        for server in 0..self.servers.len() {
            if self.servers[server].is_down() {
                self.wake(server);
            }
        }
    }

    pub(crate) fn open_session(&mut self, db: usize) -> u64 {
        let session = self.next_session;
        self.next_session += 1;
        self.servers[db].sessions.insert(session);
        session
    }

    pub(crate) fn is_alive(&self, db: usize, session: u64) -> bool {
        self.servers[db].sessions.contains(&session)
    }

    /// Ends a session with all it was asked and has not done.
    pub(crate) fn kill(&mut self, db: usize, session: u64) {
        self.servers[db].sessions.remove(&session);
        self.servers[db].lock.take_if(|owner| *owner == session);
        self.servers[db].shut_by.take_if(|owner| *owner == session);
        self.pending.retain(|pending| pending.at != (db, session));
        self.orphans.remove(&session);
    }

    /// Our end of the connection is closed: the server notices as soon as it has nothing left to do for it.
    pub(crate) fn hang_up(&mut self, db: usize, session: u64) {
        if self.pending.iter().any(|pending| pending.at == (db, session)) {
            self.orphans.insert(session);
        } else {
            self.kill(db, session);
        }
    }

    pub(crate) fn later(&mut self, at: (usize, u64), effect: Effect) {
        self.pending.push(Pending { due: Instant::now() + LATE_BY, at, effect });
    }

    /// The process is gone. With `half_open` the servers do not notice.
    pub(crate) fn process_ends(&mut self, half_open: bool) {
        self.current = None;
        if half_open {
            return;
        }
        for db in 0..self.servers.len() {
            for session in self.servers[db].sessions.clone() {
                self.hang_up(db, session);
            }
        }
    }
}
