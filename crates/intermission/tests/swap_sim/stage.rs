//! What every call passes on its way into the world.

use std::{
    fmt,
    future::{Future, poll_fn},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use intermission::swap::server::Effect;
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    fault::{Blow, Moment, Reached},
    world::{Planned, World},
    wrong::Answer,
};

/// How long a call takes.
pub(crate) const LATENCY: Duration = Duration::from_millis(1);
/// How much longer a slow one takes.
const SLOW: Duration = Duration::from_millis(400);

/// Who does what a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// A server, which looks at itself.
    Reader(usize),
    /// A server, on the session with the lock.
    Session(usize, u64),
    /// A gate or a hook.
    Others,
}

impl By {
    const fn server(self) -> Option<usize> {
        match self {
            Self::Reader(server) | Self::Session(server, _) => Some(server),
            Self::Others => None,
        }
    }

    /// Whether there is somebody to do it.
    fn ensure_there(self, world: &World) -> Result<(), Failure> {
        if self.server().is_some_and(|server| world.servers[server].is_down()) {
            return Err(Failure { effect: Effect::NotSent, reason: "refused".to_owned() });
        }
        match self {
            Self::Session(db, id) if !world.is_alive(db, id) => {
                Err(Failure::unknown("the session is gone"))
            }
            Self::Session(..) | Self::Reader(_) | Self::Others => Ok(()),
        }
    }
}

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) effect: Effect,
    pub(crate) reason: String,
}

impl Failure {
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self { effect: Effect::Refused, reason: reason.into() }
    }

    pub(crate) fn unknown(reason: impl Into<String>) -> Self {
        Self { effect: Effect::Unknown, reason: reason.into() }
    }
}

/// The world, shared by all who act in it.
pub(crate) struct Stage {
    world: Mutex<World>,
    /// The process is to be ended.
    pub(crate) killed: Notify,
    still: Mutex<Still>,
    /// The process was made to stand still.
    pub(crate) stood_still: Notify,
    pub(crate) cancel: Mutex<CancellationToken>,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stage")
    }
}

/// Whether the process that swaps stands still, and who waits for it to go on.
#[derive(Debug, Default)]
struct Still {
    stands: bool,
    /// It goes on at this call of somebody else.
    until_call: Option<usize>,
    waiting: Vec<Waker>,
}

impl Stage {
    /// Lets the process that stands still go on.
    pub(crate) fn go_on(&self) {
        let mut still = self.still.lock().unwrap();
        still.stands = false;
        still.waiting.drain(..).for_each(Waker::wake);
    }

    /// Lets it go on at the call with this number.
    pub(crate) fn go_on_at(&self, call: usize) {
        self.still.lock().unwrap().until_call = Some(call);
    }

    async fn goes_on(&self) {
        poll_fn(|context| self.poll_still(context)).await;
    }

    fn poll_still(&self, context: &Context<'_>) -> Poll<()> {
        let mut still = self.still.lock().unwrap();
        if still.stands {
            still.waiting.push(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// A process, of which nothing goes on while it stands still.
    pub(crate) async fn unless_it_stands_still<T>(&self, process: impl Future<Output = T>) -> T {
        let mut process = std::pin::pin!(process);
        poll_fn(|context| match self.poll_still(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => process.as_mut().poll(context),
        })
        .await
    }

    pub(crate) fn new(world: World) -> Arc<Self> {
        Arc::new(Self {
            world: Mutex::new(world),
            killed: Notify::new(),
            still: Mutex::default(),
            stood_still: Notify::new(),
            cancel: Mutex::new(CancellationToken::new()),
        })
    }

    /// Looks at or changes the world, and checks what must always hold.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world.lock().unwrap();
        let done = change(&mut world);
        world.check();
        done
    }

    pub(crate) async fn struck(&self, blow: Blow) {
        match blow {
            Blow::Kill => {
                self.killed.notify_one();
                std::future::pending::<()>().await;
            }
            Blow::Panic => panic!("struck"),
            Blow::StandStill => {
                self.still.lock().unwrap().stands = true;
                self.stood_still.notify_one();
                self.goes_on().await;
            }
            Blow::Cancel => {
                self.cancel.lock().unwrap().cancel();
                sleep(LATENCY).await;
            }
        }
    }

    /// One call: the world goes on, then the effect happens or what was planned instead.
    pub(crate) async fn pass<T: Answer + Send + 'static>(
        &self,
        what: &'static str,
        by: By,
        effect: impl FnOnce(&mut World) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Failure> {
        let Planned { moment, strike, death } = self.with(|world| world.enter(what));
        let call = self.with(|world| world.trace.len());
        if self.still.lock().unwrap().until_call.take_if(|wanted| *wanted <= call).is_some() {
            self.go_on();
        }
        sleep(LATENCY).await;
        if let Some(strike) = strike
            && strike.reached == Reached::NotLanded
        {
            self.struck(strike.blow).await;
        }
        let moment = match strike {
            Some(strike) if strike.reached == Reached::Late => Some(Moment::Late),
            _ => moment,
        };
        let answer = self.answer(moment, by, effect).await;
        let died = death.is_some_and(|death| by.server() == Some(death.server));
        if let Some(death) = death {
            self.with(|world| world.die(death));
        }
        if let Some(strike) = strike
            && strike.reached != Reached::NotLanded
        {
            self.struck(strike.blow).await;
        }
        if died { answer.and(Err(lost())) } else { answer }
    }

    async fn answer<T: Answer + Send + 'static>(
        &self,
        moment: Option<Moment>,
        by: By,
        effect: impl FnOnce(&mut World) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Failure> {
        let landing = move |world: &mut World| {
            by.ensure_there(world)?;
            effect(world).map_err(Failure::refused)
        };
        match moment {
            None => self.with(landing),
            Some(Moment::Slow) => {
                sleep(SLOW).await;
                self.with(landing)
            }
            Some(Moment::BeforeEffect) => Err(Failure::refused("planned refusal")),
            Some(Moment::AfterEffect) => self.with(landing).and_then(|_| Err(lost())),
            Some(Moment::HangBefore) => std::future::pending().await,
            Some(Moment::HangAfter) => {
                drop(self.with(landing));
                std::future::pending().await
            }
            Some(Moment::Late) => {
                if let By::Session(db, id) = by {
                    let late = Box::new(|world: &mut World| drop(landing(world)));
                    self.with(|world| world.later((db, id), late));
                }
                Err(lost())
            }
            Some(Moment::Dies) => {
                if let By::Session(db, id) = by {
                    self.with(|world| world.kill(db, id));
                }
                Err(lost())
            }
            Some(Moment::Wrong) if matches!(by, By::Reader(_)) => {
                self.with(landing).map(T::contrary)
            }
            Some(Moment::Wrong) => self.with(|world| by.ensure_there(world)).map(|()| T::done()),
        }
    }
}

fn lost() -> Failure {
    Failure::unknown("the answer got lost")
}
