//! A body's parts as they are read.

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Frame, SizeHint};

use super::Framing;
use super::chunks::{Chunks, Limits, OF_REQUESTS, OF_RESPONSES};

/// What of a body is still to come.
#[derive(Debug)]
pub(crate) enum Decoder {
    Length(u64),
    Chunks(Chunks),
    UntilClosed,
    Over,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

impl Decoder {
    pub(crate) fn of_response(framing: Framing) -> Self {
        Self::new(framing, OF_RESPONSES)
    }

    pub(crate) fn of_request(framing: Framing) -> Self {
        Self::new(framing, OF_REQUESTS)
    }

    fn new(framing: Framing, limits: Limits) -> Self {
        match framing {
            Framing::Length(0) => Self::Over,
            Framing::Length(left) => Self::Length(left),
            Framing::Chunked => Self::Chunks(Chunks::new(limits)),
            Framing::UntilClosed => Self::UntilClosed,
        }
    }

    pub(crate) const fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// The next part of `bytes`. None: there must be more.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn decode(&mut self, bytes: &mut Bytes) -> Result<Option<Part>, &'static str> {
        match self {
            Self::Over => Ok(Some(Part::End)),
            Self::Length(_) | Self::UntilClosed if bytes.is_empty() => Ok(None),
            Self::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
                if *left == 0 {
                    *self = Self::Over;
                }
                Ok(Some(Part::Data(bytes.split_to(length))))
            }
            Self::UntilClosed => Ok(Some(Part::Data(std::mem::take(bytes)))),
            Self::Chunks(chunks) => {
                let part = chunks.next(bytes)?;
                if matches!(part, Some(Part::End | Part::Trailers(_))) {
                    *self = Self::Over;
                }
                Ok(part)
            }
        }
    }

    /// How much to read at once, `bytes_max` at most: nothing of what is behind a body whose length is known.
    pub(crate) fn wanted(&self, bytes_max: usize) -> usize {
        match self {
            Self::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(bytes_max),
            Self::Chunks(_) | Self::UntilClosed | Self::Over => bytes_max,
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Over => SizeHint::with_exact(0),
            Self::Chunks(_) | Self::UntilClosed => SizeHint::default(),
        }
    }
}

impl Part {
    /// As a body gives it.
    pub(crate) fn into_frame(self) -> Option<Frame<Bytes>> {
        match self {
            Self::Data(data) => Some(Frame::data(data)),
            Self::Trailers(trailers) => Some(Frame::trailers(trailers)),
            Self::End => None,
        }
    }
}
