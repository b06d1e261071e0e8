//! A server in its part of a swap, and who plays which.

use super::Party;
use crate::swap::{
    observation::{Flavor, Seen, ServerView},
    refusal::{Code, Refusal},
};

/// A server that answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) seen: &'a Seen,
    pub(super) view: &'a ServerView,
}

impl<'a> Side<'a> {
    /// None where it did not answer.
    pub(super) fn of(seen: &'a Seen) -> Option<Self> {
        seen.view.as_ref().ok().map(|view| Self { seen, view })
    }
}

impl Side<'_> {
    pub(super) fn label(self) -> String {
        format!("{} ({})", self.seen.name, self.seen.address)
    }

    pub(super) fn party(self) -> Party {
        Party {
            name: self.seen.name.clone(),
            address: self.seen.address.clone(),
            recorded: self.view.access,
            identity: self.view.identity(),
        }
    }

    pub(super) fn is_called(self, target: &str) -> bool {
        let address = &self.seen.address;
        target == self.seen.name || target == address.host || target == address.to_string()
    }

    /// The words of its own dialect for what an operator has to type.
    pub(super) fn words(self) -> Words {
        match self.view.flavor {
            Flavor::MariaDb => Words { start: "START SLAVE", show: "SHOW SLAVE STATUS\\G" },
            Flavor::MySql => Words { start: "START REPLICA", show: "SHOW REPLICA STATUS\\G" },
        }
    }
}

pub(super) struct Words {
    pub(super) start: &'static str,
    pub(super) show: &'static str,
}

pub(super) enum Target {
    Replica,
    Primary(String),
}

/// Who is primary and who is replica, as the servers show it and not as they are listed.
pub(super) fn roles<'a, 'b>(
    pair: &'b [Side<'a>; 2],
) -> Result<(&'b Side<'a>, &'b Side<'a>), Vec<Refusal>> {
    let [a, b] = pair;
    match (a.view.channels.is_empty(), b.view.channels.is_empty()) {
        (true, false) => Ok((a, b)),
        (false, true) => Ok((b, a)),
        // Where looking is denied, that nothing was seen says nothing. The missing privilege is refused already.
        (true, true) if pair.iter().any(|side| side.view.hides_replication()) => Err(Vec::new()),
        (true, true) => {
            let mut refusals = vec![Refusal::new(
                Code::NotAReplica,
                format!("neither {} nor {} replicates from the other", a.label(), b.label()),
                "set up replication from the primary to the replica first",
            )];
            if a.view.access.is_writable() && b.view.access.is_writable() {
                refusals.push(Refusal::new(
                    Code::TwoPrimaries,
                    format!("{} and {} are both writable", a.label(), b.label()),
                    "find out which of them the applications write to, and make the other read-only",
                ));
            }
            Err(refusals)
        }
        (false, false) => Err(vec![Refusal::new(
            Code::PrimaryIsReplica,
            format!(
                "both {} and {} are replicas: there is no primary to swap",
                a.label(),
                b.label()
            ),
            "name the primary and its replica under cluster.servers",
        )]),
    }
}

pub(super) fn target(
    pair: &[Side<'_>; 2],
    old: &Side<'_>,
    to: Option<&str>,
) -> Result<Target, Refusal> {
    let Some(to) = to else { return Ok(Target::Replica) };
    match pair.iter().find(|side| side.is_called(to)) {
        Some(side) if side.seen.name == old.seen.name => Ok(Target::Primary(side.label())),
        Some(_) => Ok(Target::Replica),
        None => {
            let names: Vec<&str> = pair.iter().map(|side| side.seen.name.as_str()).collect();
            Err(Refusal::new(
                Code::UnknownTarget,
                format!("no server of this cluster is called {to:?}"),
                format!("use --to with one of: {}", names.join(", ")),
            ))
        }
    }
}
