//! What the fuzz targets in `fuzz/` reach by no other way: one exchange with an upstream. With the cargo feature
//! `fuzzing` only.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::BodyExt;
use tokio::net::UnixStream;

use super::body::RequestBody;
use super::dial::Socket;
use super::exchange::Free;
use super::pool::Connection;
use crate::shutdown::Shutdown;

const LIMIT: Duration = Duration::from_secs(10);

/// A response that was received whole.
#[derive(Debug)]
pub struct Received {
    pub status: u16,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Another request may go by its connection.
    pub is_free: bool,
}

/// The response to a request for `/` by `stream`. Within a `LocalSet`.
///
/// # Errors
/// What came is no whole response; says why.
pub async fn receive(stream: UnixStream, method: Method) -> Result<Received, String> {
    let request = Request::builder().method(method).uri("/").body(RequestBody::none());
    let request = Box::new(request.map_err(|error| error.to_string())?);
    let connection = Connection::new(Socket::Unix(stream), None, 0);
    let tasks = Shutdown::new();
    let response = connection.exchange(request, None, LIMIT, &tasks).await;
    let (head, mut body) = response.map_err(|failure| failure.to_string())?.into_parts();
    let collected = (&mut body).collect().await.map_err(|error| error.to_string())?;
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.as_bytes().to_vec())
    };
    let trailers = collected.trailers().into_iter().flatten().map(field).collect();
    Ok(Received {
        status: head.status.as_u16(),
        body: collected.to_bytes().to_vec(),
        trailers,
        is_free: matches!(body.free(), Some(Free::Now(_))),
    })
}
