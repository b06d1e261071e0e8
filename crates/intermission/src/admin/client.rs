//! Talking to a gate over its admin socket.
//!
//! A swap holds and releases inside the pause, so the connection of the last call is kept open for
//! the next one, and no task stands between: the connection is driven by whoever waits for it.

mod error;
mod event;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

pub use self::error::ClientError;
pub use self::event::{Events, Notice};
use super::api::{
    APPS_PATH, Apps, ErrorBody, ErrorCode, HoldReply, HoldRequest, ReleaseReply, ReleaseRequest,
    RenewReply, RenewRequest, STATUS_PATH, Status, WarmUpReply, WarmUpRequest,
};

/// Of any call but the drain of a hold; the gate writes its state to disk in between.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A hold that does not say how long its drain may take takes the app's, which we do not know.
const DRAIN_UNKNOWN: Duration = Duration::from_mins(10);
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Connections kept between calls: more calls at once than this open their own.
const IDLE_MAX: usize = 8;

type Sender = http1::SendRequest<Full<Bytes>>;
type Driver = http1::Connection<TokioIo<UnixStream>, Full<Bytes>>;

/// Calls may be made at once; each has a connection to itself while it runs. Dropping a call drops
/// its connection, and a hold that is still draining is released by that.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    idle: Mutex<Vec<Line>>,
}

/// One connection.
#[derive(Debug)]
struct Line {
    sender: Sender,
    /// `None` once it has ended.
    driver: Option<Driver>,
}

impl Client {
    /// Connects at the first call.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), idle: Mutex::default() }
    }

    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
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
        self.post(app, "hold", request, CALL_TIMEOUT.saturating_add(drain)).await
    }

    /// # Errors
    /// [`ClientError::Refused`] if the generation is not in force; see [`Client::status`].
    pub async fn renew(
        &self,
        app: &str,
        request: &RenewRequest,
    ) -> Result<RenewReply, ClientError> {
        self.post(app, "renew", request, CALL_TIMEOUT).await
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
        self.post(app, "release", request, CALL_TIMEOUT).await
    }

    /// Asks the app's upstreams until each answers as the app's warm-up demands, `limit` at most or what the app itself
    /// allows, if that is less.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with what each of the others answered; see [`Client::status`].
    pub async fn warm_up(&self, app: &str, limit: Duration) -> Result<WarmUpReply, ClientError> {
        let timeout_ms = u64::try_from(limit.as_millis()).ok();
        let limit = CALL_TIMEOUT.saturating_add(limit);
        self.post(app, "warm_up", &WarmUpRequest { timeout_ms }, limit).await
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
        self.call(Method::GET, path, Bytes::new(), CALL_TIMEOUT).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        app: &str,
        verb: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, ClientError> {
        if !is_plain(app) {
            return Err(ClientError::AppName { app: app.to_owned() });
        }
        let body = serde_json::to_vec(body).expect("strings and numbers are JSON");
        self.call(Method::POST, &format!("{APPS_PATH}/{app}/{verb}"), body.into(), limit).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let call = Box::pin(self.exchange(request(method, path, body)));
        let answered = tokio::time::timeout(limit, call).await;
        answered.unwrap_or_else(|_elapsed| Err(self.timed_out(limit)))
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<T, ClientError> {
        loop {
            let (mut line, fresh) = match self.take_idle() {
                Some(line) => (line, false),
                None => (self.connect().await?, true),
            };
            match line.exchange(request).await {
                Ok((status, body)) => {
                    self.keep(line);
                    return self.read(status, &body);
                }
                // The gate was restarted meanwhile; nothing of the call was sent.
                Err((Some(unsent), _)) if !fresh => request = *unsent,
                Err((_, error)) => return Err(self.broke(error)),
            }
        }
    }

    fn read<T: DeserializeOwned>(
        &self,
        status: http::StatusCode,
        body: &[u8],
    ) -> Result<T, ClientError> {
        let foreign = |source| ClientError::Foreign { socket: self.socket.clone(), source };
        if status.is_success() {
            return serde_json::from_slice(body).map_err(foreign);
        }
        let body: ErrorBody = serde_json::from_slice(body).map_err(foreign)?;
        Err(ClientError::Refused(Box::new(body)))
    }

    async fn connect(&self) -> Result<Line, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::Connect { socket: self.socket.clone(), source })?;
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
        ClientError::TimedOut { socket: self.socket.clone(), limit }
    }

    fn broke(&self, source: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
        ClientError::Broke { socket: self.socket.clone(), source }
    }
}

type ExchangeError = (Option<Box<Request<Full<Bytes>>>>, Box<dyn std::error::Error + Send + Sync>);

impl Line {
    /// On an error, the request if nothing of it was sent.
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(http::StatusCode, Bytes), ExchangeError> {
        let answer = self.sender.try_send_request(request);
        let response = driven(&mut self.driver, answer)
            .await
            .map_err(|mut error| (error.take_message().map(Box::new), error.into_error().into()))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, REPLY_BYTES_MAX).collect();
        let body = driven(&mut self.driver, body).await.map_err(|error| (None, error))?;
        Ok((head.status, body.to_bytes()))
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

fn request(method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "gate")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .expect("app names are plain, so every path is a URI")
}

/// As the configuration demands of a name; anything else could name another path.
fn is_plain(app: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !app.is_empty() && app.bytes().all(plain)
}
