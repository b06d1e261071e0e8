//! What is said of the siblings before a swap: what refuses it, and what becomes of each that is not well.

use super::{Party, Side, check::check_channel, choice::Choice, tracking};
use crate::swap::{
    observation::{ReplicaView, Seen, ServerView},
    position::Tracking,
    refusal::{Code, Refusal},
    settings::Bounds,
    sibling::{Family, Fate, Sibling, Threads, check_history},
};

/// What a sibling's account needs; the rest is for whoever becomes primary.
const NEEDED: [&str; 4] =
    ["REPLICATION SLAVE ADMIN", "SLAVE MONITOR", "REPLICATION_SLAVE_ADMIN", "REPLICATION CLIENT"];

/// What comes of looking at the siblings.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) siblings: Vec<Sibling>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) warnings: Vec<Refusal>,
}

/// Duplicate ids and writable siblings are refused; nothing else that is wrong with a sibling is (F31).
pub(super) fn look(
    choice: &Choice<'_>,
    (old, new): (&Side<'_>, &Side<'_>),
    bounds: &Bounds,
    replication_user: &str,
) -> Looked {
    let mut looked = Looked { refusals: check_ids(choice), ..Looked::default() };
    let usual = tracking::channel(new).tracking;
    looked.siblings = choice.siblings.iter().map(|seen| sibling(seen, usual)).collect();
    let (old_party, new_party) = (old.party(), new.party());
    let known = looked.siblings.clone();
    let family = Family { old: &old_party, new: &new_party, siblings: &known };
    for (seen, planned) in choice.siblings.iter().zip(&mut looked.siblings) {
        let view = match &seen.view {
            Ok(view) => view,
            Err(reason) => {
                looked.warnings.push(unreachable(seen, reason, &new_party));
                continue;
            }
        };
        let side = Side { seen, view };
        if view.access.is_writable() {
            looked.refusals.push(Refusal::new(
                Code::ReplicaNotFenced,
                format!("the sibling {} is writable", side.label()),
                "SET GLOBAL read_only=1 there, and find out what wrote to it; or take it out of cluster.servers",
            ));
            continue;
        }
        let label = format!("sibling {}", side.label());
        let channel = match family.fate(&label, view, old.view.flavor) {
            Fate::Left(refusal) => {
                looked.warnings.push(left_alone(refusal));
                continue;
            }
            Fate::Chained(_) => continue,
            Fate::Led(channel, _) | Fate::There(channel) => {
                view.channels.iter().find(|known| known.channel == channel)
            }
        };
        let known = [&old.view.executed, &new.view.executed];
        let history = check_history(&label, view, &known, (&new_party.name, &new.view.purged));
        if let Some(refusal) = history {
            looked.warnings.push(left_alone(refusal));
            continue;
        }
        if let Some(channel) = channel {
            planned.channel.clone_from(&channel.channel);
            planned.ran = Threads::meant(channel);
            planned.tracking = channel.tracking;
            looked.warnings.extend(sick(old, side, channel, (bounds, &new_party, planned.ran)));
            looked.warnings.extend(by_coordinates(&label, channel, &new_party, usual));
            looked.warnings.extend(other_login(&label, channel, &new_party, replication_user));
        }
        looked.warnings.extend(denied(&label, view));
    }
    looked
}

/// `usual` is how the pair replicates: of one that did not answer nothing else is known.
fn sibling(seen: &Seen, usual: Tracking) -> Sibling {
    Sibling {
        name: seen.name.clone(),
        address: seen.address.clone(),
        identity: seen.view.as_ref().ok().map(ServerView::identity),
        channel: String::new(),
        tracking: usual,
        ran: Threads::BOTH,
    }
}

/// As much of a sibling as can be known of one whose channel is looked at when it is led.
pub(super) fn planned(seen: &Seen, usual: Tracking) -> Sibling {
    let mut planned = sibling(seen, usual);
    if let Some(channel) = seen.view.as_ref().ok().and_then(|view| view.channels.first()) {
        planned.channel.clone_from(&channel.channel);
        planned.ran = Threads::meant(channel);
        planned.tracking = channel.tracking;
    }
    planned
}

