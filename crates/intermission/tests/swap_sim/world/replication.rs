//! Who reads whose log, and how far.

use intermission::swap::position::{Position, Tracking};

use super::World;
use crate::db::{Link, Transaction};

impl World {
    /// Makes it read where it finds the first transaction that it lacks, as by GTID.
    pub(crate) fn follow(&mut self, replica: usize, source: usize) {
        if self.servers[replica].link.is_some_and(|link| link.source == source) {
            return;
        }
        let last = &self.servers[replica].last;
        let lacks = |t: &Transaction| last.get(&t.origin).is_none_or(|last| *last < t.sequence);
        let log = &self.servers[source].log;
        let read = log.iter().position(lacks).unwrap_or(log.len());
        self.servers[replica].link = Some(Link::new(source, read));
    }

    /// Makes it read on from there, whatever it has. Led to that source before, it goes on where it was.
    pub(crate) fn follow_from(&mut self, replica: usize, source: usize, from: &Position) {
        let Position::At(place) = from else { return self.follow(replica, source) };
        if self.servers[replica].link.is_none_or(|link| link.source != source) {
            let read = usize::try_from(place.offset).unwrap();
            self.servers[replica].link = Some(Link::new(source, read));
        }
    }

    /// False when there was nothing to apply.
    pub(crate) fn apply_one(&mut self, replica: usize) -> bool {
        let db = &self.servers[replica];
        let stands = db.is_stuck || db.is_stopped || db.shut_by.is_some() || db.is_down();
        let (Some(link), false) = (db.link, stands) else { return false };
        if link.received.is_some_and(|received| link.read >= received) {
            return false;
        }
        let Some(next) = self.servers[link.source].log.get(link.read).cloned() else {
            return false;
        };
        let db = &mut self.servers[replica];
        db.link = Some(Link { read: link.read + 1, ..link });
        let is_new = match self.kind.tracking {
            Tracking::Gtid => db.last.get(&next.origin).is_none_or(|last| *last < next.sequence),
            // By coordinates only its own are told apart.
            Tracking::Coordinates => next.origin != db.id,
        };
        if is_new {
            db.push(next);
        }
        true
    }

    pub(crate) fn apply_all(&mut self) {
        for replica in 0..self.servers.len() {
            while self.apply_one(replica) {}
        }
    }
}
