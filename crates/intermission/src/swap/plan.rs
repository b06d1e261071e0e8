//! Observation and configuration in, a plan or every refusal out. Pure: no I/O, no clock.

mod check;
mod choice;
mod condition;
mod failover;
mod floating_ip;
pub mod kind;
pub mod parity;
mod rejoin;
mod role;
mod sibling;
mod side;
mod succession;
mod tracking;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::{
    check::{
        check_client_address, check_clients_way, check_lease, check_pair, check_replication,
        check_server, unreachable, warn_of_max_wait,
    },
    choice::{Choice, NoChoice, choose},
    kind::Kind,
    side::{Side, Target, Words, roles, target},
};
use super::{
    client_address::Identity,
    gates::WarmUp,
    observation::{Access, Address, Flavor, Observation},
    position::{Channel, Tracking},
    refusal::{Code, Refusal},
    role::Handover,
    settings::Bounds,
    sibling::Sibling,
    step::Step,
};

/// A server in a plan: who it is and what has to be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    pub name: String,
    pub address: Address,
    /// The switches as they were before the swap.
    pub recorded: Access,
    /// How a replica's status names it.
    pub identity: Identity,
}

/// What will be done. Nothing is chosen after this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub id: String,
    #[serde(default)]
    pub kind: Kind,
    /// How an operator calls this program.
    pub program: String,
    pub flavor: Flavor,
    pub old: Party,
    pub new: Party,
    /// The other replicas of the cluster, each to be led to the new primary.
    pub siblings: Vec<Sibling>,
    pub apps: Vec<String>,
    pub bounds: Bounds,
    /// How long the endpoint may take.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub endpoint: Duration,
    /// How long the endpoint may take to take something away from the old primary before its fence, and as long to give it
    /// back; none where it takes nothing away.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub withdrawal: Option<Duration>,
    /// Whether a write by way of the clients' address is tried before anybody is released.
    pub canary: bool,
    /// What goes with the roles and changes hands with them.
    pub handover: Handover,
    /// How long the hooks before the release may take; none where there is none.
    #[serde(default, with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub before_release: Option<Duration>,
    /// The warm-up of the apps' upstreams before the release, where an app has one.
    #[serde(default)]
    pub warm_up: Option<WarmUp>,
    /// How the old primary's last transaction is told.
    pub barrier: Tracking,
    /// The replica's channel: the old primary's will be like it.
    pub channel: Channel,
    /// What the operator should know and what is no reason not to swap.
    pub warnings: Vec<Refusal>,
}

impl Plan {
    /// Whether the step belongs to this swap.
    #[must_use]
    pub fn has(&self, step: Step) -> bool {
        self.steps_of_its_kind().contains(&step) && self.needs(step)
    }

    fn needs(&self, step: Step) -> bool {
        match step {
            Step::Withdraw => self.withdrawal.is_some(),
            Step::Canary => self.canary,
            Step::Ready => self.failover().is_some() || self.handover.needs_ready(),
            Step::Events => self.handover.needs_events(),
            Step::Settings => self.handover.needs_settings(),
            Step::BeforeRelease => self.before_release.is_some(),
            Step::WarmUp => self.warm_up.is_some(),
            Step::Follow => !self.siblings.is_empty(),
            Step::Lock
            | Step::Quiet
            | Step::Hold
            | Step::Settle
            | Step::Fence
            | Step::Barrier
            | Step::CatchUp
            | Step::Promote
            | Step::Endpoint
            | Step::EndSessions
            | Step::Release
            | Step::Detach
            | Step::Rejoin
            | Step::Prove
            | Step::Unlock => true,
        }
    }

    /// The longest an attempt can keep users waiting before it is committed or taken back.
    #[must_use]
    pub fn longest_attempt(&self) -> Duration {
        check::longest_attempt(&self.bounds, self.withdrawal)
    }

    /// The longest the hooks and the warm-up can keep users waiting after that.
    #[must_use]
    pub fn longest_readying(&self) -> Duration {
        check::longest_readying(self.before_release, self.warm_up.as_ref())
    }

    /// Whether the place has to be known where the new primary's binary log ends before it is promoted.
    #[must_use]
    pub fn needs_resume_at(&self) -> bool {
        self.channel.tracking == Tracking::Coordinates || self.leads_by_coordinates()
    }

    fn leads_by_coordinates(&self) -> bool {
        self.siblings.iter().any(|sibling| sibling.tracking == Tracking::Coordinates)
    }

