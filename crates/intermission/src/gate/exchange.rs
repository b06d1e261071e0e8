//! One request and its response on one connection to an upstream, by HTTP/1.1.
//!
//! Whoever waits for the response drives it: an exchange has no task of its own (docs/PERFORMANCE.md). Only a request that is
//! answered before it is sent whole gets one for its rest.

mod head;
mod outgoing;
mod received;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use tokio::io::{AsyncRead, ReadBuf};

use self::head::Head;
use self::outgoing::Outgoing;
pub(crate) use self::received::{Free, ReceivedBody};
use super::body::{BodyError, BoxedRequest};
use super::framing::SendError;
use super::header::told::About;
use super::pool::Connection;
use crate::shutdown::Shutdown;

/// Of a response, in all: several times what nginx and HAProxy take.
pub(crate) const RESPONSE_HEAD_BYTES_MAX: usize = 128 * 1024;
/// On the stack, for the head and what comes with it.
const FIRST_READ_BYTES: usize = 16 * 1024;
/// Before the response itself; each may only be of the kind that says "wait".
const INTERIM_RESPONSES_MAX: u32 = 64;

/// Why there is no response to a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the connection broke before anything was sent")]
    Unsent(BoxedRequest),
    /// The client's, of which a part was sent perhaps.
    #[error("the request's body broke off")]
    Body(#[source] BodyError),
    #[error("no whole response came")]
    Upstream(#[source] ReceiveError),
    #[error("no answer within {0:?}")]
    Slow(Duration),
}

/// Why a response was not received whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error("the connection broke")]
    Broke(#[source] io::Error),
    #[error("the connection was closed before the response was complete")]
    Closed,
    #[error("what came is no response of HTTP/1: {0}")]
    Malformed(&'static str),
}

impl Connection {
    /// The response to `request`, if its head comes within `limit`. Dropped before its end: the connection is closed. `about`: what the
    /// upstream is told besides; none of a request of the gate's own.
    pub(crate) fn exchange(
        self: Box<Self>,
        request: BoxedRequest,
        about: Option<About<'_>>,
        limit: Duration,
        tasks: &Shutdown,
    ) -> impl Future<Output = Result<Response<ReceivedBody>, Failure>> {
        let is_head = request.method() == Method::HEAD;
        self.answered(Outgoing::new(request, about), is_head, limit, tasks)
    }

    async fn answered(
        mut self: Box<Self>,
        outgoing: Outgoing,
        is_head: bool,
        limit: Duration,
        tasks: &Shutdown,
    ) -> Result<Response<ReceivedBody>, Failure> {
        let mut outgoing = Some(outgoing);
        let mut incoming = Incoming::default();
        self.alarm.set_to((self.since + limit).into());
        let head = poll_fn(|cx| match self.poll(&mut outgoing, &mut incoming, is_head, cx) {
            Poll::Pending => self.alarm.poll(cx).map(|()| Err(Failure::Slow(limit))),
            head @ Poll::Ready(_) => head,
        });
        let head = head.await?;
        let Head { response, framing, keeps, length } = head;
        let rest = incoming.bytes.split_off(length);
        let body = ReceivedBody::new(self, framing, keeps, rest);
        let body = match outgoing {
            Some(outgoing) => body.beside(outgoing, tasks),
            None => body,
        };
        Ok(response.map(|()| body))
    }

    fn poll(
        &self,
        outgoing: &mut Option<Outgoing>,
        incoming: &mut Incoming,
        is_head: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Failure>> {
        if let Some(sending) = outgoing {
            match sending.poll(&self.socket, cx) {
                Poll::Ready(Ok(())) => *outgoing = None,
                Poll::Ready(Err(SendError::Body(error))) => {
                    return Poll::Ready(Err(Failure::Body(error)));
                }
                Poll::Ready(Err(SendError::Broke(error))) => match outgoing.take() {
                    Some(unsent) if unsent.is_untouched() => {
                        return Poll::Ready(Err(Failure::Unsent(unsent.into_request())));
                    }
                    // It may have been answered all the same, before its end was wanted.
                    Some(_) | None => incoming.broke = Some(error),
                },
                Poll::Pending => {}
            }
        }
        incoming.poll(self, is_head, cx).map_err(Failure::Upstream)
    }
}

/// What has come of a response before its head is complete.
#[derive(Debug, Default)]
struct Incoming {
    bytes: Bytes,
    interim: u32,
    /// Sending failed: if there is no response, for this reason.
    broke: Option<io::Error>,
}

impl Incoming {
    fn poll(
        &mut self,
        connection: &Connection,
        is_head: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, ReceiveError>> {
        loop {
            let mut space = [const { MaybeUninit::<u8>::uninit() }; FIRST_READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut space);
            let read = connection.socket.with(|socket| Pin::new(socket).poll_read(cx, &mut buffer));
            let read = ready!(read);
            if let Err(error) = read {
                return Poll::Ready(Err(ReceiveError::Broke(self.broke.take().unwrap_or(error))));
            }
            let read = buffer.filled();
            if read.is_empty() {
                let closed = self.broke.take().map_or(ReceiveError::Closed, ReceiveError::Broke);
                return Poll::Ready(Err(closed));
            }
            self.keep(read);
            // Without the end of a line it can't have become complete.
            if !read.contains(&b'\n') && self.bytes.len() < RESPONSE_HEAD_BYTES_MAX {
                continue;
            }
            if let Some(head) = self.head(is_head)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    fn keep(&mut self, read: &[u8]) {
        self.bytes = if self.bytes.is_empty() {
            Bytes::copy_from_slice(read)
        } else {
            [&self.bytes, read].concat().into()
        };
    }

    /// The first that is not interim.
    fn head(&mut self, is_head: bool) -> Result<Option<Head>, ReceiveError> {
        loop {
            let head = head::parse(&self.bytes, is_head).map_err(ReceiveError::Malformed)?;
            match head {
                Some(head) if head.is_interim() => {
                    self.interim += 1;
                    if self.interim > INTERIM_RESPONSES_MAX {
                        return Err(ReceiveError::Malformed("interim responses without end"));
                    }
                    self.bytes = self.bytes.split_off(head.length);
                }
                Some(head) if head.length <= RESPONSE_HEAD_BYTES_MAX => return Ok(Some(head)),
                None if self.bytes.len() < RESPONSE_HEAD_BYTES_MAX => return Ok(None),
                Some(_) | None => return Err(ReceiveError::Malformed("its head is too long")),
            }
        }
    }
}

#[cfg(test)]
mod tests;
