//! The head of a request: what it asks for, and what follows it. Whatever two readers could take for different things is
//! refused here, because whoever stands before the gate may have taken it for the other one.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
};
use http::{HeaderMap, Method, Request, Uri, Version};
use httparse::Status;

use crate::gate::framing::{FIELDS_MAX, Framing, digits, field};

pub(crate) const HEAD_BYTES_MAX: usize = 32 * 1024;
/// What the gate adds before it is sent on.
const FURTHER_FIELDS: usize = 8;
/// Larger lengths are none of a body, and some reckon with one or two more.
const LENGTH_MAX: u64 = u64::MAX - 2;

/// Why a head is not served; no other one is on its connection.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refusal {
    #[error("a client's request is none, or can be read in two ways: {0}")]
    Malformed(&'static str),
    #[error("a client's request is too large: {0}")]
    TooLarge(&'static str),
}

#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request<()>,
    pub(super) framing: Framing,
    /// The client waits to be asked for the body.
    pub(super) expects: bool,
    pub(super) asked: Asked,
    /// In bytes.
    pub(super) length: usize,
}

/// What its answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) is_head: bool,
    /// HTTP/1.0: no chunks.
    pub(super) is_old: bool,
    /// The connection goes on behind it.
    pub(super) keeps: bool,
    pub(super) takes_trailers: bool,
}

/// What the fields have said so far.
#[derive(Debug, Default)]
struct Said {
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    keeps: bool,
    expects: bool,
    takes_trailers: bool,
}

/// None: there must be more of it.
///
/// # Errors
/// It is refused.
pub(super) fn parse(bytes: &Bytes) -> Result<Option<Head>, Refusal> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
        Ok(Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(Status::Complete(_) | Status::Partial) => {
            return Err(Refusal::TooLarge("more than 32 KiB"));
        }
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::TooLarge("more than 100 fields"));
        }
        Err(_) => return Err(Refusal::Malformed("its head")),
    };
    check_lines(bytes.get(..length).unwrap_or_default())?;
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    if method.contains('#') || target.contains('#') {
        return Err(Refusal::Malformed("a fragment"));
    }
    let is_old = parsed.version == Some(0);
    let mut said = Said::default();
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + FURTHER_FIELDS);
    for parsed in parsed.headers.iter() {
        let (name, value) = field(bytes, parsed).map_err(Refusal::Malformed)?;
        if said.note(&name, &value, is_old)? {
            headers.append(name, value);
        }
    }
    let mut request = Request::new(());
    *request.method_mut() =
        Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::Malformed("its method"))?;
    *request.uri_mut() = Uri::from_maybe_shared(bytes.slice_ref(target.as_bytes()))
        .map_err(|_| Refusal::Malformed("its target"))?;
    *request.version_mut() = if is_old { Version::HTTP_10 } else { Version::HTTP_11 };
    *request.headers_mut() = headers;
    let asked = Asked {
        is_head: request.method() == Method::HEAD,
        is_old,
        keeps: !said.closes && (!is_old || said.keeps),
        takes_trailers: said.takes_trailers,
    };
    let framing =
        if said.is_chunked { Framing::Chunked } else { Framing::Length(said.length.unwrap_or(0)) };
    Ok(Some(Head { request, framing, expects: said.expects && !is_old, asked, length }))
}

/// They end by CRLF. The others' ends are the HTTP library's to check.
fn check_lines(head: &[u8]) -> Result<(), Refusal> {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', head) {
        if !head.get(start..end).is_some_and(|line| line.ends_with(b"\r")) {
            return Err(Refusal::Malformed("a line that ends by LF alone"));
        }
        start = end + 1;
    }
    Ok(())
}

impl Said {
    /// Whether the field is one of the request's: a length that was said before is not.
    fn note(
        &mut self,
        name: &HeaderName,
        value: &HeaderValue,
        is_old: bool,
    ) -> Result<bool, Refusal> {
        let text = value.as_bytes();
        if name == CONTENT_LENGTH {
            let is_repeated = self.length.is_some();
            self.note_length(text)?;
            return Ok(!is_repeated);
        }
        if name == TRANSFER_ENCODING {
            if self.is_chunked || is_old || !text.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::Malformed("a transfer coding other than chunked, once"));
            }
            self.is_chunked = true;
        } else if name == CONNECTION {
            self.closes |= lists(value, "close");
            self.keeps |= lists(value, "keep-alive");
        } else if name == EXPECT {
            self.expects = text.eq_ignore_ascii_case(b"100-continue");
        } else if name == TE {
            self.takes_trailers |= lists(value, "trailers");
        }
        if self.is_chunked && self.length.is_some() {
            return Err(Refusal::Malformed("a length beside chunks"));
        }
        Ok(true)
    }

    fn note_length(&mut self, text: &[u8]) -> Result<(), Refusal> {
        let length = digits(text).ok_or(Refusal::Malformed("a length that is none"))?;
        if length > LENGTH_MAX {
            return Err(Refusal::TooLarge("its length"));
        }
        if self.length.is_some_and(|before| before != length) {
            return Err(Refusal::Malformed("two lengths"));
        }
        if self.is_chunked {
            return Err(Refusal::Malformed("a length beside chunks"));
        }
        self.length = Some(length);
        Ok(())
    }
}

fn lists(value: &HeaderValue, wanted: &str) -> bool {
    let items = value.to_str().unwrap_or_default().split(',');
    items.map(str::trim).any(|item| item.eq_ignore_ascii_case(wanted))
}