    /// The steps of this swap, in order. A sibling that is led by coordinates has to stand exactly at the barrier: so
    /// siblings are led before the old primary, which they follow still, goes on.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = Step> {
        let mut steps = self.steps_of_its_kind();
        let place = |wanted| steps.iter().position(|step| *step == wanted);
        if self.leads_by_coordinates()
            && let (Some(rejoin), Some(follow)) = (place(Step::Rejoin), place(Step::Follow))
        {
            steps.swap(rejoin, follow);
        }
        steps.into_iter().filter(|step| self.needs(*step))
    }
}

/// What the operator asked for.
#[derive(Debug, Clone)]
pub struct Request {
    pub id: String,
    /// As [`Plan::program`].
    pub program: String,
    /// The server to promote, by name, host or `host:port`. It has to be named where there are several replicas.
    pub to: Option<String>,
    /// The account that replicas log in to their source with, as configured.
    pub replication_user: String,
    pub apps: Vec<String>,
    pub bounds: Bounds,
    pub endpoint: Duration,
    /// As [`Plan::withdrawal`].
    pub withdrawal: Option<Duration>,
    /// As [`Plan::canary`].
    pub canary: bool,
    /// As [`Plan::before_release`].
    pub before_release: Option<Duration>,
    pub allowed: Allowed,
}

/// What the operator has said is meant so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Names of settings that may differ between the servers.
    pub differences: Vec<String>,
    /// Whether the new primary may be of a newer series than the old one, which then may not be able to follow.
    pub upgrade: bool,
}

/// What was found against a swap, and what an operator should know.
#[derive(Debug, Default)]
struct Findings {
    refusals: Vec<Refusal>,
    warnings: Vec<Refusal>,
}

impl Findings {
    fn refuse(&mut self, code: Code, sentence: impl Into<String>, mend: impl Into<String>) {
        self.refusals.push(Refusal::new(code, sentence, mend));
    }

    fn warn(&mut self, code: Code, sentence: impl Into<String>, mend: impl Into<String>) {
        self.warnings.push(Refusal::new(code, sentence, mend));
    }

    fn extend(&mut self, more: Self) {
        self.refusals.extend(more.refusals);
        self.warnings.extend(more.warnings);
    }
}

/// The outcome of planning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    Swap(Box<Plan>),
    /// The target is the primary already: there is nothing to do.
    AlreadyPrimary(String),
}

/// Plans a swap.
///
/// # Errors
/// Every refusal there is, not only the first.
pub fn plan(observation: &Observation, request: &Request) -> Result<Planned, Vec<Refusal>> {
    let choice = match choose(observation, request) {
        Ok(choice) => choice,
        Err(NoChoice::Planned(planned)) => return Ok(planned),
        Err(NoChoice::Refused(mut refusals)) => {
            refusals.extend(observation.surroundings.iter().cloned());
            refusals.extend(check_lease(observation, request));
            return Err(refusals);
        }
    };
    let floating_ip = observation.floating_ip.as_ref().map(|view| floating_ip::Look {
        view,
        siblings: choice.siblings.iter().map(|seen| seen.name.as_str()).collect(),
    });
    let mut refusals: Vec<Refusal> = choice.pair.iter().copied().filter_map(unreachable).collect();
    refusals.extend(observation.surroundings.iter().cloned());
    refusals.extend(check_lease(observation, request));
    refusals.extend(check_client_address(observation));
    refusals.extend(floating_ip.iter().flat_map(floating_ip::Look::check_hosts));
    let Choice { pair: [first, second], .. } = choice;
    let (Ok(first_view), Ok(second_view)) = (&first.view, &second.view) else {
        // What the other one tells of itself is worth knowing at once.
        for seen in choice.pair {
            if let Ok(view) = &seen.view {
                refusals.extend(check_server(Side { seen, view }));
            }
        }
        return Err(refusals);
    };
    let pair = [Side { seen: first, view: first_view }, Side { seen: second, view: second_view }];
    refusals.extend(check_pair(&pair));
    if pair.iter().any(|side| side.view.is_too_old()) {
        return Err(refusals);
    }
    let (old, new) = match roles(&pair) {
        Ok(roles) => roles,
        Err(more) => return Err([refusals, more].concat()),
    };
    match target(&pair, old, request.to.as_deref()) {
        Ok(Target::Primary(name)) => return Ok(Planned::AlreadyPrimary(name)),
        Ok(Target::Replica) => {}
        Err(refusal) => refusals.push(refusal),
    }
    let looked = sibling::look(&choice, (old, new), &request.bounds, &request.replication_user);
    let mut findings = Findings { refusals, warnings: Vec::new() };
    findings.extend(examine((old, new), &choice, floating_ip.as_ref(), observation, request));
    findings.extend(Findings { refusals: looked.refusals, warnings: looked.warnings });
    if !findings.refusals.is_empty() {
        return Err(findings.refusals);
    }
    Ok(Planned::Swap(Box::new(Plan {
        id: request.id.clone(),
        kind: Kind::Swap,
        program: request.program.clone(),
        flavor: old.view.flavor,
        old: old.party(),
        new: new.party(),
        siblings: looked.siblings,
        apps: request.apps.clone(),
        bounds: request.bounds.clone(),
        endpoint: request.endpoint,
        withdrawal: request.withdrawal,
        canary: request.canary,
        before_release: request.before_release,
        warm_up: observation.gates.warm_up.clone(),
        handover: role::handover(old, new),
        barrier: tracking::of_barrier(old, new),
        channel: tracking::channel(new),
        warnings: findings.warnings,
    })))
}

