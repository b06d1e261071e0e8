//! Clients that give up after a second, and clients that wait.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

use crate::gate_bench::client::page_of;

/// A client waits so long for its answer.
const GIVES_UP_AFTER: Duration = Duration::from_secs(1);
/// New clients come in groups, so often.
const GROUP_EVERY: Duration = Duration::from_millis(10);
const GROUPS_PER_S: u32 = 100;
/// Clients at once, however late the gate is: each is an open file. Who would be one more does not come.
const CLIENTS_MAX: usize = 8_000;
/// Addresses that clients come from in turn: a port cannot be used again for a minute after its client has left.
const SOURCES: u64 = 8;
/// Requests of clients that give up have numbers from here on: none of them may come to the upstream.
const FIRST_NUMBER: u64 = 1_000_000;

/// Comes and gives up until it is stopped.
pub(super) struct Churn {
    task: JoinHandle<()>,
    counts: Arc<Counts>,
    began: Instant,
}

#[derive(Default)]
struct Counts {
    clients: AtomicU64,
    answered: AtomicU64,
    unconnected: AtomicU64,
}

pub(super) struct Churned {
    pub(super) clients: u64,
    pub(super) per_s: f64,
    /// Something came before they gave up.
    pub(super) answered: u64,
    pub(super) unconnected: u64,
}

impl Churn {
    pub(super) fn start(to: SocketAddr, rate: u32) -> Self {
        let counts = Arc::<Counts>::default();
        let counting = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            let mut groups = interval(GROUP_EVERY);
            groups.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let places = Arc::new(Semaphore::new(CLIENTS_MAX));
            let mut due = 0;
            loop {
                groups.tick().await;
                due += rate;
                while due >= GROUPS_PER_S {
                    due -= GROUPS_PER_S;
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                    let counting = Arc::clone(&counting);
                    tokio::spawn(async move {
                        impatient(to, &counting).await;
                        drop(place);
                    });
                }
            }
        });
        Self { task, counts, began: Instant::now() }
    }

    /// Nobody comes any more; who is there may give up first.
    pub(super) async fn stop(self) -> Churned {
        self.task.abort();
        let clients = self.counts.clients.load(Ordering::Relaxed);
        let counted = f64::from(u32::try_from(clients).unwrap_or(u32::MAX));
        let per_s = counted / self.began.elapsed().as_secs_f64();
        sleep(2 * GIVES_UP_AFTER).await;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (answered, unconnected) = (of(&self.counts.answered), of(&self.counts.unconnected));
        Churned { clients, per_s, answered, unconnected }
    }
}

/// Every second one resets its connection, as a browser that is closed does.
async fn impatient(to: SocketAddr, counts: &Counts) {
    let number = counts.clients.fetch_add(1, Ordering::Relaxed);
    let gives_up_at = Instant::now() + GIVES_UP_AFTER;
    let connected = timeout_at(gives_up_at, connect(to, number)).await;
    let Ok(Ok(mut stream)) = connected else {
        tracing::debug!(?connected, "a client did not connect");
        counts.unconnected.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let mut byte = [0; 1];
    let read = timeout_at(gives_up_at, stream.read(&mut byte)).await;
    if matches!(read, Ok(Ok(1))) {
        counts.answered.fetch_add(1, Ordering::Relaxed);
    }
    if number.is_multiple_of(2) {
        stream.set_zero_linger().unwrap_or_default();
    }
}

async fn connect(to: SocketAddr, number: u64) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    let source = u8::try_from(number % SOURCES).unwrap_or_default();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 1, 1 + source), 0)))?;
    let mut stream = socket.connect(to).await?;
    let path = FIRST_NUMBER + number;
    let head = format!("GET /{path} HTTP/1.1\r\nhost: shop\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

/// Clients that wait as long as it takes.
pub(super) struct Patient(JoinSet<bool>);

impl Patient {
    /// One after the other, numbered.
    pub(super) async fn send(to: SocketAddr, count: u32) -> anyhow::Result<Self> {
        let mut answers = JoinSet::new();
        for number in 0..count {
            let mut stream = TcpStream::connect(to).await.context("cannot connect")?;
            let head = format!("GET /{number} HTTP/1.1\r\nhost: shop\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            answers.spawn(async move { page_of(&mut stream).await.unwrap_or(false) });
        }
        Ok(Self(answers))
    }

    /// How many are answered well within `limit`.
    pub(super) async fn answered(mut self, limit: Duration) -> u32 {
        let mut answered = 0;
        let all = async {
            while let Some(well) = self.0.join_next().await {
                answered += u32::from(matches!(well, Ok(true)));
            }
        };
        drop(timeout(limit, all).await);
        answered
    }
}
