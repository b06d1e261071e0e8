//! Requests by HTTP/2, as frames.

use super::case::{Case, Rule, case};
use super::frame::{END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, field, frame};

pub(super) type Fields<'f> = &'f [(&'f [u8], &'f [u8])];

/// What every connection begins with.
pub(super) fn begun() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

pub(super) fn block(fields: Fields<'_>) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

pub(super) fn ask(stream: u32, flags: u8, fields: Fields<'_>) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

pub(super) const GET: [(&[u8], &[u8]); 4] =
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/{}"), (b":authority", b"a")];
pub(super) const POST: [(&[u8], &[u8]); 4] =
    [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/{}"), (b":authority", b"a")];

/// Of frames that nobody may take for a request.
pub(super) const NEVER: [(&[u8], &[u8]); 4] =
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/~never~"), (b":authority", b"a")];
/// Of floods, whose requests may be served.
pub(super) const FLOOD: [(&[u8], &[u8]); 4] =
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/~flood~"), (b":authority", b"a")];

/// The frames are made with the marker that the case will have.
pub(super) fn marked(
    name: &'static str,
    rule: Rule,
    fields: Fields<'_>,
    rest: &[u8],
    why: &'static str,
) -> Case {
    let empty = case(name, rule, b"", why);
    let marker = empty.marker();
    let fill = |value: &[u8]| match value.windows(2).position(|two| two == b"{}") {
        Some(at) => [&value[..at], marker.as_bytes(), &value[at + 2..]].concat(),
        None => value.to_vec(),
    };
    let filled: Vec<_> = fields.iter().map(|(name, value)| (name.to_vec(), fill(value))).collect();
    let filled: Vec<_> = filled.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let flags = if rest.is_empty() { END_STREAM } else { 0 };
    Case { bytes: [&begun(), &ask(1, flags, &filled)[..], rest].concat(), ..empty }
}

/// A request with one of its pseudo fields changed, or others instead.
pub(super) fn head(
    name: &'static str,
    rule: Rule,
    fields: Fields<'_>,
    shown: &'static str,
    why: &'static str,
) -> Case {
    marked(name, rule, fields, &[], why).shown(shown)
}

/// GET with these fields behind it.
pub(super) fn with(
    name: &'static str,
    rule: Rule,
    fields: Fields<'_>,
    shown: &'static str,
    why: &'static str,
) -> Case {
    head(name, rule, &[&GET[..], fields].concat(), shown, why)
}
