//! Talking to a gate over its admin API.
//!
//! A swap holds and releases inside the pause, so the connection of the last call is kept open for
//! the next one, and no task stands between: the connection is driven by whoever waits for it.

mod error;
mod event;
mod way;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::error::ClientError;
use self::error::alert_about_certificate;
pub use self::event::{Events, Notice};
pub use self::way::RemoteError;
use self::way::{Remote, Stream, Way};
use super::api::{
    APPS_PATH, Apps, ErrorBody, ErrorCode, HoldReply, HoldRequest, ReleaseReply, ReleaseRequest,
    RenewReply, RenewRequest, STATUS_PATH, Status, WarmUpReply, WarmUpRequest,
};
use crate::config::cluster::RemoteGate;

/// Of any call but the drain of a hold; the gate writes its state to disk in between.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A hold that does not say how long its drain may take takes the app's, which we do not know.
const DRAIN_UNKNOWN: Duration = Duration::from_mins(10);
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Connections kept between calls, one for each app that is held at once; more calls at once than this open their own.
const IDLE_MAX: usize = 32;

type Sender = http1::SendRequest<Full<Bytes>>;
type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// Calls may be made at once; each has a connection to itself while it runs. Dropping a call drops
/// its connection, and a hold that is still draining is released by that.
#[derive(Debug)]
pub struct Client {
    way: Way,
    idle: Mutex<Vec<Line>>,
}

/// One connection.
struct Line {
    sender: Sender,
    /// `None` once it has ended.
    driver: Option<Driver>,
}

/// What is sent, and whether the gate may get it twice.
struct Asked {
    method: Method,
    path: String,
    body: Bytes,
    repeatable: bool,
}

