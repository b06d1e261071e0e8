//! An answer on its way to the client.

use std::task::{Context, Poll};

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING};
use http::response::Parts;
use http::{Response, StatusCode};
use hyper::body::Body;
use hyper::ext::ReasonPhrase;

use super::date::Date;
use super::head::Asked;
use crate::gate::body::GateBody;
use crate::gate::client_socket::ClientSocket;
use crate::gate::framing::{Framing, Pieces, SendError, announced, write_field};
use crate::gate::stream::Shared;

/// Room for the head of most answers, and a small body.
const HEAD_BYTES: usize = 1536;

#[derive(Debug)]
pub(super) struct Answer {
    body: GateBody,
    pieces: Pieces,
    /// The connection ends behind it.
    pub(super) is_last: bool,
}

impl Answer {
    /// `before`: what is still to be written before it. `is_last`: whatever it is, no other one follows.
    pub(super) fn new(
        response: Response<GateBody>,
        asked: Asked,
        is_last: bool,
        before: &[u8],
        date: &Date,
    ) -> Self {
        let (parts, body) = response.into_parts();
        let framing = framing(&parts, &body, asked);
        let is_last = is_last
            || !asked.keeps
            || framing == Some(Framing::UntilClosed)
            || parts.headers.get_all(CONNECTION).iter().any(|value| value == "close");
        let mut head = BytesMut::with_capacity(HEAD_BYTES);
        head.extend_from_slice(before);
        write_status(&mut head, &parts, asked);
        write_fields(&mut head, &parts, asked, framing);
        write_length(&mut head, &parts, &body, asked, framing);
        if parts.status != StatusCode::SWITCHING_PROTOCOLS {
            match (is_last, asked.is_old) {
                (true, false) => head.extend_from_slice(b"connection: close\r\n"),
                (false, true) => head.extend_from_slice(b"connection: keep-alive\r\n"),
                (true, true) | (false, false) => {}
            }
        }
        if !parts.headers.contains_key(DATE) {
            write_field(&mut head, &DATE, &date.get());
        }
        head.extend_from_slice(b"\r\n");
        let may_have_trailers = asked.takes_trailers && framing == Some(Framing::Chunked);
        let trailers = if may_have_trailers { announced(&parts.headers) } else { Vec::new() };
        let is_drained = framing.is_none() || body.is_end_stream();
        let pieces = Pieces::new(head, framing.unwrap_or(Framing::Length(0)), trailers, is_drained);
        Self { body, pieces, is_last }
    }

    /// Ready when all of it is written.
    pub(super) fn poll(
        &mut self,
        socket: &Shared<ClientSocket>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        self.pieces.poll(&mut self.body, socket, cx)
    }
}

/// None: no body follows, whatever the answer says.
fn framing(parts: &Parts, body: &GateBody, asked: Asked) -> Option<Framing> {
    if asked.is_head || is_bodiless(parts.status) {
        return None;
    }
    Some(match body.size_hint().exact() {
        Some(length) => Framing::Length(length),
        None if asked.is_old => Framing::UntilClosed,
        None => Framing::Chunked,
    })
}

fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn write_status(head: &mut BytesMut, parts: &Parts, asked: Asked) {
    let reason = parts.extensions.get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
    let canonical = parts.status.canonical_reason().unwrap_or_default().as_bytes();
    let version = if asked.is_old { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
    for part in [version, parts.status.as_str().as_bytes(), b" ", reason.unwrap_or(canonical)] {
        head.extend_from_slice(part);
    }
    head.extend_from_slice(b"\r\n");
}

/// Those that do not say where the answer and its connection end.
fn write_fields(head: &mut BytesMut, parts: &Parts, asked: Asked, framing: Option<Framing>) {
    let is_switch = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in &parts.headers {
        let is_own = name == CONTENT_LENGTH
            || name == TRANSFER_ENCODING
            || (name == CONNECTION && !is_switch)
            || (name == TRAILER && (asked.is_old || framing != Some(Framing::Chunked)));
        if !is_own {
            write_field(head, name, value.as_bytes());
        }
    }
}

fn write_length(
    head: &mut BytesMut,
    parts: &Parts,
    body: &GateBody,
    asked: Asked,
    framing: Option<Framing>,
) {
    match framing {
        Some(Framing::Chunked) => write_field(head, &TRANSFER_ENCODING, b"chunked"),
        Some(Framing::Length(length)) => {
            write_field(head, &CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes());
        }
        // The length that a GET would be answered with, where it is known.
        None if asked.is_head && !is_bodiless(parts.status) => {
            let length = body.size_hint().exact().filter(|length| *length > 0);
            match (parts.headers.get(CONTENT_LENGTH), length) {
                (Some(said), _) => write_field(head, &CONTENT_LENGTH, said.as_bytes()),
                (None, Some(length)) => {
                    let length = itoa::Buffer::new().format(length).to_owned();
                    write_field(head, &CONTENT_LENGTH, length.as_bytes());
                }
                (None, None) => {}
            }
        }
        None | Some(Framing::UntilClosed) => {}
    }
}
