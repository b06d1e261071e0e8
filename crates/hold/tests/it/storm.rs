//! Threads of the operating system that do at random whatever can be done to one hold; what must be so is judged from
//! outside, by numbers that all of them draw from one counter.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;
use hold::{Drain, Entry, Expiry, Generation, Hold, Lane, Limits, State, Ticket, Wait};

use crate::fixture::{App, LEASE, app_with, holder, pace};

const SEEDS: u64 = 8;
const CLIENTS: usize = 4;
const HOLDERS: usize = 2;
const HOLDS_EACH: usize = 20;
/// Of one client thread at once, in line or running.
const REQUESTS_MAX: usize = 6;
const HELD_MAX: usize = 16;
/// Nobody waits that long for anything here.
const DEADLINE: Duration = Duration::from_secs(30);

/// What all threads see.
struct World {
    hold: Hold,
    counter: AtomicU64,
    /// A hold is acknowledged and not yet released.
    acknowledged: AtomicBool,
    /// No client asks for anything new.
    is_over: AtomicBool,
    deadline: Instant,
}

impl World {
    fn new(app: &App) -> Self {
        Self {
            hold: app.hold.clone(),
            counter: AtomicU64::new(0),
            acknowledged: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            deadline: Instant::now() + DEADLINE,
        }
    }

    fn number(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::SeqCst)
    }

    fn check_deadline(&self) {
        assert!(Instant::now() < self.deadline, "somebody is forgotten: {:?}", self.hold);
    }
}

/// A request that went on: central numbers of before it came, after it had come, and when it had its ticket.
struct Passed {
    before: u64,
    after: u64,
    ticket: u64,
}

enum Stage {
    InLine(Wait),
    Running(Ticket),
}

struct Request {
    before: u64,
    after: u64,
    stage: Stage,
}

/// What one thread's requests came to.
#[derive(Default)]
struct Tally {
    passed: Vec<Passed>,
    waited: u64,
    released: u64,
    timed_out: u64,
    client_gone: u64,
    refused_full: u64,
}

struct Client<'a> {
    world: &'a World,
    lane: &'a Lane,
    random: Rng,
    requests: Vec<Request>,
    tally: Tally,
}

impl Client<'_> {
    fn run(mut self) -> Tally {
        while !self.world.is_over.load(Ordering::SeqCst) {
            self.act();
        }
        // Everyone goes on now: nobody may be forgotten.
        while !self.requests.is_empty() {
            self.world.check_deadline();
            for index in (0..self.requests.len()).rev() {
                self.poll(index);
                if matches!(self.requests[index].stage, Stage::Running(_)) {
                    self.finish(index, true);
                }
            }
            std::thread::yield_now();
        }
        self.tally
    }

    fn act(&mut self) {
        if self.requests.len() < REQUESTS_MAX && self.random.u8(..3) == 0 {
            return self.enter();
        }
        if self.requests.is_empty() {
            return;
        }
        let index = self.random.usize(..self.requests.len());
        match &mut self.requests[index].stage {
            Stage::InLine(_) => match self.random.u8(..16) {
                0 => self.leave(index),
                1 => self.give_up(index),
                2 => std::thread::yield_now(),
                _ => self.poll(index),
            },
            Stage::Running(ticket) => match self.random.u8(..4) {
                0 => ticket.written(),
                1 => std::thread::yield_now(),
                // Its upstream is lost, or it is answered.
                2 => self.finish(index, false),
                _ => self.finish(index, true),
            },
        }
    }

    fn enter(&mut self) {
        let before = self.world.number();
        let entry = self.lane.enter();
        let after = self.world.number();
        match entry {
            Entry::Forward(ticket) => {
                assert!(!self.world.acknowledged.load(Ordering::SeqCst), "forwarded while held");
                self.tally.passed.push(Passed { before, after, ticket: after });
                self.requests.push(Request { before, after, stage: Stage::Running(ticket) });
            }
            Entry::Wait(wait) => {
                self.tally.waited += 1;
                self.requests.push(Request { before, after, stage: Stage::InLine(wait) });
            }
            Entry::Full => self.tally.refused_full += 1,
        }
    }

    fn poll(&mut self, index: usize) {
        let Stage::InLine(wait) = &mut self.requests[index].stage else { return };
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(ticket)) = pin!(wait).poll(&mut context) {
            self.granted(index, ticket);
        }
    }

    fn granted(&mut self, index: usize, ticket: Ticket) {
        assert!(!self.world.acknowledged.load(Ordering::SeqCst), "granted while held");
        let number = self.world.number();
        let request = &mut self.requests[index];
        let Request { before, after, .. } = *request;
        self.tally.passed.push(Passed { before, after, ticket: number });
        self.tally.released += 1;
        request.stage = Stage::Running(ticket);
    }

    fn leave(&mut self, index: usize) {
        drop(self.requests.swap_remove(index));
        self.tally.client_gone += 1;
    }

    fn give_up(&mut self, index: usize) {
        let request = self.requests.swap_remove(index);
        let Stage::InLine(wait) = request.stage else { panic!("it was in line") };
        match wait.give_up() {
            Ok(ticket) => {
                let Request { before, after, .. } = request;
                self.requests.push(Request { before, after, stage: Stage::Running(ticket) });
                let number = self.world.number();
                self.tally.passed.push(Passed { before, after, ticket: number });
                self.tally.released += 1;
                assert!(!self.world.acknowledged.load(Ordering::SeqCst), "granted while held");
            }
            Err(_timed_out) => self.tally.timed_out += 1,
        }
    }

    fn finish(&mut self, index: usize, written: bool) {
        let request = self.requests.swap_remove(index);
        let Stage::Running(mut ticket) = request.stage else { panic!("it was running") };
        if written {
            ticket.written();
        }
        // As long as this one has its ticket no hold is in force.
        assert!(!self.world.acknowledged.load(Ordering::SeqCst), "running while held");
        drop(ticket);
    }
}

