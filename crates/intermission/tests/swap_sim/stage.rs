//! What every call passes on its way into the world, the gate, the endpoint and the log.

use std::{
    fmt,
    future::{Future, poll_fn},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use intermission::swap::{
    endpoint::{Endpoint, EndpointError},
    gates::{GateBounds, GateError, Gates, Users},
    observation::{Address, EndpointView},
    refusal::Refusal,
    server::Effect,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    fault::{Blow, Moment, Reached},
    world::{Held, World},
};

/// How long a call takes.
pub(crate) const LATENCY: Duration = Duration::from_millis(1);
/// How much longer a slow one takes.
const SLOW: Duration = Duration::from_millis(400);

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

    /// One call: the world goes on, then the effect happens or what was planned instead. `session` is the server and
    /// the session that does it, for calls that change a server.
    pub(crate) async fn pass<T: Send + 'static>(
        &self,
        what: &'static str,
        session: Option<(usize, u64)>,
        effect: impl FnOnce(&mut World) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Failure> {
        let (moment, strike) = self.with(|world| world.enter(what));
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
        let landing = move |world: &mut World| {
            if session.is_some_and(|(db, id)| !world.is_alive(db, id)) {
                return Err(Failure::unknown("the session is gone"));
            }
            effect(world).map_err(Failure::refused)
        };
        let lost = || Failure::unknown("the answer got lost");
        let answer = match moment {
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
                if let Some(at) = session {
                    let late = Box::new(|world: &mut World| drop(landing(world)));
                    self.with(|world| world.later(at, late));
                }
                Err(lost())
            }
            Some(Moment::Dies) => {
                self.with(|world| {
                    if let Some((db, id)) = session {
                        world.kill(db, id);
                    }
                });
                Err(lost())
            }
        };
        if let Some(strike) = strike
            && strike.reached != Reached::NotLanded
        {
            self.struck(strike.blow).await;
        }
        answer
    }
}

// === the gate ===

/// The gate, under the name a client of it would use.
#[derive(Debug)]
pub(crate) struct SimGates(pub(crate) Arc<Stage>);

fn gate_error(doing: &str) -> impl FnOnce(Failure) -> GateError {
    let doing = doing.to_owned();
    move |failure| GateError { gate: "gate".to_owned(), doing, reason: failure.reason }
}

#[async_trait]
impl Gates for SimGates {
    async fn preflight(&self) -> Vec<Refusal> {
        Vec::new()
    }

    async fn hold(&self, holder: &str, lease: Duration, _: Duration) -> Result<(), GateError> {
        let name = holder.to_owned();
        let hold = move |world: &mut World| {
            let now = Instant::now();
            match &mut world.gate.held {
                Some(held) if held.holder != name => {
                    return Err(format!("{} holds it", held.holder));
                }
                Some(held) => held.until = now + lease,
                None => {
                    world.gate.held = Some(Held { holder: name, began: now, until: now + lease });
                }
            }
            Ok(())
        };
        self.0.pass("hold", None, hold).await.map_err(gate_error("hold"))
    }

    async fn renew(&self, holder: &str, lease: Duration) -> Result<(), GateError> {
        let name = holder.to_owned();
        let renew = move |world: &mut World| match &mut world.gate.held {
            Some(held) if held.holder == name => {
                held.until = Instant::now() + lease;
                Ok(())
            }
            _ => Err("not held".to_owned()),
        };
        self.0.pass("renew", None, renew).await.map_err(gate_error("renew"))
    }

    async fn release(&self, holder: &str) -> Result<(), GateError> {
        let name = holder.to_owned();
        let release = move |world: &mut World| {
            if world.gate.held.as_ref().is_some_and(|held| held.holder == name) {
                world.open_gate();
            }
            Ok(())
        };
        self.0.pass("release", None, release).await.map_err(gate_error("release"))
    }

    async fn answered(&self, _: &str) -> Result<bool, GateError> {
        self.0
            .pass("answered", None, |world| Ok(world.gate.held.is_none()))
            .await
            .map_err(gate_error("ask whether everyone is answered"))
    }

    async fn users(&self, _: &str) -> Result<Users, GateError> {
        self.0
            .pass("users", None, |_| Ok(Users::default()))
            .await
            .map_err(gate_error("read what users saw"))
    }

    async fn bounds(&self) -> Result<GateBounds, GateError> {
        Ok(GateBounds { warm_up: Some(crate::harness::warm_up()), max_wait: None })
    }

    async fn warm_up(&self, _: Duration) -> Result<String, GateError> {
        let asked = |world: &mut World| {
            if world.clients_can_write() { Ok(String::new()) } else { Err("500".to_owned()) }
        };
        self.0.pass("warm_up", None, asked).await.map_err(gate_error("warm up"))
    }

    fn commands_to_release(&self) -> Vec<String> {
        vec!["release shop".to_owned()]
    }
}

// === the endpoint ===

#[derive(Debug)]
pub(crate) struct SimEndpoint(pub(crate) Arc<Stage>);

fn hook_failed(failure: Failure) -> EndpointError {
    EndpointError::Failed {
        program: "hook".to_owned(),
        status: "status 1".to_owned(),
        output: failure.reason,
    }
}

/// Which server of the world an address is.
pub(crate) fn index_of(address: &Address) -> usize {
    (1_u32..=9).position(|id| address.port == crate::harness::port(id)).expect("a server's address")
}

#[async_trait]
impl Endpoint for SimEndpoint {
    async fn observe(&self) -> EndpointView {
        EndpointView::default()
    }

    fn bound(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn withdrawal(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }

    async fn withdraw(&self, old: &Address) -> Result<String, EndpointError> {
        let old = index_of(old);
        let withdraw = move |world: &mut World| {
            if world.endpoint == Some(old) {
                world.endpoint = None;
            }
            Ok(String::new())
        };
        self.0.pass("withdraw", None, withdraw).await.map_err(hook_failed)
    }

    async fn give_back(&self, old: &Address, _: &Address) -> Result<String, EndpointError> {
        let old = index_of(old);
        let give_back = move |world: &mut World| {
            world.endpoint = Some(old);
            Ok(String::new())
        };
        self.0.pass("give_back", None, give_back).await.map_err(hook_failed)
    }

    async fn prepare(&self, _: &Address, _: &Address) -> Result<(), EndpointError> {
        self.0.pass("prepare", None, |_| Ok(())).await.map_err(hook_failed)
    }

    async fn point(&self, new: &Address, _: &Address) -> Result<String, EndpointError> {
        let target = index_of(new);
        let point = move |world: &mut World| {
            if !world.servers[target].access.is_writable() {
                world.violations.push("F39: clients are led to a read-only server".to_owned());
            }
            world.endpoint = Some(target);
            Ok(String::new())
        };
        self.0.pass("point", None, point).await.map_err(hook_failed)
    }

    fn command(&self, new: &Address, _: &Address) -> String {
        format!("hook {new}")
    }
}
