//! Plans a failover: the primary is dead, and a replica takes over with all that it has received.

use super::{
    Party, Plan, Request, Side,
    check::{check_denied, check_lease},
    kind::{Failover, Kind, Proof},
    role, sibling, tracking,
};
use crate::swap::{
    client_address::Identity,
    observation::{Access, Flavor, Observation, ReplicaView, Seen, ThreadState},
    position::{Barrier, Tracking},
    refusal::{Code, Refusal},
    server::Life,
    sibling::Threads,
};

/// Plans a failover of what was observed; `life` is what came of listening at the dead primary's own port.
///
/// # Errors
/// Every refusal there is, not only the first.
pub fn plan(
    observation: &Observation,
    life: impl Fn(&str) -> Life,
    request: &Request,
    proof: Proof,
) -> Result<Plan, Vec<Refusal>> {
    let answered: Vec<Side<'_>> = observation.servers.iter().filter_map(Side::of).collect();
    let alive = check_roots(&answered, request);
    if !alive.is_empty() {
        return Err(alive);
    }
    let new = choose(observation, &answered, request).map_err(|refusal| vec![refusal])?;
    let [channel] = new.view.channels.as_slice() else {
        return Err(vec![several_channels(&new)]);
    };
    let old = source_of(observation, &new, channel).map_err(|refusal| vec![refusal])?;
    let siblings: Vec<Side<'_>> = answered
        .iter()
        .copied()
        .filter(|side| side.seen.name != new.seen.name && side.seen.name != old.name)
        .collect();
    let old_party = Party {
        name: old.name.clone(),
        address: old.address.clone(),
        recorded: Access::WRITABLE,
        identity: Identity {
            uuid: channel.source_uuid.clone(),
            server_id: channel.source_server_id,
        },
    };
    let mut refusals: Vec<Refusal> = Vec::new();
    refusals.extend(check_dead(old, &life(&old.name), &proof));
    for side in siblings.iter().chain([&new]) {
        refusals.extend(check_receivers(old, *side));
    }
    refusals.extend(check_candidate(&new, channel));
    refusals.extend(siblings.iter().filter_map(|side| check_ahead(&new, channel, *side)));
    refusals.extend(check_lease(observation, request));
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let others = observation.servers.iter();
    let others = others.filter(|seen| seen.name != new.seen.name && seen.name != old.name);
    let loss = loss(old, &new, channel);
    Ok(Plan {
        id: request.id.clone(),
        kind: Kind::Failover(Failover { proof, ran: Threads::meant(channel), loss }),
        program: request.program.clone(),
        flavor: new.view.flavor,
        old: old_party,
        new: new.party(),
        siblings: others.map(|seen| sibling::planned(seen, channel.tracking)).collect(),
        apps: request.apps.clone(),
        bounds: request.bounds.clone(),
        endpoint: request.endpoint,
        withdrawal: request.withdrawal,
        canary: request.canary,
        before_release: request.before_release,
        warm_up: observation.gates.warm_up.clone(),
        handover: role::handover_of_the_dead(&new, !siblings.is_empty()),
        barrier: channel.tracking,
        channel: tracking::channel(&new),
        // What a gate or a proxy has against it is worth less than a site that writes again.
        warnings: observation.surroundings.clone(),
    })
}

