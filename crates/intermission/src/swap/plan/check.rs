//! What is checked before a swap is planned; each finds all its refusals.

use std::time::Duration;

use super::{Request, Side, Words};
use crate::swap::{
    gates::{MaxWait, WarmUp},
    observation::{Flavor, Observation, ReplicaView, Seen, ThreadState},
    refusal::{Code, Refusal},
    settings::Bounds,
    version::Version,
};

pub(super) fn unreachable(seen: &Seen) -> Option<Refusal> {
    let reason = seen.view.as_ref().err()?;
    Some(Refusal::new(
        Code::Unreachable,
        format!("{} at {} did not answer: {reason}", seen.name, seen.address),
        format!(
            "check that the server runs, and that the user of [cluster] may log in from here with this password: mysql -h {} -P {} -u USER -p",
            seen.address.host, seen.address.port
        ),
    ))
}

/// The longest an attempt can keep users waiting before it is committed or taken back: off the old primary and back on it
/// included.
pub(super) fn longest_attempt(bounds: &Bounds, withdrawal: Option<Duration>) -> Duration {
    bounds.longest_attempt() + withdrawal.map_or(Duration::ZERO, |withdrawal| withdrawal * 2)
}

/// The longest the hooks and the warm-up, one after the other, can keep users waiting after that.
pub(super) fn longest_readying(
    before_release: Option<Duration>,
    warm_up: Option<&WarmUp>,
) -> Duration {
    before_release.unwrap_or_default() + warm_up.map(|warm_up| warm_up.bound).unwrap_or_default()
}

/// Both, of a swap that is asked for.
fn longest_hold(observation: &Observation, request: &Request) -> Duration {
    longest_attempt(&request.bounds, request.withdrawal)
        + longest_readying(request.before_release, observation.gates.warm_up.as_ref())
}

pub(super) fn check_lease(observation: &Observation, request: &Request) -> Option<Refusal> {
    let lease = request.bounds.lease;
    let attempt = longest_attempt(&request.bounds, request.withdrawal);
    let longest = longest_hold(observation, request);
    if lease >= longest {
        return None;
    }
    let (where_to, keys) = if lease < attempt {
        ("a read-only primary", "drain, settle, fence, catch_up or the endpoint's timeout")
    } else {
        ("an application that is not ready", "the timeouts of swap.before_release and app.warm_up")
    };
    Some(Refusal::new(
        Code::LeaseTooShort,
        format!(
            "the lease of {lease:?} is shorter than the {longest:?} users may be held: they would be let through to \
             {where_to}"
        ),
        format!("set swap.bounds.lease to at least {longest:?}, or lower {keys}"),
    ))
}

/// Whoever waits longer is refused by the gate. No reason to leave a swap be, most are over long before.
pub(super) fn warn_of_max_wait(observation: &Observation, request: &Request) -> Option<Refusal> {
    let MaxWait { app, bound } = observation.gates.max_wait.as_ref()?;
    let longest = longest_hold(observation, request);
    (*bound < longest).then(|| {
        Refusal::new(
            Code::MaxWaitShort,
            format!(
                "{app} refuses requests that were held for {bound:?}, and they may be held for {longest:?}"
            ),
            format!("set app.{app}.max_wait to at least {longest:?}, and restart the gate"),
        )
    })
}

pub(super) fn check_client_address(observation: &Observation) -> Option<Refusal> {
    let view = observation.client_address.as_ref()?;
    let reason = view.identity.as_ref().err()?;
    Some(Refusal::new(
        Code::ClientAddressUnreachable,
        format!("the clients' address {} did not answer: {reason}", view.address),
        "correct swap.client_address, or let this machine reach it",
    ))
}

/// A swap that leads the clients elsewhere than they are is no swap.
pub(super) fn check_clients_way(old: &Side<'_>, observation: &Observation) -> Option<Refusal> {
    let view = observation.client_address.as_ref()?;
    let found = view.identity.as_ref().ok()?;
    let is_old = found.uuid == old.view.uuid && found.server_id == old.view.server_id;
    (!is_old).then(|| {
        Refusal::new(
            Code::ClientAddressElsewhere,
            format!(
                "the clients' address {} leads to the server with server_id {}, not to {}",
                view.address,
                found.server_id,
                old.label()
            ),
            "lead it to the primary, or correct swap.client_address",
        )
    })
}

