//! One simulated server, with the session rules of the real one.

mod session;

use std::time::Duration;

use async_trait::async_trait;
use intermission::swap::{
    claim::Claim,
    condition::ChannelTls,
    gtid::GtidSet,
    observation::{Access, Address, Blocker, Flavor, ReplicaView, ServerView},
    position::{Barrier, Coordinates, Position, Tracking},
    role::{Event, Scheduler, SemiSync},
    server::{Detail, Effect, Life, Look, Server, ServerError},
    sibling::{Repoint, Threads},
};
use tokio::time::{Instant, sleep};

use crate::{
    db::{Db, Link, What, fenced},
    stage::{Failure, LATENCY},
};

use self::session::Acting;
pub(crate) use self::session::{SimServer, blocker};

#[async_trait]
impl Server for SimServer {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn flavor(&self) -> Option<Flavor> {
        Some(self.flavor)
    }

    fn assume(&self, _: Flavor) {}

    fn bind(&self, claim: &Claim) {
        *self.claim.lock().unwrap() = claim.clone();
    }

    async fn sessions(&self) -> Vec<u64> {
        Vec::new()
    }

    fn spare(&self, _: Vec<u64>) {}

    async fn stand_by(&self) -> Result<(), ServerError> {
        self.read("stand_by", |_| ()).await
    }

    async fn lock(&self, take_over: bool) -> Result<(), ServerError> {
        self.ensure_locked(take_over).await
    }

    async fn unlock(&self) -> Result<(), ServerError> {
        let index = self.index;
        match self.acting() {
            Acting::Open(session) => {
                self.act_on("unlock", move |world| {
                    world.servers[index].lock.take_if(|owner| *owner == session);
                    Ok(())
                })
                .await?;
                self.stage.with(|world| world.hang_up(index, session));
            }
            // Ended by the other session, as where the lock is taken again.
            Acting::Lost(session) => self.stage.with(|world| world.kill(index, session)),
            Acting::Closed => {}
        }
        self.set(Acting::Closed);
        Ok(())
    }

    async fn observe(&self, _: Detail) -> Result<ServerView, ServerError> {
        self.read("observe", |_| ()).await?;
        Ok(self.stage.with(|world| self.view(world)))
    }

    async fn access(&self) -> Result<Access, ServerError> {
        self.read("access", |db| db.access).await
    }

    async fn executed(&self) -> Result<GtidSet, ServerError> {
        self.read("executed", |_| ()).await?;
        Ok(self.stage.with(|world| self.known(world)))
    }

    async fn channels(&self) -> Result<Vec<ReplicaView>, ServerError> {
        self.read("channels", |_| ()).await?;
        Ok(self.stage.with(|world| self.replica_view(world).into_iter().collect()))
    }

    async fn blockers(&self) -> Result<Vec<Blocker>, ServerError> {
        self.read("blockers", |db| db.is_blocked.then(|| blocker("a long query")))
            .await
            .map(|found| found.into_iter().collect())
    }

    async fn open_transactions(&self) -> Result<Vec<Blocker>, ServerError> {
        self.read("open_transactions", |db| db.open_transaction.then(|| blocker("a transaction")))
            .await
            .map(|found| found.into_iter().collect())
    }

    async fn fence(&self, bound: Duration) -> Result<(), ServerError> {
        let (index, access) = (self.index, fenced(self.flavor));
        let done = self
            .act("fence", move |world| {
                let db = &mut world.servers[index];
                if db.is_blocked {
                    return Err("something held it up; our statement was killed".to_owned());
                }
                db.set(access);
                if !access.super_read_only {
                    // What changes something runs on the session with the lock.
                    db.shut_by = db.lock;
                }
                Ok(())
            })
            .await;
        if self.stage.with(|world| world.servers[index].is_blocked) {
            sleep(bound).await;
        }
        done
    }

    async fn restore(&self, access: Access) -> Result<(), ServerError> {
        self.change("restore", move |db| {
            db.set(access);
            db.shut_by = None;
        })
        .await
    }

