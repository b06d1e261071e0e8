//! A whole swap or recovery: observe, plan, execute, and survive a panic of the executor.

mod dead;
mod id;
mod recovery;

use std::{path::Path, sync::Arc};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use self::recovery::{Manner, fold, hear_of, resume, superseded};
pub use self::recovery::{TakenBack, heal, recover, take_back, take_back_unwritten, unfinished};
use super::{
    client_address::ClientAddress,
    endpoint::Endpoint,
    executor::{Executor, FileLog, Finish, Listener},
    gates::{GateBounds, Gates},
    guard::{Ended, Guard, Guardian, Guardians},
    hook::Hooks,
    journal::{JournalError, JournalLock},
    machine::{MachineError, State},
    observation::{Address, ClientAddressView, Observation, Seen},
    plan::{Plan, Planned, Request, candidates, plan},
    record::Ending,
    refusal::{Code, Refusal},
    server::{Detail, Server, ServerError},
    step::Step,
    steps::{Farewell, Steps},
};

pub use self::dead::{LookedAtRejoin, failover, look_at_failover, look_at_rejoin, rejoin};
pub use self::id::new_id;

/// The cluster and what stands before it, as configured.
#[derive(Debug, Clone)]
pub struct Parties {
    /// Two or more.
    pub servers: Vec<Arc<dyn Server>>,
    pub gates: Arc<dyn Gates>,
    pub endpoint: Arc<dyn Endpoint>,
    /// What is done before users are released.
    pub hooks: Arc<dyn Hooks>,
    /// What proves a dead primary off; none where a person has to.
    pub fencing: Option<Arc<dyn Hooks>>,
    /// The clients' address as a server, for the canary; where it is configured.
    pub client_address: Option<Arc<dyn ClientAddress>>,
}

/// How a command ended.
#[derive(Debug)]
pub enum Report {
    Refused(Vec<Refusal>),
    /// The target was the primary already.
    NothingToDo(String),
    Ended {
        id: String,
        ending: Ending,
        cause: Option<String>,
        /// The step that failed first.
        stumbled_at: Option<Step>,
        /// What the sentinel has seen.
        alarms: Vec<String>,
    },
}

impl Report {
    fn of(id: &str, ending: Ending, state: &State) -> Self {
        let (cause, stumbled_at) = (state.cause().map(str::to_owned), state.stumbled_at());
        Self::Ended { id: id.to_owned(), ending, cause, stumbled_at, alarms: Vec::new() }
    }

    fn with_alarms(self, seen: Vec<String>) -> Self {
        match self {
            Self::Ended { id, ending, cause, stumbled_at, alarms: _ } => {
                Self::Ended { id, ending, cause, stumbled_at, alarms: seen }
            }
            Self::Refused(_) | Self::NothingToDo(_) => self,
        }
    }

    /// Whether it was taken back for a reason that passes by itself and that users hardly noticed: somebody's transaction
    /// or lock was in the way, or the replica was slow for a moment.
    #[must_use]
    pub const fn may_be_tried_again(&self) -> bool {
        matches!(
            self,
            Self::Ended {
                ending: Ending::RolledBack,
                stumbled_at: Some(Step::Settle | Step::Fence | Step::CatchUp),
                ..
            }
        )
    }
}

/// What stopped a swap or a recovery before it could begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{id}: the journal cannot be used")]
    Machine { id: String, source: MachineError },
    #[error(
        "swap {id} was between {planned}, which is not configured any more: give the configuration it began with"
    )]
    OtherCluster { id: String, planned: String },
}

/// Reads all servers at the same time, and what the gates and the hook have against a swap.
///
/// The replica's position is read before the primary's, so that a transaction committed in between cannot look
/// errant: hence the second reading of whichever has no source.
pub async fn observe(parties: &Parties) -> Observation {
    let looks = parties.servers.iter().map(|server| see(server.as_ref()));
    let (mut servers, (mut surroundings, gates), endpoint) = tokio::join!(
        join_all(looks),
        see_gates(parties.gates.as_ref()),
        parties.endpoint.observe(),
    );
    let client_address = match &parties.client_address {
        None => None,
        Some(client_address) => Some(ClientAddressView {
            address: client_address.address().clone(),
            identity: client_address.identify().await.map_err(|error| error.reason),
        }),
    };
    for (server, seen) in parties.servers.iter().zip(&mut servers) {
        if let Ok(view) = &mut seen.view
            && view.channels.is_empty()
        {
            match server.executed().await {
                Ok(executed) => view.executed = executed,
                Err(error) => seen.view = Err(why_unseen(error)),
            }
        }
    }
    surroundings.extend(endpoint.refusals);
    surroundings.extend(parties.hooks.refusals());
    let floating_ip = endpoint.floating_ip;
    Observation { servers, surroundings, floating_ip, gates, client_address }
}

