//! One connection with a bound on every request.
//!
//! A connection whose request was given up answers every later one with an earlier answer (MYSQL.md §7), so it is
//! taken out before it is used and only put back after a whole answer: given up means closed.

use std::{
    fmt,
    time::{Duration, Instant},
};

use mysql_async::{Conn, DriverError, Error, OptsBuilder, Row, prelude::Queryable};
use tokio::{sync::Mutex, time::timeout};

use super::{row::StatusRow, tls::Encryption};
use crate::{
    config::secret::Account,
    swap::{
        observation::Address,
        server::{Effect, ServerError},
    },
};

/// A swap may wait longer than the server lets others idle, in seconds; and `innodb_trx` tells times in the system's
/// zone, whatever zone sessions have by default.
const SESSION: &str = "SET SESSION wait_timeout=28800, SESSION time_zone='SYSTEM'";
/// As in [`SESSION`].
const WAIT_TIMEOUT_S: usize = 28_800;
/// The most either server allows (both manuals, `max_allowed_packet`): a process list quotes statements of that size.
const PACKET_MAX: usize = 1 << 30;
/// Errors with which the server closes the connection: shutdown, and a session that was ended.
const CLOSING: [u16; 3] = [1053, 1927, 4031];

/// How many times the bound of a statement several of them may take that are asked one by one.
const EACH_BOUNDS: u32 = 3;

/// Where and as whom to log in, and how long that and a request may take.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) account: Account,
    pub(super) encryption: Encryption,
    pub(super) connect: Duration,
    pub(super) statement: Duration,
}

impl Login {
    fn label(&self) -> String {
        format!("{} ({})", self.name, self.address)
    }

    pub(super) fn error(
        &self,
        doing: &str,
        reason: impl Into<String>,
        effect: Effect,
    ) -> ServerError {
        ServerError { server: self.label(), doing: doing.to_owned(), reason: reason.into(), effect }
    }

    /// What is said when the bound of a statement is over, with the key where it is the usual one.
    fn late(&self, bound: Duration) -> String {
        let key = if bound == self.statement { " (swap.bounds.statement)" } else { "" };
        format!("no answer within {bound:?}{key}")
    }

    pub(super) async fn connect(&self) -> Result<Conn, ServerError> {
        self.connect_and(&[SESSION]).await
    }

    /// For a statement to which nothing of [`SESSION`] matters: a round trip less, where users wait for it.
    pub(super) async fn connect_for_one(&self) -> Result<Conn, ServerError> {
        self.connect_and(&[]).await
    }

    async fn connect_and(&self, first: &[&str]) -> Result<Conn, ServerError> {
        let login = |options: OptsBuilder| {
            options
                .ip_or_hostname(self.address.host.clone())
                .tcp_port(self.address.port)
                .user(Some(self.account.user.clone()))
                .pass(Some(self.account.password.reveal().to_owned()))
                .prefer_socket(false)
                .stmt_cache_size(0)
                .init(first.to_vec())
                // Both would be asked for at every login, and users wait for the canary's.
                .max_allowed_packet(Some(PACKET_MAX))
                .wait_timeout(Some(WAIT_TIMEOUT_S))
                .tcp_nodelay(true)
        };
        match timeout(self.connect, self.encryption.connect(login)).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(error)) => {
                Err(self.error("log in", self.encryption.words(&error), Effect::NotSent))
            }
            Err(_) => {
                let reason = format!("no answer within {:?} (swap.bounds.connect)", self.connect);
                Err(self.error("log in", reason, Effect::NotSent))
            }
        }
    }
}

/// The server's own words, without the statement: it may hold a password.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::Server(error) => format!("error {}: {}", error.code, error.message),
        // The TLS library adds the address of a page about it to one of its own.
        Error::Io(error) => {
            error.to_string().split(": https://").next().unwrap_or_default().to_owned()
        }
        Error::Driver(error @ DriverError::UnknownAuthPlugin { .. }) => {
            // MySQL asks for one of its plugins by chance where it knows no such user, so as not to tell.
            format!("{error}, or there is no such user")
        }
        Error::Driver(error) => error.to_string(),
        Error::Url(_) | Error::Other(_) => "the client library failed".to_owned(),
    }
}

/// The server's error number, where the server answered.
pub(super) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Server(error) => Some(error.code),
        Error::Io(_) | Error::Driver(_) | Error::Url(_) | Error::Other(_) => None,
    }
}

/// A failed request: what the caller sees, and the server's error number if it answered.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: ServerError,
    pub(super) code: Option<u16>,
}

impl From<Failure> for ServerError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        Self { error, code: None }
    }
}

