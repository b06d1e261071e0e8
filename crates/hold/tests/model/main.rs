//! Every interleaving (up to the preemption bound) of two or three threads on one hold.
//!
//! `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --release -p hold --test model`
//!
//! A request that nobody wakes shows as a deadlock: the model checker fails on it by itself.
#![cfg(loom)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test helpers")]

mod turned_away;

use std::future::Future;
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hold::{
    Drain, Entry, Expiry, Generation, Hold, Holder, Lane, Limits, Pace, State, Ticket, TurnedAway,
    Wait,
};
use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

/// More preemptions than any of the races here needs; keeps the run within a minute.
const PREEMPTIONS_MAX: usize = 3;
const LEASE: Duration = Duration::from_secs(30);

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(check);
}

/// An app whose release is strictly serial.
fn app<const N: usize>() -> (Hold, [Lane; N]) {
    let one = NonZeroU32::MIN;
    let pace = Pace { concurrency: one, concurrency_max: one };
    let count = NonZeroUsize::new(N).unwrap();
    let (hold, lanes) = Hold::new(Limits::new(8, pace), count);
    (hold, lanes.try_into().unwrap())
}

fn close(hold: &Hold, until: Instant) -> Generation {
    let holder = Holder { name: "model".to_owned(), reason: String::new() };
    hold.close(Generation::NONE, holder, until).unwrap()
}

fn pass(entry: Entry) -> Ticket {
    match entry {
        Entry::Forward(ticket) => ticket,
        Entry::Wait(wait) => turn(wait),
        Entry::Full => panic!("the line is not full"),
    }
}

fn turn(wait: Wait) -> Ticket {
    block_on(wait).unwrap()
}

fn wait(entry: Entry) -> Wait {
    match entry {
        Entry::Wait(wait) => wait,
        Entry::Forward(_) | Entry::Full => panic!("held, and the line is not full"),
    }
}

fn join(request: thread::JoinHandle<()>) {
    request.join().unwrap();
}

fn poll_once(wait: &mut Wait) -> Poll<Result<Ticket, TurnedAway>> {
    pin!(wait).poll(&mut Context::from_waker(Waker::noop()))
}

fn assert_open_and_idle(hold: &Hold) {
    let status = hold.status();
    assert_eq!((status.state, status.held, status.in_flight), (State::Open, 0, 0));
    let figures = status.summary;
    let left = figures.released + figures.timed_out + figures.client_gone + figures.rejected;
    assert_eq!(figures.held_total, left);
}

/// What a request does at the upstream: it must not be alone in knowing that it is there.
#[derive(Clone)]
struct Upstream(Arc<AtomicUsize>);

