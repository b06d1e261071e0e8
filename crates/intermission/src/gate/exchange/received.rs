//! A response's body as it comes, and the connection that is free behind it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio_util::io::poll_read_buf;
use tokio_util::task::AbortOnDropHandle;

use super::ReceiveError;
use super::outgoing::Outgoing;
use crate::gate::framing::{Decoder, Framing, Part, SendError};
use crate::gate::pool::Connection;
use crate::shutdown::Shutdown;

/// Read at once, at first and when that was too little.
const READ_BYTES_MIN: usize = 8 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct ReceivedBody {
    /// None: it was given back, or is closed.
    connection: Option<Box<Connection>>,
    decoder: Decoder,
    /// Read and not given on.
    bytes: Bytes,
    read_bytes: usize,
    keeps: bool,
    /// The rest of the request, which has not been sent yet; true: it was.
    rest: Option<AbortOnDropHandle<bool>>,
}

/// A connection whose response has ended.
#[derive(Debug)]
pub(crate) enum Free {
    Now(Box<Connection>),
    /// When the rest of its request is sent, if it is.
    Later(Box<Connection>, AbortOnDropHandle<bool>),
}

impl ReceivedBody {
    pub(super) fn new(
        connection: Box<Connection>,
        framing: Framing,
        keeps: bool,
        bytes: Bytes,
    ) -> Self {
        let decoder = Decoder::of_response(framing);
        let connection = Some(connection);
        Self { connection, decoder, bytes, read_bytes: READ_BYTES_MIN, keeps, rest: None }
    }

    /// The rest of the request goes on meanwhile.
    pub(super) fn beside(mut self, mut outgoing: Outgoing, tasks: &Shutdown) -> Self {
        let Some(connection) = &self.connection else { return self };
        let socket = connection.socket.clone();
        let rest = tasks.spawn_local(async move {
            match std::future::poll_fn(|cx| outgoing.poll(&socket, cx)).await {
                Ok(()) => true,
                Err(SendError::Broke(error)) => {
                    tracing::debug!(%error, "the rest of an answered request was not wanted");
                    false
                }
                Err(SendError::Body(error)) => {
                    tracing::debug!(%error, "the rest of an answered request broke off");
                    // Its upstream would wait for it, and whoever reads the response for that.
                    socket.cut();
                    false
                }
            }
        });
        self.rest = Some(AbortOnDropHandle::new(rest));
        self
    }

    /// The connection, once the body has ended, if another request may go by it.
    pub(crate) fn free(&mut self) -> Option<Free> {
        let connection = self.connection.take()?;
        let ended = self.decoder.is_over() && self.bytes.is_empty();
        if !ended || !self.keeps {
            return None;
        }
        Some(match self.rest.take() {
            Some(rest) => Free::Later(connection, rest),
            None => Free::Now(connection),
        })
    }

    /// Ends the connection.
    pub(crate) fn close(&mut self) {
        self.connection = None;
        self.rest = None;
    }

    /// What there is behind a 101: nothing of HTTP.
    pub(crate) fn into_parts(self) -> Option<(Box<Connection>, Bytes)> {
        Some((self.connection?, self.bytes))
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, ReceiveError>> {
        loop {
            if let Some(part) =
                self.decoder.decode(&mut self.bytes).map_err(ReceiveError::Malformed)?
            {
                return Poll::Ready(Ok(part));
            }
            if !ready!(self.poll_more(cx))? {
                if matches!(self.decoder, Decoder::UntilClosed) {
                    self.decoder = Decoder::Over;
                    self.keeps = false;
                    return Poll::Ready(Ok(Part::End));
                }
                return Poll::Ready(Err(ReceiveError::Closed));
            }
        }
    }

    /// False: the connection has ended.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ReceiveError>> {
        let Some(connection) = &self.connection else { return Poll::Ready(Ok(false)) };
        let wanted = self.decoder.wanted(self.read_bytes);
        // Room for it only once there is something.
        ready!(connection.socket.with(|socket| socket.poll_read_ready(cx)))
            .map_err(ReceiveError::Broke)?;
        let mut bytes = BytesMut::with_capacity(wanted);
        let read = connection.socket.with(|socket| poll_read_buf(Pin::new(socket), cx, &mut bytes));
        let length = ready!(read).map_err(ReceiveError::Broke)?;
        if length >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        self.bytes = bytes.freeze();
        Poll::Ready(Ok(length > 0))
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = ReceiveError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReceiveError>>> {
        let part = ready!(self.poll_part(cx));
        Poll::Ready(part.map(Part::into_frame).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.size_hint()
    }
}
