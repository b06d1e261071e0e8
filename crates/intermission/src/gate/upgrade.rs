//! Connections that have left HTTP behind: bytes go both ways until both sides have ended, nothing
//! has passed for too long, a hold says so, or the gate stops. They have no ticket.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::dial::Socket;
use super::stream::Shared;
use super::upstream::Use;
use super::websocket::{Frames, close_frame};
use crate::shutdown::Shutdown;

/// Between reading and writing, in either direction.
const COPY_BYTES: usize = 8 * 1024;
/// For the frame under way, the close frame and the other side's answer to it. Shorter than what a
/// stopping gate waits for last answers.
pub(crate) const FAREWELL_MAX: Duration = Duration::from_millis(750);
/// Over this time a hold tells its connections, each at a moment of its own: all of their clients connect again.
const SPREAD_MAX: Duration = Duration::from_millis(500);

/// An upstream's connection after its 101.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) socket: Shared<Socket>,
    /// What was read beyond the answer.
    pub(crate) rest: Bytes,
    /// The upstream is as busy with it as with a request.
    pub(crate) _in_use: Option<Use>,
}

/// The upstream's side of an upgraded connection, until the client's side has been answered.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) upstream: Upgraded,
    pub(crate) is_websocket: bool,
    /// Only where a hold closes it: changes when one begins.
    pub(crate) holds: Option<watch::Receiver<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Broke,
    Idle,
    Held,
    Stopping,
}

/// When something passed last.
struct Busy(Cell<Instant>);

/// One direction. What it is doing may be dropped at any time and another thing done.
struct Direction<R, W> {
    from: R,
    to: W,
    buffer: Box<[u8]>,
    /// What was read and is not written.
    pending: std::ops::Range<usize>,
    frames: Option<Frames>,
    has_ended: bool,
}

impl Tunnel {
    pub(crate) async fn run<C>(
        mut self,
        client: C,
        from_client: Bytes,
        idle_max: Duration,
        shutdown: &Shutdown,
    ) where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let (client_reads, client_writes) = tokio::io::split(client);
        let (upstream_reads, upstream_writes) = tokio::io::split(self.upstream.socket);
        let mut up = Direction::new(client_reads, upstream_writes, &from_client, self.is_websocket);
        let mut down =
            Direction::new(upstream_reads, client_writes, &self.upstream.rest, self.is_websocket);
        let busy = Busy(Cell::new(Instant::now()));
        let end = tokio::select! {
            // What has come since a hold began does not go on, so holds are looked at first.
            biased;
            () = held(&mut self.holds) => End::Held,
            () = shutdown.ending() => End::Stopping,
            ended = async { tokio::try_join!(up.carry(&busy), down.carry(&busy)) } => match ended {
                Ok(((), ())) => End::Closed,
                Err(error) => {
                    tracing::debug!(%error, "an upgraded connection broke");
                    End::Broke
                }
            },
            () = busy.idle_for(idle_max) => End::Idle,
        };
        tracing::debug!(?end, websocket = self.is_websocket, "upgraded connection ended");
        if end == End::Held {
            // Nothing is carried meanwhile.
            tokio::time::sleep(rand::random_range(Duration::ZERO..SPREAD_MAX)).await;
        }
        match end {
            End::Held | End::Stopping if self.is_websocket => {
                let farewell = async {
                    tokio::join!(up.say_farewell(Some(rand::random())), down.say_farewell(None))
                };
                // Whoever does not answer in time is left without.
                drop(tokio::time::timeout(FAREWELL_MAX, farewell).await);
            }
            End::Closed | End::Broke | End::Idle | End::Held | End::Stopping => {}
        }
    }
}

async fn held(holds: &mut Option<watch::Receiver<()>>) {
    // An error says that there will be no more holds.
    if let Some(holds) = holds
        && holds.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

impl Busy {
    fn now(&self) {
        self.0.set(Instant::now());
    }

    async fn idle_for(&self, limit: Duration) {
        loop {
            let until = self.0.get() + limit;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Direction<R, W> {
    fn new(from: R, to: W, rest: &Bytes, is_websocket: bool) -> Self {
        let mut buffer = vec![0; COPY_BYTES.max(rest.len())].into_boxed_slice();
        if let Some(begin) = buffer.get_mut(..rest.len()) {
            begin.copy_from_slice(rest);
        }
        let frames = is_websocket.then(Frames::default);
        Self { from, to, buffer, pending: 0..rest.len(), frames, has_ended: false }
    }

    /// Until `from` has ended, which `to` is told.
    async fn carry(&mut self, busy: &Busy) -> io::Result<()> {
        loop {
            while !self.pending.is_empty() {
                self.write(self.pending.len()).await?;
                busy.now();
            }
            self.to.flush().await?;
            if self.read().await? == 0 {
                return self.end().await;
            }
            busy.now();
        }
    }

    /// Ends behind the frame under way, with a close frame; what comes after that is not looked at.
    async fn say_farewell(&mut self, mask: Option<[u8; 4]>) -> io::Result<()> {
        if !self.has_ended {
            self.finish_frame().await?;
            self.to.write_all(&close_frame(mask)).await?;
            self.to.flush().await?;
            self.end().await?;
        }
        // Closed with unread bytes, a socket would be reset, and the close frame may get lost.
        while self.read().await? > 0 {}
        Ok(())
    }

    async fn finish_frame(&mut self) -> io::Result<()> {
        while self.frames.as_ref().is_some_and(|frames| !frames.is_between()) {
            if self.pending.is_empty() && self.read().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let pending = self.buffer.get(self.pending.clone()).unwrap_or_default();
            let within = self.frames.as_ref().map_or(0, |frames| frames.within(pending));
            self.write(within).await?;
        }
        Ok(())
    }

    /// Reads into the empty buffer; 0 is the end.
    async fn read(&mut self) -> io::Result<usize> {
        let length = self.from.read(&mut self.buffer).await?;
        self.pending = 0..length;
        Ok(length)
    }

    /// Writes up to `length` of what is pending.
    async fn write(&mut self, length: usize) -> io::Result<()> {
        let pending = self.buffer.get(self.pending.clone()).unwrap_or_default();
        let bytes = pending.get(..length).unwrap_or_default();
        let written = self.to.write(bytes).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if let Some(frames) = &mut self.frames {
            frames.pass(bytes.get(..written).unwrap_or_default());
        }
        self.pending.start += written;
        Ok(())
    }

    async fn end(&mut self) -> io::Result<()> {
        self.has_ended = true;
        self.to.shutdown().await
    }
}