/// Holds and releases at random, and does to others' holds what has to come to nothing.
struct Operator<'a> {
    world: &'a World,
    random: Rng,
    holds: usize,
    /// Of the pace that a reload may set.
    concurrency_max: u32,
}

impl Operator<'_> {
    fn run(mut self) {
        while self.holds > 0 {
            self.world.check_deadline();
            self.disturb();
            let until = Instant::now() + LEASE;
            if let Ok(generation) = self.world.hold.close(Generation::NONE, holder("storm"), until)
            {
                self.holds -= 1;
                self.keep(generation, until);
            }
            std::thread::yield_now();
        }
    }

    /// Nobody else ends this one.
    fn keep(&mut self, generation: Generation, until: Instant) {
        let hold = &self.world.hold;
        let patience = self.random.u32(..400);
        let mut looks = 0;
        while hold.status().state == State::Draining && looks < patience {
            std::thread::yield_now();
            looks += 1;
        }
        match hold.abort_drain(generation) {
            Drain::Drained => {}
            Drain::TimedOut { in_flight } => return assert!(in_flight > 0, "nobody was in flight"),
            Drain::Over => panic!("nobody else ends it"),
        }
        self.world.acknowledged.store(true, Ordering::SeqCst);
        for _ in 0..self.random.usize(..20) {
            let status = hold.status();
            assert_eq!((status.state, status.in_flight), (State::Held, 0));
            assert_eq!(status.generation, generation);
            self.disturb();
        }
        let until = until + LEASE;
        hold.renew(generation, until).unwrap();
        self.world.acknowledged.store(false, Ordering::SeqCst);
        if self.random.bool() {
            hold.release(generation).unwrap();
        } else {
            assert!(matches!(hold.expire(generation, until), Expiry::Released(_)));
        }
        assert!(hold.release(generation).is_err(), "it was over");
    }

    /// What names a generation that is over, or a clock that is too early, or other limits.
    fn disturb(&mut self) {
        let hold = &self.world.hold;
        let last = hold.status().generation.get();
        let stale = Generation::new(last.saturating_sub(1));
        match self.random.u8(..6) {
            0 => assert!(hold.release(stale).is_err()),
            1 => assert_eq!(hold.expire(stale, Instant::now() + 9 * LEASE), Expiry::Over),
            2 => assert_eq!(hold.abort_drain(stale), Drain::Over),
            3 => {
                let early = hold.expire(Generation::new(last), Instant::now());
                assert!(!matches!(early, Expiry::Released(_)), "its lease was not over");
            }
            4 => {
                let least = self.random.u32(1..=self.concurrency_max);
                let most = self.random.u32(1..=2 * self.concurrency_max);
                let held_max = self.random.usize(1..HELD_MAX);
                hold.set_limits(Limits::new(held_max, pace(least, most)));
            }
            _ => std::thread::yield_now(),
        }
        let status = hold.status();
        let figures = status.summary;
        let left = figures.released + figures.timed_out + figures.client_gone;
        assert_eq!(figures.held_total, left + u64::try_from(status.held).unwrap());
        assert!(status.held <= HELD_MAX, "more in line than any bound there was");
        assert!(u64::from(status.released_in_flight) <= status.in_flight);
    }
}