    async fn passing(&self) -> Result<Vec<Blocker>, ServerError> {
        self.read("passing", |db| db.has_xa.then(|| blocker("an XA transaction")))
            .await
            .map(|found| found.into_iter().collect())
    }

    async fn look(&self, by: Tracking) -> Result<Look, ServerError> {
        let flavor = self.flavor;
        let look = move |db: &mut Db| {
            let barrier = match by {
                Tracking::Gtid => Barrier::Gtid(db.position(flavor)),
                Tracking::Coordinates => Barrier::At(db.end()),
            };
            Look { access: db.access, is_shut: db.is_shut(), barrier }
        };
        self.read("look", look).await
    }

    async fn coordinates(&self) -> Result<Coordinates, ServerError> {
        self.read("coordinates", |db| db.end()).await
    }

    async fn set_checkpoint_period(&self, ms: u32) -> Result<(), ServerError> {
        self.change("set_checkpoint_period", move |db| db.checkpoint_ms = ms).await
    }

    async fn wait_applied(
        &self,
        barrier: &Barrier,
        _: &str,
        bound: Duration,
    ) -> Result<bool, ServerError> {
        let (index, flavor, deadline) = (self.index, self.flavor, Instant::now() + bound);
        self.act("wait_applied", |_| Ok(())).await?;
        let is_applied = |db: &Db| match barrier {
            Barrier::Gtid(set) => db.executed(flavor).contains(set),
            Barrier::At(end) => {
                db.link.is_some_and(|link| u64::try_from(link.read).unwrap() >= end.offset)
            }
        };
        while !self.stage.with(|world| is_applied(&world.servers[index])) {
            if self.stage.with(|world| world.servers[index].is_down()) {
                return Err(self.error("wait_applied")(Failure::unknown("the session is gone")));
            }
            // A server may answer at once where its applier does not run.
            let is_stopped = self.stage.with(|world| world.servers[index].is_stopped);
            if is_stopped || Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(LATENCY).await;
            self.stage.with(|world| world.apply_one(index));
        }
        Ok(true)
    }

    async fn promote(&self) -> Result<(), ServerError> {
        let index = self.index;
        self.act_on("promote", move |world| {
            world.servers[index].set(Access::WRITABLE);
            Ok(())
        })
        .await
    }

    async fn end_sessions(&self, _: Duration) -> Result<usize, ServerError> {
        self.read("end_sessions", |db| usize::from(std::mem::take(&mut db.open_transaction))).await
    }

    async fn let_replication_in(&self) -> Result<(), ServerError> {
        self.change("let_replication_in", |db| db.shut_by = None).await
    }

    async fn life(&self) -> Life {
        match self.access().await {
            Ok(_) => Life::Answers("it told its switches".to_owned()),
            Err(error) if error.effect == Effect::NotSent => Life::Silent(error.reason),
            Err(_) => Life::Accepts,
        }
    }

    async fn stop_receiving(&self, _: &str) -> Result<(), ServerError> {
        let index = self.index;
        self.act("stop receiving", move |world| {
            let link = world.servers[index].link.ok_or("no channel")?;
            let all = world.servers[link.source].log.len();
            let db = &mut world.servers[index];
            db.receives_nothing = true;
            db.link = Some(Link { received: Some(link.received.unwrap_or(all)), ..link });
            Ok(())
        })
        .await
    }

    async fn receive_again(&self, _: &str, _: Threads) -> Result<(), ServerError> {
        let index = self.index;
        self.act("receive again", move |world| {
            let source = world.servers[index].link.ok_or("no channel")?.source;
            let is_down = world.servers[source].is_down();
            let db = &mut world.servers[index];
            db.receives_nothing = false;
            if let Some(link) = db.link.as_mut().filter(|_| !is_down) {
                link.received = None;
            }
            Ok(())
        })
        .await
    }

    async fn detach(&self) -> Result<(), ServerError> {
        self.change("detach", |db| db.link = None).await
    }

    async fn follow(
        &self,
        source: &Address,
        _: &ChannelTls,
        from: &Position,
    ) -> Result<(), ServerError> {
        let (index, port, from) = (self.index, source.port, from.clone());
        self.act("follow", move |world| {
            let source = world.servers.iter().position(|db| crate::harness::port(db.id) == port);
            world.follow_from(index, source.ok_or("no such server")?, &from);
            Ok(())
        })
        .await
    }