/// A connection that opens itself when it is needed.
pub(super) struct Session {
    login: Login,
    conn: Mutex<Option<Conn>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("server", &self.login.label()).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(login: Login) -> Self {
        Self { login, conn: Mutex::new(None) }
    }

    /// Runs one statement on the connection there is, or on a new one, within the usual bound.
    pub(super) async fn rows(&self, doing: &str, sql: &str) -> Result<Vec<StatusRow>, Failure> {
        self.rows_within(doing, sql, self.login.statement).await
    }

    /// The same with a bound of its own.
    pub(super) async fn rows_within(
        &self,
        doing: &str,
        sql: &str,
        bound: Duration,
    ) -> Result<Vec<StatusRow>, Failure> {
        let mut place = self.conn.lock().await;
        let conn = match place.take() {
            Some(conn) => conn,
            None => self.login.connect().await?,
        };
        let (conn, answer) = request(&self.login, conn, doing, sql, bound).await;
        *place = conn;
        answer
    }

    /// Runs reading statements in one round trip. Where one of them fails each is asked by itself, so that only the sick
    /// one is missing; the answers are in the order of the statements.
    pub(super) async fn each(
        &self,
        doing: &str,
        statements: &[&str],
    ) -> Vec<Result<Vec<StatusRow>, Failure>> {
        let began = Instant::now();
        if let Ok(sets) = self.sets(doing, statements).await {
            return sets.into_iter().map(Ok).collect();
        }
        let mut answers = Vec::with_capacity(statements.len());
        for sql in statements {
            answers.push(if began.elapsed() > self.login.statement * EACH_BOUNDS {
                let reason = "the statements before it took too long";
                Err(self.login.error(doing, reason, Effect::NotSent).into())
            } else {
                self.rows(doing, sql).await
            });
        }
        answers
    }

    /// All the answers to several statements sent as one.
    pub(super) async fn sets(
        &self,
        doing: &str,
        statements: &[&str],
    ) -> Result<Vec<Vec<StatusRow>>, ServerError> {
        let mut place = self.conn.lock().await;
        let mut conn = match place.take() {
            Some(conn) => conn,
            None => self.login.connect().await?,
        };
        let answer = timeout(self.login.statement, async {
            let mut sets = Vec::with_capacity(statements.len());
            let mut result = conn.query_iter(statements.join("; ")).await?;
            while !result.is_empty() {
                let rows: Vec<Row> = result.collect().await?;
                sets.push(rows.into_iter().map(StatusRow::from).collect());
            }
            Ok::<_, Error>(sets)
        });
        match answer.await {
            Ok(Ok(sets)) if sets.len() == statements.len() => {
                *place = Some(conn);
                Ok(sets)
            }
            // The client library keeps the error of a later statement for whoever asks next (measured), and a connection
            // with an answer half read is of no more use: neither is put back.
            Ok(Ok(_)) => Err(self.login.error(doing, "one of them failed", Effect::Unknown)),
            Ok(Err(error)) => Err(self.login.error(doing, words(&error), Effect::Unknown)),
            Err(_) => {
                let reason = self.login.late(self.login.statement);
                Err(self.login.error(doing, reason, Effect::Unknown))
            }
        }
    }

    /// Opens the connection, unless it is.
    pub(super) async fn open(&self) -> Result<(), ServerError> {
        let mut place = self.conn.lock().await;
        if place.is_none() {
            *place = Some(self.login.connect().await?);
        }
        Ok(())
    }

    /// The connection's id, if there is a connection.
    pub(super) async fn open_id(&self) -> Option<u32> {
        self.conn.lock().await.as_ref().map(Conn::id)
    }
}

/// One request on `conn`. The connection comes back only if its answer was read whole.
pub(super) async fn request(
    login: &Login,
    mut conn: Conn,
    doing: &str,
    sql: &str,
    bound: Duration,
) -> (Option<Conn>, Result<Vec<StatusRow>, Failure>) {
    let answer = timeout(bound, conn.query::<Row, _>(sql)).await;
    match answer {
        Ok(Ok(rows)) => (Some(conn), Ok(rows.into_iter().map(StatusRow::from).collect())),
        Ok(Err(error)) => {
            let code = code(&error);
            let effect = if code.is_some() { Effect::Refused } else { Effect::Unknown };
            let is_over = error.is_fatal() || code.is_some_and(|code| CLOSING.contains(&code));
            let conn = (!is_over).then_some(conn);
            (conn, Err(Failure { error: login.error(doing, words(&error), effect), code }))
        }
        Err(_) => {
            let reason = login.late(bound);
            (None, Err(login.error(doing, reason, Effect::Unknown).into()))
        }
    }
}