pub(super) fn check_pair(pair: &[Side<'_>; 2]) -> Vec<Refusal> {
    let [a, b] = pair;
    if pair.iter().any(|side| side.view.is_too_old()) {
        // Of such a server nothing else is known, so it can be compared with no other.
        return pair.iter().flat_map(|side| check_server(*side)).collect();
    }
    let mut refusals = Vec::new();
    if a.view.flavor != b.view.flavor {
        refusals.push(Refusal::new(
            Code::DifferentFlavors,
            format!(
                "{} is {:?} and {} is {:?}",
                a.label(),
                a.view.flavor,
                b.label(),
                b.view.flavor
            ),
            "name two servers of one kind under cluster.servers",
        ));
    }
    if a.view.server_id == b.view.server_id {
        refusals.push(Refusal::new(
            Code::SameServerId,
            format!("{} and {} both have server_id {}", a.label(), b.label(), a.view.server_id),
            format!("give {} another server_id and restart it", b.seen.name),
        ));
    }
    for side in pair {
        refusals.extend(check_server(*side));
    }
    refusals
}

pub(super) fn check_server(side: Side<'_>) -> Vec<Refusal> {
    let (label, view) = (side.label(), side.view);
    if view.is_too_old() {
        return vec![too_old(side)];
    }
    let mut refusals = Vec::new();
    let mut refuse =
        |code, sentence: String, mend: String| refusals.push(Refusal::new(code, sentence, mend));
    if !view.binlog_on {
        refuse(
            Code::BinlogOff,
            format!("{label} writes no binary log: nobody could replicate from it"),
            "set log_bin and restart it".to_owned(),
        );
    } else if !view.log_replica_updates {
        refuse(
            Code::ReplicaUpdatesNotLogged,
            format!("{label} does not log what it applies as a replica"),
            match view.flavor {
                Flavor::MariaDb => "set log_slave_updates=ON and restart it".to_owned(),
                Flavor::MySql => "set log_replica_updates=ON and restart it".to_owned(),
            },
        );
    }
    refusals.extend(check_denied(side));
    let mut refuse =
        |code, sentence: String, mend: String| refusals.push(Refusal::new(code, sentence, mend));
    if let Some(answer) = &view.replication_login {
        refuse(
            Code::ReplicationLogin,
            format!("{label}: the replication account cannot be used: {answer}"),
            "create that account there with REPLICATION SLAVE, or correct cluster.replication; one that must show a \
             certificate (REQUIRE X509) cannot be tried from here"
                .to_owned(),
        );
    }
    if let Some(database) = &view.missing_database {
        refuse(
            Code::DatabaseMissing,
            format!("{label} has no database {database:?}, or hides it from our account"),
            "correct the server's database, or GRANT SHOW DATABASES ON *.* TO our account"
                .to_owned(),
        );
    }
    if !view.prepared_xa.is_empty() {
        refuse(
            Code::PreparedXa,
            format!(
                "{label} has {} prepared XA transactions ({}): they can commit through a fence",
                view.prepared_xa.len(),
                view.prepared_xa.join(", ")
            ),
            "XA RECOVER; then XA COMMIT or XA ROLLBACK each of them".to_owned(),
        );
    }
    refusals
}

pub(super) fn check_denied(side: Side<'_>) -> Vec<Refusal> {
    let refusals = side.view.denied.iter().map(|denied| {
        Refusal::new(
            Code::MissingPrivilege,
            format!("{}: our account lacks {}: {}", side.label(), denied.privilege, denied.answer),
            format!("GRANT {} TO our account on {}", denied.scoped(), side.seen.name),
        )
    });
    refusals.collect()
}

pub(super) fn check_replication(old: &Side<'_>, new: &Side<'_>, bounds: &Bounds) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if !old.view.access.is_writable() {
        refusals.push(Refusal::new(
            Code::NoPrimary,
            format!("{} replicates from nobody and is read-only: no server accepts writes", old.label()),
            "intermission recover, if a swap was interrupted; else SET GLOBAL read_only=0 on the right one",
        ));
    }
    if new.view.access.is_writable() {
        refusals.push(Refusal::new(
            Code::ReplicaNotFenced,
            format!("the replica {} is writable", new.label()),
            "SET GLOBAL read_only=1 there, and find out what wrote to it",
        ));
    }
    if let [channel] = new.view.channels.as_slice() {
        refusals.extend(check_channel(old, new, channel, bounds));
    } else {
        refusals.push(Refusal::new(
            Code::SeveralChannels,
            format!(
                "{} replicates from {} sources: {}",
                new.label(),
                new.view.channels.len(),
                sources(&new.view.channels)
            ),
            "a swap needs a replica with exactly one source",
        ));
    }
    let errant = new.view.executed.minus(&old.view.executed);
    if !errant.is_empty() {
        refusals.push(Refusal::new(
            Code::ErrantTransactions,
            format!("{} has transactions its primary lacks: {errant}", new.label()),
            match new.view.flavor {
                Flavor::MySql => "see what they did; then, on the primary, for each: SET gtid_next='…'; BEGIN; COMMIT; \
                                  SET gtid_next='automatic'"
                    .to_owned(),
                Flavor::MariaDb => "see what they did; then build the replica anew from the primary".to_owned(),
            },
        ));
    }
    refusals.extend(old.view.blockers.iter().map(|blocker| {
        Refusal::new(
            Code::Blocked,
            format!("{}: {blocker}", old.label()),
            format!("let it finish, or end it: KILL {}", blocker.session),
        )
    }));
    refusals
}

