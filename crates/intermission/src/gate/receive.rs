//! The requests of one client's connection by HTTP/1, one after the other, and their answers.
//!
//! The connection's task reads a head, serves the request and writes the answer; in between it looks whether the client is still
//! there. While it waits for anything it has no buffer: what was read ahead is all that is kept.

mod answer;
mod date;
mod head;
mod upload;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Response, StatusCode};

use self::answer::Answer;
pub(crate) use self::date::Date;
pub(crate) use self::head::Refusal;
use self::head::{Asked, Head};
use self::upload::Uploading;
pub(crate) use self::upload::{Upload, UploadError};
use super::alarm::Alarm;
use super::body::{BoxedRequest, GateBody, RequestBody};
use super::client_socket::ClientSocket;
use super::stream::Shared;
use crate::shutdown::Shutdown;

/// Of HTTP/2 in clear text, which no request of HTTP/1 begins with (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection, and what its requests have in common.
#[derive(Debug)]
pub(super) struct Requests<'a> {
    socket: &'a Shared<ClientSocket>,
    date: &'a Date,
    shutdown: &'a Shutdown,
    /// For a whole head, from the end of the answer before it.
    head_timeout: Duration,
}

/// How the connection came to its end as one of HTTP/1.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nobody has anything more to say.
    Over,
    /// Likewise, and the client has said so.
    Left,
    /// Its last answer is written, and the client may still be sending the request.
    Answered,
    /// It broke, or the client has left while it was served.
    Broke,
    Slow,
    /// The next request is none, and has no answer yet.
    Refused(Refusal),
    /// What is unread begins with the preface of HTTP/2.
    Http2,
    /// What follows its last answer, which was 101, is no HTTP.
    Switched,
}

/// Where the reading of heads stands.
struct Heads<S> {
    /// Of what is unread this much was looked at, and is no whole head.
    looked_at: usize,
    /// Nothing but HTTP/1 can come.
    is_http1: bool,
    alarm: Alarm,
    is_awaited: bool,
    stopping: S,
    /// Whom the end of `stopping` wakes.
    told: Option<Waker>,
}

impl<'a> Requests<'a> {
    pub(super) const fn new(
        socket: &'a Shared<ClientSocket>,
        date: &'a Date,
        shutdown: &'a Shutdown,
        head_timeout: Duration,
    ) -> Self {
        Self { socket, date, shutdown, head_timeout }
    }

    /// Answers each request with what `serve` gives; an error: there is nobody to answer.
    pub(super) async fn answer_each<S, F, E>(&self, serve: S) -> End
    where
        S: Fn(BoxedRequest) -> F,
        F: Future<Output = Result<Response<GateBody>, E>>,
    {
        let mut heads = Heads {
            looked_at: 0,
            is_http1: self.socket.with(|socket| socket.is_tls()),
            alarm: Alarm::default(),
            is_awaited: false,
            stopping: pin!(self.shutdown.stopping()),
            told: None,
        };
        loop {
            let head = match poll_fn(|cx| heads.poll(self, cx)).await {
                Ok(head) => head,
                Err(end) => return end,
            };
            let (body, uploading) = Upload::of(&head, self.socket).unzip();
            let Head { request, asked, .. } = head;
            let request = request.map(|()| RequestBody::of_http1(body));
            let serving = self.while_there(uploading.as_ref(), serve(Box::new(request)));
            let Some(Ok(response)) = serving.await else { return End::Broke };
            let is_switch = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            match self.write(response, asked, uploading.as_ref()).await {
                Err(end) => return end,
                Ok(_) if is_switch => return End::Switched,
                Ok(is_last) if is_last => return End::Over,
                Ok(_) => {}
            }
        }
    }

    /// An answer to what is no request, behind which the connection ends.
    pub(super) async fn refuse(&self, response: Response<GateBody>) {
        let asked = Asked { is_head: false, is_old: false, keeps: false, takes_trailers: false };
        // The connection ends in any case.
        drop(self.write(response, asked, None).await);
    }

