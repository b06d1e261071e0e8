//! The world of one case: everything that outlives a process. Plain data; nothing here waits.

mod replication;
mod session;

use std::{collections::BTreeSet, fmt, time::Duration};

use intermission::swap::{
    executor::Flush,
    guard::Told,
    observation::{Access, Flavor},
    record::{Action, Entry, Outcome, Record, Verdict},
    role::Scheduler,
    step::Step,
};
use tokio::time::Instant;

pub(crate) use crate::fault::Called;
use crate::{
    db::{Db, Link, What, fenced},
    fault::{Death, Fault, Moment, Point, Strike},
    harness::Kind,
};

/// When an effect that comes late happens: before any lease ends, after the executor went on.
pub(crate) const LATE_BY: Duration = Duration::from_secs(5);

/// How much a replica applies meanwhile.
const APPLIED_PER_CALL: u32 = 4;

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) holder: String,
    pub(crate) began: Instant,
    pub(crate) until: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) held: Option<Held>,
    queue: Vec<u64>,
    pub(crate) longest: Duration,
    /// How many holds ended because nobody renewed them.
    pub(crate) expired: u32,
}

/// Who writes. A gated writer goes through the gate; a direct one is a background job that the gate does not see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    /// One gated write every so many calls; 0 is never.
    pub(crate) gated: usize,
    pub(crate) direct: usize,
}

type Effect = Box<dyn FnOnce(&mut World) + Send>;

struct Pending {
    due: Instant,
    at: (usize, u64),
    effect: Effect,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("at", &self.at).finish_non_exhaustive()
    }
}

/// What becomes of one call.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) moment: Option<Moment>,
    pub(crate) strike: Option<Strike>,
    /// A server dies when the call has landed.
    pub(crate) death: Option<Death>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) flavor: Flavor,
    pub(crate) kind: Kind,
    /// The old primary, then the new one, then the siblings.
    pub(crate) servers: Vec<Db>,
    pub(crate) gate: Gate,
    /// None while the clients' address is nowhere.
    pub(crate) endpoint: Option<usize>,
    pub(crate) traffic: Traffic,
    pub(crate) acknowledged: Vec<u64>,
    /// Gated writes that a user saw fail.
    pub(crate) user_errors: u64,
    next_write: u64,
    next_session: u64,
    pending: Vec<Pending>,
    orphans: BTreeSet<u64>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) strike: Option<Strike>,
    pub(crate) death: Option<Death>,
    /// This server comes back at the call with this number.
    pub(crate) wakes: Option<(usize, usize)>,
    /// One call was.
    pub(crate) was_answered_wrongly: bool,
    /// Something writes through the fence whenever the barrier is read.
    pub(crate) is_leaky: bool,
    /// An administrator tries to write behind the fence all the time, as far as `detach`.
    pub(crate) has_administrator: bool,
    /// Every call of this name never comes back.
    pub(crate) hangs: Option<&'static str>,
    current: Option<(Action, Step)>,
    nth: usize,
    performed: BTreeSet<Step>,
    looks_first: bool,
    pub(crate) trace: Vec<Called>,
    /// The journal: what was written and whether it is on disk.
    pub(crate) journal: Vec<(Entry, Flush)>,
    pub(crate) appends: usize,
    /// How often the journal was taken over: whoever had it before writes where nobody reads.
    pub(crate) owner: u32,
    /// What the guardian was told.
    pub(crate) told: Told,
    /// From this append on the disk is full.
    pub(crate) full_at: Option<usize>,
    /// How long the disk takes for what is waited for.
    pub(crate) flush: Duration,
    /// What must never be, and was.
    pub(crate) violations: Vec<String>,
}

impl World {
    pub(crate) fn new(kind: Kind, siblings: u32) -> Self {
        let flavor = kind.flavor;
        let fenced = fenced(flavor);
        let replica = |id| Db::new(id, fenced, Some(Link::new(0, 0)));
        let replicas = (2..=2 + siblings).map(replica);
        let mut servers: Vec<Db> =
            std::iter::once(Db::new(1, Access::WRITABLE, None)).chain(replicas).collect();
        // Some history, of which the replica has applied nothing yet.
        for write in 0..3 {
            servers[0].commit(flavor, What::Write(write));
        }
        Self {
            flavor,
            kind,
            servers,
            gate: Gate::default(),
            endpoint: Some(0),
            traffic: Traffic { gated: 1, direct: 3 },
            acknowledged: vec![0, 1, 2],
            user_errors: 0,
            next_write: 3,
            next_session: 1,
            pending: Vec::new(),
            orphans: BTreeSet::new(),
            faults: Vec::new(),
            strike: None,
            death: None,
            wakes: None,
            was_answered_wrongly: false,
            is_leaky: false,
            has_administrator: false,
            hangs: None,
            current: None,
            nth: 0,
            performed: BTreeSet::new(),
            looks_first: false,
            trace: Vec::new(),
            journal: Vec::new(),
            appends: 0,
            owner: 0,
            told: Told::default(),
            full_at: None,
            flush: Duration::ZERO,
            violations: Vec::new(),
        }
    }