    /// One statement after the other, as the real one is told: what comes late is one of them, and a channel that runs is not changed.
    async fn repoint(&self, to: &Repoint) -> Result<(), ServerError> {
        let (index, port, run) = (self.index, to.source.port, to.run);
        let from = to.position.clone();
        self.change("stop", |db| db.is_stopped = true).await?;
        self.act("repoint", move |world| {
            if !world.servers[index].is_stopped {
                return Err("it runs".to_owned());
            }
            let source = world.servers.iter().position(|db| crate::harness::port(db.id) == port);
            world.follow_from(index, source.ok_or("no such server")?, &from);
            Ok(())
        })
        .await?;
        self.change("start", move |db| db.is_stopped = run != Threads::BOTH).await
    }

    async fn persist_read_only(&self, read_only: bool) -> Result<bool, ServerError> {
        let (index, can) = (self.index, self.flavor == Flavor::MySql);
        self.act("persist_read_only", move |world| {
            world.servers[index].boots_read_only = read_only;
            Ok(can)
        })
        .await
    }

    async fn set_semi_sync(&self, semi_sync: SemiSync) -> Result<(), ServerError> {
        self.change("set_semi_sync", move |db| {
            let own = &mut db.role.semi_sync;
            own.source = semi_sync.source.or(own.source);
            own.replica = semi_sync.replica.or(own.replica);
        })
        .await
    }

    async fn has_semi_sync_replicas(&self) -> Result<bool, ServerError> {
        self.read("has_semi_sync_replicas", |_| ()).await?;
        let index = self.index;
        Ok(self.stage.with(|world| world.has_replica(index)))
    }

    async fn set_scheduler(&self, on: bool) -> Result<(), ServerError> {
        let scheduler = if on { Scheduler::On } else { Scheduler::Off };
        self.change("set_scheduler", move |db| db.role.scheduler = scheduler).await
    }

    async fn enabled_events(&self) -> Result<Vec<Event>, ServerError> {
        self.read("enabled_events", |db| db.events.clone()).await
    }

    async fn enable_events(&self, events: &[Event]) -> Result<usize, ServerError> {
        let (index, flavor, count) = (self.index, self.flavor, events.len());
        self.act("enable_events", move |world| {
            world.servers[index].commit(flavor, What::Events);
            Ok(count)
        })
        .await
    }

    async fn write_marker(&self, id: &str) -> Result<(), ServerError> {
        let (index, flavor, id) = (self.index, self.flavor, id.to_owned());
        self.act("write_marker", move |world| {
            let db = &mut world.servers[index];
            if !db.access.is_writable() {
                return Err("read-only".to_owned());
            }
            db.commit(flavor, What::Marker(id));
            Ok(())
        })
        .await
    }

    async fn has_marker(&self, id: &str) -> Result<bool, ServerError> {
        let marker = What::Marker(id.to_owned());
        self.read("has_marker", move |db| db.log.iter().any(|t| t.what == marker)).await
    }

    fn command_to_open(&self) -> String {
        format!("open {}", self.name)
    }

    fn command_to_fence(&self) -> String {
        format!("fence {}", self.name)
    }

    fn command_to_ask(&self) -> String {
        format!("ask {}", self.name)
    }

    fn command_to_wait_for(&self, asked: &str) -> String {
        format!("let {} apply $({asked})", self.name)
    }

    fn command_to_wait(&self, barrier: &Barrier, _: &str) -> String {
        format!("let {} apply {barrier}", self.name)
    }

    fn command_to_start(&self, _: &str) -> String {
        format!("start {}", self.name)
    }

    fn command_to_run_events(&self, _: &[Event]) -> String {
        format!("run the events of {}", self.name)
    }

    fn command_to_look(&self) -> String {
        format!("look at {}", self.name)
    }

    fn command_to_repoint(&self, _: Flavor, to: &Repoint) -> String {
        format!("lead {} to {}", self.name, to.source)
    }
}
