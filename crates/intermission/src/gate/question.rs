//! What the gate itself asks of an upstream: whether it is well, and whether it is warm.

use http::header::{HOST, HeaderName, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::body::{BoxedRequest, RequestBody};
use super::exchange::{Free, ReceivedBody};
use super::header::X_FORWARDED_PROTO;
use crate::config::gate::Gate as Settings;

/// Of an answer's body this much is read; the connection of a longer one is not used again.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// A GET. `agent` is by what an application can tell it from its users' requests. Path and host are the configuration's, which
/// has seen to them.
pub(super) fn question(
    settings: &Settings,
    path: &str,
    host: &str,
    agent: &'static str,
) -> BoxedRequest {
    // An application that redirects who came without TLS would answer 3xx: where a proxy before us speaks TLS, these
    // requests look as if they had come by it.
    let proto = if settings.trusted_proxies.is_empty() { "http" } else { "https" };
    let headers: [(HeaderName, &str); 3] =
        [(HOST, host), (USER_AGENT, agent), (X_FORWARDED_PROTO, proto)];
    let request = headers
        .into_iter()
        .fold(Request::get(path), |request, (name, value)| request.header(name, value));
    let request = request.body(RequestBody::none());
    Box::new(request.expect("the configuration has seen to path and host"))
}

/// The connection, if the body ended as it should and another request may go by it.
pub(super) async fn read_to_end(answer: Response<ReceivedBody>) -> Option<Free> {
    let mut body = answer.into_body();
    let read = Limited::new(&mut body, BODY_BYTES_MAX).collect().await;
    if let Err(error) = &read {
        tracing::debug!(%error, "the answer to a question of the gate's was not read to its end");
    }
    body.free().filter(|_| read.is_ok())
}

pub(super) fn judge(status: StatusCode) -> Result<(), String> {
    if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
}

/// An error with its cause.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
