//! Bodies of HTTP/1.1: how their ends are found and told (RFC 9112 6), on either side of the gate.

mod chunks;
mod decoder;
mod pieces;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

#[cfg(test)]
pub(crate) use self::chunks::LINES_BYTES_MAX;
pub(crate) use self::decoder::{Decoder, Part};
pub(crate) use self::pieces::{Pieces, SendError, announced, write_field};

/// In one head, or behind one body.
pub(crate) const FIELDS_MAX: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
    UntilClosed,
}

/// A field that was read of `bytes`, whose value goes on sharing their memory.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn field(
    bytes: &Bytes,
    field: &httparse::Header<'_>,
) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name =
        HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "a field's name is none")?;
    let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
    Ok((name, value.map_err(|_| "a field's value is none")?))
}

/// Digits alone: no sign, no space, no list.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}
