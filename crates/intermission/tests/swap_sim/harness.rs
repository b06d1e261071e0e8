//! Runs one case: a plan, the parties of one process, a run or a recovery, and what came of it.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use intermission::swap::{
    client_address::Identity,
    executor::{Executor, Finish, Flush, Listener, Log, ResumeError},
    gates::WarmUp,
    machine::State,
    observation::{Access, Address, Flavor},
    plan::{self, Party, Plan},
    position::{Channel, Tracking},
    record::{Ending, Record},
    role::Handover,
    run::Parties,
    server::Server,
    settings::Bounds,
    sibling::{Sibling, Threads},
    steps::{Farewell, Steps},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    client_address::SimClientAddress,
    db::{CHECKPOINT_MS, ROLE, event, fenced, uuid},
    fault::Fault,
    hooks::SimHooks,
    log::SimLog,
    server::SimServer,
    stage::Stage,
    surroundings::{SimEndpoint, SimGates},
    world::World,
};

/// The swap every case makes.
pub(crate) const ID: &str = "20261124T010203Z-0001";
/// How many siblings there usually are.
pub(crate) const SIBLINGS: u32 = 1;
/// No run may take longer, in virtual time: it would never end.
const RUN_MAX: Duration = Duration::from_secs(3600);
pub(crate) const FLAVORS: [Flavor; 2] = [Flavor::MySql, Flavor::MariaDb];
/// By coordinates MariaDB differs in nothing that these do not have.
pub(crate) const KINDS: [Kind; 3] = [
    Kind { flavor: Flavor::MySql, tracking: Tracking::Gtid },
    Kind { flavor: Flavor::MariaDb, tracking: Tracking::Gtid },
    Kind { flavor: Flavor::MySql, tracking: Tracking::Coordinates },
];

/// What kind of cluster it is: whose servers, and how they replicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) flavor: Flavor,
    /// On `MySQL` by coordinates is without GTIDs at all; MariaDB always has them.
    pub(crate) tracking: Tracking,
}

impl From<Flavor> for Kind {
    fn from(flavor: Flavor) -> Self {
        Self { flavor, tracking: Tracking::Gtid }
    }
}

impl Kind {
    pub(crate) fn has_gtids(self) -> bool {
        self.flavor == Flavor::MariaDb || self.tracking == Tracking::Gtid
    }
}

/// How one process ended.
#[derive(Debug)]
pub(crate) enum End {
    Closed(Ending, Box<State>),
    Killed,
    /// The journal could not be begun.
    NotBegun,
    /// The journal was closed for good.
    Refused,
    /// Another process has taken the journal over.
    Superseded,
    /// It may only go back, and there is no way back.
    LeftOpen,
}

impl End {
    pub(crate) const fn ending(&self) -> Option<Ending> {
        match self {
            Self::Closed(ending, _) => Some(*ending),
            Self::Killed | Self::NotBegun | Self::Refused | Self::Superseded | Self::LeftOpen => {
                None
            }
        }
    }
}

/// Runs on a clock that jumps to the next timer as soon as nothing else is to be done.
pub(crate) fn on_paused_clock<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(case)
}

/// Syncing a file in memory costs nothing.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

pub(crate) fn port(id: u32) -> u16 {
    u16::try_from(3306 + id).unwrap()
}

pub(crate) fn address(id: u32) -> Address {
    Address { host: "127.0.0.1".to_owned(), port: port(id) }
}

/// Of the usual case: with one sibling.
pub(crate) fn plan(flavor: impl Into<Kind>) -> Plan {
    plan_with(flavor, SIBLINGS)
}

pub(crate) fn plan_with(kind: impl Into<Kind>, siblings: u32) -> Plan {
    let kind = kind.into();
    let Kind { flavor, tracking } = kind;
    let identity =
        |id| Identity { uuid: (flavor == Flavor::MySql).then(|| uuid(id)), server_id: id };
    let party = |id, recorded| Party {
        name: format!("db{id}"),
        address: address(id),
        recorded,
        identity: identity(id),
    };
    let sibling = |id| Sibling {
        name: format!("db{id}"),
        address: address(id),
        identity: Some(identity(id)),
        channel: String::new(),
        tracking,
        ran: Threads::BOTH,
    };
    Plan {
        barrier: if kind.has_gtids() { Tracking::Gtid } else { Tracking::Coordinates },
        channel: Channel { tracking, ..Channel::default() },
        id: ID.to_owned(),
        kind: plan::kind::Kind::Swap,
        program: "intermission".to_owned(),
        flavor,
        old: party(1, Access::WRITABLE),
        new: party(2, fenced(flavor)),
        siblings: (3..3 + siblings).map(sibling).collect(),
        apps: vec!["shop".to_owned()],
        bounds: Bounds::default(),
        endpoint: Duration::from_secs(1),
        withdrawal: Some(Duration::from_secs(1)),
        canary: true,
        handover: Handover {
            old: ROLE,
            new: ROLE,
            events: vec![event()],
            stops_scheduler: flavor == Flavor::MariaDb,
            checkpoint_ms: (!kind.has_gtids()).then_some(CHECKPOINT_MS),
        },
        before_release: Some(Duration::from_secs(1)),
        warm_up: Some(warm_up()),
        warnings: Vec::new(),
    }
}

pub(crate) fn warm_up() -> WarmUp {
    WarmUp { bound: Duration::from_secs(1), said: Vec::new() }
}

/// A stage on which these faults will strike.
pub(crate) fn stage(kind: impl Into<Kind>, faults: impl IntoIterator<Item = Fault>) -> Arc<Stage> {
    stage_with(kind, SIBLINGS, faults)
}

