//! Keep-alive HTTP/1.1 connections to the gate.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::record::{Failure, token_text};
use super::schedule::Planned;
use super::{CONNECTIONS_MAX, Kind, LoadOptions};

/// Longest answer read, bytes.
const ANSWER_MAX: usize = 64 << 10;
/// How much of a failed answer is quoted in a note, characters.
const QUOTE_MAX: usize = 200;

type Sender = SendRequest<Full<Bytes>>;

/// As long as the proxies in front of web applications keep theirs (nginx and AWS's load balancers). Whoever is the first to
/// close an idle connection loses no request.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A complete answer, or why there is none, and what to tell a person about a failure.
pub(super) type Answer = Result<(u16, Option<String>), (Failure, String)>;

/// The connections of one load; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    target: SocketAddr,
    host: HeaderValue,
    /// Most recently used last: few connections stay busy. With the time since when.
    idle: Arc<Mutex<Vec<(Sender, Instant)>>>,
    places: Arc<Semaphore>,
}

impl Connections {
    pub(super) fn new(options: &LoadOptions) -> Self {
        let host = HeaderValue::from_str(&options.host);
        Self {
            target: options.target,
            host: host.unwrap_or_else(|_| HeaderValue::from_static("localhost")),
            idle: Arc::default(),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }

    /// Sends one request and reads its whole answer.
    ///
    /// A pooled connection that was closed meanwhile gives the request back unsent, and it goes out on another one, as
    /// in any browser. A request of which a byte may have been sent is never sent again.
    pub(super) async fn send(&self, planned: &Planned, seq: u64) -> Answer {
        let _place = self.places.acquire().await;
        let mut request = self.request(planned, seq);
        let response = loop {
            let (mut sender, pooled) = self.take().await?;
            match sender.try_send_request(request).await {
                Ok(response) => break (sender, response),
                Err(mut refused) => match refused.take_message() {
                    Some(unsent) if pooled => request = unsent,
                    Some(_) | None => {
                        return Err((Failure::Transport, refused.into_error().to_string()));
                    }
                },
            }
        };
        let (sender, response) = response;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| (Failure::Transport, error.to_string()))?.to_bytes();
        self.give_back(sender);
        let note = (!status.is_success()).then(|| quote(&body));
        Ok((status.as_u16(), note))
    }

    fn request(&self, planned: &Planned, seq: u64) -> Request<Full<Bytes>> {
        let (method, path, body) = match planned.kind {
            Kind::Read => (Method::GET, "/entries/latest", String::new()),
            Kind::Write => {
                let (client, token) = (planned.client, token_text(planned.token));
                let body = format!(r#"{{"client":{client},"seq":{seq},"token":"{token}"}}"#);
                (Method::POST, "/entries", body)
            }
        };
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_static(path);
        request.headers_mut().insert(HOST, self.host.clone());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }

    /// A connection and whether it comes from the pool. Every pooled one leaves the pool on its way, so the loop of
    /// the caller ends at the latest with a fresh one.
    async fn take(&self) -> Result<(Sender, bool), (Failure, String)> {
        while let Some(sender) = self.pop() {
            if !sender.is_closed() {
                return Ok((sender, true));
            }
        }
        let failed = |error: &dyn std::error::Error| (Failure::Connect, error.to_string());
        let stream = TcpStream::connect(self.target).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of the load ended");
            }
        });
        Ok((sender, false))
    }

    fn pop(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, since) = idle.pop()?;
        if since.elapsed() < IDLE_MAX {
            return Some(sender);
        }
        // Those below are idle for longer.
        idle.clear();
        None
    }

    /// Pools a connection once its last answer is fully behind it; off the request's path.
    fn give_back(&self, mut sender: Sender) {
        let idle = Arc::clone(&self.idle);
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push((sender, Instant::now()));
            }
        });
    }
}

fn quote(body: &[u8]) -> String {
    String::from_utf8_lossy(body).trim().chars().take(QUOTE_MAX).collect()
}
