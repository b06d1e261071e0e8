//! What a preflight reads of a server beside its role and position: all of it in one round trip, and each part for
//! itself where one of them fails.

use std::collections::BTreeMap;

use super::{dialect::Dialect, disk, row::StatusRow, server::MySqlServer, session::Failure};
use crate::swap::{
    condition::{BinlogView, ChannelTls, Client, Condition, Disk, Link, Reader, Unseen},
    observation::{Flavor, ServerView},
    plan::parity,
    version::Version,
};

/// Variables that are read for other reasons than to be compared.
const VARIABLES: [&str; 15] = [
    "binlog_expire_logs_auto_purge",
    "binlog_expire_logs_seconds",
    "datadir",
    "expire_logs_days",
    "have_ssl",
    "ssl_ca",
    "ssl_capath",
    "ssl_cert",
    "ssl_crl",
    "ssl_crlpath",
    "ssl_key",
    "system_time_zone",
    "time_zone",
    "wsrep_on",
    "wsrep_provider",
];
/// What a MariaDB leaves out as a replica whatever the connection is these variables.
const MARIADB_REPLICA_FILTERS: [&str; 7] = [
    "replicate_do_db",
    "replicate_do_table",
    "replicate_ignore_db",
    "replicate_ignore_table",
    "replicate_rewrite_db",
    "replicate_wild_do_table",
    "replicate_wild_ignore_table",
];
const STATUS: [&str; 6] = [
    "Innodb_buffer_pool_bytes_data",
    "Innodb_buffer_pool_load_status",
    "Innodb_buffer_pool_pages_total",
    "Max_used_connections",
    "Ssl_server_not_after",
    "Threads_connected",
];
/// Columns of a channel's status that say what it leaves out. Those of MariaDB's domains too.
const CHANNEL_FILTERS: [&str; 9] = [
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Replicate_Rewrite_DB",
    "Replicate_Do_Domain_Ids",
    "Replicate_Ignore_Domain_Ids",
];
/// Columns of a channel's status, less `Source_` or `Master_`, and the option that sets each.
const CHANNEL_TLS: [(&str, &str); 8] = [
    ("SSL_CA_File", "CA"),
    ("SSL_CA_Path", "CAPATH"),
    ("SSL_Cert", "CERT"),
    ("SSL_Cipher", "CIPHER"),
    ("SSL_Key", "KEY"),
    ("SSL_Crl", "CRL"),
    ("SSL_Crlpath", "CRLPATH"),
    ("TLS_Version", "TLS_VERSION"),
];
/// Schemas that programs which move primaries keep on the servers they move.
const SCHEMAS: [&str; 3] =
    ["mysql_innodb_cluster_metadata", "orchestrator", "replication_manager_schema"];
/// What MaxScale's monitor locks on each server when it cooperates with others (MaxScale manual, "MariaDB Monitor").
const MAXSCALE_LOCK: &str = "maxscale_mariadbmonitor";
/// How many clients and readers are told apart.
const CLIENTS_MAX: usize = 1000;

/// One part: what it is called where it fails, its statement, and what becomes of its answer.
struct Part {
    what: &'static str,
    sql: String,
    take: fn(&mut Condition, &[StatusRow]),
}

impl MySqlServer {
    /// Reads [`Condition`] into the view. Nothing of it is an error: what could not be read is named.
    pub(super) async fn add_condition(&self, dialect: Dialect, view: &mut ServerView) {
        let parts = parts(dialect, &view.version);
        let statements: Vec<&str> = parts.iter().map(|part| part.sql.as_str()).collect();
        let answers = self.control.each("read its condition", &statements).await;
        for (part, answer) in parts.iter().zip(answers) {
            match answer {
                Ok(rows) => (part.take)(&mut view.condition, &rows),
                Err(Failure { error, .. }) => {
                    let what = part.what.to_owned();
                    view.condition.unseen.push(Unseen { what, reason: error.reason });
                }
            }
        }
        view.condition.clear_text = self.login.encryption.fell_back();
        view.condition.disbelief = self.try_clients_host().await;
        // Only who is to take over needs room.
        if let (Some(exec), Some(datadir), false) =
            (&self.exec, view.condition.variable("datadir"), view.channels.is_empty())
        {
            let datadir = datadir.to_owned();
            let space = disk::space(exec, &datadir).await;
            view.condition.disk = Some(Disk { datadir, space });
        }
    }
}

