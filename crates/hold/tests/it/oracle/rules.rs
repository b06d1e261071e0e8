//! The rules of a hold, restated as plainly as possible: everything is counted anew each time.

use std::collections::{BTreeMap, VecDeque};

use hold::State;

pub(super) const CONCURRENCY: u32 = 2;
pub(super) const CONCURRENCY_MAX: u32 = 4;

/// The same as the rules know it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Known {
    InLine,
    /// Its turn has come in the release of this generation; not yet fetched.
    Granted(u64),
    /// In flight. Those that were in line: of which release, and whether written.
    Running(Option<(u64, bool)>),
}

pub(super) struct Rules {
    pub(super) state: State,
    pub(super) generation: u64,
    pub(super) until: u64,
    pub(super) line: VecDeque<usize>,
    pub(super) known: BTreeMap<usize, Known>,
    /// Of the release that runs or ran last.
    pub(super) releasing: u64,
    pub(super) window: usize,
    pub(super) held_total: u64,
    pub(super) released: u64,
    pub(super) timed_out: u64,
    pub(super) client_gone: u64,
    pub(super) refused_full: u64,
}

impl Rules {
    pub(super) fn new() -> Self {
        Self {
            state: State::Open,
            generation: 0,
            until: 0,
            line: VecDeque::new(),
            known: BTreeMap::new(),
            releasing: 0,
            window: 0,
            held_total: 0,
            released: 0,
            timed_out: 0,
            client_gone: 0,
            refused_full: 0,
        }
    }

    pub(super) fn count(&self, which: impl Fn(&Known) -> bool) -> usize {
        self.known.values().filter(|known| which(known)).count()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.count(|known| *known != Known::InLine)
    }

    pub(super) fn unwritten(&self) -> usize {
        self.count(|known| matches!(known, Known::Granted(_) | Known::Running(Some((_, false)))))
    }

    pub(super) fn running(&self) -> usize {
        let of = |release: u64| release == self.releasing;
        self.count(|known| match known {
            Known::Granted(release) | Known::Running(Some((release, _))) => of(*release),
            Known::InLine | Known::Running(None) => false,
        })
    }

    pub(super) fn is_held(&self, generation: u64) -> bool {
        generation == self.generation && matches!(self.state, State::Draining | State::Held)
    }

    pub(super) fn close(&mut self) {
        self.generation += 1;
        self.state = State::Draining;
        self.held_total = u64::try_from(self.line.len()).unwrap();
        (self.released, self.timed_out, self.client_gone, self.refused_full) = (0, 0, 0, 0);
    }

    pub(super) fn release(&mut self) {
        self.state = State::Releasing;
        self.releasing = self.generation;
        self.window = usize::try_from(CONCURRENCY).unwrap();
    }

    pub(super) fn complete(&mut self, client: usize) {
        let known = self.known.remove(&client);
        if known == Some(Known::Running(Some((self.releasing, true)))) {
            self.window = (self.window + 1).min(usize::try_from(CONCURRENCY_MAX).unwrap());
        }
    }

    /// Out of the line; `false` if its turn had come already.
    pub(super) fn left_line(&mut self, client: usize) -> bool {
        self.line.retain(|waiting| *waiting != client);
        self.known.get(&client) == Some(&Known::InLine)
    }

    pub(super) fn settle(&mut self) {
        if self.state == State::Draining && self.in_flight() == 0 {
            self.state = State::Held;
        }
        if self.state != State::Releasing {
            return;
        }
        while self.unwritten() < usize::try_from(CONCURRENCY).unwrap()
            && self.running() < self.window
            && let Some(head) = self.line.pop_front()
        {
            self.known.insert(head, Known::Granted(self.releasing));
            self.released += 1;
        }
        if self.line.is_empty() && self.unwritten() == 0 {
            self.state = State::Open;
        }
    }
}