async fn see_gates(gates: &dyn Gates) -> (Vec<Refusal>, GateBounds) {
    let (mut refusals, bounds) = tokio::join!(gates.preflight(), gates.bounds());
    match bounds {
        Ok(bounds) => (refusals, bounds),
        Err(error) => {
            // A gate that is gone is refused already, unless it went a moment ago.
            if refusals.is_empty() {
                let mend = "start the gate (intermission serve), and try again";
                refusals.push(Refusal::new(Code::GateUnreachable, error.to_string(), mend));
            }
            (refusals, GateBounds::default())
        }
    }
}

/// What could not be done, and why: a server that is slow at one thing is not one that is away.
fn why_unseen(ServerError { doing, reason, .. }: ServerError) -> String {
    format!("cannot {doing}: {reason}")
}

async fn see(server: &dyn Server) -> Seen {
    let view = server.observe(Detail::Preflight).await.map_err(why_unseen);
    Seen { name: server.name().to_owned(), address: server.address().clone(), view }
}

/// Looks and plans; changes nothing.
///
/// # Errors
/// [`RunError`] when the journals cannot be read.
pub async fn preflight(
    parties: &Parties,
    dir: &Path,
    request: &Request,
) -> Result<Result<Planned, Vec<Refusal>>, RunError> {
    // Half-way through a swap the servers look wrong in many ways that all have this one reason.
    if let Some(refusal) = refuse_unfinished(dir, request)? {
        return Ok(Err(vec![refusal]));
    }
    Ok(plan(&observe(parties).await, request))
}

/// What came of planning with one server as the new primary.
pub type Candidate = (String, Result<Planned, Vec<Refusal>>);

/// As [`preflight`] on one observation for each server that could be asked to take over, where that has to be said; empty
/// where it has not, or where there is no telling who is primary.
///
/// # Errors
/// [`RunError`] when the journals cannot be read.
pub async fn preflight_each(
    parties: &Parties,
    dir: &Path,
    request: &Request,
) -> Result<Vec<Candidate>, RunError> {
    if request.to.is_some() || refuse_unfinished(dir, request)?.is_some() {
        return Ok(Vec::new());
    }
    let observation = observe(parties).await;
    let planned = candidates(&observation).into_iter().map(|name| {
        let to = Request { to: Some(name.clone()), ..request.clone() };
        (name, plan(&observation, &to))
    });
    Ok(planned.collect())
}

fn refuse_unfinished(dir: &Path, request: &Request) -> Result<Option<Refusal>, RunError> {
    Ok(unfinished(dir)?.into_iter().next().map(|id| {
        Refusal::new(
            Code::UnfinishedSwap,
            format!("swap {id} was interrupted and neither finished nor taken back"),
            format!("{} recover", request.program),
        )
    }))
}

/// Plans and, where nothing speaks against it and `confirm` agrees, swaps; where there are `guardians`, not without one.
///
/// # Errors
/// [`RunError`] when the journal cannot be used; then nothing was done.
pub async fn swap(
    parties: &Parties,
    dir: &Path,
    request: &Request,
    confirm: impl FnOnce(&Steps) -> bool,
    guardians: Option<&dyn Guardians>,
    cancel: CancellationToken,
    listener: Listener,
) -> Result<Report, RunError> {
    let lock = JournalLock::acquire(dir)?;
    let done = match plan_swap(parties, dir, request).await {
        Ok(Ok(plan)) => {
            carry_out(parties, &lock, plan, confirm, guardians, (cancel, listener)).await
        }
        Ok(Err(report)) => Ok(report),
        Err(error) => Err(error),
    };
    lock.release();
    done
}

/// The plan, or what there is to say instead.
async fn plan_swap(
    parties: &Parties,
    dir: &Path,
    request: &Request,
) -> Result<Result<Plan, Report>, RunError> {
    if let Some(refusal) = refuse_unfinished(dir, request)? {
        return Ok(Err(Report::Refused(vec![refusal])));
    }
    let mut observation = observe(parties).await;
    for view in observation.servers.iter_mut().filter_map(|seen| seen.view.as_mut().ok()) {
        // The quiet step waits for them, at no cost.
        view.blockers.clear();
    }
    Ok(match plan(&observation, request) {
        Ok(Planned::Swap(plan)) => Ok(*plan),
        Ok(Planned::AlreadyPrimary(name)) => Err(Report::NothingToDo(name)),
        Err(refusals) => Err(Report::Refused(refusals)),
    })
}

