//! What hyper settles by itself in a head of HTTP/1 and does not tell: lines that end by LF alone, a
//! length beside chunks, a fragment. Whoever stands before the gate may have settled it otherwise, so
//! such requests are refused.
//!
//! The bytes are looked at where they were read, and changed never. Bodies are only skipped: what is
//! wrong in them hyper refuses itself, and ends the connection.

/// More of a line than this is not kept; hyper refuses the head, or the chunk.
pub(super) const HEAD_BYTES_MAX: usize = 32 * 1024;

/// The requests of one connection, as far as its bytes have been read.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    place: Place,
    /// The beginning of a line whose end was not read yet.
    line: Vec<u8>,
    framing: Framing,
    /// Whose heads are complete.
    complete: u64,
    /// How many came before the first that is ambiguous.
    ambiguous: Option<u64>,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A request line, or empty lines before it.
    #[default]
    Begin,
    Field,
    /// So many bytes of a body.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk, its end included.
    Chunk(u64),
    Trailer,
    /// Nothing that has to be looked at.
    Over,
}

/// What the fields of a head say about its body.
#[derive(Debug, Default, Clone, Copy)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl Requests {
    /// Whether that request, counted from 0, is ambiguous or behind one that is. hyper has read its
    /// head: one whose end was not seen here was taken for something else, which is in doubt as well.
    pub(crate) fn is_ambiguous(&self, number: u64) -> bool {
        number >= self.complete || self.ambiguous.is_some_and(|first| first <= number)
    }

    /// Whether nothing of what was read is behind the head of the last of `count` requests, and no body is to come: then hyper
    /// reads on, and sees the client's end itself.
    pub(crate) fn end_with(&self, count: u64) -> bool {
        self.complete == count && self.place == Place::Begin && self.line.is_empty()
    }

    /// These bytes were read.
    pub(crate) fn look(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.place {
                Place::Over => return,
                Place::Body(left) => self.skip(bytes, left, Place::Body, Place::Begin),
                Place::Chunk(left) => self.skip(bytes, left, Place::Chunk, Place::ChunkSize),
                Place::Begin | Place::Field | Place::ChunkSize | Place::Trailer => {
                    self.look_at_lines(bytes)
                }
            };
        }
    }

    /// Gives what comes behind the last of them.
    fn look_at_lines<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = bytes.get(start..end).unwrap_or_default();
            start = end + 1;
            if !self.line.is_empty() {
                self.keep(line);
                let line = std::mem::take(&mut self.line);
                self.read(&line);
            } else if self.place != Place::Field || !is_plain_field(line) {
                self.read(line);
            }
            if matches!(self.place, Place::Body(_) | Place::Chunk(_) | Place::Over) {
                return bytes.get(start..).unwrap_or_default();
            }
        }
        self.keep(bytes.get(start..).unwrap_or_default());
        &[]
    }

    fn skip<'b>(
        &mut self,
        bytes: &'b [u8],
        left: u64,
        further: fn(u64) -> Place,
        then: Place,
    ) -> &'b [u8] {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
        self.place = if left == 0 { then } else { further(left) };
        bytes.get(length..).unwrap_or_default()
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.line.len() + bytes.len() > HEAD_BYTES_MAX {
            self.place = Place::Over;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    /// A line without its LF.
    fn read(&mut self, line: &[u8]) {
        let (line, by_crlf) = match line.strip_suffix(b"\r") {
            Some(line) => (line, true),
            None => (line, false),
        };
        match self.place {
            // hyper refuses it.
            Place::ChunkSize if !by_crlf => self.place = Place::Over,
            Place::Begin | Place::Field | Place::Trailer if !by_crlf => self.doubt(),
            Place::Begin if line.is_empty() => {}
            Place::Begin if memchr::memchr(b'#', line).is_some() => self.doubt(),
            Place::Begin => {
                self.framing = Framing::default();
                self.place = Place::Field;
            }
            Place::Field if line.is_empty() => self.end_head(),
            Place::Field => self.read_field(line),
            Place::ChunkSize => {
                self.place = match chunk_size(line) {
                    None => Place::Over,
                    Some(0) => Place::Trailer,
                    Some(size) => Place::Chunk(size.saturating_add(2)),
                }
            }
            Place::Trailer if line.is_empty() => self.place = Place::Begin,
            Place::Trailer | Place::Body(_) | Place::Chunk(_) | Place::Over => {}
        }
    }

    fn read_field(&mut self, line: &[u8]) {
        // Most fields are told apart by their first letter.
        match line.first() {
            Some(b'c' | b'C') => {
                let Some(value) = value_of(line, b"content-length") else { return };
                match number(value) {
                    Some(length) => self.framing.length = Some(length),
                    // hyper refuses it, unless it sees chunks: then there are two framings.
                    None => return self.doubt(),
                }
            }
            Some(b't' | b'T') if value_of(line, b"transfer-encoding").is_some() => {
                self.framing.chunked = true;
            }
            Some(_) | None => return,
        }
        if self.framing.chunked && self.framing.length.is_some() {
            self.doubt();
        }
    }

    fn end_head(&mut self) {
        self.complete += 1;
        self.place = match self.framing {
            Framing { chunked: true, length: _ } => Place::ChunkSize,
            Framing { chunked: false, length: Some(length) } if length > 0 => Place::Body(length),
            Framing { chunked: false, length: _ } => Place::Begin,
        };
    }

    /// This request is not served, and none behind it.
    fn doubt(&mut self) {
        self.ambiguous = Some(self.complete);
        self.place = Place::Over;
    }
}

/// Nearly every field: its line ends as it should, and its first letter is none of a framing's.
fn is_plain_field(line: &[u8]) -> bool {
    matches!(line, [first, .., b'\r'] if !matches!(first, b'c' | b'C' | b't' | b'T'))
}

fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    if start.eq_ignore_ascii_case(name) { rest.strip_prefix(b":") } else { None }
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if is_number { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

/// What comes behind the digits is hyper's to judge.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let length = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let digits = std::str::from_utf8(line.get(..length)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests;
