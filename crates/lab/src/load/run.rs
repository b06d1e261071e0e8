//! The loop that keeps the schedule.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::http::Connections;
use super::record::{Failure, Kind, Outcome, Recorder, Sample};
use super::schedule::{Planned, Schedule};
use super::{LoadOptions, OUTSTANDING_MAX};

/// What every request of a load needs; one allocation, shared.
#[derive(Debug)]
struct Shared {
    options: LoadOptions,
    connections: Connections,
    recorder: Arc<Recorder>,
    /// The write counter of each client. The lock is held while a write is under way: that is what makes a client's
    /// writes one after another, and waiting for it is part of the latency.
    clients: Vec<Mutex<u64>>,
    full: CancellationToken,
}

pub(super) async fn run(options: LoadOptions, recorder: Arc<Recorder>, stop: CancellationToken) {
    let epoch = tokio::time::Instant::from_std(recorder.epoch());
    let mut schedule = Schedule::new(&options);
    let outstanding = Arc::new(Semaphore::new(OUTSTANDING_MAX));
    let shared = Arc::new(Shared {
        connections: Connections::new(&options),
        clients: (0..options.clients).map(|_| Mutex::new(0)).collect(),
        options,
        recorder,
        full: stop.clone(),
    });
    let requests = TaskTracker::new();
    loop {
        let planned = schedule.next();
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(epoch + planned.intended) => {}
        }
        let shared = Arc::clone(&shared);
        match Arc::clone(&outstanding).try_acquire_owned() {
            Ok(place) => {
                requests.spawn(async move {
                    shared.request(planned).await;
                    drop(place);
                });
            }
            Err(_) => {
                let note = "not sent: too many requests outstanding".to_owned();
                shared.keep(&planned, 0, Instant::now(), Err((Failure::Overload, note)));
            }
        }
    }
    requests.close();
    requests.wait().await;
}

impl Shared {
    async fn request(&self, planned: Planned) {
        let mut sent = (0, Instant::now());
        let deadline = self.recorder.epoch() + planned.intended + self.options.timeout;
        let attempt = async {
            match self.clients.get(usize::try_from(planned.client).unwrap_or_default()) {
                Some(counter) if planned.kind == Kind::Write => {
                    let mut seq = counter.lock().await;
                    *seq += 1;
                    sent = (*seq, Instant::now());
                    self.connections.send(&planned, *seq).await
                }
                Some(_) | None => {
                    sent = (0, Instant::now());
                    self.connections.send(&planned, 0).await
                }
            }
        };
        let answer = match tokio::time::timeout_at(deadline.into(), attempt).await {
            Ok(answer) => answer,
            Err(_) => Err((Failure::Timeout, "no answer in time".to_owned())),
        };
        let (seq, sent) = sent;
        self.keep(&planned, seq, sent, answer);
    }

    fn keep(&self, planned: &Planned, seq: u64, sent: Instant, answer: super::http::Answer) {
        let finished = self.recorder.since_start(Instant::now());
        let (outcome, note) = match answer {
            Ok((status, note)) => {
                (Outcome::Answered(status), note.map(|text| format!("{status} {text}")))
            }
            Err((failure, text)) => (Outcome::Failed(failure), Some(text)),
        };
        let note = note.map(|text| {
            format!("{:?} at {} ms: {text}", planned.kind, planned.intended.as_millis())
        });
        let sample = Sample {
            kind: planned.kind,
            client: planned.client,
            seq,
            token: if planned.kind == Kind::Write { planned.token } else { 0 },
            intended: planned.intended,
            sent: self.recorder.since_start(sent),
            finished,
            outcome,
        };
        if !self.recorder.keep(sample, note) {
            self.full.cancel();
        }
    }
}
