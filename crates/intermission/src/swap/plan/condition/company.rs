//! Who else is at work on the servers: clusters with a will of their own, programs that move primaries, and readers of
//! the binary log that are none of ours.

use std::collections::{BTreeMap, BTreeSet};

use super::{Findings, Side};
use crate::swap::{
    condition::{Client, Reader},
    refusal::Code,
};

/// How many readers of the binary log are named.
const READERS_SHOWN: usize = 20;

/// A program that may act on a primary it sees read-only, and how it is made to stand down.
struct Tool {
    name: &'static str,
    /// Parts of the names its accounts usually have; whole names where they begin with `=`.
    users: &'static [&'static str],
    /// Parts of the names its program gives.
    programs: &'static [&'static str],
    schema: Option<&'static str>,
    mend: &'static str,
}

const MAXSCALE: &str = "MaxScale";

const TOOLS: [Tool; 6] = [
    Tool {
        name: "orchestrator",
        users: &["orchestrator", "orc_client", "vtorc"],
        programs: &["orchestrator"],
        schema: Some("orchestrator"),
        mend: "orchestrator-client -c disable-global-recoveries, and enable-global-recoveries afterwards",
    },
    Tool {
        name: MAXSCALE,
        users: &["maxscale", "mxs_monitor", "maxmon"],
        programs: &["maxscale"],
        schema: None,
        mend: "maxctrl stop monitor NAME, and start monitor afterwards",
    },
    Tool {
        name: "replication-manager",
        users: &["replication-manager", "replication_manager", "repman"],
        programs: &["replication-manager"],
        schema: Some("replication_manager_schema"),
        mend: "set failover-mode = \"manual\" for the cluster while the swap runs",
    },
    Tool {
        name: "ProxySQL",
        users: &["proxysql", "=monitor"],
        programs: &["proxysql"],
        schema: None,
        mend: "have it move by read_only with a patient monitor (mysql-monitor_read_only_timeout, \
               mysql-monitor_read_only_max_timeout_count), or lead it by swap.endpoint",
    },
    Tool {
        name: "MHA",
        users: &["=mha", "mha_"],
        programs: &[],
        schema: None,
        mend: "masterha_stop --conf=FILE, and masterha_manager afterwards",
    },
    Tool {
        name: "InnoDB Cluster",
        users: &["mysql_innodb_cluster_", "mysql_router"],
        programs: &["mysqlrouter", "mysql router"],
        schema: Some("mysql_innodb_cluster_metadata"),
        mend: "swap by MySQL Shell's setPrimaryInstance() if this is one of its clusters; else drop its metadata",
    },
];