/// One that answers and replicates from nobody is a primary, writable or not.
fn check_roots(answered: &[Side<'_>], request: &Request) -> Vec<Refusal> {
    let is_root =
        |side: &&Side<'_>| side.view.channels.is_empty() && !side.view.hides_replication();
    answered
        .iter()
        .filter(is_root)
        .map(|side| {
            let how = if side.view.access.is_writable() { "is writable" } else { "is read-only" };
            Refusal::new(
                Code::PrimaryAlive,
                format!(
                    "{} answers, replicates from nobody and {how}: it is not dead",
                    side.label()
                ),
                format!("{} swap hands over from a primary that lives", request.program),
            )
        })
        .collect()
}

fn choose<'a>(
    observation: &'a Observation,
    answered: &[Side<'a>],
    request: &Request,
) -> Result<Side<'a>, Refusal> {
    let replicas: Vec<&Side<'a>> =
        answered.iter().filter(|side| !side.view.channels.is_empty()).collect();
    let names = |sides: &[&Side<'a>]| {
        sides.iter().map(|side| side.seen.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    match (request.to.as_deref(), replicas.as_slice()) {
        (_, []) => {
            let said: Vec<String> = observation
                .servers
                .iter()
                .map(|seen| match &seen.view {
                    Ok(_) => format!("{} replicates from nobody", seen.name),
                    Err(reason) => format!("{}: {reason}", seen.name),
                })
                .collect();
            Err(Refusal::new(
                Code::NotAReplica,
                format!("no replica answers that could take over: {}", said.join("; ")),
                "start a replica, or the primary",
            ))
        }
        (None, [only]) => Ok(**only),
        (None, several) => {
            let told: Vec<String> = several
                .iter()
                .map(|side| {
                    let received =
                        side.view.channels.first().and_then(|seen| seen.received.as_ref());
                    let received = received.map_or_else(|| "unknown".to_owned(), words);
                    format!("{} has received up to {received}", side.seen.name)
                })
                .collect();
            Err(Refusal::new(
                Code::TargetNeeded,
                format!("several servers could take over: {}", told.join(", ")),
                format!("say which: {} failover --to NAME", request.program),
            ))
        }
        (Some(to), several) => {
            several.iter().find(|side| side.is_called(to)).map(|side| **side).ok_or_else(|| {
                Refusal::new(
                    Code::UnknownTarget,
                    format!("no replica that answers is called {to:?}"),
                    format!("use --to with one of: {}", names(several)),
                )
            })
        }
    }
}

fn several_channels(new: &Side<'_>) -> Refusal {
    Refusal::new(
        Code::SeveralChannels,
        format!("{} has {} sources", new.label(), new.view.channels.len()),
        "failover is for replicas with one source",
    )
}

/// The server that does not answer and that the candidate has replicated from. Replicas may know it by another name than
/// the configuration.
fn source_of<'a>(
    observation: &'a Observation,
    new: &Side<'_>,
    channel: &ReplicaView,
) -> Result<&'a Seen, Refusal> {
    if let Some(seen) = observation.servers.iter().find(|seen| seen.address == channel.source)
        && seen.view.is_ok()
    {
        return Err(Refusal::new(
            Code::PrimaryAlive,
            format!("{} replicates from {}, which answers", new.label(), seen.name),
            "fail over from the server that is dead, with --to a replica of it",
        ));
    }
    let dead: Vec<&Seen> = observation.servers.iter().filter(|seen| seen.view.is_err()).collect();
    let by_address = dead.iter().find(|seen| seen.address == channel.source);
    match (by_address, dead.as_slice()) {
        (Some(seen), _) | (None, [seen]) => Ok(seen),
        (None, _) => Err(Refusal::new(
            Code::WrongSource,
            format!(
                "{} replicates from {}, which is none of the servers that do not answer",
                new.label(),
                channel.source
            ),
            "name the dead primary under cluster.servers as its replicas name it",
        )),
    }
}

fn check_dead(old: &Seen, life: &Life, proof: &Proof) -> Option<Refusal> {
    let refuse = |sentence: String, mend: &str| {
        Some(Refusal::new(
            Code::PrimaryAlive,
            format!("{} ({}) {sentence}", old.name, old.address),
            mend,
        ))
    };
    match (life, proof) {
        (Life::Answers(said), _) => refuse(
            format!("answers: {said}"),
            "correct [cluster] if only the login fails; a primary that lives hands over by a swap",
        ),
        // A hook may end it; a person's word is belied.
        (Life::Accepts, Proof::Word) => refuse(
            "accepts connections and says nothing: it hangs, and may go on any moment".to_owned(),
            "end it for good (switch its host off), then try again",
        ),
        (Life::Accepts, Proof::Hook { .. }) | (Life::Silent(_), _) => None,
    }
}

/// Who still receives from it has seen it alive less than its timeout ago.
fn check_receivers(old: &Seen, side: Side<'_>) -> Option<Refusal> {
    let connected = side.view.channels.iter().find(|channel| {
        channel.io == ThreadState::Yes
            && (channel.source == old.address || side.view.channels.len() == 1)
    })?;
    let stop = match side.view.flavor {
        Flavor::MariaDb => "STOP SLAVE IO_THREAD",
        Flavor::MySql => "STOP REPLICA IO_THREAD",
    };
    Some(Refusal::new(
        Code::PrimaryAlive,
        format!(
            "{} is connected to {} still: the primary lives, and only this machine does not reach it",
            side.label(),
            connected.source
        ),
        format!(
            "wait until it notices (slave_net_timeout, replica_net_timeout: a minute); if the primary's host is off for sure, \
             {stop} on {}",
            side.seen.name
        ),
    ))
}

