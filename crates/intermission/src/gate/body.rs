//! Bodies streamed through in both directions, each with a limit to the patience between two parts.

use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::alarm::Alarm;
use super::exchange::{ReceiveError, ReceivedBody};
use super::page::Page;
use super::passage::Passage;
use super::pool::Pool;
use super::receive::{Upload, UploadError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body broke off")]
    Broke(#[source] hyper::Error),
    #[error("the body broke off")]
    Client(#[source] UploadError),
    #[error("the body is not as long as was said")]
    Length,
    #[error("the upstream's body broke off")]
    Upstream(#[from] ReceiveError),
    #[error("no part of the body came for {0:?}")]
    Stalled(Duration),
    #[error("a hold has cut its request off")]
    CutOff,
}

impl BodyError {
    /// What a client is told whose body it was.
    pub(crate) fn page(&self) -> Page {
        match self {
            Self::Client(UploadError::Malformed(_)) => Page::Ambiguous,
            Self::Client(UploadError::Broke(_) | UploadError::Closed)
            | Self::Broke(_)
            | Self::Stalled(_)
            | Self::Length
            | Self::CutOff
            | Self::Upstream(_) => Page::BodyBrokeOff,
        }
    }
}

/// Boxed before anybody waits with it: whoever does has no room for all of it, let alone at every turn of its way.
pub(crate) type BoxedRequest = Box<Request<RequestBody>>;

/// A client's body on its way to the upstream. It stays in the socket until it is polled.
#[derive(Debug)]
pub(crate) struct RequestBody {
    inner: Inner,
    /// None: whoever reads it sees to its time.
    patience: Option<Patience>,
    /// Only for a request that was held: nobody else is waiting for it to be written.
    passage: Option<Weak<Passage>>,
}

#[derive(Debug)]
enum Inner {
    Nothing,
    Http1(Upload),
    Http2(Incoming),
}

/// An upstream's body on its way to the client.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    inner: ReceivedBody,
    patience: Patience,
    passage: Option<Rc<Passage>>,
    /// In flight only until its head was sent.
    is_endless: bool,
    /// Where the connection goes when the body has ended. It is closed when this is dropped before.
    pool: Option<Rc<Pool>>,
}

/// What the gate answers with.
#[derive(Debug)]
pub(crate) enum GateBody {
    Page(Full<Bytes>),
    Upstream(ResponseBody),
}

/// A timer that costs nothing as long as nothing has to be waited for.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    alarm: Alarm,
    running: bool,
}

// === impl RequestBody ===

impl RequestBody {
    pub(crate) fn of_http1(body: Option<Upload>) -> Self {
        Self { inner: body.map_or(Inner::Nothing, Inner::Http1), patience: None, passage: None }
    }

    pub(crate) const fn of_http2(body: Incoming) -> Self {
        Self { inner: Inner::Http2(body), patience: None, passage: None }
    }

    /// Of a request of the gate's own.
    pub(crate) const fn none() -> Self {
        Self { inner: Inner::Nothing, patience: None, passage: None }
    }

    /// Its request goes on: each part of it must come within `patience`.
    pub(crate) fn passes_by(&mut self, passage: &Rc<Passage>, patience: Duration) {
        self.passage = passage.was_held().then(|| Rc::downgrade(passage));
        self.patience = Some(Patience::new(patience));
    }

    /// The whole request is.
    pub(crate) fn written(&self) {
        if let Some(passage) = self.passage.as_ref().and_then(Weak::upgrade) {
            passage.written();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let inner = Pin::new(&mut this.inner);
        match &mut this.patience {
            Some(patience) => patience.poll_frame(inner, cx),
            None => inner.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Body for Inner {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Nothing => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Client),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Broke),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

// === impl ResponseBody ===

impl ResponseBody {
    pub(crate) fn new(
        inner: ReceivedBody,
        patience: Duration,
        passage: Rc<Passage>,
        is_endless: bool,
        pool: Rc<Pool>,
    ) -> Self {
        let (passage, pool) = (Some(passage), Some(pool));
        let patience = Patience::new(patience);
        let mut body = Self { inner, patience, passage, is_endless, pool };
        if body.inner.is_end_stream() {
            body.complete();
        }
        body
    }

    fn complete(&mut self) {
        self.passage = None;
        if let Some(pool) = self.pool.take()
            && let Some(free) = self.inner.free()
        {
            pool.check_in(free);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.is_endless {
            // Its head goes out with its first part.
            this.passage = None;
        }
        let mut frame = ready!(this.patience.poll_frame(Pin::new(&mut this.inner), cx));
        if this.passage.as_ref().is_some_and(|passage| passage.is_killed()) {
            // Or the end of the connection would be taken for that of a body without a length.
            frame = Some(Err(BodyError::CutOff));
        }
        match &frame {
            // Nobody asks for more once there are trailers.
            Some(Ok(frame)) if frame.is_trailers() => this.complete(),
            Some(Ok(_)) if this.inner.is_end_stream() => this.complete(),
            Some(Ok(_)) => {}
            Some(Err(_)) => {
                this.inner.close();
                if let Some(passage) = this.passage.take() {
                    passage.failed();
                }
            }
            None => this.complete(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

// === impl GateBody ===

impl Body for GateBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Page(page) => Pin::new(page).poll_frame(cx).map_err(|never| match never {}),
            Self::Upstream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(page) => page.is_end_stream(),
            Self::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(page) => page.size_hint(),
            Self::Upstream(body) => body.size_hint(),
        }
    }
}

// === impl Patience ===

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, alarm: Alarm::default(), running: false }
    }

    fn poll_frame<B>(
        &mut self,
        body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>>
    where
        B: Body<Data = Bytes, Error: Into<BodyError>>,
    {
        if let Poll::Ready(frame) = body.poll_frame(cx) {
            self.running = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if !self.running {
            self.running = true;
            self.alarm.set(self.limit);
        }
        ready!(self.alarm.poll(cx));
        Poll::Ready(Some(Err(BodyError::Stalled(self.limit))))
    }
}
