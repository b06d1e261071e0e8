//! An application of one test: records what reaches it and answers by path.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::harness::until;

type Body = BoxBody<Bytes, hyper::Error>;

/// What reached the application.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Answers `ok`; `/slow…` when it is let go; `/echo` with the request's body as it comes;
/// `/hop` with hop-by-hop headers; `/trailers` with a trailer.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    arrived: AtomicUsize,
    slow: Slow,
    waiting: AtomicUsize,
    /// The statuses of the next answers; then 200.
    statuses: Mutex<VecDeque<u16>>,
    /// The status of the others; 0: 200.
    always: AtomicU16,
}

struct Slow(Semaphore);

impl Default for Slow {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let accepted = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(stream, Arc::clone(&accepted)));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn start_unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::<Shared>::default();
        let accepted = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&accepted)));
            }
        });
        Self { address: "127.0.0.1:1".parse().unwrap(), shared }
    }

    /// Complete requests, in the order they were complete.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    /// Request heads that reached it.
    pub(crate) fn arrived(&self) -> usize {
        self.shared.arrived.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) async fn until_arrived(&self, count: usize) {
        until(&format!("{count} requests at the upstream"), async || {
            (self.arrived() >= count).then_some(())
        })
        .await;
    }

    /// Slow requests that are not answered.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// The statuses of the next answers; then 200.
    pub(crate) fn answer_next(&self, statuses: &[u16]) {
        *self.shared.statuses.lock().unwrap() = statuses.iter().copied().collect();
    }

    /// Every answer from now on.
    pub(crate) fn answer_always(&self, status: u16) {
        self.shared.always.store(status, Ordering::SeqCst);
    }

    /// Lets `count` slow requests be answered.
    pub(crate) fn let_go(&self, count: usize) {
        self.shared.slow.0.add_permits(count);
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send, shared: Arc<Shared>) {
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>> {
    shared.arrived.fetch_add(1, Ordering::SeqCst);
    Box::pin(async move {
        let (head, body) = request.into_parts();
        let path = head.uri.to_string();
        if path == "/echo" {
            return Ok(Response::new(body.boxed()));
        }
        let (trailers, body) = match body.collect().await {
            Ok(body) => (body.trailers().cloned(), body.to_bytes()),
            Err(_broke_off) => (None, Bytes::new()),
        };
        shared.seen.lock().unwrap().push(Seen {
            method: head.method.to_string(),
            path: path.clone(),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
            trailers,
        });
        if path.starts_with("/slow") {
            shared.waiting.fetch_add(1, Ordering::SeqCst);
            shared.slow.0.acquire().await.unwrap().forget();
            shared.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        let mut response = Response::new(Full::from("ok").map_err(|never| match never {}).boxed());
        let always = Some(shared.always.load(Ordering::SeqCst)).filter(|status| *status > 0);
        if let Some(status) = shared.statuses.lock().unwrap().pop_front().or(always) {
            *response.status_mut() = status.try_into().unwrap();
        }
        if path == "/trailers" {
            let headers = response.headers_mut();
            headers.insert("trailer", "x-sum".parse().unwrap());
            *response.body_mut() = with_trailers().boxed();
        }
        if path == "/hop" {
            let headers = response.headers_mut();
            headers.insert("connection", "x-private".parse().unwrap());
            headers.insert("x-private", "1".parse().unwrap());
            headers.insert("keep-alive", "timeout=5".parse().unwrap());
            headers.insert("x-public", "2".parse().unwrap());
        }
        Ok(response)
    })
}

/// A body with the trailer `x-sum: 2`.
pub(crate) fn with_trailers() -> impl hyper::body::Body<Data = Bytes, Error = hyper::Error> {
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "2".parse().unwrap())]);
    let frames = [Frame::data(Bytes::from_static(b"ok")), Frame::trailers(trailers)];
    StreamBody::new(futures_util::stream::iter(frames.map(Ok)))
}