    /// Learns which action the next calls belong to.
    pub(crate) fn hear(&mut self, entry: &Entry) {
        self.told.learn(entry);
        match &entry.record {
            Record::Intent { action, step, .. } => {
                self.current = Some((*action, *step));
                let is_again = *action == Action::Perform && !self.performed.insert(*step);
                // Behind the release the look is a part of each try.
                self.looks_first = is_again && *step <= Step::Release;
            }
            Record::Opened { .. }
            | Record::Outcome { .. }
            | Record::Interrupted { .. }
            | Record::Noted { .. }
            | Record::Resumed { .. }
            | Record::Closed { .. } => self.current = None,
        }
        self.nth = 0;
    }

    /// A call begins: the world goes on a little, then the call learns what becomes of it.
    pub(crate) fn enter(&mut self, what: &'static str) -> Planned {
        let call = self.trace.len();
        // Sessions are ended beside other steps; and what a step looks at before it is tried again is not its own.
        let ends = what == "end_sessions" && self.current.is_some();
        let looks = std::mem::take(&mut self.looks_first) && what == "access";
        let is_beside = ends || looks;
        let (current, nth) = match (ends, looks) {
            (true, _) => (Some((Action::Perform, Step::EndSessions)), 0),
            (false, true) => (None, 0),
            (false, false) => (self.current, self.nth),
        };
        self.trace.push(Called { current, what, nth });
        self.nth += usize::from(!is_beside);
        self.tick();
        let strike = self.strike.take_if(|strike| strike.point == Point::Call(call));
        let fault = self.faults.iter_mut().find(|fault| fault.strikes(current, nth));
        let moment = fault.map(|fault| {
            fault.hits += 1;
            fault.moment
        });
        if self.is_leaky && what == "look" && !self.servers[0].access.is_writable() {
            self.servers[0].commit(self.flavor, What::Marker("by root".to_owned()));
        }
        let is_before = self.current.is_some_and(|(_, step)| step <= Step::Detach);
        let old = &mut self.servers[0];
        if self.has_administrator && is_before && !old.access.is_writable() && !old.is_shut() {
            old.commit(self.flavor, What::Marker("by an administrator".to_owned()));
            self.violations.push(format!("F11: written behind the fence at {what}"));
        }
        self.was_answered_wrongly |= moment == Some(Moment::Wrong);
        let hang = (self.hangs == Some(what)).then_some(Moment::HangBefore);
        if let Some((server, _)) = self.wakes.take_if(|(_, at)| *at == call) {
            self.wake(server);
        }
        let death = self.death.take_if(|death| death.call == call);
        if let Some(death) = death
            && !death.landed
        {
            self.die(death);
        }
        Planned { moment: hang.or(moment), strike, death: death.filter(|death| death.landed) }
    }

    /// What happens without us: late effects, the end of leases, replication, writers.
    pub(crate) fn tick(&mut self) {
        self.settle();
        // At the worst: while users wait a replica applies only what it is waited for.
        let is_slow = self.current.is_some_and(|(_, s)| (Step::Hold..=Step::Release).contains(&s));
        if !is_slow {
            for replica in 0..self.servers.len() {
                // Faster than anybody writes: a backlog ends.
                (0..APPLIED_PER_CALL).for_each(|_| _ = self.apply_one(replica));
            }
        }
        let due = |every: usize| every > 0 && self.trace.len().is_multiple_of(every);
        let (gated, direct) = (due(self.traffic.gated), due(self.traffic.direct));
        if gated {
            let write = self.new_write();
            match &self.gate.held {
                Some(_) => self.gate.queue.push(write),
                None => self.user_writes(write),
            }
        }
        if direct && self.clients_can_write() {
            let write = self.new_write();
            self.write(write);
        }
    }

    /// Late effects, servers that come back and the end of leases, up to now.
    pub(crate) fn settle(&mut self) {
        let now = Instant::now();
        for server in 0..self.servers.len() {
            if self.servers[server].down_until.is_some_and(|at| at <= now) {
                self.wake(server);
            }
        }
        while let Some(next) = self.pending.iter().position(|pending| pending.due <= now) {
            let Pending { at: (db, session), effect, .. } = self.pending.remove(next);
            effect(self);
            self.check();
            if self.orphans.contains(&session) {
                self.kill(db, session);
            }
        }
        if self.gate.held.as_ref().is_some_and(|held| held.until <= now) {
            self.gate.expired += 1;
            self.open_gate();
        }
    }

