//! Filters of replication, and whether the reversed channel can be encrypted like the one there is.

use super::{Findings, Side};
use crate::swap::{condition::ChannelTls, observation::Flavor, refusal::Code, version::Version};

/// What is filtered is not on the new primary, or will not be on the old one.
pub(super) fn check_filters(old: &Side<'_>, new: &Side<'_>, findings: &mut Findings) {
    let mut refuse = |code, side: &Side<'_>, what: &str, filter: &str, mend: &str| {
        findings.refuse(code, format!("{} {what}: {filter}", side.label()), mend);
    };
    for link in &new.view.condition.links {
        for filter in &link.filters {
            refuse(
                Code::ReplicationFilter,
                new,
                "does not apply everything its primary writes",
                filter,
                "take the filter off and build the replica anew: what was left out is not there",
            );
        }
    }
    let take_off = match old.view.flavor {
        Flavor::MariaDb => {
            "set the variable to '' there (SET GLOBAL, with no replication running) and take it out of \
                            its option file"
        }
        Flavor::MySql => {
            "CHANGE REPLICATION FILTER … = () there, and take it out of its option file"
        }
    };
    for filter in &old.view.condition.replica_filters {
        let what = "would not apply everything as a replica";
        refuse(Code::ReplicationFilter, old, what, filter, take_off);
    }
    for (side, mend) in [
        (old, "take the filter out of its option file, restart it, and build the replica anew"),
        (new, "take the filter out of its option file and restart it"),
    ] {
        for filter in side.view.condition.binlog.iter().flat_map(|binlog| &binlog.filters) {
            let what = "does not write everything to its binary log";
            refuse(Code::BinlogFilter, side, what, filter, mend);
        }
    }
}

/// The reversed channel is encrypted like the one there is.
pub(super) fn check_tls(old: &Side<'_>, new: &Side<'_>, findings: &mut Findings) {
    let tls = &new.view.condition.channel_tls();
    if !tls.on {
        return;
    }
    if new.view.condition.offers_tls() == Some(false) {
        findings.refuse(
            Code::ChannelTls,
            format!(
                "{} replicates encrypted, and takes no encrypted connections itself: {} could only follow it in clear text",
                new.label(),
                old.seen.name
            ),
            format!("give {} ssl_cert and ssl_key and restart it", new.seen.name),
        );
    }
    if let Some(why) = distrust(old, new, tls) {
        findings.refuse(
            Code::ChannelTls,
            format!(
                "{} has no certificate but the one it made for itself, and {} could not follow it: {why}",
                new.label(),
                old.label()
            ),
            format!(
                "give {} ssl_cert and ssl_key that {} trusts and restart it",
                new.seen.name, old.seen.name
            ),
        );
    }
    let missing = files_unproven(old, tls);
    if !missing.is_empty() {
        findings.warn(
            Code::ChannelTlsFiles,
            format!(
                "replication is encrypted with {}: {} will use files of the same names, and whether it has them cannot \
                 be seen",
                missing.join(", "),
                old.label()
            ),
            format!("see that they are on {} and that its server may read them", old.seen.name),
        );
    }
}

/// Why the old primary would not believe in a certificate that the new one made for itself. With an authority given the
/// signature is looked at whether the channel verifies names or not, and without one 11.8 asks for none (measured).
fn distrust(old: &Side<'_>, new: &Side<'_>, tls: &ChannelTls) -> Option<String> {
    if new.view.flavor != Flavor::MariaDb || !new.view.condition.made_its_certificate() {
        return None;
    }
    if let Some(authority) = tls.options.get("CA").or_else(|| tls.options.get("CAPATH")) {
        return Some(format!("the channel wants one signed by {authority}"));
    }
    let trusts = Version::parse(&old.view.version).is_none_or(Version::trusts_by_password);
    (tls.verify && !trusts).then(|| {
        format!(
            "the channel verifies its source's, and MariaDB {} trusts none without an authority",
            old.view.version
        )
    })
}

/// The files of a channel that are not known to be on `side`: those its server itself uses are.
fn files_unproven(side: &Side<'_>, tls: &ChannelTls) -> Vec<String> {
    ChannelTls::FILES
        .into_iter()
        .filter_map(|option| Some((option, tls.options.get(option)?)))
        .filter(|(option, file)| {
            let own = format!("ssl_{}", option.to_ascii_lowercase());
            side.view.condition.variable(&own) != Some(file.as_str())
        })
        .map(|(option, file)| format!("{option} {file}"))
        .collect()
}
