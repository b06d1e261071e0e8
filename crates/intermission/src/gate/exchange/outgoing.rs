//! A request on its way into the socket.

use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    HOST, HeaderName, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
};
use http::{HeaderMap, Method, Request};
use hyper::body::{Body, Frame};
use tokio::io::AsyncWrite;

use crate::gate::body::{BodyError, BoxedRequest, RequestBody};
use crate::gate::dial::Socket;
use crate::gate::stream::Shared;

/// Room for the head of most requests.
const HEAD_BYTES: usize = 768;
/// Never taken from behind a body: they say where it ends, whom it is for or what it is (RFC 9110 6.5.1).
const NEVER_TRAILERS: [HeaderName; 12] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HOST,
    MAX_FORWARDS,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
];

#[derive(Debug)]
pub(super) enum SendError {
    /// There was not all of it.
    Body(BodyError),
    Broke(io::Error),
}

/// What is still to be written of it.
#[derive(Debug)]
pub(super) struct Outgoing {
    request: BoxedRequest,
    framing: Framing,
    /// The head, or what comes before a chunk.
    before: BytesMut,
    data: Bytes,
    /// What comes behind `data`.
    behind: &'static [u8],
    is_begun: bool,
    /// The body was asked for something.
    is_drawn: bool,
    /// All of the body is in `data` or before.
    is_drained: bool,
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    /// So many bytes may still come.
    Length(u64),
    Chunked,
}

impl Outgoing {
    pub(super) fn new(request: BoxedRequest) -> Self {
        let (before, framing) = head(&request);
        let is_drained = request.body().is_end_stream();
        Self {
            request,
            framing,
            before,
            data: Bytes::new(),
            behind: b"",
            is_begun: false,
            is_drawn: false,
            is_drained,
        }
    }

    /// It can be sent by another connection as if nothing had been.
    pub(super) const fn is_untouched(&self) -> bool {
        !self.is_begun && !self.is_drawn
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
        if !self.is_begun && self.is_drained && matches!(self.framing, Framing::Length(1..)) {
            // Its length was said, and there is none of it: the upstream would wait for the next request's bytes.
            return Poll::Ready(Err(SendError::Body(BodyError::Length)));
        }
        loop {
            let is_waiting =
                !self.is_drained && self.data.is_empty() && self.behind.is_empty() && {
                    self.is_drawn = true;
                    match Pin::new(self.request.body_mut()).poll_frame(cx) {
                        Poll::Ready(frame) => {
                            self.take(frame).map_err(SendError::Body)?;
                            false
                        }
                        Poll::Pending => true,
                    }
                };
            if self.is_written() {
                if self.is_drained {
                    self.request.body().written();
                    return Poll::Ready(Ok(()));
                }
                if is_waiting {
                    return Poll::Pending;
                }
                continue;
            }
            let slices =
                [IoSlice::new(&self.before), IoSlice::new(&self.data), IoSlice::new(self.behind)];
            let written = socket.with(|socket| Pin::new(socket).poll_write_vectored(cx, &slices));
            let written = ready!(written);
            match written {
                Ok(0) => {
                    return Poll::Ready(Err(SendError::Broke(io::ErrorKind::WriteZero.into())));
                }
                Ok(written) => self.advance(written),
                Err(error) => return Poll::Ready(Err(SendError::Broke(error))),
            }
        }
    }

    fn is_written(&self) -> bool {
        self.before.is_empty() && self.data.is_empty() && self.behind.is_empty()
    }

    fn advance(&mut self, mut written: usize) {
        self.is_begun = true;
        let length = written.min(self.before.len());
        self.before.advance(length);
        written -= length;
        let length = written.min(self.data.len());
        self.data.advance(length);
        written -= length;
        self.behind = self.behind.get(written..).unwrap_or_default();
    }

    /// The body's next part, or its end.
    fn take(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) -> Result<(), BodyError> {
        match frame.transpose()?.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.is_drained = self.request.body().is_end_stream();
                self.frame(data)?;
            }
            Some(Err(trailers)) => {
                self.is_drained = true;
                self.end(trailers.into_trailers().ok().as_ref())?;
            }
            None => {
                self.is_drained = true;
                self.end(None)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, data: Bytes) -> Result<(), BodyError> {
        if data.is_empty() && !self.is_drained {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Length(left) => {
                let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                *left = left.checked_sub(length).ok_or(BodyError::Length)?;
                self.data = data;
                if self.is_drained { self.end(None) } else { Ok(()) }
            }
            Framing::Chunked if data.is_empty() => self.end(None),
            Framing::Chunked => {
                write!(self.before, "{:x}\r\n", data.len()).unwrap_or_default();
                self.data = data;
                self.behind = if self.is_drained { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                Ok(())
            }
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), BodyError> {
        match self.framing {
            Framing::Length(0) => Ok(()),
            Framing::Length(_) => Err(BodyError::Length),
            Framing::Chunked => {
                self.before.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    if is_announced(self.request.headers(), name) {
                        write_field(&mut self.before, name, value.as_bytes());
                    }
                }
                self.before.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }
}

fn is_announced(headers: &HeaderMap, name: &HeaderName) -> bool {
    let values = headers.get_all(TRAILER).iter().filter_map(|value| value.to_str().ok());
    let mut names = values.flat_map(|value| value.split(','));
    !NEVER_TRAILERS.contains(name)
        && names.any(|item| item.trim().eq_ignore_ascii_case(name.as_str()))
}

/// The head, and how its body is framed. What upstreams are told is settled before; only a length that hyper knows and
/// nobody has said is added.
fn head(request: &Request<RequestBody>) -> (BytesMut, Framing) {
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    for part in [request.method().as_str(), " ", target, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    for (name, value) in request.headers() {
        write_field(&mut head, name, value.as_bytes());
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

fn write_field(head: &mut BytesMut, name: &HeaderName, value: &[u8]) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}
