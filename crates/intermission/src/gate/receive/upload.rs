//! The body of a request, which stays in the socket until somebody asks for it.
//!
//! Whoever sends the request on has it in hand, and that may be another task than the connection's, which waits here for what
//! becomes of it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::AsyncWrite;

use super::head::Head;
use crate::gate::client_socket::ClientSocket;
use crate::gate::framing::{Decoder, Framing, Part};
use crate::gate::stream::Shared;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Read at once, at first and when that was too little.
const READ_BYTES_MIN: usize = 8 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;

/// Why there is no more of a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the client's connection broke")]
    Broke(#[source] io::Error),
    #[error("the client ended its connection before the body was complete")]
    Closed,
    #[error("the client's body is malformed: {0}")]
    Malformed(&'static str),
}

/// The body in the hands of whoever sends it on.
#[derive(Debug)]
pub(crate) struct Upload(Uploading);

/// The same as its connection sees it.
#[derive(Debug, Clone)]
pub(super) struct Uploading(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    socket: Shared<ClientSocket>,
    decoder: Decoder,
    /// What is to be written before it is read: the client waits for that. Some, but empty: it is not flushed.
    interim: Option<&'static [u8]>,
    hands: Hands,
    read_bytes: usize,
    /// The connection's task, which waits for it to end.
    waiting: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hands {
    /// Somebody may read it.
    Held,
    /// Nobody will any more.
    Left,
    /// Where it ends is not known.
    Broken,
}

impl Upload {
    /// Of the request with this head. None: it has no body.
    pub(super) fn of(head: &Head, socket: &Shared<ClientSocket>) -> Option<(Self, Uploading)> {
        if head.framing == Framing::Length(0) {
            return None;
        }
        let state = State {
            socket: socket.clone(),
            decoder: Decoder::of_request(head.framing),
            interim: head.expects.then_some(CONTINUE),
            hands: Hands::Held,
            read_bytes: READ_BYTES_MIN,
            waiting: None,
        };
        let uploading = Uploading(Rc::new(RefCell::new(state)));
        Some((Self(uploading.clone()), uploading))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut state = self.0.0.borrow_mut();
        if state.hands == Hands::Held {
            state.hands = Hands::Left;
        }
        state.wake();
    }
}

impl Uploading {
    /// All of it was read.
    pub(super) fn is_over(&self) -> bool {
        self.0.borrow().decoder.is_over()
    }

    /// Ready when nobody reads it any more.
    pub(super) fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if state.decoder.is_over() || state.hands != Hands::Held {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether the next request can follow: it was read, or somebody still may, or what nobody wants of it has come already.
    pub(super) fn may_end(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.0.borrow_mut();
        match state.hands {
            Hands::Held => true,
            Hands::Left => state.discard(cx),
            Hands::Broken => state.decoder.is_over(),
        }
    }

    /// The answer begins: the client is asked for nothing any more. Gives what is still to be written of that.
    pub(super) fn end_interim(&self) -> &'static [u8] {
        let rest = self.0.borrow_mut().interim.take().unwrap_or_default();
        if rest.len() == CONTINUE.len() { &[] } else { rest }
    }
}

impl State {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, UploadError>> {
        ready!(self.poll_interim(cx)).map_err(UploadError::Broke)?;
        loop {
            if let Some(part) = self.decode()? {
                return Poll::Ready(Ok(part));
            }
            let wanted = self.decoder.wanted(self.read_bytes);
            let read = ready!(self.socket.with(|socket| socket.poll_part(wanted, cx)));
            let length = read.map_err(UploadError::Broke)?;
            if length == 0 {
                return Poll::Ready(Err(UploadError::Closed));
            }
            if length >= self.read_bytes {
                self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
            }
        }
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.interim {
            if rest.is_empty() {
                ready!(self.socket.with(|socket| Pin::new(socket).poll_flush(cx)))?;
                self.interim = None;
            } else {
                let written = self.socket.with(|socket| Pin::new(socket).poll_write(cx, rest));
                let written = ready!(written)?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.interim = Some(rest.get(written..).unwrap_or_default());
            }
        }
        Poll::Ready(Ok(()))
    }

    fn decode(&mut self) -> Result<Option<Part>, UploadError> {
        let part = self.socket.with(|socket| self.decoder.decode(socket.unread()));
        if part.is_err() {
            self.hands = Hands::Broken;
        }
        if part.is_err() || self.decoder.is_over() {
            self.wake();
        }
        part.map_err(UploadError::Malformed)
    }

    /// Whether all of it has come. What has is taken.
    fn discard(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..2 {
            while !self.decoder.is_over() && matches!(self.decode(), Ok(Some(_))) {}
            if self.decoder.is_over() || self.hands == Hands::Broken {
                break;
            }
            let wanted = self.decoder.wanted(self.read_bytes);
            let read = self.socket.with(|socket| socket.poll_part(wanted, cx));
            if !matches!(read, Poll::Ready(Ok(1..))) {
                break;
            }
        }
        self.decoder.is_over()
    }

    fn wake(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let part = ready!(self.0.0.borrow_mut().poll_part(cx));
        Poll::Ready(part.map(Part::into_frame).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.0.borrow().decoder.size_hint()
    }
}
