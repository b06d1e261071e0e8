//! A user of an app who asks again and again on one connection, and how long each answer took. On a thread of its own, which comes
//! first where it may, so that nothing else this program does makes an answer look late.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::process::setpriority_process;
use serde::Serialize;

use crate::upstream::PAGE;

/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest head of an answer, bytes.
const HEAD_MAX: usize = 4096;
/// Three digits of each time are kept.
const DIGITS: u8 = 3;
/// The thread comes before every other one (`setpriority(2)`).
const FIRST: i32 = -20;

/// What a bystander has seen since it was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BystanderFigures {
    pub requests: u64,
    /// Not answered 200 with the whole page.
    pub failures: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// Asks until it is dropped.
#[derive(Debug)]
pub struct Bystander {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    is_over: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    failures: u64,
    times_us: Histogram<u64>,
}

impl Bystander {
    /// Asks `to` for `host`, and again `every` so often, or as soon as the answer is there if it takes longer.
    pub fn start(to: SocketAddr, host: &str, every: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared::new()?);
        let (asking, request) = (
            Arc::clone(&shared),
            format!("GET /bystander HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes(),
        );
        let thread = std::thread::Builder::new().name("bystander".to_owned());
        let thread = thread.spawn(move || {
            if let Err(error) = setpriority_process(None, FIRST) {
                tracing::debug!(%error, "a bystander waits for its turn like others");
            }
            asking.ask(to, &request, every);
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What it has seen since this was asked last.
    pub fn take(&self) -> BystanderFigures {
        self.shared.take()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends within its patience; a panic of its own was printed.
            thread.join().unwrap_or_default();
        }
    }
}

impl Shared {
    fn new() -> io::Result<Self> {
        let longest_us = u64::try_from(PATIENCE.as_micros()).unwrap_or(u64::MAX);
        let times_us = Histogram::new_with_max(longest_us, DIGITS).map_err(io::Error::other)?;
        let seen = Mutex::new(Seen { failures: 0, times_us });
        Ok(Self { is_over: AtomicBool::new(false), seen })
    }

    fn take(&self) -> BystanderFigures {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = |us: u64| Duration::from_micros(us).as_secs_f64() * 1000.0;
        let Seen { failures, times_us } = &mut *seen;
        let figures = BystanderFigures {
            requests: times_us.len() + *failures,
            failures: *failures,
            p50_ms: ms(times_us.value_at_quantile(0.5)),
            p99_ms: ms(times_us.value_at_quantile(0.99)),
            max_ms: ms(times_us.max()),
        };
        times_us.reset();
        *failures = 0;
        figures
    }

    fn ask(&self, to: SocketAddr, request: &[u8], every: Duration) {
        let mut stream = None;
        while !self.is_over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let answered = answer(&mut stream, to, request);
            let took = began.elapsed();
            self.note(answered.is_ok(), took);
            if answered.is_err() {
                stream = None;
            }
            std::thread::sleep(every.saturating_sub(took));
        }
    }

    fn note(&self, well: bool, took: Duration) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if well {
            let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            seen.times_us.saturating_record(us);
        } else {
            seen.failures += 1;
        }
    }
}

fn answer(stream: &mut Option<TcpStream>, to: SocketAddr, request: &[u8]) -> io::Result<()> {
    let stream = match stream {
        Some(stream) => stream,
        None => {
            let made = TcpStream::connect_timeout(&to, PATIENCE)?;
            made.set_nodelay(true)?;
            made.set_read_timeout(Some(PATIENCE))?;
            stream.insert(made)
        }
    };
    stream.write_all(request)?;
    let mut answer = Vec::with_capacity(HEAD_MAX);
    let mut buffer = [0; HEAD_MAX];
    loop {
        if let Some(head) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")
            && answer.len() >= head + 4 + PAGE
        {
            let well = answer.starts_with(b"HTTP/1.1 200 ") && answer.len() == head + 4 + PAGE;
            return if well { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) };
        }
        let read = stream.read(&mut buffer)?;
        if read == 0 || answer.len() > HEAD_MAX + PAGE {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::upstream::Upstream;

    const EVERY: Duration = Duration::from_millis(1);

    #[test]
    fn times_are_what_they_were() {
        let shared = Shared::new().unwrap();
        for ms in 1..=100 {
            shared.note(true, Duration::from_millis(ms));
        }
        shared.note(false, PATIENCE);
        let figures = shared.take();
        assert_eq!((figures.requests, figures.failures), (101, 1));
        for (figure, ms) in
            [(figures.p50_ms, 50.0), (figures.p99_ms, 99.0), (figures.max_ms, 100.0)]
        {
            assert!((figure - ms).abs() < 1.0, "{figures:?}");
        }
        assert_eq!(shared.take().requests, 0);
    }

    #[tokio::test]
    async fn it_counts_answers_and_failures_and_forgets_what_it_has_told() {
        let upstream = Upstream::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let bystander = Bystander::start(upstream.address(), "a", EVERY).unwrap();
        let some = async {
            loop {
                tokio::time::sleep(10 * EVERY).await;
                let figures = bystander.take();
                if figures.requests > 0 {
                    return figures;
                }
            }
        };
        let figures = tokio::select! {
            ended = upstream.run() => panic!("it ended: {ended:?}"),
            figures = some => figures,
        };
        assert!(figures.failures == 0 && figures.p50_ms > 0.0 && figures.max_ms >= figures.p99_ms);
        drop(bystander);
        let nobody =
            Bystander::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), "a", EVERY).unwrap();
        let began = Instant::now();
        while nobody.take().failures == 0 {
            assert!(began.elapsed() < PATIENCE);
        }
    }
}
