//! Between which two servers of a cluster a swap is. Of two there is nothing to choose; of more the target says it.

use super::{Planned, Request, Side};
use crate::swap::{
    observation::{Observation, Seen},
    refusal::{Code, Refusal},
};

/// The two servers of a swap, in the order they are listed, and the others.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    pub(super) pair: [&'a Seen; 2],
    pub(super) siblings: Vec<&'a Seen>,
}

/// Why there is no choice.
#[derive(Debug)]
pub(super) enum NoChoice {
    Planned(Planned),
    Refused(Vec<Refusal>),
}

impl From<Refusal> for NoChoice {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(vec![refusal])
    }
}

pub(super) fn choose<'a>(
    observation: &'a Observation,
    request: &Request,
) -> Result<Choice<'a>, NoChoice> {
    if let [first, second] = observation.servers.as_slice() {
        return Ok(Choice { pair: [first, second], siblings: Vec::new() });
    }
    let primary = primary(observation)?;
    let target = match request.to.as_deref() {
        Some(to) => target(observation, to)?,
        None => return Err(needed(primary, observation, request).into()),
    };
    if target.name == primary.name {
        let label = format!("{} ({})", primary.name, primary.address);
        return Err(NoChoice::Planned(Planned::AlreadyPrimary(label)));
    }
    let is_sibling = |seen: &&Seen| seen.name != primary.name && seen.name != target.name;
    let siblings = observation.servers.iter().filter(is_sibling).collect();
    Ok(Choice { pair: [primary, target], siblings })
}

/// The names of those that could be asked to take over: all but the primary, when the target has to be named.
pub(super) fn candidates(observation: &Observation) -> Vec<String> {
    let name = |seen: &Seen| seen.name.clone();
    match primary(observation) {
        Ok(primary) if observation.servers.len() > 2 => {
            observation.servers.iter().filter(|seen| seen.name != primary.name).map(name).collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// The one that replicates from nobody and accepts writes. Whoever is down or broken otherwise is no reason not to know it.
fn primary(observation: &Observation) -> Result<&Seen, NoChoice> {
    let roots: Vec<Side<'_>> = answered(observation)
        .filter(|side| side.view.channels.is_empty() && !side.view.hides_replication())
        .collect();
    let writable: Vec<&Side<'_>> =
        roots.iter().filter(|side| side.view.access.is_writable()).collect();
    match (writable.as_slice(), roots.as_slice()) {
        ([primary], _) => return Ok(primary.seen),
        // It may be the primary, fenced; not so while another one could be it.
        ([], [primary]) if observation.servers.iter().all(|seen| seen.view.is_ok()) => {
            return Ok(primary.seen);
        }
        ([], _) => {}
        (several, _) => {
            let names: Vec<String> = several.iter().map(|side| side.label()).collect();
            return Err(NoChoice::from(Refusal::new(
                Code::TwoPrimaries,
                format!("{} are all writable and replicate from nobody", names.join(" and ")),
                "find out which of them the applications write to, and make the others read-only",
            )));
        }
    }
    let mut refusals: Vec<Refusal> =
        observation.servers.iter().filter_map(super::check::unreachable).collect();
    refusals.extend(answered(observation).flat_map(super::check::check_denied));
    refusals.push(Refusal::new(
        Code::NoPrimary,
        "no server that answers replicates from nobody and accepts writes",
        "intermission recover, if a swap was interrupted; else SET GLOBAL read_only=0 on the right one",
    ));
    Err(NoChoice::Refused(refusals))
}

fn answered(observation: &Observation) -> impl Iterator<Item = Side<'_>> {
    observation.servers.iter().filter_map(|seen| {
        let view = seen.view.as_ref().ok()?;
        Some(Side { seen, view })
    })
}

/// By name or `host:port`; by the host alone where that is one server's.
fn target<'a>(observation: &'a Observation, to: &str) -> Result<&'a Seen, NoChoice> {
    let servers = &observation.servers;
    let exact = servers.iter().find(|seen| to == seen.name || to == seen.address.to_string());
    let by_host: Vec<&Seen> = servers.iter().filter(|seen| to == seen.address.host).collect();
    match (exact, by_host.as_slice()) {
        (Some(seen), _) => Ok(seen),
        (None, [seen]) => Ok(*seen),
        (None, found) => {
            let names: Vec<&str> = servers.iter().map(|seen| seen.name.as_str()).collect();
            let how_many = if found.is_empty() { "no server" } else { "more than one server" };
            Err(NoChoice::from(Refusal::new(
                Code::UnknownTarget,
                format!("{how_many} of this cluster is called {to:?}"),
                format!("use --to with one of: {}", names.join(", ")),
            )))
        }
    }
}

/// Which one is for a person to say.
fn needed(primary: &Seen, observation: &Observation, request: &Request) -> Refusal {
    let others: Vec<&Seen> =
        observation.servers.iter().filter(|seen| seen.name != primary.name).collect();
    let told: Vec<String> = others.iter().map(|seen| lag_of(seen)).collect();
    let commands: Vec<String> = others
        .iter()
        .map(|seen| {
            format!("{} swap --to {}", request.program, crate::swap::endpoint::quote(&seen.name))
        })
        .collect();
    Refusal::new(
        Code::TargetNeeded,
        format!("several servers could take over from {}: {}", primary.name, told.join(", ")),
        format!("say which: {}", commands.join(" | ")),
    )
}

fn lag_of(seen: &Seen) -> String {
    let said = match &seen.view {
        Err(_) => "does not answer".to_owned(),
        Ok(view) => match view.channels.first().map(|channel| channel.lag_s) {
            None => "replicates from nobody".to_owned(),
            Some(None) => "lag unknown".to_owned(),
            Some(Some(lag)) => format!("{lag} s behind"),
        },
    };
    format!("{} ({said})", seen.name)
}