fn too_old(side: Side<'_>) -> Refusal {
    let (label, flavor, version) = (side.label(), side.view.flavor, &side.view.version);
    Refusal::new(
        Code::UnsupportedVersion,
        format!("{label} is {flavor:?} {version}, older than {}", Version::oldest(flavor)),
        "upgrade it first: this program does not know its words",
    )
}

fn sources(channels: &[ReplicaView]) -> String {
    let named: Vec<String> = channels
        .iter()
        .map(|channel| format!("{} (channel {:?})", channel.source, channel.channel))
        .collect();
    named.join(", ")
}

pub(super) fn check_channel(
    old: &Side<'_>,
    new: &Side<'_>,
    channel: &ReplicaView,
    bounds: &Bounds,
) -> Vec<Refusal> {
    let label = new.label();
    let Words { start, show } = new.words();
    let mut refusals = Vec::new();
    let mut refuse =
        |code, sentence: String, mend: String| refusals.push(Refusal::new(code, sentence, mend));
    if channel.io != ThreadState::Yes {
        let error = channel.io_error.as_deref().unwrap_or("no error reported");
        refuse(
            Code::IoThread,
            format!("{label}: the replication receiver is {:?}: {error}", channel.io.word()),
            format!("{start} there, then {show}"),
        );
    }
    if channel.sql != ThreadState::Yes {
        let error = channel.sql_error.as_deref().unwrap_or("no error reported");
        refuse(
            Code::SqlThread,
            format!("{label}: the replication applier is {:?}: {error}", channel.sql.word()),
            format!("mend the error, then {start} there"),
        );
    }
    if let Some(sentence) = wrong_source(old, channel) {
        refuse(
            Code::WrongSource,
            format!("{label}: {sentence}"),
            format!("{show} there; point it at {}", old.label()),
        );
    }
    if channel.delay_s > 0 {
        refuse(
            Code::DelayedReplica,
            format!("{label} is told to stay {} s behind", channel.delay_s),
            "take the delay off before a swap".to_owned(),
        );
    }
    match channel.lag_s {
        None => refuse(
            Code::LagUnknown,
            format!("{label} reports no lag (NULL): it is not replicating"),
            format!("{show} there"),
        ),
        Some(lag) if Duration::from_secs(lag) > bounds.lag => refuse(
            Code::Lag,
            format!("{label} is {lag} s behind, more than {:?}", bounds.lag),
            "wait until it has caught up, or raise swap.bounds.lag".to_owned(),
        ),
        // MySQL tells a number or NULL then, for one and the same fault (measured).
        Some(lag) if channel.io != ThreadState::Yes => refuse(
            Code::LagUnknown,
            format!("{label} reports a lag of {lag} s, but cannot know without a receiver"),
            format!("{show} there"),
        ),
        Some(_) => {}
    }
    refusals
}

fn wrong_source(old: &Side<'_>, channel: &ReplicaView) -> Option<String> {
    match (&channel.source_uuid, &old.view.uuid) {
        (Some(source), Some(primary)) if source.eq_ignore_ascii_case(primary) => None,
        (Some(source), Some(primary)) => Some(format!(
            "it replicates from {} with uuid {source}, but {} has uuid {primary}",
            channel.source,
            old.label()
        )),
        _ if channel.source_server_id == old.view.server_id => None,
        // It has not met any source yet: that its receiver does not run is said elsewhere.
        _ if channel.source_server_id == 0 && channel.io != ThreadState::Yes => None,
        _ => Some(format!(
            "it replicates from {} with server_id {}, but {} has server_id {}",
            channel.source,
            channel.source_server_id,
            old.label(),
            old.view.server_id
        )),
    }
}
