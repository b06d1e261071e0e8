//! A body in chunks (RFC 9112 7.1), and the fields behind it.

use bytes::{Buf, Bytes};
use http::HeaderMap;
use httparse::{EMPTY_HEADER, Status};

use super::head::field;

/// A chunk's size and what is said about it, and all trailers together.
pub(super) const LINES_BYTES_MAX: usize = 16 * 1024;
const TRAILERS_MAX: usize = 100;
/// Hexadecimal digits of a size.
const SIZE_DIGITS_MAX: usize = 15;

/// Where in the body its reader is.
#[derive(Debug)]
pub(super) enum Chunks {
    /// In a line with a size.
    Size(Vec<u8>),
    Data(u64),
    /// Behind a chunk, of whose line end so many bytes have come.
    Behind(usize),
    /// In the trailers.
    Trailers(Vec<u8>),
    Over,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self::Size(Vec::new())
    }

    /// The next part. None: all of `bytes` was taken, and there must be more.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Part>, &'static str> {
        loop {
            if bytes.is_empty() && !matches!(self, Self::Over) {
                return Ok(None);
            }
            match self {
                Self::Size(line) => {
                    if take_line(line, bytes)? {
                        let size = size(line)?;
                        *self =
                            if size == 0 { Self::Trailers(Vec::new()) } else { Self::Data(size) };
                    }
                }
                Self::Data(left) => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    let data = bytes.split_to(length);
                    *left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
                    if *left == 0 {
                        *self = Self::Behind(0);
                    }
                    return Ok(Some(Part::Data(data)));
                }
                Self::Behind(seen) => {
                    if b"\r\n".get(*seen) != bytes.first() {
                        return Err("a chunk is longer than its size");
                    }
                    bytes.advance(1);
                    *seen += 1;
                    if *seen == 2 {
                        *self = Self::new();
                    }
                }
                Self::Trailers(lines) => {
                    if take_line(lines, bytes)?
                        && (lines == b"\r\n" || lines.ends_with(b"\r\n\r\n"))
                    {
                        let lines = Bytes::from(std::mem::take(lines));
                        *self = Self::Over;
                        let trailers = trailers(&lines)?;
                        return Ok(Some(trailers.map_or(Part::End, Part::Trailers)));
                    }
                }
                Self::Over => return Ok(Some(Part::End)),
            }
        }
    }
}

/// Moves bytes to `line` up to the end of a line; gives whether that has come.
fn take_line(line: &mut Vec<u8>, bytes: &mut Bytes) -> Result<bool, &'static str> {
    let end = memchr::memchr(b'\n', bytes);
    let length = end.map_or(bytes.len(), |end| end + 1);
    if line.len() + length > LINES_BYTES_MAX {
        return Err("a line between its chunks is too long");
    }
    line.extend_from_slice(&bytes.split_to(length));
    if end.is_some() && !line.ends_with(b"\r\n") {
        return Err("a line between its chunks ends by LF alone");
    }
    Ok(end.is_some())
}

fn size(line: &[u8]) -> Result<u64, &'static str> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at_checked(digits).unwrap_or((line, &[]));
    let is_end = matches!(rest.first(), Some(b'\r' | b';' | b' ' | b'\t'));
    let is_plain = !rest.iter().rev().skip(2).any(|byte| matches!(byte, b'\r' | 0));
    if digits.is_empty() || digits.len() > SIZE_DIGITS_MAX || !is_end || !is_plain {
        return Err("a chunk's size is none");
    }
    let digits = std::str::from_utf8(digits).ok();
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or("a chunk's size is none")
}

/// Their lines, an empty one at the end.
fn trailers(lines: &Bytes) -> Result<Option<HeaderMap>, &'static str> {
    if lines.len() == 2 {
        return Ok(None);
    }
    let mut fields = [EMPTY_HEADER; TRAILERS_MAX];
    let Ok(Status::Complete((_, fields))) = httparse::parse_headers(lines, &mut fields) else {
        return Err("its trailers are malformed");
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for trailer in fields {
        let (name, value) = field(lines, trailer)?;
        trailers.append(name, value);
    }
    Ok(Some(trailers))
}
