//! The line of one app: first come, first go on, whichever thread they came to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::outbox::{Outbox, note_waker};
use crate::ramp::Place;
use crate::word::Word;

/// A request's number in line, given under the lock at its arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(u64);

/// Bounded by its owner: `waiting` by `held_max`, grants by the ramp, rejections by the lines of the leases that ended
/// within the time a task takes to be polled.
#[derive(Debug, Default)]
pub(crate) struct Line {
    next: u64,
    waiting: BTreeMap<Number, Waiting>,
    /// Out of the line, and not yet fetched by the request's task.
    settled: BTreeMap<Number, Verdict>,
}

#[derive(Debug)]
pub(crate) struct Waiting {
    /// Where it is counted in flight once granted.
    pub(crate) word: Arc<Word>,
    pub(crate) since: Instant,
    pub(crate) waker: Option<Waker>,
}

/// What became of a request in line.
#[derive(Debug)]
pub(crate) enum Verdict {
    Granted(Grant),
    /// The hold ended without a release.
    Rejected {
        waited: Duration,
    },
}

#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) place: Place,
    pub(crate) waited: Duration,
}

impl Line {
    pub(crate) fn push(&mut self, word: Arc<Word>, since: Instant) -> Number {
        let number = Number(self.next);
        self.next += 1;
        self.waiting.insert(number, Waiting { word, since, waker: None });
        number
    }

    pub(crate) fn pop(&mut self) -> Option<(Number, Waiting)> {
        self.waiting.pop_first()
    }

    pub(crate) fn settle(&mut self, number: Number, verdict: Verdict) {
        self.settled.insert(number, verdict);
    }

    pub(crate) fn fetch(&mut self, number: Number) -> Option<Verdict> {
        self.settled.remove(&number)
    }

    pub(crate) fn note(&mut self, number: Number, waker: &Waker, outbox: &mut Outbox) {
        if let Some(waiting) = self.waiting.get_mut(&number) {
            note_waker(&mut waiting.waker, waker, outbox);
        }
    }

    pub(crate) fn remove(&mut self, number: Number) -> Option<Waiting> {
        self.waiting.remove(&number)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(_, head)| head.since)
    }
}
