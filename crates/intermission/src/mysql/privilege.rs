//! Privileges, tried and not parsed: roles, wildcards and future servers cannot mislead an attempt.

use super::{
    dialect::Dialect,
    server::{MySqlServer, UNKNOWN_THREAD},
    session::Login,
};
use crate::swap::{observation::Denied, server::ServerError};

/// Error numbers that mean a missing privilege. 1401 is what MySQL 9.7 answers to `XA RECOVER` without
/// `XA_RECOVER_ADMIN` (measured).
const DENIALS: [u16; 8] = [1044, 1045, 1095, 1142, 1143, 1227, 1401, 3530];
const UNKNOWN_DATABASE: u16 = 1049;
const UNKNOWN_TABLE: u16 = 1146;

impl MySqlServer {
    /// The privileges that were denied.
    pub(super) async fn denied(
        &self,
        dialect: Dialect,
        is_writable: bool,
    ) -> Result<Vec<Denied>, ServerError> {
        let mut denied = Vec::new();
        for probe in dialect.probes() {
            if let Some(answer) = self.try_statement(&probe.sql, &[probe.allowed]).await? {
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
    async fn denied_on_marker(&self) -> Result<Option<Denied>, ServerError> {
        let schema = &self.marker_schema;
        let probes = [
            format!("INSERT INTO {schema}.marker (id, swap) SELECT 1, '' FROM DUAL WHERE FALSE"),
            format!("UPDATE {schema}.marker SET swap = '' WHERE FALSE"),
            format!("CREATE TABLE {schema}.marker LIKE {schema}.no_such_table"),
        ];
        for sql in probes {
            /// "Table already exists": the privilege was looked at first.
            const EXISTS: u16 = 1050;
            let allowed = [UNKNOWN_DATABASE, UNKNOWN_TABLE, EXISTS];
            if let Some(answer) = self.try_statement(&sql, &allowed).await? {
                let privilege = format!("SELECT, INSERT, UPDATE, CREATE ON {schema}.*");
                return Ok(Some(Denied { privilege, answer }));
            }
        }
        Ok(None)
    }

    /// The server's words when it denies; other errors than `allowed` are errors.
    async fn try_statement(
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

    /// Logs in as the replication account, and tries the right to end other accounts' sessions on that session.
    pub(super) async fn try_replication_login(
        &self,
        denied: &mut Vec<Denied>,
    ) -> Result<Option<String>, ServerError> {
        let login = Login { account: self.replication.clone(), ..self.login.clone() };
        let session = match login.connect().await {
            Ok(session) => session,
            Err(error) => return Ok(Some(error.reason)),
        };
        let kill = format!("KILL {}", session.id());
        if let Some(answer) = self.try_statement(&kill, &[UNKNOWN_THREAD]).await? {
            denied.push(Denied { privilege: "CONNECTION ADMIN".to_owned(), answer });
        }
        Ok(None)
    }
}
