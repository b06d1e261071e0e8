//! The head of a response: what is passed on of it, and what follows it.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode, Version};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;

use crate::gate::framing::{self, FIELDS_MAX, Framing, digits};

#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    /// The upstream does not close the connection behind it.
    pub(super) keeps: bool,
    /// In bytes.
    pub(super) length: usize,
}

impl Head {
    /// Another head follows. 101 is no such: it ends HTTP.
    pub(super) fn is_interim(&self) -> bool {
        let status = self.response.status();
        status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// `is_head`: what a HEAD is answered with. None: there must be more of it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(bytes: &Bytes, is_head: bool) -> Result<Option<Head>, &'static str> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("it has more than 100 fields"),
        Err(_) => return Err("its head is malformed"),
    };
    let mut response = Response::new(());
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or("its status is none")?;
    *response.status_mut() = status;
    *response.version_mut() =
        if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    if let Some(reason) = parsed.reason
        && status.canonical_reason() != Some(reason)
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        response.extensions_mut().insert(reason);
    }
    let headers = response.headers_mut();
    headers.reserve(parsed.headers.len() + FURTHER_FIELDS);
    for field in parsed.headers.iter() {
        let (name, value) = framing::field(bytes, field)?;
        headers.append(name, value);
    }
    let framing = framing(&mut response, is_head)?;
    let keeps = keeps(&response);
    Ok(Some(Head { response, framing, keeps, length }))
}

/// What the gate adds before it is written.
const FURTHER_FIELDS: usize = 4;

/// RFC 9112 6.3. A coding that the gate does not undo would be lost with its field.
fn framing(response: &mut Response<()>, is_head: bool) -> Result<Framing, &'static str> {
    let status = response.status();
    let is_bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let version = response.version();
    let headers = response.headers_mut();
    if is_head || is_bodiless {
        return Ok(Framing::Length(0));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !is_chunked || codings.next().is_some() || version != Version::HTTP_11 {
            return Err("it has a transfer coding other than chunked");
        }
        headers.remove(CONTENT_LENGTH);
        return Ok(Framing::Chunked);
    }
    match content_length(headers)? {
        Some(length) => Ok(Framing::Length(length)),
        None => Ok(Framing::UntilClosed),
    }
}

fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(None) };
    let mut is_repeated = false;
    for length in lengths {
        is_repeated = true;
        if length != first {
            return Err("it has two lengths");
        }
    }
    let length = digits(first.as_bytes()).ok_or("its length is none")?;
    if is_repeated {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(length))
}

fn keeps(response: &Response<()>) -> bool {
    let lists = |wanted: &str| {
        let values = response.headers().get_all(CONNECTION).iter();
        let mut items =
            values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        items.any(|item| item.trim().eq_ignore_ascii_case(wanted))
    };
    if response.version() == Version::HTTP_11 { !lists("close") } else { lists("keep-alive") }
}