    /// What must hold after every effect, of servers that have not just started as their option files say.
    pub(crate) fn check(&mut self) {
        let is_writer = |db: &&Db| db.access.is_writable() && !db.has_woken;
        if self.servers.iter().filter(is_writer).count() > 1 {
            self.violations.push(format!("F12: two writers during {:?}", self.current));
        }
        for index in 0..self.servers.len() {
            let db = &self.servers[index];
            if db.has_woken || db.is_down() {
                continue;
            }
            let waits = db.role.semi_sync.source == Some(true) && !self.has_replica(index);
            if db.access.is_writable() && waits {
                let current = self.current;
                self.violations
                    .push(format!("F6: db{} waits for nobody during {current:?}", db.id));
            }
            // MySQL's super_read_only stops events, MariaDB's read_only does not.
            let runs = db.role.scheduler == Scheduler::On && !db.events.is_empty();
            if runs && !db.access.is_writable() && self.flavor == Flavor::MariaDb {
                let current = self.current;
                self.violations.push(format!(
                    "F47: events of db{} run behind its fence during {current:?}",
                    db.id
                ));
            }
        }
    }

    /// What must hold before users go on: it was tried to write as they will. Where that cannot be done they go on all the
    /// same, and a person is asked for.
    pub(crate) fn check_release(&mut self) {
        let is_at = |step: Step| Some((Action::Perform, step));
        let was_tried = self.trace.iter().any(|call| call.current == is_at(Step::Canary));
        if self.current == is_at(Step::Release) && !was_tried {
            self.violations.push("users are released before a canary was tried".to_owned());
        }
        // A journal in a file is none of the world's, and one on a full disk is of no use.
        let is_elsewhere = self.journal.is_empty();
        let is_full = self.full_at.is_some_and(|full| full < self.appends);
        let is_known = is_elsewhere || is_full || self.knows_of_the_commit();
        if self.current == is_at(Step::Release) && !is_known {
            let lost = "users are released before it is on disk that promote took effect";
            self.violations.push(lost.to_owned());
        }
    }

    /// Whether a recovery would find it in the journal that promote took effect, had the machine died as well.
    fn knows_of_the_commit(&self) -> bool {
        let tells = |entry: &Entry| match &entry.record {
            Record::Outcome { step: Step::Promote, outcome, .. } => match outcome {
                Outcome::Done { .. } | Outcome::Verified { verdict: Verdict::TookEffect, .. } => {
                    true
                }
                Outcome::Failed { .. } | Outcome::Verified { .. } => false,
            },
            Record::Opened { .. }
            | Record::Resumed { .. }
            | Record::Intent { .. }
            | Record::Outcome { .. }
            | Record::Noted { .. }
            | Record::Interrupted { .. }
            | Record::Closed { .. } => false,
        };
        let on_disk = self.journal.iter().rposition(|(_, flush)| *flush == Flush::Done);
        let on_disk = on_disk.map_or(0, |last| last + 1);
        self.journal.iter().take(on_disk).any(|(entry, _)| tells(entry))
    }

    pub(crate) fn has_replica(&self, index: usize) -> bool {
        self.servers.iter().any(|db| db.link.is_some_and(|link| link.source == index))
    }

    fn new_write(&mut self) -> u64 {
        self.next_write += 1;
        self.next_write - 1
    }

    /// Commits on the server clients reach, which is writable.
    fn write(&mut self, write: u64) {
        let flavor = self.flavor;
        let Some(endpoint) = self.endpoint else { return };
        if self.servers[endpoint].writes != self.acknowledged.len() {
            let current = self.current;
            self.violations
                .push(format!("F11: a write is taken without the earlier ones during {current:?}"));
        }
        self.servers[endpoint].commit(flavor, What::Write(write));
        self.acknowledged.push(write);
    }

    pub(crate) fn clients_can_write(&self) -> bool {
        self.endpoint.is_some_and(|endpoint| self.servers[endpoint].access.is_writable())
    }

    fn user_writes(&mut self, write: u64) {
        if self.clients_can_write() {
            self.write(write);
        } else {
            self.user_errors += 1;
        }
    }

    pub(crate) fn open_gate(&mut self) {
        let Some(held) = self.gate.held.take() else { return };
        let end = held.until.min(Instant::now());
        self.gate.longest = self.gate.longest.max(end.duration_since(held.began));
        for write in std::mem::take(&mut self.gate.queue) {
            self.user_writes(write);
        }
    }
}