pub(crate) fn stage_with(
    kind: impl Into<Kind>,
    siblings: u32,
    faults: impl IntoIterator<Item = Fault>,
) -> Arc<Stage> {
    let mut world = World::new(kind.into(), siblings);
    world.faults.extend(faults);
    Stage::new(world)
}

/// What a new process has in its hands.
pub(crate) fn parties(stage: &Arc<Stage>) -> Parties {
    let server = |index| -> Arc<dyn Server> { Arc::new(SimServer::new(stage, index)) };
    Parties {
        servers: (0..stage.with(|world| world.servers.len())).map(server).collect(),
        gates: Arc::new(SimGates(Arc::clone(stage))),
        endpoint: Arc::new(SimEndpoint(Arc::clone(stage))),
        hooks: Arc::new(SimHooks(Arc::clone(stage))),
        fencing: None,
        client_address: Some(Arc::new(SimClientAddress::new(stage))),
    }
}

pub(crate) fn steps(stage: &Arc<Stage>, plan: Plan) -> Steps {
    let Parties { servers, gates, endpoint, hooks, fencing, client_address } = parties(stage);
    let mut servers = servers.into_iter();
    let (old, new) = (servers.next().unwrap(), servers.next().unwrap());
    Steps {
        old,
        new,
        siblings: servers.collect(),
        gates,
        endpoint,
        hooks,
        fencing,
        client_address,
        plan: Arc::new(plan),
        farewell: Farewell::default(),
    }
}

/// Tells the world of every record.
pub(crate) fn listener(stage: &Arc<Stage>) -> Listener {
    let stage = Arc::clone(stage);
    Arc::new(move |entry| stage.with(|world| world.hear(entry)))
}

pub(crate) fn fresh_token(stage: &Stage) -> CancellationToken {
    let token = CancellationToken::new();
    *stage.cancel.lock().unwrap() = token.clone();
    token
}

/// Swaps with a journal in memory, until the end or until the process is killed.
pub(crate) async fn swap(stage: &Arc<Stage>) -> End {
    let (kind, servers) = stage.with(|world| (world.kind, world.servers.len()));
    let siblings = u32::try_from(servers - 2).unwrap();
    begin(stage, plan_with(kind, siblings), SimLog::new(stage)).await
}

pub(crate) async fn begin<L: Log>(stage: &Arc<Stage>, plan: Plan, log: L) -> End {
    let process = Box::pin(async {
        let begun =
            Executor::begin(steps(stage, plan), log, fresh_token(stage), listener(stage)).await;
        match begun {
            Ok(executor) => closed(executor.run().await),
            Err(_) => End::NotBegun,
        }
    });
    until_killed(stage, process).await
}

/// Takes over what the journal in memory says, as a new process.
pub(crate) async fn recover(stage: &Arc<Stage>) -> End {
    let records: Vec<Record> =
        stage.with(|world| world.journal.iter().map(|(entry, _)| entry.record.clone()).collect());
    let state = match State::fold(&records) {
        Ok(state) => state,
        Err(error) => panic!("the journal cannot be read: {error}"),
    };
    let next = u64::try_from(records.len()).unwrap();
    let process = Box::pin(async {
        let (steps, log) = (steps(stage, state.plan().clone()), SimLog::new(stage));
        let (token, listener) = (fresh_token(stage), listener(stage));
        let reason = "recover".to_owned();
        match Executor::resume(steps, log, (state, next), reason, token, listener).await {
            Ok(executor) => closed(executor.run().await),
            Err(ResumeError::Machine(_)) => End::Refused,
            Err(ResumeError::Journal(_)) => End::NotBegun,
        }
    });
    until_killed(stage, process).await
}

/// What the guardian's process does, once it knows that the other one is dead or stands still. `None`: it leaves it alone.
pub(crate) async fn take_back(stage: &Arc<Stage>) -> Option<End> {
    let (told, records) = stage.with(|world| {
        let records = world.journal.iter().map(|(entry, _)| entry.record.clone());
        (world.told, records.collect::<Vec<Record>>())
    });
    if told.committed || records.is_empty() {
        return None;
    }
    let state = State::fold(&records).unwrap();
    if state.closed().is_some() || state.is_committed() {
        return None;
    }
    let next = u64::try_from(records.len()).unwrap();
    let (steps, log) = (steps(stage, state.plan().clone()), SimLog::new(stage));
    let (token, listener, reason) = (CancellationToken::new(), listener(stage), "guardian");
    let resumed =
        Executor::resume(steps, log, (state, next), reason.to_owned(), token, listener).await;
    Some(match resumed {
        Ok(executor) => closed(executor.only_back().run().await),
        Err(ResumeError::Machine(_)) => End::Refused,
        Err(ResumeError::Journal(_)) => End::NotBegun,
    })
}

pub(crate) fn closed((finish, state): (Finish, State)) -> End {
    match finish {
        Finish::Ended(ending) => End::Closed(ending, Box::new(state)),
        Finish::Superseded => End::Superseded,
        Finish::LeftOpen => End::LeftOpen,
    }
}

pub(crate) async fn until_killed(stage: &Stage, process: impl Future<Output = End>) -> End {
    let bounded = timeout(RUN_MAX, stage.unless_it_stands_still(process));
    tokio::select! {
        biased;
        end = bounded => end.expect("it never ends"),
        () = stage.killed.notified() => End::Killed,
    }
}

/// Cuts off what was written and not yet on disk.
pub(crate) fn lose_what_is_not_durable(world: &mut World) {
    let on_disk = world.journal.iter().rposition(|(_, flush)| *flush == Flush::Done);
    world.journal.truncate(on_disk.map_or(0, |last| last + 1));
}
