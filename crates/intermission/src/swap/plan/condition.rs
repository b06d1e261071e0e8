//! What the servers' filters, logs, memory, disks and companions have to say before a swap.

mod company;
mod replication;

use super::{Findings, Side};
use crate::swap::{
    condition::{Disk, Space},
    refusal::Code,
};

/// A new primary whose binary log does not reach back this far cannot be followed by an old one that was away a while.
const RETENTION_MIN_S: u64 = 60 * 60;
const DAY_S: u64 = 24 * 60 * 60;
/// Less is read from any disk in a moment: no reason to warn, bytes.
const COLD_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// How many times as much the old primary may have in memory.
const COLD_TIMES: u64 = 2;
/// With less free than this the new primary is about to stop: binary logs and temporary tables grow by it in minutes.
const DISK_FREE_MIN: u64 = 1024 * 1024 * 1024;
/// Less of the whole is free than one in this many: somebody should know.
const DISK_LOW_PART: u64 = 10;

pub(super) fn examine(
    old: &Side<'_>,
    new: &Side<'_>,
    siblings: &[Side<'_>],
    away: &[&str],
) -> Findings {
    let mut findings = Findings::default();
    replication::check_filters(old, new, &mut findings);
    replication::check_tls(old, new, &mut findings);
    company::check_clustered(&[old, new], &mut findings);
    check_disk(new, &mut findings);
    let known: Vec<&Side<'_>> = siblings.iter().chain([new]).collect();
    company::warn_readers(old, &known, away, new, &mut findings);
    company::warn_automation(&[old, new], &mut findings);
    company::warn_read_only_admins(old, &mut findings);
    warn_retention(new, &mut findings);
    warn_cold(old, new, &mut findings);
    check_clients_host(new, &mut findings);
    for side in siblings.iter().chain([old, new]) {
        warn_clear_text(side, &mut findings);
    }
    for side in [old, new] {
        for unseen in &side.view.condition.unseen {
            findings.warn(
                Code::NotSeen,
                format!("{}: {} could not be read: {}", side.label(), unseen.what, unseen.reason),
                "intermission grants prints what our account needs; nothing is claimed of what was not seen",
            );
        }
    }
    findings
}

/// The old primary's is looked into at the clients' address itself.
fn check_clients_host(new: &Side<'_>, findings: &mut Findings) {
    if let Some(reason) = &new.view.condition.disbelief {
        findings.refuse(
            Code::ClientAddressCertificate,
            format!("{} could not be told by its certificate at the clients' address: {reason}", new.label()),
            format!(
                "make {}'s certificate out to the host of swap.client_address too (subjectAltName), or write tls = \"verify-ca\"",
                new.seen.name
            ),
        );
    }
}

/// It was not asked for: `tls = "preferred"` found nothing better.
fn warn_clear_text(side: &Side<'_>, findings: &mut Findings) {
    if side.view.condition.clear_text && !side.seen.address.is_loopback() {
        findings.warn(
            Code::ClearText,
            format!(
                "{} offers no TLS: who can listen on the way reads our sessions there, and the password that a replica is given",
                side.label()
            ),
            format!(
                "give {} ssl_cert and ssl_key and restart it; or write tls = \"disabled\" for it where nobody listens",
                side.seen.name
            ),
        );
    }
}

fn warn_retention(new: &Side<'_>, findings: &mut Findings) {
    let condition = &new.view.condition;
    let number = |name: &str| condition.variable(name)?.split('.').next()?.parse::<u64>().ok();
    let is_kept = condition.variable("binlog_expire_logs_auto_purge").is_some_and(|on| on == "OFF");
    let seconds = number("binlog_expire_logs_seconds").filter(|seconds| *seconds > 0);
    let days = number("expire_logs_days").filter(|days| *days > 0).map(|days| days * DAY_S);
    let Some(kept) = seconds.or(days) else { return };
    if kept < RETENTION_MIN_S && !is_kept {
        findings.warn(
            Code::BinlogRetention,
            format!(
                "{} keeps its binary logs for {kept} s: an old primary that is away longer cannot follow it any more",
                new.label()
            ),
            format!("SET GLOBAL binlog_expire_logs_seconds = {DAY_S} on {}, and the same in its option file", new.seen.name),
        );
    }
}

/// F37: what the application reads is in the old primary's memory and not in the new one's.
fn warn_cold(old: &Side<'_>, new: &Side<'_>, findings: &mut Findings) {
    let loading = new.view.condition.status.get("Innodb_buffer_pool_load_status");
    // "Loaded 51/100 pages", "Loading buffer pool(s) from …": under way. Other words are of one that is done, failed, or was never begun.
    if let Some(words) = loading
        && (words.starts_with("Loaded ") || words.starts_with("Loading buffer"))
    {
        findings.warn(
            Code::ColdBufferPool,
            format!("{} still reads its buffer pool from disk: {words}", new.label()),
            "wait until Innodb_buffer_pool_load_status says completed",
        );
    }
    let bytes = |side: &Side<'_>| side.view.condition.figure("Innodb_buffer_pool_bytes_data");
    let (Some(was), Some(is)) = (bytes(old), bytes(new)) else { return };
    if is.saturating_mul(COLD_TIMES) < was && was - is > COLD_BYTES_MIN {
        findings.warn(
            Code::ColdBufferPool,
            format!(
                "{} has {} of data in memory and {} has {}: reads will be slow until it has more",
                old.label(),
                size(was),
                new.label(),
                size(is)
            ),
            format!(
                "let {} serve reads for a while first, or load the old primary's innodb_buffer_pool_dump there",
                new.seen.name
            ),
        );
    }
}

fn check_disk(new: &Side<'_>, findings: &mut Findings) {
    let Some(Disk { datadir, space }) = &new.view.condition.disk else { return };
    let label = new.label();
    let Space { size: whole, free } = match space {
        Ok(space) => *space,
        Err(reason) => {
            findings.warn(
                Code::DiskUnknown,
                format!("{label}: how much room {datadir} has could not be asked: {reason}"),
                "run df there by hand, or correct the server's exec",
            );
            return;
        }
    };
    let sentence =
        format!("{label}: of the {} that hold {datadir}, {} are free", size(whole), size(free));
    if free < DISK_FREE_MIN {
        let mend = format!("make room: at least {} are needed", size(DISK_FREE_MIN));
        findings.refuse(Code::DiskFull, sentence, mend);
    } else if free < whole / DISK_LOW_PART {
        findings.warn(Code::DiskLow, sentence, "make room soon");
    }
}

/// For a person.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests;