/// Servers of a cluster that decides by itself who is primary.
pub(super) fn check_clustered(sides: &[&Side<'_>], findings: &mut Findings) {
    for side in sides {
        let condition = &side.view.condition;
        let is_galera = condition.variable("wsrep_on").is_some_and(|on| on == "ON" || on == "1")
            && condition.variable("wsrep_provider").is_some_and(|path| path != "none");
        if is_galera {
            findings.refuse(
                Code::ClusteredServer,
                format!("{} is a node of a Galera cluster (wsrep_on)", side.label()),
                "a Galera cluster has no primary to swap: lead clients to another node",
            );
        }
        if !condition.group_members.is_empty() {
            findings.refuse(
                Code::ClusteredServer,
                format!(
                    "{} is a member of a replication group ({})",
                    side.label(),
                    condition.group_members.join(", ")
                ),
                "SELECT group_replication_set_as_primary('UUID') changes its primary",
            );
        }
    }
}

/// F14, F24: whoever may take a read-only primary for a dead one.
pub(super) fn warn_automation(sides: &[&Side<'_>], findings: &mut Findings) {
    for tool in &TOOLS {
        let mut signs: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for side in sides {
            for sign in signs_of(tool, side) {
                signs.entry(sign).or_default().insert(&side.seen.name);
            }
        }
        if signs.is_empty() {
            continue;
        }
        let seen: Vec<String> = signs
            .into_iter()
            .map(|(sign, on)| {
                let on: Vec<&str> = on.into_iter().collect();
                format!("{sign} on {}", on.join(" and "))
            })
            .collect();
        findings.warn(
            Code::Automation,
            format!(
                "{} seems to be at work here ({}): it may act by itself on a primary that is read-only",
                tool.name,
                seen.join(", ")
            ),
            tool.mend,
        );
    }
}

fn signs_of(tool: &Tool, side: &Side<'_>) -> BTreeSet<String> {
    let condition = &side.view.condition;
    let mut signs: BTreeSet<String> = condition
        .clients
        .iter()
        .filter_map(|client| {
            let Client { user, host, program } = client;
            let program = program.as_deref().unwrap_or_default();
            if is_named(tool.programs, program) {
                Some(format!("program {program:?} of {user}@{host}"))
            } else {
                is_named(tool.users, user).then(|| format!("{user}@{host}"))
            }
        })
        .collect();
    let schema = condition.schemas.iter().find(|schema| tool.schema == Some(schema.as_str()));
    signs.extend(schema.map(|schema| format!("schema {schema}")));
    if tool.name == MAXSCALE
        && let Some(session) = condition.maxscale_lock
    {
        signs.insert(format!("its monitor's lock, session {session}"));
    }
    signs
}

fn is_named(patterns: &[&str], name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    patterns.iter().any(|pattern| match pattern.strip_prefix('=') {
        Some(whole) => name == whole,
        None => name.contains(pattern),
    })
}

/// F8: the fence stops them, and it is lifted where replication has to commit: after the swap nothing but the switch keeps
/// the old primary from being written to.
pub(super) fn warn_read_only_admins(old: &Side<'_>, findings: &mut Findings) {
    let accounts = &old.view.condition.read_only_admins;
    let Some(first) = accounts.first() else { return };
    let named: Vec<&str> = accounts.iter().take(READERS_SHOWN).map(String::as_str).collect();
    let more = accounts.len().saturating_sub(READERS_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    findings.warn(
        Code::ReadOnlyAdmins,
        format!(
            "{} may write to {} whatever read_only says: during the swap they wait, and after it what they write there is on no \
             other server",
            named.join(", ") + &more,
            old.label()
        ),
        format!("REVOKE READ_ONLY ADMIN ON *.* FROM {first}; see that no application logs in so"),
    );
}

/// F36: who reads the old primary's binary log and is none of `known`, nor on the host of one that is `away`, goes on reading it after the swap.
pub(super) fn warn_readers(
    old: &Side<'_>,
    known: &[&Side<'_>],
    away: &[&str],
    new: &Side<'_>,
    findings: &mut Findings,
) {
    let strangers = strangers(old, known, away);
    if strangers.is_empty() {
        return;
    }
    let named: Vec<String> = strangers
        .iter()
        .take(READERS_SHOWN)
        .map(|reader| format!("{}@{} (session {})", reader.user, reader.host, reader.session))
        .collect();
    let more = strangers.len().saturating_sub(READERS_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let at = |side: &Side<'_>| {
        let binlog = side.view.condition.binlog.as_ref();
        let place = binlog.map(|at| format!("{}:{}", at.file, at.position));
        format!("{} at {}", side.seen.name, place.unwrap_or_else(|| "an unknown place".to_owned()))
    };
    findings.warn(
        Code::BinlogReaders,
        format!(
            "{} is read by {}{more}, which are none of this cluster's servers: they go on reading it after the swap, \
             and get everything only as long as it follows",
            old.label(),
            named.join(", ")
        ),
        format!(
            "lead them to {} afterwards: by GTID as they are; by file and position only after a look there (the journal \
             has the last transaction; now {}, {})",
            new.seen.name,
            at(old),
            at(new)
        ),
    );
}

/// The readers that are none of the known servers: those are told by their uuid, or, where they give none, by their
/// account and host, one reader each.
fn strangers<'a>(old: &Side<'a>, known: &[&Side<'_>], away: &[&str]) -> Vec<&'a Reader> {
    let mut readers: Vec<&Reader> = old.view.condition.readers.iter().collect();
    for side in known {
        let uuid = side.view.uuid.as_deref();
        let by_uuid = readers.iter().position(|reader| {
            let given = reader.uuid.as_deref();
            given.zip(uuid).is_some_and(|(given, uuid)| given.eq_ignore_ascii_case(uuid))
        });
        let links = &side.view.condition.links;
        let may_be = |reader: &Reader| {
            reader.uuid.is_none() && links.iter().any(|link| link.user == reader.user)
        };
        let by_host = || {
            let host = &side.seen.address.host;
            readers.iter().position(|reader| may_be(reader) && reader.host == *host)
        };
        let by_account = || readers.iter().position(|reader| may_be(reader));
        if let Some(index) = by_uuid.or_else(by_host).or_else(by_account) {
            readers.remove(index);
        }
    }
    // A server that is down is listed for a while: its reader is noticed when there is something to send.
    for host in away {
        if let Some(index) = readers.iter().position(|reader| reader.host == *host) {
            readers.remove(index);
        }
    }
    readers
}
