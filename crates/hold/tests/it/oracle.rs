//! Random sequences of everything that can happen, against a plain restatement of the rules.

mod rules;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::{Duration, Instant};

use hold::{Drain, Entry, Expiry, Generation, State, Ticket, Wait};
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::{collection, proptest};

use self::rules::{CONCURRENCY, CONCURRENCY_MAX, Known, Rules};
use crate::fixture::{App, app_with, holder, pace};

const LANES: usize = 3;
const HELD_MAX: usize = 6;
const STEPS_MAX: usize = 120;

#[derive(Clone, Copy, Debug)]
enum Step {
    Enter(usize),
    /// Polls the request in line, if it was woken.
    Fetch(usize),
    Written(usize),
    Complete(usize),
    Leave(usize),
    GiveUp(usize),
    Close,
    Command(Command),
}

/// What names a generation: each with how far behind the last one it is.
#[derive(Clone, Copy, Debug)]
enum Command {
    Release(u64),
    AbortDrain(u64),
    Renew(u64, u64),
    Expire(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let behind = prop_oneof![4 => Just(0_u64), 1 => 1_u64..3];
    let client = 0..64_usize;
    prop_oneof![
        8 => (0..LANES).prop_map(Step::Enter),
        6 => client.clone().prop_map(Step::Fetch),
        6 => client.clone().prop_map(Step::Written),
        6 => client.clone().prop_map(Step::Complete),
        2 => client.clone().prop_map(Step::Leave),
        1 => client.prop_map(Step::GiveUp),
        3 => Just(Step::Close),
        2 => behind.clone().prop_map(|behind| Step::Command(Command::Release(behind))),
        1 => behind.clone().prop_map(|behind| Step::Command(Command::AbortDrain(behind))),
        1 => (behind.clone(), 0..100_u64).prop_map(|(behind, at)| Step::Command(Command::Renew(behind, at))),
        1 => (behind, 0..100_u64).prop_map(|(behind, at)| Step::Command(Command::Expire(behind, at))),
    ]
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A request as the hold knows it.
enum Client {
    InLine(Wait, Arc<Woken>),
    Running(Ticket),
}

struct Run {
    app: App,
    rules: Rules,
    clients: BTreeMap<usize, Client>,
    next: usize,
    began: Instant,
}

impl Run {
    fn new() -> Self {
        let app = app_with(LANES, HELD_MAX, pace(CONCURRENCY, CONCURRENCY_MAX));
        let (rules, clients) = (Rules::new(), BTreeMap::new());
        Self { app, rules, clients, next: 0, began: Instant::now() }
    }

    fn at(&self, second: u64) -> Instant {
        self.began + Duration::from_secs(second)
    }

    fn generation(&self, behind: u64) -> (u64, Generation) {
        let number = self.rules.generation.saturating_sub(behind);
        (number, Generation::new(number))
    }

    /// One of the requests in line, or one of those running.
    fn pick(&self, index: usize, running: bool) -> Option<usize> {
        let of_kind: Vec<usize> = self
            .clients
            .iter()
            .filter(|(_, client)| matches!(client, Client::Running(_)) == running)
            .map(|(id, _)| *id)
            .collect();
        (!of_kind.is_empty()).then(|| of_kind[index % of_kind.len()])
    }

    fn enter(&mut self, lane: usize) {
        let id = self.next;
        self.next += 1;
        match self.app.lanes[lane].enter() {
            Entry::Forward(ticket) => {
                assert_eq!(self.rules.state, State::Open, "forwarded while held");
                self.rules.known.insert(id, Known::Running(None));
                self.clients.insert(id, Client::Running(ticket));
            }
            Entry::Full => {
                assert_ne!(self.rules.state, State::Open);
                assert_eq!(self.rules.line.len(), HELD_MAX);
                self.rules.refused_full += 1;
            }
            Entry::Wait(wait) => {
                assert_ne!(self.rules.state, State::Open);
                assert!(self.rules.line.len() < HELD_MAX, "more held than the bound");
                self.rules.held_total += 1;
                self.rules.known.insert(id, Known::InLine);
                self.rules.line.push_back(id);
                self.rules.settle();
                self.clients.insert(id, Client::InLine(wait, Arc::default()));
                self.fetch(id);
            }
        }
    }

    fn fetch(&mut self, id: usize) {
        let Some(Client::InLine(wait, woken)) = self.clients.get_mut(&id) else { return };
        let waker = Arc::clone(woken).into();
        if let Poll::Ready(turn) = pin!(wait).poll(&mut Context::from_waker(&waker)) {
            self.fetched(id, turn.unwrap());
        }
    }

    fn fetched(&mut self, id: usize, ticket: Ticket) {
        let Some(Known::Granted(release)) = self.rules.known.get(&id).copied() else {
            panic!("a ticket out of turn")
        };
        self.rules.known.insert(id, Known::Running(Some((release, false))));
        self.clients.insert(id, Client::Running(ticket));
    }

    fn written(&mut self, id: usize) {
        let Some(Client::Running(ticket)) = self.clients.get_mut(&id) else { return };
        ticket.written();
        if let Some(Known::Running(Some((_, written)))) = self.rules.known.get_mut(&id) {
            *written = true;
        }
    }

    fn leave(&mut self, id: usize) {
        drop(self.clients.remove(&id));
        let waited = self.rules.left_line(id);
        let counted = self.rules.known.remove(&id);
        if waited {
            self.rules.client_gone += 1;
        } else if counted == Some(Known::Granted(self.rules.generation)) {
            self.rules.client_gone += 1;
            self.rules.released -= 1;
        }
    }

    fn give_up(&mut self, id: usize) {
        let Some(Client::InLine(wait, _)) = self.clients.remove(&id) else { return };
        let waited = self.rules.left_line(id);
        match wait.give_up() {
            Ok(ticket) => self.fetched(id, ticket),
            Err(_) => {
                assert!(waited, "its turn had come");
                self.rules.known.remove(&id);
                self.rules.timed_out += 1;
            }
        }
    }

    fn close(&mut self) {
        let until = self.at(50);
        match self.app.hold.close(Generation::NONE, holder("oracle"), until) {
            Ok(generation) => {
                assert!(!self.rules.is_held(self.rules.generation), "two holders");
                self.rules.close();
                self.rules.until = 50;
                assert_eq!(generation.get(), self.rules.generation);
            }
            Err(refused) => {
                assert_eq!(refused.generation.get(), self.rules.generation);
                assert!(self.rules.is_held(self.rules.generation));
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Release(behind) => {
                let (number, generation) = self.generation(behind);
                let current = self.rules.is_held(number);
                assert_eq!(self.app.hold.release(generation).is_ok(), current);
                if current {
                    self.rules.release();
                }
            }
            Command::AbortDrain(behind) => {
                let (number, generation) = self.generation(behind);
                let expected = match (self.rules.is_held(number), self.rules.in_flight()) {
                    (false, _) => Drain::Over,
                    (true, 0) => Drain::Drained,
                    (true, count) => Drain::TimedOut { in_flight: u64::try_from(count).unwrap() },
                };
                assert_eq!(self.app.hold.abort_drain(generation), expected);
                if matches!(expected, Drain::TimedOut { .. }) {
                    self.rules.release();
                }
            }
            Command::Renew(behind, at) => {
                let (number, generation) = self.generation(behind);
                let renewed = self.app.hold.renew(generation, self.at(at)).is_ok();
                assert_eq!(renewed, self.rules.is_held(number));
                if renewed {
                    self.rules.until = self.rules.until.max(at);
                }
            }
            Command::Expire(behind, at) => {
                let (number, generation) = self.generation(behind);
                let held = self.rules.is_held(number);
                match self.app.hold.expire(generation, self.at(at)) {
                    Expiry::Over => assert!(!held),
                    Expiry::NotYet(until) => {
                        assert!(held && at < self.rules.until);
                        assert_eq!(until, self.at(self.rules.until));
                    }
                    Expiry::Released(_) => {
                        assert!(held && at >= self.rules.until);
                        self.rules.release();
                    }
                }
            }
        }
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Enter(lane) => self.enter(lane),
            Step::Close => self.close(),
            Step::Fetch(index) => {
                if let Some(id) = self.pick(index, false) {
                    self.fetch(id);
                }
            }
            Step::Written(index) => {
                if let Some(id) = self.pick(index, true) {
                    self.written(id);
                }
            }
            Step::Complete(index) => {
                if let Some(id) = self.pick(index, true) {
                    drop(self.clients.remove(&id));
                    self.rules.complete(id);
                }
            }
            Step::Leave(index) => {
                if let Some(id) = self.pick(index, false) {
                    self.leave(id);
                }
            }
            Step::GiveUp(index) => {
                if let Some(id) = self.pick(index, false) {
                    self.give_up(id);
                }
            }
            Step::Command(command) => self.command(command),
        }
        self.rules.settle();
        self.compare();
    }

    fn compare(&self) {
        let (status, rules) = (self.app.hold.status(), &self.rules);
        assert_eq!(status.state, rules.state);
        assert_eq!(status.generation.get(), rules.generation);
        assert_eq!(status.held, rules.line.len());
        assert_eq!(status.in_flight, u64::try_from(rules.in_flight()).unwrap());
        assert_eq!(status.released_in_flight, u32::try_from(rules.running()).unwrap());
        assert_eq!(status.oldest.is_some(), !rules.line.is_empty());
        assert_eq!(status.hold.is_some(), rules.is_held(rules.generation));
        let figures = status.summary;
        assert_eq!(figures.held_total, rules.held_total);
        assert_eq!(figures.released, rules.released);
        assert_eq!(figures.timed_out, rules.timed_out);
        assert_eq!(figures.client_gone, rules.client_gone);
        assert_eq!(figures.refused_full, rules.refused_full);
        let left = figures.released + figures.timed_out + figures.client_gone;
        assert_eq!(figures.held_total - left, u64::try_from(status.held).unwrap());
        for (id, client) in &self.clients {
            if let Client::InLine(_, woken) = client {
                let granted = matches!(rules.known.get(id), Some(Known::Granted(_)));
                assert_eq!(
                    woken.0.load(Ordering::Relaxed),
                    granted,
                    "woken if and only if granted"
                );
            }
        }
    }

    /// Nobody is forgotten: once released, everyone goes on, and the app is open and idle.
    fn wind_up(&mut self) {
        self.perform(Step::Command(Command::Release(0)));
        while let Some(id) = self.clients.keys().next().copied() {
            let ready: Vec<usize> = self.clients.keys().copied().collect();
            for id in ready {
                self.fetch(id);
                self.written(id);
                self.rules.settle();
            }
            assert!(matches!(self.clients[&id], Client::Running(_)), "the head is forgotten");
            self.perform(Step::Complete(0));
        }
        let status = self.app.hold.status();
        assert_eq!((status.state, status.held, status.in_flight), (State::Open, 0, 0));
    }
}

proptest! {
    #[test]
    fn the_hold_keeps_its_rules(steps in collection::vec(step(), 1..STEPS_MAX)) {
        let mut run = Run::new();
        for step in steps {
            run.perform(step);
        }
        run.wind_up();
    }
}
