//! Random sequences of everything that can happen, against a plain restatement of the rules.

mod command;
mod rules;
mod step;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::{Duration, Instant};

use hold::{Drain, Entry, Excess, Generation, State, Ticket, TurnedAway, Wait};
use proptest::{collection, proptest};
use tokio::runtime::Runtime;

use self::rules::{Known, Rules};
use self::step::{Command, LANES, Step, step};
use crate::fixture::{App, app_with, holder, now, pace};

const HELD_MAX: usize = 6;
const CONCURRENCY: u32 = 2;
const CONCURRENCY_MAX: u32 = 4;
const LEASE_MS: u64 = 20_000;
const STEPS_MAX: usize = 160;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Woken {
    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request as the hold knows it.
enum Client {
    InLine(Wait, Arc<Woken>),
    Running(Ticket),
}

/// Somebody who waits for the drain of a generation.
struct Watcher {
    generation: u64,
    end: Pin<Box<dyn Future<Output = Drain>>>,
    woken: Arc<Woken>,
}

struct Run<'a> {
    runtime: &'a Runtime,
    app: App,
    rules: Rules,
    clients: BTreeMap<usize, Client>,
    watchers: Vec<Watcher>,
    next: usize,
    began: Instant,
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap()
}

impl<'a> Run<'a> {
    /// Within `runtime`, whose clock stands still but for what passes.
    fn new(runtime: &'a Runtime) -> Self {
        Self {
            runtime,
            app: app_with(LANES, HELD_MAX, pace(CONCURRENCY, CONCURRENCY_MAX)),
            rules: Rules::new(HELD_MAX, size(CONCURRENCY), size(CONCURRENCY_MAX)),
            clients: BTreeMap::new(),
            watchers: Vec::new(),
            next: 0,
            began: now(),
        }
    }

    fn now(&self) -> u64 {
        ms(now() - self.began)
    }