    /// Whether the connection ends behind it, once the request was read.
    async fn write(
        &self,
        response: Response<GateBody>,
        asked: Asked,
        uploading: Option<&Uploading>,
    ) -> Result<bool, End> {
        let may_end =
            poll_fn(|cx| Poll::Ready(uploading.is_none_or(|body| body.may_end(cx)))).await;
        let interim = uploading.map(Uploading::end_interim).unwrap_or_default();
        let is_last = !may_end || self.shutdown.is_stopping();
        let mut answer = Answer::new(response, asked, is_last, interim, self.date);
        let writing = poll_fn(|cx| answer.poll(self.socket, cx));
        match self.while_there(uploading, writing).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return Err(End::Broke),
        }
        let is_last = answer.is_last;
        drop(answer);
        let Some(uploading) = uploading else { return Ok(is_last) };
        poll_fn(|cx| uploading.poll_settled(cx)).await;
        let is_read = poll_fn(|cx| Poll::Ready(uploading.may_end(cx))).await;
        if is_read { Ok(is_last) } else { Err(End::Answered) }
    }

    /// None: the client has left before.
    async fn while_there<F>(&self, uploading: Option<&Uploading>, work: F) -> Option<F::Output>
    where
        F: Future,
    {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            // Another task may have the body in hand: this one is told when it was read.
            let is_read =
                uploading.is_none_or(|body| body.poll_settled(cx).is_ready() && body.is_over());
            self.socket.with(|socket| socket.poll_left(is_read, cx)).map(|()| None)
        })
        .await
    }
}

impl<S: Future<Output = ()>> Heads<Pin<&mut S>> {
    fn poll(&mut self, requests: &Requests<'_>, cx: &mut Context<'_>) -> Poll<Result<Head, End>> {
        loop {
            if let Some(head) = requests.socket.with(|socket| self.next(socket))? {
                self.is_awaited = false;
                return Poll::Ready(Ok(head));
            }
            let read = requests.socket.with(|socket| socket.poll_more(cx));
            match read {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(End::Left)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "client connection broke");
                    return Poll::Ready(Err(End::Broke));
                }
                Poll::Pending => return self.poll_end(requests, cx).map(Err),
            }
        }
    }

    /// Nothing is there to be read.
    fn poll_end(&mut self, requests: &Requests<'_>, cx: &mut Context<'_>) -> Poll<End> {
        if !self.is_awaited {
            self.is_awaited = true;
            self.alarm.set(requests.head_timeout);
        }
        if self.alarm.poll(cx).is_ready() {
            return Poll::Ready(End::Slow);
        }
        if !requests.shutdown.is_stopping() {
            self.hear_of_stop(cx);
            // Or it came meanwhile, and nobody was told.
            if !requests.shutdown.is_stopping() {
                return Poll::Pending;
            }
        }
        // Whose head has begun is answered.
        let is_idle = requests
            .socket
            .with(|socket| socket.unread().iter().all(|byte| matches!(byte, b'\r' | b'\n')));
        if is_idle { Poll::Ready(End::Over) } else { Poll::Pending }
    }

    /// Once for all requests: a connection has one task.
    fn hear_of_stop(&mut self, cx: &mut Context<'_>) {
        let is_told = self.told.as_ref().is_some_and(|told| told.will_wake(cx.waker()));
        if !is_told && self.stopping.as_mut().poll(cx).is_pending() {
            self.told = Some(cx.waker().clone());
        }
    }

    /// The head that was read. None: it was not, or not all of it.
    fn next(&mut self, socket: &mut ClientSocket) -> Result<Option<Head>, End> {
        let unread = socket.unread();
        if unread.len() == self.looked_at {
            return Ok(None);
        }
        if !self.is_http1 && may_be_preface(unread) {
            return if unread.len() < PREFACE.len() { Ok(None) } else { Err(End::Http2) };
        }
        self.is_http1 = true;
        if self.looked_at > 0 && unread.len() < head::HEAD_BYTES_MAX {
            // A head in small pieces is not read anew with each of them.
            let begin = self.looked_at.saturating_sub(2);
            let further = unread.get(begin..).unwrap_or_default();
            if memchr::memmem::find(further, b"\n\r\n").is_none()
                && memchr::memmem::find(further, b"\n\n").is_none()
            {
                self.looked_at = unread.len();
                return Ok(None);
            }
        }
        match head::parse(unread).map_err(End::Refused)? {
            Some(head) => {
                self.looked_at = 0;
                drop(unread.split_to(head.length));
                Ok(Some(head))
            }
            None => {
                self.looked_at = unread.len();
                Ok(None)
            }
        }
    }
}

/// Whether `bytes` are, or are the beginning of what may be, the preface and more.
fn may_be_preface(bytes: &[u8]) -> bool {
    bytes.iter().zip(PREFACE).all(|(byte, preface)| byte == preface)
}

#[cfg(test)]
mod tests;
