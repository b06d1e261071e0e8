//! The clients' address, with a real login each time.

use async_trait::async_trait;

use super::{
    access::Access,
    marker::{Marker, is_missing},
    row::StatusRow,
    server::MySqlServer,
    session::{Failure, Login, request},
    tls::Encryption,
};
use crate::swap::{
    client_address::{ClientAddress, Identity},
    observation::Address,
    server::{Effect, ServerError},
};

/// Says of a server without a uuid, as MariaDB is.
const UNKNOWN_VARIABLE: u16 = 1193;

/// The database as clients reach it.
#[derive(Debug)]
pub struct MySqlClientAddress {
    login: Login,
    marker: Marker,
    /// The servers that may be behind it, and what their TLS knows of us.
    behind: Vec<(Address, Encryption)>,
}

impl MySqlClientAddress {
    #[must_use]
    pub fn new<'s>(access: Access, behind: impl IntoIterator<Item = &'s MySqlServer>) -> Self {
        let marker = Marker::new(&access.marker_schema);
        let known =
            |server: &MySqlServer| (server.login.address.clone(), server.login.encryption.clone());
        let behind = behind.into_iter().map(known).collect();
        Self { login: access.into_login(), marker, behind }
    }

    /// A session with that server is resumed where it takes the address for its own: a handshake from the beginning takes
    /// 2 to 5 ms (measured), and users wait.
    fn login_to(&self, server: &Address) -> Login {
        let known = self.behind.iter().find(|(address, _)| address == server);
        let encryption = known.and_then(|(_, encryption)| encryption.resumable());
        let encryption = encryption.unwrap_or_else(|| self.login.encryption.clone());
        Login { encryption, ..self.login.clone() }
    }

    async fn run(
        &self,
        conn: mysql_async::Conn,
        doing: &str,
        sql: &str,
    ) -> (Option<mysql_async::Conn>, Result<Vec<StatusRow>, Failure>) {
        request(&self.login, conn, doing, sql, self.login.statement).await
    }
}

#[async_trait]
impl ClientAddress for MySqlClientAddress {
    fn address(&self) -> &Address {
        &self.login.address
    }

    async fn identify(&self) -> Result<Identity, ServerError> {
        let doing = "ask who answers";
        let conn = self.login.connect().await?;
        let (conn, uuid) = self.run(conn, doing, "SELECT @@server_uuid").await;
        let uuid = match uuid {
            Ok(rows) => rows.first().and_then(|row| row.at(0)).map(str::to_owned),
            Err(failure) if failure.code == Some(UNKNOWN_VARIABLE) => None,
            Err(failure) => return Err(failure.into()),
        };
        let gone = || self.login.error(doing, "the connection is gone", Effect::Unknown);
        let (conn, id) = self.run(conn.ok_or_else(gone)?, doing, "SELECT @@server_id").await;
        let id = id?.first().and_then(|row| row.at(0)).and_then(|id| id.parse().ok());
        drop(conn);
        let unread = || self.login.error(doing, "it has no server_id", Effect::Unknown);
        Ok(Identity { uuid, server_id: id.ok_or_else(unread)? })
    }

    async fn write_marker(&self, id: &str, behind: &Address) -> Result<(), ServerError> {
        let doing = "write the canary";
        let put = self.marker.put(id);
        let conn = self.login_to(behind).connect_for_one().await?;
        let (mut conn, mut answer) = self.run(conn, doing, &put).await;
        if answer.as_ref().is_err_and(is_missing) {
            for sql in self.marker.make().iter().chain([&put]) {
                let Some(open) = conn else { break };
                (conn, answer) = self.run(open, doing, sql).await;
                if answer.is_err() {
                    break;
                }
            }
        }
        answer?;
        Ok(())
    }
}