/// The tallies of all client threads, once everybody has gone on.
fn storm(seed: u64, holds_each: usize, holders: usize, concurrency_max: u32) -> (App, Vec<Tally>) {
    let app = app_with(CLIENTS, HELD_MAX, pace(concurrency_max, concurrency_max));
    let world = World::new(&app);
    let tallies = std::thread::scope(|scope| {
        let mut random = Rng::with_seed(seed);
        let clients: Vec<_> = app
            .lanes
            .iter()
            .map(|lane| {
                let (world, random) = (&world, random.fork());
                let (requests, tally) = (Vec::new(), Tally::default());
                let client = Client { world, lane, random, requests, tally };
                scope.spawn(move || client.run())
            })
            .collect();
        let operators: Vec<_> = (0..holders)
            .map(|_| {
                let (world, random) = (&world, random.fork());
                let operator = Operator { world, random, holds: holds_each, concurrency_max };
                scope.spawn(move || operator.run())
            })
            .collect();
        let ended: Vec<_> = operators.into_iter().map(ScopedJoinHandle::join).collect();
        world.is_over.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok), "seed {seed}: an operator found a fault");
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let status = app.hold.status();
    let at_rest = (status.state, status.held, status.in_flight, status.released_in_flight);
    assert_eq!(at_rest, (State::Open, 0, 0, 0), "seed {seed}");
    (app, tallies)
}

/// Who surely came before another one had its ticket before. Only where one at a time goes on.
fn assert_in_order(mut passed: Vec<Passed>, seed: u64) {
    passed.sort_by_key(|passed| passed.ticket);
    let mut latest = 0;
    for Passed { before, after, .. } in passed {
        assert!(after > latest, "seed {seed}: overtaken by one that came later");
        latest = latest.max(before);
    }
}

#[test]
fn threads_at_random_keep_order_and_nothing_runs_while_held() {
    for seed in 0..SEEDS {
        let (_, tallies) = storm(seed, HOLDS_EACH, HOLDERS, 1);
        assert_in_order(tallies.into_iter().flat_map(|tally| tally.passed).collect(), seed);
    }
}

#[test]
fn threads_at_random_with_a_wide_release_forget_nobody() {
    for seed in 0..SEEDS {
        let (_, tallies) = storm(seed, HOLDS_EACH, HOLDERS, 3);
        assert!(tallies.iter().any(|tally| tally.released > 0), "seed {seed}: nobody was held");
    }
}

#[test]
fn every_counter_of_a_hold_adds_up_to_what_its_clients_saw() {
    for seed in 0..2 * SEEDS {
        let (app, tallies) = storm(seed, 1, 1, 2);
        let of = |figure: fn(&Tally) -> u64| tallies.iter().map(figure).sum::<u64>();
        let figures = app.hold.status().summary;
        assert_eq!(figures.held_total, of(|tally| tally.waited), "seed {seed}");
        assert_eq!(figures.released, of(|tally| tally.released), "seed {seed}");
        assert_eq!(figures.timed_out, of(|tally| tally.timed_out), "seed {seed}");
        assert_eq!(figures.client_gone, of(|tally| tally.client_gone), "seed {seed}");
        assert_eq!(figures.refused_full, of(|tally| tally.refused_full), "seed {seed}");
    }
}
