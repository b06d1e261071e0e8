//! A body in chunks (RFC 9112 7.1), and the fields behind it.

use bytes::{Buf, Bytes};
use http::HeaderMap;
use httparse::{EMPTY_HEADER, Status};

use super::decoder::Part;
use super::{FIELDS_MAX, field};

/// A chunk's size and what is said about it.
pub(crate) const LINES_BYTES_MAX: usize = 16 * 1024;
/// Hexadecimal digits of a size.
const SIZE_DIGITS_MAX: usize = 15;

/// How much there may be besides the data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Of what is said about all chunks.
    extensions_bytes: usize,
    trailers_bytes: usize,
}

/// An upstream may say something about each of its chunks, however many there are.
pub(super) const OF_RESPONSES: Limits =
    Limits { extensions_bytes: usize::MAX, trailers_bytes: 16 * 1024 };
pub(super) const OF_REQUESTS: Limits =
    Limits { extensions_bytes: 16 * 1024, trailers_bytes: 32 * 1024 };

#[derive(Debug)]
pub(crate) struct Chunks {
    place: Place,
    left: Limits,
}

/// Where in the body its reader is.
#[derive(Debug)]
enum Place {
    /// In a line with a size.
    Size(Vec<u8>),
    Data(u64),
    /// Behind a chunk, of whose line end so many bytes have come.
    Behind(usize),
    /// In the trailers.
    Trailers(Vec<u8>),
    Over,
}

impl Chunks {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { place: Place::Size(Vec::new()), left: limits }
    }

    /// The next part. None: all of `bytes` was taken, and there must be more.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Part>, &'static str> {
        loop {
            if bytes.is_empty() && !matches!(self.place, Place::Over) {
                return Ok(None);
            }
            match &mut self.place {
                Place::Size(line) => {
                    if take_line(line, bytes, LINES_BYTES_MAX)? {
                        let (size, extension) = size(line)?;
                        self.place = match size {
                            0 => Place::Trailers(Vec::new()),
                            size => Place::Data(size),
                        };
                        let left = self.left.extensions_bytes.checked_sub(extension);
                        self.left.extensions_bytes =
                            left.ok_or("too much is said of its chunks")?;
                    }
                }
                Place::Data(left) => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    let data = bytes.split_to(length);
                    *left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
                    if *left == 0 {
                        self.place = Place::Behind(0);
                    }
                    return Ok(Some(Part::Data(data)));
                }
                Place::Behind(seen) => {
                    if b"\r\n".get(*seen) != bytes.first() {
                        return Err("a chunk is longer than its size");
                    }
                    bytes.advance(1);
                    *seen += 1;
                    if *seen == 2 {
                        self.place = Place::Size(Vec::new());
                    }
                }
                Place::Trailers(lines) => {
                    if take_line(lines, bytes, self.left.trailers_bytes)?
                        && (lines == b"\r\n" || lines.ends_with(b"\r\n\r\n"))
                    {
                        let lines = Bytes::from(std::mem::take(lines));
                        self.place = Place::Over;
                        let trailers = trailers(&lines)?;
                        return Ok(Some(trailers.map_or(Part::End, Part::Trailers)));
                    }
                }
                Place::Over => return Ok(Some(Part::End)),
            }
        }
    }
}

/// Moves bytes to `line` up to the end of a line; gives whether that has come.
fn take_line(
    line: &mut Vec<u8>,
    bytes: &mut Bytes,
    bytes_max: usize,
) -> Result<bool, &'static str> {
    let end = memchr::memchr(b'\n', bytes);
    let length = end.map_or(bytes.len(), |end| end + 1);
    if line.len() + length > bytes_max {
        return Err("a line between its chunks is too long");
    }
    line.extend_from_slice(&bytes.split_to(length));
    if end.is_some() && !line.ends_with(b"\r\n") {
        return Err("a line between its chunks ends by LF alone");
    }
    Ok(end.is_some())
}

/// It, and how many bytes are said about the chunk.
fn size(line: &[u8]) -> Result<(u64, usize), &'static str> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at_checked(digits).unwrap_or((line, &[]));
    let rest = rest.strip_suffix(b"\r\n").unwrap_or(rest);
    let spaces = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let extension = rest.get(spaces..).unwrap_or_default();
    let is_end = matches!(extension.first(), None | Some(b';'));
    let is_plain = !extension.iter().any(|byte| matches!(byte, b'\r' | 0));
    if digits.is_empty() || digits.len() > SIZE_DIGITS_MAX || !is_end || !is_plain {
        return Err("a chunk's size is none");
    }
    let digits = std::str::from_utf8(digits).ok();
    let size = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Ok((size.ok_or("a chunk's size is none")?, extension.len()))
}

/// Their lines, an empty one at the end.
fn trailers(lines: &Bytes) -> Result<Option<HeaderMap>, &'static str> {
    if lines.len() == 2 {
        return Ok(None);
    }
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
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
