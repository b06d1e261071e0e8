//! Several lanes on real threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use hold::{Drain, Entry, State};

use crate::fixture::{app_with, now, pace};

const THREADS: usize = 4;
const ROUNDS: u64 = 200;
const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn h14_close_closes_the_lanes_of_every_thread() {
    let app = app_with(THREADS, 10_000, pace(1, 1));
    let started = Barrier::new(THREADS + 1);
    let closed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for lane in &app.lanes {
            let (started, closed) = (&started, &closed);
            scope.spawn(move || {
                started.wait();
                let mut after_close = 0;
                while after_close < 1_000 {
                    let acknowledged = closed.load(Ordering::Acquire);
                    let entry = lane.enter();
                    if acknowledged {
                        assert!(matches!(entry, Entry::Wait(_)), "passed a closed lane");
                        after_close += 1;
                    }
                }
            });
        }
        started.wait();
        app.close();
        closed.store(true, Ordering::Release);
    });
    assert_eq!(app.hold.status().in_flight, 0);
}

/// Requests on every thread, hold after hold: nothing runs while held, nobody is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_runs_while_held_and_nobody_is_forgotten() {
    let app = app_with(THREADS, 10_000, pace(2, 4));
    let stop = Arc::new(AtomicBool::new(false));
    let running = Arc::new(AtomicU64::new(0));
    let requests: Vec<_> = (0..4 * THREADS)
        .map(|task| {
            let lane = app.lanes[task % THREADS].clone();
            let (stop, running) = (Arc::clone(&stop), Arc::clone(&running));
            tokio::spawn(async move {
                let mut served = 0_u64;
                while served == 0 || !stop.load(Ordering::Relaxed) {
                    let mut ticket = match lane.enter() {
                        Entry::Forward(ticket) => ticket,
                        Entry::Wait(wait) => wait.until(now() + DEADLINE).await.unwrap(),
                        Entry::Full => panic!("the line is long enough"),
                    };
                    running.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    ticket.written();
                    running.fetch_sub(1, Ordering::Relaxed);
                    drop(ticket);
                    served += 1;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        let generation = app.close();
        assert_eq!(generation.get(), round);
        assert_eq!(app.hold.drained(generation, now() + DEADLINE).await, Drain::Drained);
        for _ in 0..10 {
            assert_eq!(running.load(Ordering::Relaxed), 0);
            tokio::task::yield_now().await;
        }
        app.hold.release(generation).unwrap();
        // From a hold right after the release to one in the middle of it.
        for _ in 0..round % 20 {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for request in requests {
        request.await.unwrap();
    }
    let status = app.hold.status();
    assert_eq!((status.state, status.held, status.in_flight), (State::Open, 0, 0));
}
