//! The siblings: the replicas of a cluster that are neither the old nor the new primary, and what becomes of each.
//!
//! Pure: both the plan and the step that leads them decide here, each on what it has just read.

use serde::{Deserialize, Serialize};

use super::{
    client_address::Identity,
    gtid::GtidSet,
    observation::{Address, Flavor, ReplicaView, ServerView, ThreadState},
    plan::Party,
    position::{Position, Tracking},
    refusal::{Code, Refusal},
};

/// Which of a replica's threads run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threads {
    pub receiver: bool,
    pub applier: bool,
}

/// A sibling in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sibling {
    pub name: String,
    pub address: Address,
    /// Absent when it did not answer.
    pub identity: Option<Identity>,
    /// The channel that is led; the one without a name where that was not seen.
    pub channel: String,
    /// How that channel is led.
    pub tracking: Tracking,
    /// What ran before the swap and is to run after it; both where that was not seen.
    pub ran: Threads,
}

/// How a channel is led to another source. Whatever is not named here stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repoint {
    pub channel: String,
    pub source: Address,
    pub position: Position,
    /// What is to run afterwards.
    pub run: Threads,
}

/// What is to be done with a sibling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Its channel of this name is led from the old primary to the new one.
    Led(String, Tracking),
    /// Its channel of this name comes from the new primary already.
    There(String),
    /// It follows another sibling, of this name.
    Chained(String),
    /// It is not touched.
    Left(Refusal),
}

/// How a sibling stands after a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// What is written on the new primary arrives on it.
    Follows,
    /// It was led there, and nothing can arrive soon: it is delayed, far behind or was stopped by somebody.
    Unwatched,
    /// Somebody has to see to it.
    Failed,
}

/// What became of one sibling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub name: String,
    pub address: Address,
    pub standing: Standing,
    pub said: String,
    /// What mends it, where something has to be mended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mend: Vec<String>,
}

impl Threads {
    pub const BOTH: Self = Self { receiver: true, applier: true };

    /// What is meant to run: a thread that an error has stopped is, one that somebody has stopped is not.
    #[must_use]
    pub fn meant(channel: &ReplicaView) -> Self {
        Self {
            receiver: channel.io != ThreadState::No || channel.io_error.is_some(),
            applier: channel.sql != ThreadState::No || channel.sql_error.is_some(),
        }
    }
}

impl Identity {
    /// Whether the channel's source is this server, by what it told when they last met.
    fn is_source_of(&self, channel: &ReplicaView) -> bool {
        match (&channel.source_uuid, &self.uuid) {
            (Some(source), Some(uuid)) => source.eq_ignore_ascii_case(uuid),
            _ => self.server_id != 0 && channel.source_server_id == self.server_id,
        }
    }
}

/// The old and the new primary, and whoever else belongs to the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Family<'a> {
    pub old: &'a Party,
    pub new: &'a Party,
    pub siblings: &'a [Sibling],
}

/// One member, as a channel may name it.
#[derive(Clone, Copy)]
struct Member<'a> {
    name: &'a str,
    address: &'a Address,
    identity: Option<&'a Identity>,
}

impl Family<'_> {
    /// What is to be done with the sibling that is called `label` and shows `view`.
    #[must_use]
    pub fn fate(&self, label: &str, view: &ServerView, flavor: Flavor) -> Fate {
        if let Some(refusal) = self.check_state(label, view, flavor) {
            return Fate::Left(refusal);
        }
        for channel in &view.channels {
            let Some(source) = self.source_of(channel) else { continue };
            if source == self.new.name {
                return Fate::There(channel.channel.clone());
            }
            if source != self.old.name {
                return Fate::Chained(source.to_owned());
            }
            return Fate::Led(channel.channel.clone(), channel.tracking);
        }
        Fate::Left(self.stranger(label, view))
    }

    fn check_state(&self, label: &str, view: &ServerView, flavor: Flavor) -> Option<Refusal> {
        if view.hides_replication() {
            return Some(Refusal::new(
                Code::MissingPrivilege,
                format!("{label}: our account may not see whether it replicates"),
                format!("GRANT it what docs/PRIVILEGES.md names, then {}", self.point(label)),
            ));
        }
        if view.flavor != flavor {
            return Some(Refusal::new(
                Code::DifferentFlavors,
                format!("{label} is {:?} and the primary is {flavor:?}", view.flavor),
                "take it out of cluster.servers",
            ));
        }
        view.access.is_writable().then(|| {
            Refusal::new(
                Code::ReplicaNotFenced,
                format!("the sibling {label} is writable"),
                "SET GLOBAL read_only=1 there, and find out what wrote to it",
            )
        })
    }

    /// It is not of this cluster, as far as can be seen: nothing is done to it.
    fn stranger(&self, label: &str, view: &ServerView) -> Refusal {
        let Some(channel) = view.channels.first() else {
            return Refusal::new(
                Code::NotAReplica,
                format!("{label} replicates from nobody"),
                format!("build it anew from {}, or take it out of cluster.servers", self.new.name),
            );
        };
        Refusal::new(
            Code::WrongSource,
            format!("{label} replicates from {}, which is not of this cluster", channel.source),
            format!("{}, or take it out of cluster.servers", self.point(label)),
        )
    }

    pub(crate) fn point(&self, label: &str) -> String {
        format!("point {label} at {} ({})", self.new.name, self.new.address)
    }

    fn members(&self) -> impl Iterator<Item = Member<'_>> {
        let parties = [self.new, self.old].into_iter().map(|party| Member {
            name: &party.name,
            address: &party.address,
            identity: Some(&party.identity),
        });
        parties.chain(self.siblings.iter().map(|sibling| Member {
            name: &sibling.name,
            address: &sibling.address,
            identity: sibling.identity.as_ref(),
        }))
    }

    /// The name of the member this channel comes from. What a source told of itself counts while the channel is
    /// connected; MariaDB still shows the former source's server_id after a channel was pointed elsewhere (measured).
    fn source_of(&self, channel: &ReplicaView) -> Option<&str> {
        let is_it = |member: &Member<'_>| {
            member.identity.is_some_and(|identity| identity.is_source_of(channel))
        };
        let is_there = |member: &Member<'_>| *member.address == channel.source;
        let found = if channel.io == ThreadState::Yes {
            let unseen = |member: &Member<'_>| member.identity.is_none() && is_there(member);
            self.members().find(is_it).or_else(|| self.members().find(unseen))
        } else {
            self.members().find(is_there).or_else(|| self.members().find(is_it))
        };
        found.map(|member| member.name)
    }
}

/// What keeps a sibling from following `new`, whose binary logs lack `purged`: transactions of its own, that are in none
/// of `known`, or some that it lacks and that are nowhere to be read any more.
#[must_use]
pub fn check_history(
    label: &str,
    view: &ServerView,
    known: &[&GtidSet],
    (new, purged): (&str, &GtidSet),
) -> Option<Refusal> {
    let errant = known.iter().fold(view.executed.clone(), |left, known| left.minus(known));
    if !errant.is_empty() {
        return Some(Refusal::new(
            Code::ErrantTransactions,
            format!("{label} has transactions that {new} lacks: {errant}"),
            format!("see what they did; then build {label} anew from {new}"),
        ));
    }
    let missing = purged.beyond(&view.applied);
    (!missing.is_empty()).then(|| {
        Refusal::new(
            Code::BinlogsPurged,
            format!("{label} has not applied {missing}, which {new} has in no binary log any more"),
            format!("build {label} anew from {new}"),
        )
    })
}
