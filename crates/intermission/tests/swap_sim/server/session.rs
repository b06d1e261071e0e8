//! What a process has in its hands of one server: changes run on the session that holds the lock, and a session given up in
//! the middle of a request is ended before the next one.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use intermission::swap::{
    claim::Claim,
    observation::{Address, Blocker, Flavor},
    server::{Effect, ServerError},
};
use tokio::time::sleep;

use crate::{
    db::Db,
    stage::{By, Failure, Stage},
    world::World,
    wrong::Answer,
};

/// As long as the real one waits for the advisory lock.
const LOCK_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acting {
    Closed,
    Open(u64),
    /// Given up while a request was under way.
    Lost(u64),
}

/// What a process has in its hands of one server.
#[derive(Debug)]
pub(crate) struct SimServer {
    pub(super) stage: Arc<Stage>,
    pub(crate) index: usize,
    pub(super) name: String,
    pub(super) address: Address,
    pub(crate) flavor: Flavor,
    acting: Mutex<Acting>,
    pub(super) claim: Mutex<Claim>,
}

impl SimServer {
    pub(crate) fn new(stage: &Arc<Stage>, index: usize) -> Self {
        let (id, flavor) = stage.with(|world| (world.servers[index].id, world.flavor));
        Self {
            stage: Arc::clone(stage),
            index,
            name: format!("db{id}"),
            address: crate::harness::address(id),
            flavor,
            acting: Mutex::new(Acting::Closed),
            claim: Mutex::default(),
        }
    }

    pub(super) fn error(&self, doing: &str) -> impl Fn(Failure) -> ServerError {
        let (server, doing) = (self.name.clone(), doing.to_owned());
        move |Failure { effect, reason }| ServerError {
            server: server.clone(),
            doing: doing.clone(),
            reason,
            effect,
        }
    }

    pub(super) fn acting(&self) -> Acting {
        *self.acting.lock().unwrap()
    }

    pub(super) fn set(&self, acting: Acting) {
        *self.acting.lock().unwrap() = acting;
    }

    /// Reads on the second session.
    pub(super) async fn read<T: Answer + Send + 'static>(
        &self,
        what: &'static str,
        look: impl FnOnce(&mut Db) -> T + Send + 'static,
    ) -> Result<T, ServerError> {
        let index = self.index;
        let look = move |world: &mut World| Ok(look(&mut world.servers[index]));
        self.stage.pass(what, By::Reader(index), look).await.map_err(self.error(what))
    }

    /// Changes something on the session with the lock, which is opened where it is not.
    pub(super) async fn act<T: Answer + Send + 'static>(
        &self,
        what: &'static str,
        change: impl FnOnce(&mut World) -> Result<T, String> + Send + 'static,
    ) -> Result<T, ServerError> {
        self.ensure_locked(false).await?;
        self.act_on(what, change).await
    }

    /// The same where it can always be done.
    pub(super) async fn change(
        &self,
        what: &'static str,
        change: impl FnOnce(&mut Db) + Send + 'static,
    ) -> Result<(), ServerError> {
        let index = self.index;
        self.act(what, move |world| {
            change(&mut world.servers[index]);
            Ok(())
        })
        .await
    }

    pub(super) async fn act_on<T: Answer + Send + 'static>(
        &self,
        what: &'static str,
        change: impl FnOnce(&mut World) -> Result<T, String> + Send + 'static,
    ) -> Result<T, ServerError> {
        let Acting::Open(session) = self.acting() else {
            let reason = "the session with the lock is gone".to_owned();
            return Err(self.error(what)(Failure { effect: Effect::NotSent, reason }));
        };
        // If this future is dropped, the session counts as lost.
        self.set(Acting::Lost(session));
        let answer = self.stage.pass(what, By::Session(self.index, session), change).await;
        if answer.as_ref().map_or_else(|failure| failure.effect == Effect::Refused, |_| true) {
            self.set(Acting::Open(session));
        }
        answer.map_err(self.error(what))
    }

    pub(super) async fn ensure_locked(&self, take_over: bool) -> Result<(), ServerError> {
        let index = self.index;
        match self.acting() {
            Acting::Open(_) => return Ok(()),
            Acting::Lost(session) => self.stage.with(|world| world.kill(index, session)),
            Acting::Closed => {}
        }
        let session = self.stage.with(|world| world.open_session(index));
        self.set(Acting::Lost(session));
        let take = move |world: &mut World| {
            let owner = world.servers[index].lock;
            if let Some(owner) = owner
                && take_over
            {
                world.kill(index, owner);
            }
            let db = &mut world.servers[index];
            Ok(*db.lock.get_or_insert(session) == session)
        };
        let taken = self.stage.pass("lock", By::Session(index, session), take).await;
        match taken {
            Ok(true) if self.claim.lock().unwrap().stands() => {
                self.set(Acting::Open(session));
                return Ok(());
            }
            Ok(false) => sleep(LOCK_WAIT).await,
            Ok(true) | Err(Failure { effect: Effect::Refused, .. }) => {}
            Err(failure) => return Err(self.error("take the advisory lock")(failure)),
        }
        self.stage.with(|world| world.kill(index, session));
        self.set(Acting::Closed);
        Err(self.error("take the advisory lock")(Failure::refused("another swap is at work")))
    }
}

pub(crate) fn blocker(what: &str) -> Blocker {
    let (user, host) = ("app".to_owned(), "web1".to_owned());
    Blocker { session: 77, user, host, age_s: 9, rows: None, what: what.to_owned() }
}