impl Upstream {
    fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(0)))
    }

    /// Relaxed on purpose: only the hold may order it before the end of the drain.
    fn serve(&self, mut ticket: Ticket) {
        self.0.fetch_add(1, Ordering::Relaxed);
        ticket.written();
        self.0.fetch_sub(1, Ordering::Relaxed);
        drop(ticket);
    }

    /// Alone at the upstream: for a serial release.
    fn serve_alone(&self, ticket: Ticket) {
        assert_eq!(self.0.fetch_add(1, Ordering::Relaxed), 0, "two released at once");
        self.0.fetch_sub(1, Ordering::Relaxed);
        drop(ticket);
    }

    fn running(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn no_request_passes_after_close_has_returned() {
    model(|| {
        let (hold, [lane, other]) = app();
        let acknowledged = Arc::new(AtomicBool::new(false));
        let requests = [lane, other].map(|lane| {
            let acknowledged = Arc::clone(&acknowledged);
            thread::spawn(move || {
                let held_before = acknowledged.load(Ordering::Acquire);
                let entry = lane.enter();
                assert!(!(held_before && matches!(entry, Entry::Forward(_))));
            })
        });
        close(&hold, Instant::now() + LEASE);
        acknowledged.store(true, Ordering::Release);
        requests.into_iter().for_each(join);
        assert_eq!(hold.status().in_flight, 0);
    });
}

#[test]
fn after_the_drain_nothing_is_at_the_upstream() {
    model(|| {
        let (hold, [lane, other]) = app();
        let upstream = Upstream::new();
        let requests = [lane, other].map(|lane| {
            let upstream = upstream.clone();
            thread::spawn(move || {
                if let Entry::Forward(ticket) = lane.enter() {
                    upstream.serve(ticket);
                }
            })
        });
        let generation = close(&hold, Instant::now() + LEASE);
        assert_eq!(block_on(hold.drain_end(generation)), Drain::Drained);
        assert_eq!(upstream.running(), 0);
        assert_eq!(hold.status().state, State::Held);
        requests.into_iter().for_each(join);
        assert_eq!(upstream.running(), 0);
    });
}

#[test]
fn everyone_held_is_released_one_at_a_time() {
    model(|| {
        let (hold, [lane, other]) = app();
        let generation = close(&hold, Instant::now() + LEASE);
        let upstream = Upstream::new();
        let waiting = [wait(lane.enter()), wait(other.enter())].map(|wait| {
            let upstream = upstream.clone();
            thread::spawn(move || upstream.serve_alone(turn(wait)))
        });
        hold.release(generation).unwrap();
        waiting.into_iter().for_each(join);
        assert_open_and_idle(&hold);
    });
}

#[test]
fn h26_an_arrival_while_the_release_opens_is_not_forgotten() {
    model(|| {
        let (hold, [lane, other]) = app();
        let generation = close(&hold, Instant::now() + LEASE);
        let arriving = thread::spawn(move || drop(pass(lane.enter())));
        let second = thread::spawn(move || drop(pass(other.enter())));
        hold.release(generation).unwrap();
        arriving.join().unwrap();
        second.join().unwrap();
        assert_open_and_idle(&hold);
    });
}

#[test]
fn h18_an_arrival_does_not_overtake_the_last_one_released() {
    model(|| {
        let (hold, [lane, late]) = app();
        let generation = close(&hold, Instant::now() + LEASE);
        let first = wait(lane.enter());
        let written = Arc::new(AtomicBool::new(false));
        let first_written = Arc::clone(&written);
        let first = thread::spawn(move || {
            let mut ticket = turn(first);
            first_written.store(true, Ordering::Relaxed);
            ticket.written();
        });
        hold.release(generation).unwrap();
        let ticket = pass(late.enter());
        assert!(written.load(Ordering::Relaxed), "overtaken");
        drop(ticket);
        first.join().unwrap();
        assert_open_and_idle(&hold);
    });
}

#[test]
fn close_during_release_keeps_the_line_and_drains_the_granted() {
    model(|| {
        let (hold, [lane, other]) = app();
        let first = close(&hold, Instant::now() + LEASE);
        let upstream = Upstream::new();
        let order = Arc::new(AtomicUsize::new(0));
        let waits = [(0, wait(lane.enter())), (1, wait(other.enter()))];
        hold.release(first).unwrap();
        let waiting = waits.map(|(place, wait)| {
            let (upstream, order) = (upstream.clone(), Arc::clone(&order));
            thread::spawn(move || {
                let ticket = turn(wait);
                assert_eq!(order.fetch_add(1, Ordering::Relaxed), place);
                upstream.serve(ticket);
            })
        });
        let second = close(&hold, Instant::now() + LEASE);
        assert!(second > first);
        assert_eq!(block_on(hold.drain_end(second)), Drain::Drained);
        assert_eq!(upstream.running(), 0);
        hold.release(second).unwrap();
        waiting.into_iter().for_each(join);
        assert_open_and_idle(&hold);
    });
}

#[test]
fn release_during_drain_answers_who_waits_for_the_drain() {
    model(|| {
        let (hold, [lane]) = app();
        let Entry::Forward(straggler) = lane.enter() else { panic!("open") };
        let generation = close(&hold, Instant::now() + LEASE);
        let draining = hold.clone();
        let drain = thread::spawn(move || block_on(draining.drain_end(generation)));
        let straggler = thread::spawn(move || drop(straggler));
        hold.release(generation).unwrap();
        assert!(matches!(drain.join().unwrap(), Drain::Drained | Drain::Over));
        straggler.join().unwrap();
        assert_open_and_idle(&hold);
    });
}

#[test]
fn the_deadline_of_a_drain_against_its_last_request() {
    model(|| {
        let (hold, [lane]) = app();
        let Entry::Forward(straggler) = lane.enter() else { panic!("open") };
        let generation = close(&hold, Instant::now() + LEASE);
        let held = wait(lane.enter());
        let straggler = thread::spawn(move || drop(straggler));
        match hold.abort_drain(generation) {
            Drain::Drained => {
                assert_eq!(hold.status().state, State::Held);
                hold.release(generation).unwrap();
            }
            Drain::TimedOut { in_flight } => assert_eq!(in_flight, 1),
            Drain::Over => panic!("nobody released it"),
        }
        drop(turn(held));
        straggler.join().unwrap();
        assert_open_and_idle(&hold);
    });
}

#[test]
fn h12_a_client_that_leaves_at_any_point_holds_nobody_up() {
    for polled in [false, true] {
        model(move || {
            let (hold, [lane, other]) = app();
            let generation = close(&hold, Instant::now() + LEASE);
            let (mut leaving, staying) = (wait(lane.enter()), wait(other.enter()));
            let leaving = thread::spawn(move || {
                if polled {
                    drop(poll_once(&mut leaving));
                }
                drop(leaving);
            });
            let staying = thread::spawn(move || drop(turn(staying)));
            hold.release(generation).unwrap();
            leaving.join().unwrap();
            staying.join().unwrap();
            assert_open_and_idle(&hold);
        });
    }
}

#[test]
fn a_client_that_leaves_while_a_second_hold_drains() {
    model(|| {
        let (hold, [lane]) = app();
        let first = close(&hold, Instant::now() + LEASE);
        let leaving = wait(lane.enter());
        hold.release(first).unwrap();
        let second = close(&hold, Instant::now() + LEASE);
        let leaving = thread::spawn(move || drop(leaving));
        assert_eq!(block_on(hold.drain_end(second)), Drain::Drained);
        leaving.join().unwrap();
        hold.release(second).unwrap();
        assert_open_and_idle(&hold);
    });
}

#[test]
fn h11_giving_up_against_the_grant() {
    model(|| {
        let (hold, [lane, other]) = app();
        let generation = close(&hold, Instant::now() + LEASE);
        let (giving_up, staying) = (wait(lane.enter()), wait(other.enter()));
        let giving_up = thread::spawn(move || drop(giving_up.give_up()));
        let staying = thread::spawn(move || drop(turn(staying)));
        hold.release(generation).unwrap();
        giving_up.join().unwrap();
        staying.join().unwrap();
        assert_open_and_idle(&hold);
    });
}

#[test]
fn lease_end_and_renewal_never_both_succeed() {
    model(|| {
        let (hold, [lane]) = app();
        let until = Instant::now() + LEASE;
        let generation = close(&hold, until);
        let held = wait(lane.enter());
        let renewing = hold.clone();
        let renewal = thread::spawn(move || renewing.renew(generation, until + LEASE));
        let expiry = hold.expire(generation, until);
        let renewed = renewal.join().unwrap().is_ok();
        match expiry {
            Expiry::Released(_) => assert!(!renewed),
            Expiry::NotYet(later) => {
                assert!(renewed && later == until + LEASE);
                assert_eq!(hold.status().state, State::Held);
                hold.release(generation).unwrap();
            }
            Expiry::Over => panic!("nobody released it"),
        }
        drop(turn(held));
        assert_open_and_idle(&hold);
    });
}

#[test]
fn h29_a_late_command_does_not_touch_the_next_hold() {
    model(|| {
        let (hold, [lane]) = app();
        let until = Instant::now() + LEASE;
        let first = close(&hold, until);
        let (late, expiring) = (hold.clone(), hold.clone());
        let late = thread::spawn(move || late.release(first).is_ok());
        let expiring =
            thread::spawn(move || matches!(expiring.expire(first, until), Expiry::Released(_)));
        let here = hold.release(first).is_ok();
        let second = close(&hold, until);
        let winners = [here, late.join().unwrap(), expiring.join().unwrap()];
        assert_eq!(winners.into_iter().filter(|won| *won).count(), 1);
        assert_eq!(hold.status().state, State::Held);
        assert_eq!(hold.status().generation, second);
        assert!(matches!(lane.enter(), Entry::Wait(_)));
    });
}