/// Does what is planned, where `confirm` agrees; where there are `guardians`, not without one.
async fn carry_out(
    parties: &Parties,
    lock: &JournalLock,
    plan: Plan,
    confirm: impl FnOnce(&Steps) -> bool,
    guardians: Option<&dyn Guardians>,
    (cancel, listener): (CancellationToken, Listener),
) -> Result<Report, RunError> {
    let id = plan.id.clone();
    let Some(steps) = steps_of(parties, plan) else {
        return Err(RunError::OtherCluster { id, planned: "servers that changed".to_owned() });
    };
    if !confirm(&steps) {
        return Ok(Report::Refused(Vec::new()));
    }
    let guardian = match guardians {
        None => None,
        Some(guardians) => match guardians.start(lock, &steps.plan).await {
            Ok(guardian) => Some(guardian),
            Err(why) => return Ok(Report::Refused(vec![no_guardian(&why, &steps.plan)])),
        },
    };
    let watched = Watched { guardian: guardian.map(Arc::from), listener };
    let guard = watched.guard();
    for server in [&steps.old, &steps.new] {
        server.spare(guard.sessions_on(server.name()));
    }
    let done = carry_out_watched(parties, lock, steps, cancel, &watched).await;
    let is_to_be_tried_again = done.as_ref().is_ok_and(Report::may_be_tried_again);
    let ended = if is_to_be_tried_again { Ended::Nothing } else { Ended::Watch };
    let seen = watched.end(ended).await;
    Ok(done?.with_alarms(seen))
}

fn no_guardian(why: &str, plan: &Plan) -> Refusal {
    Refusal::new(
        Code::NoGuardian,
        format!("there is no guardian that would take the swap back if this process died: {why}"),
        format!(
            "{} check, and see to it that both servers and the gates take one more login",
            plan.program
        ),
    )
}

/// Who hears of every record.
struct Watched {
    guardian: Option<Arc<dyn Guardian>>,
    listener: Listener,
}

impl Watched {
    fn listener(&self) -> Listener {
        let Some(guardian) = self.guardian.clone() else { return Arc::clone(&self.listener) };
        let listener = Arc::clone(&self.listener);
        Arc::new(move |entry| {
            guardian.tell(entry);
            listener(entry);
        })
    }

    fn guard(&self) -> Guard {
        self.guardian.as_ref().map(|guardian| guardian.guard()).unwrap_or_default()
    }

    async fn end(&self, ended: Ended) -> Vec<String> {
        match &self.guardian {
            Some(guardian) => guardian.end(ended).await,
            None => Vec::new(),
        }
    }
}

async fn carry_out_watched(
    parties: &Parties,
    lock: &JournalLock,
    steps: Steps,
    cancel: CancellationToken,
    watched: &Watched,
) -> Result<Report, RunError> {
    let id = steps.plan.id.clone();
    let log = FileLog::new(lock.create(&id)?);
    let begun = Executor::begin(steps, log, cancel.clone(), watched.listener()).await?;
    let begun = begun.guarded_by(watched.guard());
    let go_on = async |reason: String| {
        let manner = Manner { reason, guard: watched.guard(), only_back: false };
        resume(parties, lock, &id, manner, cancel.clone(), watched.listener()).await
    };
    // A panic of the executor must not leave the site fenced: it is recovered from like a crash.
    let mut done = match tokio::spawn(begun.run()).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(error = %error, "the swap broke off; recovering");
            go_on(format!("after {error}")).await?
        }
    };
    if matches!(done.0, Finish::Superseded) {
        let heard = hear_of(lock.dir(), &id, &watched.guard()).await?;
        if !heard.is_committed() {
            return Ok(superseded(&id, &heard));
        }
        // A guardian goes back only: what it has found promoted is for whoever goes on, and that is this process.
        done = go_on("its guardian has found it promoted".to_owned()).await?;
    }
    match done {
        (Finish::Ended(ending), state) => Ok(Report::of(&id, ending, &state)),
        (Finish::Superseded | Finish::LeftOpen, state) => Ok(superseded(&id, &state)),
    }
}

/// The steps of a plan, if its old and new primary are configured. A sibling that is not any more is told of by its step.
#[must_use]
pub fn steps_of(parties: &Parties, plan: Plan) -> Option<Steps> {
    let find = |name: &str, address: &Address| {
        let mut servers = parties.servers.iter();
        servers.find(|server| server.name() == name && server.address() == address).cloned()
    };
    let (old, new) =
        (find(&plan.old.name, &plan.old.address)?, find(&plan.new.name, &plan.new.address)?);
    for server in [&old, &new] {
        server.assume(plan.flavor);
    }
    Some(Steps {
        old,
        new,
        siblings: plan.siblings.iter().filter_map(|s| find(&s.name, &s.address)).collect(),
        gates: Arc::clone(&parties.gates),
        endpoint: Arc::clone(&parties.endpoint),
        hooks: Arc::clone(&parties.hooks),
        fencing: parties.fencing.clone(),
        client_address: parties.client_address.clone(),
        plan: Arc::new(plan),
        farewell: Farewell::default(),
    })
}