fn parts(dialect: Dialect, version: &str) -> Vec<Part> {
    let part = |what, sql: String, take| Part { what, sql, take };
    let names = parity::variables().chain(VARIABLES);
    let names = names.chain(MARIADB_REPLICA_FILTERS.iter().copied());
    let mut parts = vec![
        part("its settings", among("SHOW GLOBAL VARIABLES WHERE Variable_name", names), variables),
        part("its figures", among("SHOW GLOBAL STATUS WHERE Variable_name", STATUS), status),
        part("its binary log's position", dialect.binlog_status(version).to_owned(), binlog),
        part(
            "its time zone",
            format!(
                "SELECT {}, {}, IS_USED_LOCK('{MAXSCALE_LOCK}')",
                minutes_from_utc("2026-01-15"),
                minutes_from_utc("2026-07-15")
            ),
            facts,
        ),
        part("who is connected", "SHOW FULL PROCESSLIST".to_owned(), sessions),
        part(
            "its schemas",
            among("SELECT schema_name FROM information_schema.schemata WHERE schema_name", SCHEMAS),
            |condition, rows| condition.schemas = texts(rows),
        ),
    ];
    match dialect.0 {
        Flavor::MySql => parts.extend(mysql_parts()),
        Flavor::MariaDb => {
            let sql = read_only_admins(version);
            parts.push(part("who may write to a read-only server", sql, |condition, rows| {
                condition.read_only_admins = texts(rows);
            }));
        }
    }
    parts
}

/// Whoever has no right to read `mysql` is listed no accounts but its own (measured on 10.11). Before 10.11 SUPER includes the
/// privilege (MariaDB's manual, "READ_ONLY ADMIN").
fn read_only_admins(version: &str) -> String {
    let splits = Version::parse(version).is_none_or(Version::parts_super_from_read_only);
    let privileges = if splits { "'READ_ONLY ADMIN'" } else { "'READ_ONLY ADMIN', 'SUPER'" };
    format!(
        "SELECT DISTINCT grantee FROM information_schema.user_privileges WHERE privilege_type IN ({privileges}) \
         AND grantee <> REPLACE(QUOTE(CURRENT_USER()), '@', '''@''') ORDER BY 1 LIMIT {CLIENTS_MAX}"
    )
}

fn mysql_parts() -> [Part; 5] {
    [
        Part {
            what: "when it heard of its source",
            sql: "SELECT TIMESTAMPDIFF(SECOND, GREATEST(MAX(last_heartbeat_timestamp), \
                  MAX(last_queued_transaction_end_queue_timestamp)), NOW(6)) \
                  FROM performance_schema.replication_connection_status"
                .to_owned(),
            take: |condition, rows| {
                condition.heard_s = rows.first().and_then(|row| row.at(0)?.parse().ok());
            },
        },
        Part {
            what: "who reads its binary log",
            sql: format!(
                "SELECT t.processlist_id, MAX(v.variable_value) FROM performance_schema.threads t \
                 JOIN performance_schema.user_variables_by_thread v USING (thread_id) \
                 WHERE v.variable_name IN ('slave_uuid', 'replica_uuid') GROUP BY 1 LIMIT {CLIENTS_MAX}"
            ),
            take: reader_uuids,
        },
        Part {
            what: "its clients' programs",
            sql: format!(
                "SELECT DISTINCT t.processlist_user, t.processlist_host, a.attr_value \
                 FROM performance_schema.session_connect_attrs a \
                 JOIN performance_schema.threads t ON t.processlist_id = a.processlist_id \
                 WHERE a.attr_name = 'program_name' LIMIT {CLIENTS_MAX}"
            ),
            take: programs,
        },
        Part {
            what: "whether it is one of a group",
            sql: "SELECT member_state FROM performance_schema.replication_group_members \
                  WHERE member_state <> 'OFFLINE' AND member_id <> ''"
                .to_owned(),
            take: |condition, rows| condition.group_members = texts(rows),
        },
        Part {
            what: "its replication filters",
            sql: "SELECT CONCAT(filter_name, ' = ', filter_rule) \
                  FROM performance_schema.replication_applier_global_filters WHERE filter_rule <> ''"
                .to_owned(),
            take: |condition, rows| condition.replica_filters.extend(texts(rows)),
        },
    ]
}

fn among(head: &str, names: impl IntoIterator<Item = &'static str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("'{name}'")).collect();
    format!("{head} IN ({})", names.join(", "))
}

/// The global time zone's distance from UTC at that time: names of zones differ where times do not.
fn minutes_from_utc(day: &str) -> String {
    let noon = format!("'{day} 12:00:00'");
    format!(
        "TIMESTAMPDIFF(MINUTE, {noon}, CONVERT_TZ({noon}, '+00:00', IF(@@global.time_zone = 'SYSTEM', \
         'SYSTEM', @@global.time_zone)))"
    )
}

fn texts(rows: &[StatusRow]) -> Vec<String> {
    rows.iter().filter_map(|row| row.at(0)).map(str::to_owned).collect()
}

