//! Privileges, tried and not parsed: roles, wildcards and future servers cannot mislead an attempt.

use super::{
    acting::UNKNOWN_THREAD,
    dialect::Dialect,
    row::StatusRow,
    server::MySqlServer,
    session::{Failure, Login, request},
};
use crate::swap::{condition::ChannelTls, observation::Denied, server::ServerError};

/// Error numbers that mean a missing privilege. 1401 is what MySQL 9.7 answers to `XA RECOVER` without
/// `XA_RECOVER_ADMIN` (measured).
pub(super) const DENIALS: [u16; 8] = [1044, 1045, 1095, 1142, 1143, 1227, 1401, 3530];
pub(super) const UNKNOWN_DATABASE: u16 = 1049;
const UNKNOWN_TABLE: u16 = 1146;
const TABLE_EXISTS: u16 = 1050;
const COLUMN_TWICE: u16 = 1060;

/// What there is to see of a list: nothing where it may not be seen. The probes name the privilege that is missing.
pub(super) fn as_far_as_seen(
    answer: Result<Vec<StatusRow>, Failure>,
) -> Result<Vec<StatusRow>, ServerError> {
    match answer {
        Ok(rows) => Ok(rows),
        Err(failure) if failure.code.is_some_and(|code| DENIALS.contains(&code)) => Ok(Vec::new()),
        Err(failure) => Err(failure.into()),
    }
}

impl MySqlServer {
    /// The privileges that were denied.
    pub(super) async fn denied(
        &self,
        dialect: Dialect,
        is_writable: bool,
    ) -> Result<Vec<Denied>, ServerError> {
        let mut denied = Vec::new();
        for probe in dialect.probes() {
            if let Some(answer) = self.try_statement(&probe.sql, probe.allowed).await? {
                denied.push(Denied { privilege: probe.privilege.to_owned(), answer });
            }
        }
        // A read-only server refuses these before it looks at privileges; it has the same accounts as its primary.
        if is_writable {
            denied.extend(self.denied_on_marker().await?);
        }
        Ok(denied)
    }

    /// The marker's table may not be there yet: then "no such table" says that the privilege is.
    async fn denied_on_marker(&self) -> Result<Vec<Denied>, ServerError> {
        let schema = &self.marker.schema;
        let table = format!("{schema}.marker");
        let probes = [
            ("SELECT", format!("SELECT swap FROM {table} LIMIT 0")),
            (
                "INSERT",
                format!("INSERT INTO {table} (id, swap) SELECT 1, '' FROM DUAL WHERE FALSE"),
            ),
            ("UPDATE", format!("UPDATE {table} SET swap = '' WHERE FALSE")),
            // Two columns of one name: no server makes such a table, and each looks at the privilege first.
            ("CREATE", format!("CREATE TABLE {table} (id INT, id INT)")),
        ];
        let mut denied = Vec::new();
        for (privilege, sql) in probes {
            let allowed = [UNKNOWN_DATABASE, UNKNOWN_TABLE, TABLE_EXISTS, COLUMN_TWICE];
            if let Some(answer) = self.try_statement(&sql, &allowed).await? {
                denied.push(Denied { privilege: format!("{privilege} ON {schema}.*"), answer });
            }
        }
        Ok(denied)
    }

    /// The server's words when it denies; other errors than `allowed` are errors.
    pub(super) async fn try_statement(
        &self,
        sql: &str,
        allowed: &[u16],
    ) -> Result<Option<String>, ServerError> {
        match self.control.rows("try a privilege", sql).await {
            Ok(_) => Ok(None),
            Err(failure) => match failure.code {
                Some(code) if DENIALS.contains(&code) => Ok(Some(failure.error.reason)),
                Some(code) if allowed.contains(&code) => Ok(None),
                _ => Err(failure.into()),
            },
        }
    }

    /// Logs in as the replication account and tries its right to replicate; and, on that session, our right to end
    /// other accounts' sessions. The channel that will log in here is encrypted as `channel`, the one there is here.
    pub(super) async fn try_replication_login(
        &self,
        dialect: Dialect,
        channel: Option<&ChannelTls>,
        denied: &mut Vec<Denied>,
    ) -> Result<Option<String>, ServerError> {
        const DOING: &str = "try the replication account";
        let encryption = self.login.encryption.as_replication(channel);
        let account = self.replication.clone();
        let login = Login { account, encryption, ..self.login.clone() };
        let session = match login.connect().await {
            Ok(session) => session,
            Err(error) => return Ok(Some(error.reason)),
        };
        let id = session.id();
        let sql = dialect.try_replicating();
        let (session, answer) = request(&login, session, DOING, sql, login.statement).await;
        let complaint = match answer {
            Ok(rows) => dialect.lacks_replicating(&rows),
            Err(failure) if failure.code.is_some_and(|code| DENIALS.contains(&code)) => {
                Some(failure.error.reason)
            }
            Err(failure) => return Err(failure.into()),
        };
        if let Some(answer) = self.try_statement(&format!("KILL {id}"), &[UNKNOWN_THREAD]).await? {
            denied.push(Denied { privilege: dialect.connection_admin().to_owned(), answer });
        }
        drop(session);
        Ok(complaint)
    }
}