/// What both servers and what goes with them have to say.
fn examine(
    (old, new): (&Side<'_>, &Side<'_>),
    choice: &Choice<'_>,
    floating_ip: Option<&floating_ip::Look<'_>>,
    observation: &Observation,
    request: &Request,
) -> Findings {
    let mut findings = Findings {
        refusals: check_replication(old, new, &request.bounds),
        warnings: role::warn(old, new),
    };
    findings.refusals.extend(role::check_role(old, new));
    findings.refusals.extend(check_clients_way(old, observation));
    findings.refusals.extend(floating_ip.and_then(|look| look.check_place(old)));
    findings.warnings.extend(floating_ip.into_iter().flat_map(floating_ip::Look::warn));
    findings.warnings.extend(warn_of_max_wait(observation, request));
    let siblings: Vec<Side<'_>> =
        choice.siblings.iter().filter_map(|seen| Side::of(seen)).collect();
    findings.extend(tracking::examine(old, new));
    findings.extend(succession::examine(old, new, request.allowed.upgrade));
    findings.extend(parity::examine(old, new, &request.allowed.differences));
    let away: Vec<&str> = choice
        .siblings
        .iter()
        .filter(|seen| seen.view.is_err())
        .map(|seen| seen.address.host.as_str())
        .collect();
    findings.extend(condition::examine(old, new, &siblings, &away));
    findings
}

/// Who could be asked to take over, where that has to be said: all but the primary of a cluster of more than two.
#[must_use]
pub fn candidates(observation: &Observation) -> Vec<String> {
    choice::candidates(observation)
}

pub(crate) use self::rejoin::choices as rejoin_choices;
pub use self::{
    failover::plan as plan_failover,
    rejoin::{Rejoin, plan as plan_rejoin},
};

/// A plan for tests of what is made of plans.
#[cfg(test)]
pub(crate) fn example() -> Plan {
    let party = |name: &str, port, recorded| Party {
        name: name.to_owned(),
        address: Address { host: "127.0.0.1".to_owned(), port },
        recorded,
        identity: Identity { uuid: None, server_id: u32::from(port) },
    };
    let sibling = Sibling {
        name: "db3".to_owned(),
        address: Address { host: "127.0.0.1".to_owned(), port: 3 },
        identity: None,
        channel: String::new(),
        tracking: Tracking::Gtid,
        ran: super::sibling::Threads::BOTH,
    };
    Plan {
        id: "test".to_owned(),
        kind: Kind::Swap,
        program: "intermission".to_owned(),
        flavor: Flavor::MySql,
        old: party("db1", 1, Access::WRITABLE),
        new: party("db2", 2, Access { read_only: true, super_read_only: true }),
        siblings: vec![sibling],
        apps: vec!["shop".to_owned()],
        bounds: Bounds::default(),
        endpoint: Duration::from_secs(1),
        withdrawal: Some(Duration::from_secs(1)),
        canary: true,
        handover: Handover::example(),
        before_release: Some(Duration::from_secs(1)),
        warm_up: Some(WarmUp { bound: Duration::from_secs(1), said: Vec::new() }),
        barrier: Tracking::Gtid,
        channel: Channel::default(),
        warnings: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