fn pairs(rows: &[StatusRow]) -> impl Iterator<Item = (String, String)> {
    rows.iter().filter_map(|row| Some((row.at(0)?.to_owned(), row.at(1)?.to_owned())))
}

fn variables(condition: &mut Condition, rows: &[StatusRow]) {
    for (name, value) in pairs(rows) {
        let name = name.to_ascii_lowercase();
        if MARIADB_REPLICA_FILTERS.contains(&name.as_str()) {
            if !value.is_empty() {
                condition.replica_filters.push(format!("{name} = {value}"));
            }
        } else {
            condition.variables.insert(name, value);
        }
    }
}

fn status(condition: &mut Condition, rows: &[StatusRow]) {
    condition.status = pairs(rows).collect();
}

fn binlog(condition: &mut Condition, rows: &[StatusRow]) {
    let Some(row) = rows.first() else { return };
    condition.binlog = Some(BinlogView {
        file: row.text(&["File"]).unwrap_or_default(),
        position: row.number(&["Position"]).unwrap_or_default(),
        filters: filters(row, &["Binlog_Do_DB", "Binlog_Ignore_DB"]),
    });
}

fn filters(row: &StatusRow, columns: &[&str]) -> Vec<String> {
    let filter = |column: &&str| Some(format!("{column} = {}", row.text(&[column])?));
    columns.iter().filter_map(filter).collect()
}

fn facts(condition: &mut Condition, rows: &[StatusRow]) {
    let Some(row) = rows.first() else { return };
    let minutes = |index| row.at(index).and_then(|text| text.parse().ok());
    condition.zone = minutes(0).zip(minutes(1)).map(|(january, july)| [january, july]);
    condition.maxscale_lock = row.at(2).and_then(|id| id.parse().ok());
}

fn sessions(condition: &mut Condition, rows: &[StatusRow]) {
    for row in rows {
        let user = row.text(&["User"]).unwrap_or_default();
        let host = without_port(row.get(&["Host"]).unwrap_or_default());
        let command = row.get(&["Command"]).unwrap_or_default();
        let is_server_own = ["system user", "event_scheduler"].contains(&user.as_str());
        if command.starts_with("Binlog Dump") && condition.readers.len() < CLIENTS_MAX {
            let session = row.number(&["Id"]).unwrap_or_default();
            condition.readers.push(Reader { session, user, host, uuid: None });
        } else if !is_server_own && condition.clients.len() < CLIENTS_MAX {
            condition.clients.insert(Client { user, host, program: None });
        }
    }
}

fn reader_uuids(condition: &mut Condition, rows: &[StatusRow]) {
    let uuids: BTreeMap<u64, &str> =
        rows.iter().filter_map(|row| Some((row.at(0)?.parse().ok()?, row.at(1)?))).collect();
    for reader in &mut condition.readers {
        reader.uuid = uuids.get(&reader.session).map(|uuid| (*uuid).to_owned());
    }
}

fn programs(condition: &mut Condition, rows: &[StatusRow]) {
    for row in rows {
        let text = |index| row.at(index).unwrap_or_default().to_owned();
        let program = row.at(2).filter(|name| !name.is_empty()).map(str::to_owned);
        let client = Client { user: text(0), host: text(1), program };
        condition.clients.remove(&Client { program: None, ..client.clone() });
        condition.clients.insert(client);
    }
}

fn without_port(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name.to_owned(),
        _ => host.to_owned(),
    }
}

/// How a channel logs in, of a row of its status.
pub(super) fn link_of(row: &StatusRow) -> Link {
    let get = |name: &str| row.text(&[&format!("Source_{name}"), &format!("Master_{name}")]);
    let is_yes = |name: &str| get(name).is_some_and(|word| word.eq_ignore_ascii_case("Yes"));
    let options = CHANNEL_TLS
        .into_iter()
        .filter_map(|(column, option)| Some((option.to_owned(), get(column)?)))
        .collect();
    let on = is_yes("SSL_Allowed");
    Link {
        channel: row.text(&["Channel_Name", "Connection_name"]).unwrap_or_default(),
        user: get("User").unwrap_or_default(),
        filters: filters(row, &CHANNEL_FILTERS),
        tls: ChannelTls {
            on,
            // MariaDB from 11.4 goes on saying yes where nothing is encrypted (measured).
            verify: on && is_yes("SSL_Verify_Server_Cert"),
            options,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::without_port;

    #[test]
    fn a_host_is_told_from_its_port() {
        assert_eq!(without_port("10.0.0.1:48018"), "10.0.0.1");
        assert_eq!(without_port("fe80::1:48018"), "fe80::1");
        assert_eq!(without_port("localhost"), "localhost");
        assert_eq!(without_port(""), "");
    }
}