fn check_candidate(new: &Side<'_>, channel: &ReplicaView) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = check_denied(*new);
    let mut refuse = |code, sentence: String, mend: String| {
        refusals.push(Refusal::new(code, format!("{}: {sentence}", new.label()), mend));
    };
    let start = new.words().start;
    if let Some(error) = &channel.sql_error {
        refuse(
            Code::SqlThread,
            format!("its applier has stopped: {error}"),
            format!("mend that and {start} SQL_THREAD, or take another replica"),
        );
    }
    if new.view.access.is_writable() {
        refuse(
            Code::ReplicaNotFenced,
            "it is writable, and may have transactions of its own".to_owned(),
            "SET GLOBAL read_only=1 there, and find out what wrote to it".to_owned(),
        );
    }
    if channel.delay_s > 0 {
        refuse(
            Code::DelayedReplica,
            format!("it stays {} s behind, as it is told", channel.delay_s),
            "take the delay off: it applies what it has received then".to_owned(),
        );
    }
    match &channel.received {
        None => refuse(
            Code::LagUnknown,
            "what it has received cannot be read".to_owned(),
            format!("look: {}", new.words().show),
        ),
        Some(Barrier::Gtid(received))
            if new.view.flavor == Flavor::MariaDb
                && channel.io == ThreadState::No
                && channel.sql == ThreadState::No
                && !received.minus(&new.view.executed).is_empty() =>
        {
            refuse(
                Code::RelayLogAtRisk,
                format!(
                    "both its threads are stopped and it has not applied {received}: MariaDB throws received transactions away \
                     when either is started by GTID"
                ),
                "apply its relay log by hand (CHANGE MASTER TO MASTER_USE_GTID=no does not throw it away), or take another replica"
                    .to_owned(),
            );
        }
        Some(Barrier::Gtid(_) | Barrier::At(_)) => {}
    }
    refusals
}

/// What somebody else has received must not be lost for the choice of a server.
fn check_ahead(new: &Side<'_>, channel: &ReplicaView, other: Side<'_>) -> Option<Refusal> {
    let theirs = other.view.channels.first()?.received.as_ref()?;
    let (Barrier::Gtid(theirs), Some(Barrier::Gtid(ours))) = (theirs, &channel.received) else {
        return None;
    };
    let more = [theirs, &other.view.executed]
        .map(|set| set.minus(&new.view.executed).minus(ours))
        .into_iter()
        .find(|set| !set.is_empty())?;
    Some(Refusal::new(
        Code::CandidateBehind,
        format!("{} has {more}, which {} has not received", other.label(), new.label()),
        format!("--to {}", other.seen.name),
    ))
}

/// What a person has to know before: up to where nothing is lost, and what is not known.
fn loss(old: &Seen, new: &Side<'_>, channel: &ReplicaView) -> Vec<String> {
    let received = channel.received.as_ref().map_or_else(|| "nothing".to_owned(), words);
    let heard = match new.view.condition.heard_s {
        Some(seconds) => format!("{} heard of it last {seconds} s ago", new.seen.name),
        None => match &channel.io_error {
            Some(error) => format!("when {} heard of it last is not told: {error}", new.seen.name),
            None => format!("when {} heard of it last is not told", new.seen.name),
        },
    };
    let acknowledged = if new.view.role.semi_sync.replica == Some(true) {
        format!(
            "{} acknowledges what it receives (semi-sync): what {} told a client is committed is here, unless it had stopped \
             waiting for acknowledgements (its semi-sync timeout)",
            new.seen.name, old.name
        )
    } else {
        format!(
            "there is no semi-sync: what {} told a client is committed after that is lost",
            old.name
        )
    };
    vec![
        format!("not lost: all that {} has received, up to {received}", new.seen.name),
        format!("not known: what {} committed after that; {heard}", old.name),
        acknowledged,
    ]
}

fn words(barrier: &Barrier) -> String {
    let said = barrier.to_string();
    if said.is_empty() { "nothing".to_owned() } else { said }
}

impl Plan {
    /// How the dead primary comes back, for the end of a failover.
    #[must_use]
    pub fn way_home(&self) -> Vec<String> {
        let (old, new) = (&self.old.name, &self.new.name);
        vec![
            format!(
                "{old} must not come back as it was: start it with read_only=1 (its option file), or with its network off"
            ),
            format!(
                "then: {} rejoin makes it a replica of {new}, or names what it has that {new} lacks",
                self.program
            ),
        ]
    }

    /// Whether the channel goes by GTID: only so a server finds its place by itself.
    #[must_use]
    pub fn goes_by_gtid(&self) -> bool {
        self.channel.tracking == Tracking::Gtid
    }
}

#[cfg(test)]
mod tests;