    fn at(&self, ms: u64) -> Instant {
        self.began + Duration::from_millis(ms)
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
                assert_eq!(ticket.waited(), None);
                self.rules.known.insert(id, Known::Running(None));
                self.clients.insert(id, Client::Running(ticket));
            }
            Entry::Full => {
                assert_ne!(self.rules.state, State::Open);
                assert!(self.rules.line.len() >= self.rules.held_max, "there was room");
                self.rules.refused_full += 1;
            }
            Entry::Wait(wait) => {
                assert_ne!(self.rules.state, State::Open);
                assert!(self.rules.line.len() < self.rules.held_max, "more held than the bound");
                self.rules.arrive(id, self.now());
                self.clients.insert(id, Client::InLine(wait, Arc::default()));
                self.fetch(id);
            }
        }
    }

    fn fetch(&mut self, id: usize) {
        let Some(Client::InLine(wait, woken)) = self.clients.get_mut(&id) else { return };
        let waker = Arc::clone(woken).into();
        if let Poll::Ready(turn) = pin!(wait).poll(&mut Context::from_waker(&waker)) {
            match turn {
                Ok(ticket) => self.fetched(id, ticket),
                Err(turned_away) => self.rejected(id, turned_away),
            }
        }
    }

    fn rejected(&mut self, id: usize, told: TurnedAway) {
        self.clients.remove(&id);
        assert!(self.rules.known.remove(&id) == Some(Known::Rejected), "turned away: {told}");
        let TurnedAway::HoldExpired { waited } = told else { panic!("{told}") };
        assert_eq!(ms(waited), self.rules.waited[&id]);
    }

    fn fetched(&mut self, id: usize, ticket: Ticket) {
        let Some(Known::Granted(release)) = self.rules.known.get(&id).copied() else {
            panic!("a ticket out of turn")
        };
        assert_eq!(ticket.waited().map(ms), Some(self.rules.waited[&id]));
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
        let waited = self.rules.left_line(id, self.now());
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
        let waited = self.rules.left_line(id, self.now());
        match wait.give_up() {
            Ok(ticket) => self.fetched(id, ticket),
            Err(TurnedAway::TimedOut { waited: told }) => {
                assert!(waited, "its turn had come");
                assert_eq!(ms(told), self.rules.waited[&id]);
                self.rules.known.remove(&id);
                self.rules.timed_out += 1;
            }
            Err(told @ TurnedAway::HoldExpired { .. }) => self.rejected(id, told),
        }
    }

    fn refuse(&mut self, id: usize) {
        let Some(Client::InLine(wait, _)) = self.clients.remove(&id) else { return };
        let known = self.rules.known[&id];
        match wait.refuse() {
            Ok(ticket) => self.fetched(id, ticket),
            Err(Excess) => {
                assert!(!matches!(known, Known::Granted(_)), "its turn had come");
                self.rules.known.remove(&id);
                if known == Known::InLine {
                    self.rules.line.retain(|waiting| *waiting != id);
                    self.rules.held_total -= 1;
                    self.rules.refused_full += 1;
                }
            }
        }
    }

    fn fail(&mut self, id: usize) {
        let Some(Client::Running(ticket)) = self.clients.get_mut(&id) else { return };
        ticket.failed();
        self.rules.failed.insert(id);
    }

    fn close(&mut self) {
        let until = self.now() + LEASE_MS;
        match self.app.hold.close(Generation::NONE, holder("oracle"), self.at(until)) {
            Ok(generation) => {
                assert!(!self.rules.is_held(self.rules.generation), "two holders");
                self.rules.close(self.now(), until);
                assert_eq!(generation.get(), self.rules.generation);
            }
            Err(refused) => {
                assert_eq!(refused.generation.get(), self.rules.generation);
                assert!(self.rules.is_held(self.rules.generation));
            }
        }
    }

    fn watch(&mut self, behind: u64) {
        let (number, generation) = self.generation(behind);
        let hold = self.app.hold.clone();
        let mut end: Pin<Box<dyn Future<Output = Drain>>> =
            Box::pin(async move { hold.drain_end(generation).await });
        let woken = Arc::<Woken>::default();
        let waker = Arc::clone(&woken).into();
        match end.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(ended) => assert_eq!(Some(ended), self.rules.drain_end(number)),
            Poll::Pending => self.watchers.push(Watcher { generation: number, end, woken }),
        }
    }

    fn perform(&mut self, step: Step) {
        let waiting = |index| self.pick(index, false);
        let running = |index| self.pick(index, true);
        match step {
            Step::Enter(lane) => self.enter(lane),
            Step::Close => self.close(),
            Step::Watch(behind) => self.watch(behind),
            Step::Command(command) => self.command(command),
            Step::SetLimits(bounds) => self.set_limits(bounds),
            Step::Pass(ms) => {
                self.runtime.block_on(tokio::time::advance(Duration::from_millis(ms)));
            }
            Step::Fetch(index) => waiting(index).into_iter().for_each(|id| self.fetch(id)),
            Step::Leave(index) => waiting(index).into_iter().for_each(|id| self.leave(id)),
            Step::GiveUp(index) => waiting(index).into_iter().for_each(|id| self.give_up(id)),
            Step::Refuse(index) => waiting(index).into_iter().for_each(|id| self.refuse(id)),
            Step::Fail(index) => running(index).into_iter().for_each(|id| self.fail(id)),
            Step::Written(index) => running(index).into_iter().for_each(|id| self.written(id)),
            Step::Complete(index) => running(index).into_iter().for_each(|id| {
                drop(self.clients.remove(&id));
                self.rules.complete(id, self.now());
            }),
        }
        self.rules.settle(self.now());
        self.compare();
        self.compare_wakes();
    }

    fn compare(&self) {
        let (status, rules, now) = (self.app.hold.status(), &self.rules, self.now());
        assert_eq!(status.state, rules.state);
        assert_eq!(status.generation.get(), rules.generation);
        assert_eq!(status.held, rules.line.len());
        assert_eq!(status.in_flight, u64::try_from(rules.in_flight()).unwrap());
        assert_eq!(status.released_in_flight, u32::try_from(rules.running()).unwrap());
        assert_eq!(status.is_stopped, rules.state == State::Releasing && rules.is_stopped());
        assert_eq!(status.oldest.map(ms), rules.oldest(now));
        let lease = status.hold.map(|hold| (ms(hold.held_for), ms(hold.lease_left)));
        let expected = (now - rules.since, rules.until.saturating_sub(now));
        assert_eq!(lease, rules.is_held(rules.generation).then_some(expected));
        let figures = status.summary;
        assert_eq!(figures.held_total, rules.held_total);
        assert_eq!(figures.released, rules.released);
        assert_eq!(figures.timed_out, rules.timed_out);
        assert_eq!(figures.client_gone, rules.client_gone);
        assert_eq!(figures.refused_full, rules.refused_full);
        assert_eq!(figures.rejected, rules.rejected);
        let longest = rules.longest_wait.max(rules.oldest(now).unwrap_or_default());
        assert_eq!(ms(figures.longest_wait), longest);
        let left = figures.released + figures.timed_out + figures.client_gone + figures.rejected;
        assert_eq!(figures.held_total - left, u64::try_from(status.held).unwrap());
    }

    fn compare_wakes(&mut self) {
        for (id, client) in &self.clients {
            if let Client::InLine(_, woken) = client {
                let settled = self.rules.known.get(id) != Some(&Known::InLine);
                assert_eq!(woken.get(), settled, "woken if and only if out of the line");
            }
        }
        let rules = &self.rules;
        self.watchers.retain_mut(|Watcher { generation, end, woken }| {
            let expected = rules.drain_end(*generation);
            assert_eq!(woken.get(), expected.is_some(), "woken if and only if it is over");
            let waker = Arc::clone(woken).into();
            let ended = expected.map(Poll::Ready).unwrap_or(Poll::Pending);
            if ended.is_ready() {
                assert_eq!(end.as_mut().poll(&mut Context::from_waker(&waker)), ended);
            }
            ended.is_pending()
        });
    }

    /// Nobody is forgotten: once released, everyone goes on, and the app is open and idle.
    fn wind_up(&mut self) {
        self.perform(Step::Command(Command::Release(0)));
        // It may have been stopped by what failed before.
        self.perform(Step::Command(Command::GoOn(0, true)));
        while let Some(id) = self.clients.keys().next().copied() {
            let ready: Vec<usize> = self.clients.keys().copied().collect();
            for id in ready {
                self.fetch(id);
                self.written(id);
                self.rules.settle(self.now());
            }
            if self.clients.contains_key(&id) {
                assert!(matches!(self.clients[&id], Client::Running(_)), "the head is forgotten");
                self.perform(Step::Complete(0));
            }
            self.perform(Step::Command(Command::GoOn(0, true)));
        }
        let status = self.app.hold.status();
        assert_eq!((status.state, status.held, status.in_flight), (State::Open, 0, 0));
    }
}

proptest! {
    #[test]
    fn the_hold_keeps_its_rules(steps in collection::vec(step(), 1..STEPS_MAX)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let _within = runtime.enter();
        let mut run = Run::new(&runtime);
        for step in steps {
            run.perform(step);
        }
        run.wind_up();
    }
}
