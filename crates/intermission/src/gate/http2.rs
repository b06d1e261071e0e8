//! HTTP/2 with clients: its limits, and the end of a connection nobody uses. To upstreams the gate
//! speaks HTTP/1.1.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;
use tokio::time::Instant;

use super::taking::while_taken;
use crate::shutdown::Shutdown;

/// Requests that one connection may have at once; more are waited with by the client. A page has
/// dozens of parts.
const STREAMS_MAX: u32 = 128;
/// Names, values and 32 bytes for each field (RFC 9113 6.5.2). More is answered 431; how many frames
/// one head may come in follows from it.
const HEAD_BYTES_MAX: u32 = 32 * 1024;
/// Streams that were reset by the client before they were looked at; one more, and the connection is
/// ended with `ENHANCE_YOUR_CALM`.
const PENDING_RESETS_MAX: usize = 20;
/// Streams that the gate has reset for errors of the client; one more, and likewise.
const ERROR_RESETS_MAX: usize = 128;
/// What a client may send of bodies that nobody reads, because their requests are held: of one, and of
/// all on one connection.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What is taken from an upstream before its client takes it, for each stream.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// A client that vanished without a word is found out by these: a place in line would be kept for it.
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_WITHIN: Duration = Duration::from_secs(20);

pub(crate) fn builder(streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(ERROR_RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    builder
}

/// The open streams of one connection, each a task of its worker.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    tasks: Shutdown,
    /// How long a client may take nothing of an answer.
    write_timeout: Duration,
    open: Rc<Open>,
}

#[derive(Debug)]
struct Open {
    count: Cell<usize>,
    /// When the last one ended, or else the connection began.
    since: Cell<Instant>,
}

/// Open until this is dropped.
struct OneOpen(Rc<Open>);

impl Streams {
    pub(crate) fn new(tasks: Shutdown, write_timeout: Duration) -> Self {
        let open = Open { count: Cell::new(0), since: Cell::new(Instant::now()) };
        Self { tasks, write_timeout, open: Rc::new(open) }
    }

    /// Returns when there has been no stream for `limit`.
    pub(crate) async fn idle(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let begin = if self.open.count.get() > 0 { now } else { self.open.since.get() };
            let end = begin + limit;
            if end <= now {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, stream: F) {
        let open = OneOpen::new(&self.open);
        let write_timeout = self.write_timeout;
        // The futures around it would each keep room for it twice: as what they are given and as
        // what they wait for.
        let stream = Box::pin(stream);
        self.tasks.spawn_local(async move {
            while_taken(stream, write_timeout).await;
            drop(open);
        });
    }
}

impl OneOpen {
    fn new(open: &Rc<Open>) -> Self {
        open.count.set(open.count.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for OneOpen {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get().saturating_sub(1));
        self.0.since.set(Instant::now());
    }
}
