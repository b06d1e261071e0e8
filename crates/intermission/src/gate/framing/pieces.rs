//! A message on its way into a socket.

use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    HOST, HeaderName, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue};
use hyper::body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::Framing;
use crate::gate::body::BodyError;
use crate::gate::stream::Shared;

/// A part of a body up to this size is copied behind what is there to be written already: that costs less than a slice of its own.
const COPIED_BYTES_MAX: usize = 2 * 1024;
/// With so much to be written, no further part is asked for.
const GATHERED_BYTES_MAX: usize = 16 * 1024;
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
pub(crate) enum SendError {
    /// There was not all of it.
    Body(BodyError),
    Broke(io::Error),
}

/// What is still to be written of it.
#[derive(Debug)]
pub(crate) struct Pieces {
    framing: Framing,
    /// The head, small parts of the body, and what comes before a chunk.
    before: BytesMut,
    data: Bytes,
    /// What comes behind `data`.
    behind: &'static [u8],
    /// Those trailers are sent.
    trailers: Vec<HeaderName>,
    is_begun: bool,
    /// The body was asked for something.
    is_drawn: bool,
    /// Some of the body has come.
    has_body: bool,
    /// All of the body is in `data` or before.
    is_drained: bool,
    /// The body broke off behind what is here.
    broke_off: Option<BodyError>,
}

impl Pieces {
    /// `is_drained`: no body follows.
    pub(crate) const fn new(
        head: BytesMut,
        framing: Framing,
        trailers: Vec<HeaderName>,
        is_drained: bool,
    ) -> Self {
        Self {
            framing,
            before: head,
            data: Bytes::new(),
            behind: b"",
            trailers,
            is_begun: false,
            is_drawn: false,
            has_body: false,
            is_drained,
            broke_off: None,
        }
    }

    /// It can be sent by another connection as if nothing had been.
    pub(crate) const fn is_untouched(&self) -> bool {
        !self.is_begun && !self.is_drawn
    }

    /// Its length was said, and there is none of it: the other side would wait for what follows.
    pub(crate) const fn lacks_its_body(&self) -> bool {
        !self.is_begun && self.is_drained && matches!(self.framing, Framing::Length(1..))
    }

    /// Ready when all of it is written.
    pub(crate) fn poll<B, S>(
        &mut self,
        body: &mut B,
        socket: &Shared<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>>
    where
        B: Body<Data = Bytes, Error = BodyError> + Unpin,
        S: AsyncWrite + Unpin,
    {
        loop {
            let is_waiting = self.gather(body, cx);
            if !self.is_written() {
                match ready!(socket.with(|socket| self.poll_write(Pin::new(socket), cx))) {
                    Ok(0) => {
                        return Poll::Ready(Err(SendError::Broke(io::ErrorKind::WriteZero.into())));
                    }
                    Ok(written) => self.advance(written),
                    Err(error) => return Poll::Ready(Err(SendError::Broke(error))),
                }
                continue;
            }
            if is_waiting || self.is_drained {
                ready!(socket.with(|socket| Pin::new(socket).poll_flush(cx)))
                    .map_err(SendError::Broke)?;
            }
            if let Some(error) = self.broke_off.take() {
                return Poll::Ready(Err(SendError::Body(error)));
            }
            if self.is_drained {
                return Poll::Ready(Ok(()));
            }
            if is_waiting {
                return Poll::Pending;
            }
        }
    }

    /// Takes what there is of the body, as long as there is room. True: it will have more.
    fn gather<B>(&mut self, body: &mut B, cx: &mut Context<'_>) -> bool
    where
        B: Body<Data = Bytes, Error = BodyError> + Unpin,
    {
        while !self.is_drained && self.has_room() {
            self.is_drawn = true;
            let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else { return true };
            if let Err(error) = self.take(frame, body.is_end_stream()) {
                self.is_drained = true;
                self.broke_off = Some(error);
                if !self.is_begun && !self.has_body {
                    // The other side need not hear of it.
                    self.before.clear();
                }
            }
        }
        false
    }

    fn has_room(&self) -> bool {
        self.data.is_empty() && self.behind.is_empty() && self.before.len() < GATHERED_BYTES_MAX
    }

    fn is_written(&self) -> bool {
        self.before.is_empty() && self.data.is_empty() && self.behind.is_empty()
    }

    fn poll_write<S>(&self, socket: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite,
    {
        if self.data.is_empty() && self.behind.is_empty() {
            return socket.poll_write(cx, &self.before);
        }
        let slices =
            [IoSlice::new(&self.before), IoSlice::new(&self.data), IoSlice::new(self.behind)];
        socket.poll_write_vectored(cx, &slices)
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

    /// The body's next part, or its end. `is_over`: there is none behind it.
    fn take(
        &mut self,
        frame: Option<Result<Frame<Bytes>, BodyError>>,
        is_over: bool,
    ) -> Result<(), BodyError> {
        match frame.transpose()?.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.is_drained = is_over;
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
                self.put(data, b"");
                if self.is_drained { self.end(None) } else { Ok(()) }
            }
            Framing::UntilClosed => {
                self.put(data, b"");
                Ok(())
            }
            Framing::Chunked if data.is_empty() => self.end(None),
            Framing::Chunked => {
                write!(self.before, "{:x}\r\n", data.len()).unwrap_or_default();
                self.put(data, if self.is_drained { b"\r\n0\r\n\r\n" } else { b"\r\n" });
                Ok(())
            }
        }
    }

    fn put(&mut self, data: Bytes, behind: &'static [u8]) {
        self.has_body = true;
        if data.len() > COPIED_BYTES_MAX {
            (self.data, self.behind) = (data, behind);
        } else {
            self.before.extend_from_slice(&data);
            self.before.extend_from_slice(behind);
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), BodyError> {
        match self.framing {
            Framing::Length(0) | Framing::UntilClosed => Ok(()),
            Framing::Length(_) => Err(BodyError::Length),
            Framing::Chunked => {
                self.before.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    if self.trailers.contains(name) {
                        write_field(&mut self.before, name, value.as_bytes());
                    }
                }
                self.before.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }
}

/// The trailers that a head announces and that may be some.
pub(crate) fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let values =
        headers.get_all(TRAILER).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
    let names = values.flat_map(|value| value.split(','));
    names
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .filter(|name| !NEVER_TRAILERS.contains(name))
        .collect()
}

pub(crate) fn write_field(head: &mut BytesMut, name: &HeaderName, value: &[u8]) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}
