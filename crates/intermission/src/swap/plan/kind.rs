//! What a plan is for. A failover and a rejoin are made of the steps of a swap: fewer of them, and some done otherwise.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Plan;
use crate::swap::{sibling::Threads, step::Step};

/// What a plan is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Both servers are there and exchange their roles.
    #[default]
    Swap,
    /// The old primary is dead.
    Failover(Failover),
    /// A former primary comes back as a replica.
    Rejoin,
}

impl Kind {
    /// As a person calls it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::Failover(_) => "failover",
            Self::Rejoin => "rejoin",
        }
    }
}

/// What goes with a failover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    pub proof: Proof,
    /// What the new primary's threads did before: so they are left where the failover is taken back.
    pub ran: Threads,
    /// What may be lost, and up to where nothing is.
    pub loss: Vec<String>,
}

/// What proves that the old primary is off and stays so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The fence hook.
    Hook {
        #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
        bound: Duration,
    },
    /// A person's word: the old primary's name, typed.
    Word,
}

/// How long nothing may answer at a dead primary's address after its fencing before that counts as not done: a process that
/// is killed takes a moment to go.
pub(crate) const SILENT_WITHIN: Duration = Duration::from_secs(5);

/// First the proof, as nothing is to be done without it; then what can be done while nobody is held.
const FAILOVER: [Step; 18] = [
    Step::Lock,
    Step::Fence,
    Step::Ready,
    Step::Quiet,
    Step::Hold,
    Step::Withdraw,
    Step::Barrier,
    Step::CatchUp,
    Step::Promote,
    Step::Endpoint,
    Step::Canary,
    Step::BeforeRelease,
    Step::WarmUp,
    Step::Release,
    Step::Detach,
    Step::Follow,
    Step::Settings,
    Step::Unlock,
];

const REJOIN: [Step; 9] = [
    Step::Lock,
    Step::Fence,
    Step::Withdraw,
    Step::Barrier,
    Step::Promote,
    Step::EndSessions,
    Step::Rejoin,
    Step::Prove,
    Step::Unlock,
];

impl Plan {
    /// The failover this is the plan of.
    #[must_use]
    pub const fn failover(&self) -> Option<&Failover> {
        match &self.kind {
            Kind::Failover(failover) => Some(failover),
            Kind::Swap | Kind::Rejoin => None,
        }
    }

    /// The steps there may be in a plan of this kind, in order.
    pub(super) fn steps_of_its_kind(&self) -> Vec<Step> {
        match &self.kind {
            Kind::Swap => Step::ALL.to_vec(),
            Kind::Failover(_) => FAILOVER.to_vec(),
            Kind::Rejoin => REJOIN.to_vec(),
        }
    }

    /// How long what a failover does to be sure of the old primary's end may take.
    #[must_use]
    pub fn proof_bound(&self) -> Duration {
        match self.failover().map(|failover| &failover.proof) {
            Some(Proof::Hook { bound }) => *bound + SILENT_WITHIN,
            Some(Proof::Word) => SILENT_WITHIN,
            None => Duration::ZERO,
        }
    }

    /// What the step does in a plan of this kind.
    #[must_use]
    pub const fn sentence(&self, step: Step) -> &'static str {
        match (&self.kind, step) {
            (Kind::Failover(_), Step::Lock) => "take the advisory lock on the new primary",
            (Kind::Failover(_), Step::Fence) => {
                "have the proof that the old primary is off, and see that nothing answers at its address"
            }
            (Kind::Failover(_), Step::Ready) => {
                "start the new primary's applier where it was stopped, then stop its receiver: nothing more comes"
            }
            (Kind::Failover(_), Step::Quiet) => {
                "wait until the new primary has applied all that it has received; nobody is held for that"
            }
            (Kind::Failover(_), Step::Hold) => {
                "hold the apps at the gate; requests that wait for the dead primary do not keep it from going on"
            }
            (Kind::Failover(_), Step::Withdraw) => {
                "take the clients' address off the old primary's host where that answers, and see that nobody has it"
            }
            (Kind::Failover(_), Step::Barrier) => "read the last transaction that was received",
            (Kind::Failover(_), Step::CatchUp) => {
                "see that it is applied, and that the old primary is silent still"
            }
            (Kind::Failover(_), Step::Settings) => {
                "let commits wait for a replica again, where they did before"
            }
            (Kind::Failover(_), Step::Unlock) => "give the advisory lock back",
            (Kind::Rejoin, Step::Fence) => "make the former primary read-only; it stays so",
            (Kind::Rejoin, Step::Withdraw) => {
                "take the clients' address off the former primary's host, should it have come up with it"
            }
            (Kind::Rejoin, Step::Barrier) => {
                "see that the former primary has nothing that the primary lacks"
            }
            (Kind::Rejoin, Step::Promote) => {
                "see that the primary is writable and the former one is not"
            }
            (Kind::Rejoin, Step::EndSessions) => {
                "end the application's sessions on the former primary"
            }
            (Kind::Rejoin, Step::Rejoin) => "make the former primary a replica of the primary",
            (Kind::Rejoin, Step::Prove) => {
                "write a marker on the primary and see it arrive on the former one"
            }
            (Kind::Swap | Kind::Failover(_) | Kind::Rejoin, step) => step.sentence(),
        }
    }
}
