//! A request on its way into the socket.

use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{Method, Request};
use hyper::body::Body;

use crate::gate::body::{BodyError, BoxedRequest, RequestBody};
use crate::gate::dial::Socket;
use crate::gate::framing::{Framing, Pieces, SendError, announced, write_field};
use crate::gate::header::told::About;
use crate::gate::stream::Shared;

/// Room for the head of most requests.
const HEAD_BYTES: usize = 768;

/// What is still to be written of it.
#[derive(Debug)]
pub(super) struct Outgoing {
    request: BoxedRequest,
    pieces: Pieces,
}

impl Outgoing {
    /// `about`: none of a request of the gate's own.
    pub(super) fn new(request: BoxedRequest, about: Option<About<'_>>) -> Self {
        let (head, framing) = head(&request, about);
        let headers = request.headers();
        let trailers = if headers.contains_key(TRAILER) { announced(headers) } else { Vec::new() };
        let is_drained = request.body().is_end_stream();
        Self { request, pieces: Pieces::new(head, framing, trailers, is_drained) }
    }

    /// It can be sent by another connection as if nothing had been.
    pub(super) const fn is_untouched(&self) -> bool {
        self.pieces.is_untouched()
    }

    pub(super) fn into_request(self) -> BoxedRequest {
        self.request
    }

    /// Ready when all of it is written.
    pub(super) fn poll(
        &mut self,
        socket: &Shared<Socket>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        if self.pieces.lacks_its_body() {
            return Poll::Ready(Err(SendError::Body(BodyError::Length)));
        }
        ready!(self.pieces.poll(self.request.body_mut(), socket, cx))?;
        self.request.body().written();
        Poll::Ready(Ok(()))
    }
}

/// The head, and how its body is framed. A length that is known and nobody has said is added.
fn head(request: &Request<RequestBody>, about: Option<About<'_>>) -> (BytesMut, Framing) {
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    for part in [request.method().as_str(), " ", target, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    match about {
        Some(about) => about.write_fields(&mut head, request),
        None => request
            .headers()
            .iter()
            .for_each(|(name, value)| write_field(&mut head, name, value.as_bytes())),
    }
    let framing = framing(request, &mut head);
    head.extend_from_slice(b"\r\n");
    (head, framing)
}

fn framing(request: &Request<RequestBody>, head: &mut BytesMut) -> Framing {
    let (headers, body) = (request.headers(), request.body());
    let said = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if headers.contains_key(TRANSFER_ENCODING) {
        Framing::Chunked
    } else if let Some(length) = said {
        Framing::Length(length)
    } else if let Some(length) = body.size_hint().exact() {
        if length > 0 || matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
            write_field(head, &CONTENT_LENGTH, length.to_string().as_bytes());
        }
        Framing::Length(length)
    } else {
        write_field(head, &TRANSFER_ENCODING, b"chunked");
        Framing::Chunked
    }
}
