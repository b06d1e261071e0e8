//! A client of HTTP/2 that takes nothing more of an answer.
//!
//! Its connection goes on, so the kernel cannot end it; and hyper waits for room without an end,
//! with the upstream's connection and the request's place among those in flight.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::alarm::Alarm;
use super::body::{BodyError, GateBody};

/// What is given to hyper at once: the smaller, the sooner a slow client is seen to take something.
const PART_BYTES_MAX: usize = 16 * 1024;

tokio::task_local! {
    static TAKING: Rc<Taking>;
}

/// Since when a stream has waited for its client; none: it does not.
#[derive(Debug, Default)]
struct Taking(Cell<Option<Instant>>);

/// An answer by HTTP/2.
#[derive(Debug)]
pub(crate) struct Taken {
    body: GateBody,
    /// Of a part of it.
    rest: Bytes,
    taking: Rc<Taking>,
}

/// Runs `stream`, but no longer than its client takes something every `limit`. There is no timer before the answer: whoever is
/// held has none.
pub(crate) async fn while_taken<F>(stream: F, limit: Duration)
where
    F: Future<Output = ()>,
{
    let taking = Rc::<Taking>::default();
    let mut alarm = Alarm::default();
    let mut stream = pin!(TAKING.scope(Rc::clone(&taking), stream));
    let is_over = poll_fn(|cx| match stream.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending => taking.poll_stalled(limit, &mut alarm, cx).map(|()| false),
    });
    if !is_over.await {
        tracing::debug!(?limit, "a client took nothing of its answer");
    }
}

impl Taken {
    /// The answer of the stream that is running.
    pub(crate) fn answer(response: Response<GateBody>) -> Response<Self> {
        // hyper waits for room before it asks for the first part.
        let taking = TAKING.try_with(Rc::clone).unwrap_or_default();
        taking.0.set(Some(Instant::now()));
        response.map(|body| Self { body, rest: Bytes::new(), taking })
    }
}

impl Taking {
    /// Whoever writes the answer is polled before: nothing else changes what is noted here.
    fn poll_stalled(&self, limit: Duration, alarm: &mut Alarm, cx: &mut Context<'_>) -> Poll<()> {
        let Some(since) = self.0.get() else { return Poll::Pending };
        alarm.set_to(since + limit);
        alarm.poll(cx)
    }
}

impl Taken {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(PART_BYTES_MAX);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }
}

impl Body for Taken {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = self.poll_part(cx);
        // What there is goes to the client; what there is not is the upstream's to give.
        self.taking.0.set(frame.is_ready().then(Instant::now));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}