impl Client {
    /// By the gate's socket. Connects at the first call.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { way: Way::Socket(socket.into()), idle: Mutex::default() }
    }

    /// By TCP. Connects at the first call; `key` names the gate in errors.
    ///
    /// # Errors
    /// What is wrong with the gate's settings: a file, the token, the name.
    pub fn remote(gate: &RemoteGate, key: &str) -> Result<Self, RemoteError> {
        let way = Way::Remote(Box::new(Remote::new(gate, key)?));
        Ok(Self { way, idle: Mutex::default() })
    }

    /// Where the gate is: the path of its socket, or `host:port`.
    #[must_use]
    pub fn gate(&self) -> String {
        self.way.to_string()
    }

    /// # Errors
    /// As every call: the gate cannot be reached, does not answer in time, or refuses.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get(STATUS_PATH).await
    }

    /// # Errors
    /// See [`Client::status`].
    pub async fn apps(&self) -> Result<Apps, ClientError> {
        self.get(APPS_PATH).await
    }

    /// Returns when nothing is in flight any more. Dropping the future releases, unless the
    /// acknowledgement is under way already: follow it with [`Client::release_of`].
    ///
    /// # Errors
    /// [`ClientError::Refused`] with who holds it, or with the stragglers of a drain that took too
    /// long; see [`Client::status`].
    pub async fn hold(&self, app: &str, request: &HoldRequest) -> Result<HoldReply, ClientError> {
        let drain = request.drain_ms.map_or(DRAIN_UNKNOWN, Duration::from_millis);
        // A second one would find the first.
        self.post(app, "hold", request, CALL_TIMEOUT.saturating_add(drain), false).await
    }

    /// # Errors
    /// [`ClientError::Refused`] if the generation is not in force; see [`Client::status`].
    pub async fn renew(
        &self,
        app: &str,
        request: &RenewRequest,
    ) -> Result<RenewReply, ClientError> {
        self.post(app, "renew", request, CALL_TIMEOUT, true).await
    }

    /// The app is open before this returns.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if the generation is not in force; see [`Client::status`].
    pub async fn release(
        &self,
        app: &str,
        request: &ReleaseRequest,
    ) -> Result<ReleaseReply, ClientError> {
        self.post(app, "release", request, CALL_TIMEOUT, true).await
    }

    /// Asks the app's upstreams until each answers as the app's warm-up demands, `limit` at most or what the app itself
    /// allows, if that is less.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with what each of the others answered; see [`Client::status`].
    pub async fn warm_up(&self, app: &str, limit: Duration) -> Result<WarmUpReply, ClientError> {
        let timeout_ms = u64::try_from(limit.as_millis()).ok();
        let limit = CALL_TIMEOUT.saturating_add(limit);
        self.post(app, "warm_up", &WarmUpRequest { timeout_ms }, limit, true).await
    }

    /// Releases `app` if `holder` holds it: after a hold whose outcome was not waited for.
    ///
    /// # Errors
    /// See [`Client::status`]. That it was over meanwhile is none.
    pub async fn release_of(&self, app: &str, holder: &str) -> Result<(), ClientError> {
        let apps = self.apps().await?.apps;
        let held = apps.into_iter().filter(|status| status.name == app).find_map(|app| app.hold);
        let Some(held) = held.filter(|held| held.holder == holder) else { return Ok(()) };
        match self.release(app, &ReleaseRequest { generation: held.generation }).await {
            Err(error) if error.code() == Some(ErrorCode::Stale) => Ok(()),
            released => released.map(drop),
        }
    }

    /// What happens from now on.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub async fn events(&self) -> Result<Events, ClientError> {
        let opened = tokio::time::timeout(CALL_TIMEOUT, Events::open(self)).await;
        opened.unwrap_or_else(|_elapsed| Err(self.timed_out(CALL_TIMEOUT)))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let (path, body) = (path.to_owned(), Bytes::new());
        let asked = Asked { method: Method::GET, path, body, repeatable: true };
        self.call(asked, CALL_TIMEOUT).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        app: &str,
        verb: &str,
        body: &impl Serialize,
        limit: Duration,
        repeatable: bool,
    ) -> Result<T, ClientError> {
        if !is_plain(app) {
            return Err(ClientError::AppName { app: app.to_owned() });
        }
        let body = serde_json::to_vec(body).expect("strings and numbers are JSON").into();
        let path = format!("{APPS_PATH}/{app}/{verb}");
        self.call(Asked { method: Method::POST, path, body, repeatable }, limit).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        asked: Asked,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let call = Box::pin(self.exchange(&asked));
        let answered = tokio::time::timeout(limit, call).await;
        answered.unwrap_or_else(|_elapsed| Err(self.timed_out(limit)))
    }

    async fn exchange<T: DeserializeOwned>(&self, asked: &Asked) -> Result<T, ClientError> {
        loop {
            let (mut line, fresh) = match self.take_idle() {
                Some(line) => (line, false),
                None => (self.connect().await?, true),
            };
            let error = match line.exchange(self.request(asked)).await {
                Ok((status, body)) => {
                    self.keep(line);
                    return self.read(status, &body);
                }
                Err(error) => error,
            };
            // The gate was restarted meanwhile, or something between forgot the connection. The others are no better.
            if fresh || !(error.unsent || asked.repeatable) {
                return Err(self.broke(error.source));
            }
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    fn request(&self, asked: &Asked) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(asked.method.clone())
            .uri(&asked.path)
            .header(HOST, "gate")
            .header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = self.way.authorization() {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = Full::new(asked.body.clone());
        request.body(body).expect("app names are plain, so every path is a URI")
    }

    fn read<T: DeserializeOwned>(
        &self,
        status: http::StatusCode,
        body: &[u8],
    ) -> Result<T, ClientError> {
        let foreign = |source| ClientError::Foreign { gate: self.gate(), source };
        if status.is_success() {
            return serde_json::from_slice(body).map_err(foreign);
        }
        let body: ErrorBody = serde_json::from_slice(body).map_err(foreign)?;
        let gate = self.gate();
        if body.code == ErrorCode::Unauthorized {
            return Err(ClientError::Unauthorized { gate });
        }
        if body.code == ErrorCode::Forbidden {
            let ErrorBody { message, needs, .. } = body;
            return Err(ClientError::Forbidden { gate, message, needs });
        }
        if let (ErrorCode::TooManyFailures, Some(retry_after_s)) = (body.code, body.retry_after_s) {
            return Err(ClientError::TooManyFailures { gate, retry_after_s });
        }
        Err(ClientError::Refused(Box::new(body)))
    }

    async fn connect(&self) -> Result<Line, ClientError> {
        let stream = self.way.connect().await?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broke(error.into()))?;
        Ok(Line { sender, driver: Some(driver) })
    }

    fn take_idle(&self) -> Option<Line> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, line: Line) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && line.driver.is_some() {
            idle.push(line);
        }
    }

    fn timed_out(&self, limit: Duration) -> ClientError {
        ClientError::TimedOut { gate: self.gate(), limit }
    }

    fn broke(&self, source: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
        match alert_about_certificate(source.as_ref()) {
            Some(source) => ClientError::OwnCertificate { gate: self.gate(), source },
            None => ClientError::Broke { gate: self.gate(), source },
        }
    }
}

/// Why there is no answer.
struct ExchangeError {
    /// The gate has seen nothing of it.
    unsent: bool,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Line {
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(http::StatusCode, Bytes), ExchangeError> {
        let answer = self.sender.try_send_request(request);
        let response =
            driven(&mut self.driver, answer).await.map_err(|mut error| ExchangeError {
                unsent: error.take_message().is_some(),
                source: error.into_error().into(),
            })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, REPLY_BYTES_MAX).collect();
        let body = driven(&mut self.driver, body)
            .await
            .map_err(|source| ExchangeError { unsent: false, source })?;
        Ok((head.status, body.to_bytes()))
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// Waits for `wanted` while driving the connection it depends on.
async fn driven<F: Future>(driver: &mut Option<Driver>, wanted: F) -> F::Output {
    let wanted = pin!(wanted);
    let Some(running) = driver else { return wanted.await };
    let wanted = match select(wanted, running).await {
        Either::Left((output, _)) => return output,
        // The end of the connection is told to `wanted` as its error, or came after its answer.
        Either::Right((_ended, wanted)) => wanted,
    };
    *driver = None;
    wanted.await
}

/// As the configuration demands of a name; anything else could name another path.
fn is_plain(app: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !app.is_empty() && app.bytes().all(plain)
}
