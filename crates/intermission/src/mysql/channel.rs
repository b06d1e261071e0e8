//! A replica's channels, as its status tells of them.

use super::{row::StatusRow, server::MySqlServer};
use crate::swap::{
    gtid::GtidSet,
    observation::{Address, ReplicaView, ThreadState},
    position::{Barrier, Coordinates, Tracking},
    server::ServerError,
};

impl MySqlServer {
    pub(super) async fn read_channels(&self) -> Result<Vec<ReplicaView>, ServerError> {
        let dialect = self.dialect().await?;
        let rows = self.control.rows("read its replication status", dialect.channels()).await?;
        Ok(rows.iter().map(channel_of).collect())
    }
}

/// An applier's error without the statement it quotes: a CREATE USER holds a password.
fn without_statement(error: &str) -> String {
    match error.split_once(" Query: ") {
        Some((error, _)) => error.to_owned(),
        None => error.to_owned(),
    }
}

/// Up to where the channel has applied its source's binary log.
fn applied_to(row: &StatusRow) -> Option<Coordinates> {
    Some(Coordinates {
        file: row.text(&["Relay_Source_Log_File", "Relay_Master_Log_File"])?,
        offset: row.number(&["Exec_Source_Log_Pos", "Exec_Master_Log_Pos"])?,
    })
}

/// Only whole transactions are told by GTID; by coordinates the last may have come in part.
fn received(row: &StatusRow, tracking: Tracking) -> Option<Barrier> {
    match tracking {
        Tracking::Gtid => {
            let set = match (row.get(&["Gtid_IO_Pos"]), row.get(&["Retrieved_Gtid_Set"])) {
                (Some(position), _) => GtidSet::parse_mariadb(position),
                (None, set) => GtidSet::parse_mysql(set?),
            };
            set.ok().map(Barrier::Gtid)
        }
        Tracking::Coordinates => Some(Barrier::At(Coordinates {
            file: row.text(&["Source_Log_File", "Master_Log_File"])?,
            offset: row.number(&["Read_Source_Log_Pos", "Read_Master_Log_Pos"])?,
        })),
    }
}

pub(super) fn channel_of(row: &StatusRow) -> ReplicaView {
    let state = |names: &[&str]| ThreadState::parse(row.get(names).unwrap_or("No"));
    let port =
        row.number(&["Source_Port", "Master_Port"]).and_then(|port| u16::try_from(port).ok());
    let uses_gtid = match row.get(&["Using_Gtid"]) {
        Some(word) => word != "No",
        None => row.get(&["Auto_Position"]) == Some("1"),
    };
    let tracking = if uses_gtid { Tracking::Gtid } else { Tracking::Coordinates };
    ReplicaView {
        channel: row.text(&["Channel_Name", "Connection_name"]).unwrap_or_default(),
        source: Address {
            host: row.text(&["Source_Host", "Master_Host"]).unwrap_or_default(),
            port: port.unwrap_or_default(),
        },
        source_uuid: row.text(&["Source_UUID"]),
        source_server_id: row
            .number(&["Source_Server_Id", "Master_Server_Id"])
            .and_then(|id| u32::try_from(id).ok())
            .unwrap_or_default(),
        io: state(&["Replica_IO_Running", "Slave_IO_Running"]),
        sql: state(&["Replica_SQL_Running", "Slave_SQL_Running"]),
        io_error: row.text(&["Last_IO_Error"]),
        sql_error: row.text(&["Last_SQL_Error"]).map(|error| without_statement(&error)),
        lag_s: row.number(&["Seconds_Behind_Source", "Seconds_Behind_Master"]),
        tracking,
        received: received(row, tracking),
        applied_to: applied_to(row),
        user: row.text(&["Source_User", "Master_User"]).unwrap_or_default(),
        delay_s: row.number(&["SQL_Delay"]).unwrap_or(0),
    }
}
