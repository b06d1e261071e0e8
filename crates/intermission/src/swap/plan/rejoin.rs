//! Plans a rejoin: a former primary becomes a replica of the one there is, unless it has diverged.

use super::{Plan, Request, Side, check::check_denied, kind::Kind, role};
use crate::swap::{
    observation::Observation,
    position::{Channel, Tracking},
    refusal::{Code, Refusal},
};

/// The outcome of looking at a rejoin.
#[derive(Debug)]
pub enum Rejoin {
    Planned(Box<Plan>),
    /// It follows already.
    Follows(String),
}

/// Plans a rejoin; `request.to` names the server that comes back, `last` is the newest plan that was carried out, which says
/// who is primary where both servers claim to be.
///
/// # Errors
/// Every refusal there is.
pub fn plan(
    observation: &Observation,
    request: &Request,
    last: Option<&Plan>,
) -> Result<Rejoin, Vec<Refusal>> {
    let sides: Vec<Side<'_>> = observation.servers.iter().filter_map(Side::of).collect();
    let mut refusals: Vec<Refusal> = sides.iter().flat_map(|side| check_denied(*side)).collect();
    let roots: Vec<Side<'_>> =
        sides.iter().copied().filter(|side| side.view.channels.is_empty()).collect();
    let named = request.to.as_deref();
    let Some((primary, back)) = parts(&roots, named, last) else {
        if let [only] = roots.as_slice()
            && sides.len() == observation.servers.len()
            && only.view.access.is_writable()
        {
            return Ok(Rejoin::Follows(only.label()));
        }
        refusals.push(unclear(observation, &roots, request));
        return Err(refusals);
    };
    refusals.extend(check_pair(primary, back));
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let channel = last
        .filter(|plan| plan.new.name == primary.seen.name && plan.old.name == back.seen.name)
        .map(|plan| Channel { name: String::new(), ..plan.channel.clone() })
        .or_else(|| {
            // As the primary's other replicas log in there.
            let follows = |side: &&Side<'_>| {
                let source = side.view.channels.first().map(|channel| &channel.source);
                source == Some(&primary.seen.address)
            };
            let tls = sides.iter().find(follows)?.view.condition.channel_tls();
            Some(Channel { name: String::new(), tracking: Tracking::Gtid, tls })
        })
        .unwrap_or_default();
    Ok(Rejoin::Planned(Box::new(Plan {
        id: request.id.clone(),
        kind: Kind::Rejoin,
        program: request.program.clone(),
        flavor: primary.view.flavor,
        old: back.party(),
        new: primary.party(),
        siblings: Vec::new(),
        apps: Vec::new(),
        bounds: request.bounds.clone(),
        endpoint: request.endpoint,
        withdrawal: request.withdrawal,
        canary: false,
        before_release: None,
        warm_up: None,
        handover: role::handover_of_the_returned(&back),
        barrier: Tracking::Gtid,
        channel: Channel { tracking: Tracking::Gtid, ..channel },
        warnings: Vec::new(),
    })))
}

/// Who is primary and who comes back; none where that is not clear.
fn parts<'a>(
    roots: &[Side<'a>],
    named: Option<&str>,
    last: Option<&Plan>,
) -> Option<(Side<'a>, Side<'a>)> {
    let [one, other] = roots else { return None };
    let both = [(*one, *other), (*other, *one)];
    if let Some(name) = named {
        return both
            .into_iter()
            .find(|(primary, back)| back.is_called(name) && primary.view.access.is_writable());
    }
    match (one.view.access.is_writable(), other.view.access.is_writable()) {
        (true, false) => Some((*one, *other)),
        (false, true) => Some((*other, *one)),
        (true, true) => both.into_iter().find(|(primary, back)| {
            last.is_some_and(|plan| {
                plan.new.name == primary.seen.name && plan.old.name == back.seen.name
            })
        }),
        (false, false) => None,
    }
}

fn unclear(observation: &Observation, roots: &[Side<'_>], request: &Request) -> Refusal {
    let away: Vec<String> = observation
        .servers
        .iter()
        .filter_map(|seen| Some(format!("{}: {}", seen.name, seen.view.as_ref().err()?)))
        .collect();
    if !away.is_empty() {
        return Refusal::new(
            Code::Unreachable,
            away.join("; "),
            "start it with read_only=1 in its option file, then try again",
        );
    }
    let told: Vec<String> = roots
        .iter()
        .map(|side| {
            let how = if side.view.access.is_writable() { "writable" } else { "read-only" };
            format!("{} ({how})", side.label())
        })
        .collect();
    Refusal::new(
        Code::TwoPrimaries,
        format!(
            "who is the primary is not clear; these replicate from nobody: {}",
            told.join(", ")
        ),
        format!(
            "say who comes back: {} rejoin NAME; the other one has to be writable",
            request.program
        ),
    )
}

/// A read-only one that has diverged is refused at once; a writable one is made read-only first, and then looked at.
fn check_pair(primary: Side<'_>, back: Side<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if primary.view.server_id == back.view.server_id {
        refusals.push(Refusal::new(
            Code::SameServerId,
            format!("{} and {} have one server_id", primary.label(), back.label()),
            "give one of them another one and restart it",
        ));
    }
    if !primary.view.gtid_on || !back.view.gtid_on {
        refusals.push(Refusal::new(
            Code::GtidOff,
            "without GTIDs it cannot be seen whether it has diverged",
            format!("build {} anew from {}", back.seen.name, primary.seen.name),
        ));
        return refusals;
    }
    let diverged = back.view.executed.minus(&primary.view.executed);
    if !diverged.is_empty() && !back.view.access.is_writable() {
        let choices = choices(&back.seen.name, &primary.seen.name);
        let sentence = format!("{} has {diverged}, which {} lacks", back.label(), primary.label());
        refusals.push(Refusal::new(Code::ErrantTransactions, sentence, choices));
    }
    let missing = primary.view.purged.minus(&back.view.executed);
    if !missing.is_empty() {
        refusals.push(Refusal::new(
            Code::BinlogsPurged,
            format!("{} has purged {missing}, which {} needs", primary.label(), back.label()),
            format!("build {} anew from {}", back.seen.name, primary.seen.name),
        ));
    }
    refusals
}

/// What can be done with one that has diverged.
pub(crate) fn choices(back: &str, primary: &str) -> String {
    format!(
        "look at what they did (mysqlbinlog on {back}) and do it again on {primary} where it matters; then build {back} anew from \
         {primary} (a backup, or CLONE), and it follows"
    )
}