/// F32: one of two with the same id hangs without a word.
fn check_ids(choice: &Choice<'_>) -> Vec<Refusal> {
    let mut before: Vec<Side<'_>> = Vec::new();
    let mut refusals = Vec::new();
    for seen in choice.pair.iter().chain(&choice.siblings) {
        let Ok(view) = &seen.view else { continue };
        let side = Side { seen, view };
        let same = |other: &&Side<'_>| {
            let same_uuid = view.uuid.is_some() && other.view.uuid == view.uuid;
            other.view.server_id == view.server_id || same_uuid
        };
        // The pair has been compared already.
        if before.len() >= choice.pair.len()
            && let Some(other) = before.iter().find(same)
        {
            let what = if other.view.server_id == view.server_id {
                format!("server_id {}", view.server_id)
            } else {
                format!("server_uuid {}", view.uuid.as_deref().unwrap_or_default())
            };
            refusals.push(Refusal::new(
                Code::SameServerId,
                format!("{} and {} both have {what}", other.label(), side.label()),
                format!("give {} another one and restart it", seen.name),
            ));
        }
        before.push(side);
    }
    refusals
}

fn unreachable(seen: &Seen, reason: &str, new: &Party) -> Refusal {
    Refusal::new(
        Code::Unreachable,
        format!(
            "sibling {} at {} did not answer: {reason}; after the swap it is tried again, and listed if it cannot be led \
             to {}",
            seen.name, seen.address, new.name
        ),
        format!("mysql -h {} -P {}", seen.address.host, seen.address.port),
    )
}

fn left_alone(refusal: Refusal) -> Refusal {
    Refusal { sentence: format!("{}; it is left alone", refusal.sentence), ..refusal }
}

/// Everything wrong with its replication, as one warning.
fn sick(
    old: &Side<'_>,
    side: Side<'_>,
    channel: &ReplicaView,
    (bounds, new, ran): (&Bounds, &Party, Threads),
) -> Option<Refusal> {
    let wrong: Vec<Refusal> = check_channel(old, &side, channel, bounds)
        .into_iter()
        .filter(|refusal| refusal.code != Code::WrongSource)
        .collect();
    let first = wrong.first()?;
    let sentences: Vec<&str> = wrong.iter().map(|refusal| refusal.sentence.as_str()).collect();
    let then = match ran {
        Threads { receiver: true, applier: true } => "goes on as it is",
        Threads { receiver: false, applier: false } => "stays stopped",
        Threads { .. } => "with the thread that somebody has stopped stopped",
    };
    let sentence = format!(
        "sibling {}; it is led to {} all the same, and {then}",
        sentences.join("; "),
        new.name
    );
    Some(Refusal::new(first.code, sentence, first.mend.clone()))
}

/// Where the pair does so too it is said of the pair.
fn by_coordinates(
    label: &str,
    channel: &ReplicaView,
    new: &Party,
    usual: Tracking,
) -> Option<Refusal> {
    (channel.tracking == Tracking::Coordinates && usual == Tracking::Gtid).then(|| {
        Refusal::new(
            Code::ReplicationWithoutGtid,
            format!(
                "{label} replicates by file and position: it is led to {} where it stands exactly at the barrier, and \
                 before the old primary goes on",
                new.name
            ),
            "let it replicate by GTID, which finds its place by itself",
        )
    })
}

/// Only the account that is configured can be tried on the new primary.
fn other_login(
    label: &str,
    channel: &ReplicaView,
    new: &Party,
    configured: &str,
) -> Option<Refusal> {
    (channel.user != configured).then(|| {
        Refusal::new(
            Code::SiblingLogin,
            format!(
                "{label} logs in to its source as {:?}, which could not be tried on {}: it keeps that login",
                channel.user, new.name
            ),
            format!("see that the account is on {} too: SHOW GRANTS FOR {:?}@'%'", new.name, channel.user),
        )
    })
}

fn denied(label: &str, view: &ServerView) -> impl Iterator<Item = Refusal> {
    let needed = view.denied.iter().filter(|denied| NEEDED.contains(&denied.privilege.as_str()));
    needed.map(move |denied| {
        Refusal::new(
            Code::MissingPrivilege,
            format!(
                "{label}: our account lacks {}: {}; it cannot be led",
                denied.privilege, denied.answer
            ),
            format!("GRANT {} TO our account there", denied.scoped()),
        )
    })
}

#[cfg(test)]
mod tests;
