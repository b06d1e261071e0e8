//! Where the two servers' replication statements differ.

use std::net::SocketAddr;

use mysql_async::{Row, Value};

use super::account::REPLICATION;
use crate::server::Flavor;

/// Makes a server the read-only replica of `source`. Read-only comes first: nothing may slip in between.
pub(crate) fn follow(flavor: Flavor, source: SocketAddr, gtid: bool) -> Vec<String> {
    let (host, port) = (source.ip(), source.port());
    let (user, password) = (REPLICATION.user, REPLICATION.password);
    let statements = match flavor {
        Flavor::MariaDb => {
            let using = if gtid { "slave_pos" } else { "no" };
            [
                "SET GLOBAL read_only = 1".to_owned(),
                format!(
                    "CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}, MASTER_USER='{user}', \
                     MASTER_PASSWORD='{password}', MASTER_USE_GTID={using}, MASTER_CONNECT_RETRY=1"
                ),
                "START SLAVE".to_owned(),
            ]
        }
        Flavor::MySql => {
            let auto = u8::from(gtid);
            [
                "SET GLOBAL super_read_only = 1".to_owned(),
                format!(
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST='{host}', SOURCE_PORT={port}, \
                     SOURCE_USER='{user}', SOURCE_PASSWORD='{password}', SOURCE_AUTO_POSITION={auto}, \
                     GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1"
                ),
                "START REPLICA".to_owned(),
            ]
        }
    };
    statements.into()
}

/// Everything in the server's own history, own writes and applied ones alike.
pub(super) fn gtid_query(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MariaDb => "SELECT @@global.gtid_current_pos",
        // The server breaks the line between UUIDs.
        Flavor::MySql => "SELECT REPLACE(@@global.gtid_executed, '\\n', '')",
    }
}

pub(super) fn log_position_query(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MariaDb => "SHOW MASTER STATUS",
        Flavor::MySql => "SHOW BINARY LOG STATUS",
    }
}

pub(super) fn replica_status_query(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MariaDb => "SHOW SLAVE STATUS",
        Flavor::MySql => "SHOW REPLICA STATUS",
    }
}

/// The primary's file and position up to which a replica has applied.
pub(super) fn applied_columns(flavor: Flavor) -> &'static [&'static str] {
    match flavor {
        Flavor::MariaDb => &["Relay_Master_Log_File", "Exec_Master_Log_Pos"],
        Flavor::MySql => &["Relay_Source_Log_File", "Exec_Source_Log_Pos"],
    }
}

/// What tells a person why a replica does not catch up.
pub(super) fn status_columns(flavor: Flavor) -> &'static [&'static str] {
    match flavor {
        Flavor::MariaDb => {
            &["Slave_IO_Running", "Slave_SQL_Running", "Last_IO_Error", "Last_SQL_Error"]
        }
        Flavor::MySql => {
            &["Replica_IO_Running", "Replica_SQL_Running", "Last_IO_Error", "Last_SQL_Error"]
        }
    }
}

/// Several columns of a row in one line.
pub(super) fn columns(row: &Row, names: &[&str]) -> String {
    let of = |name: &&str| {
        let position = row.columns_ref().iter().position(|column| column.name_str() == *name)?;
        text(row.as_ref(position)?)
    };
    let values: Vec<String> = names.iter().map(|name| of(name).unwrap_or_default()).collect();
    values.join(" ")
}

/// A value as text. The text protocol sends everything as bytes; NULL is `None`.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::NULL => None,
        other @ (Value::Int(_)
        | Value::UInt(_)
        | Value::Float(_)
        | Value::Double(_)
        | Value::Date(..)
        | Value::Time(..)) => Some(other.as_sql(true)),
    }
}
