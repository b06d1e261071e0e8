//! What goes wrong, and when.

use std::time::Duration;

use intermission::swap::{record::Action, step::Step};

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The server says no; nothing happened.
    BeforeEffect,
    /// It happened, but the answer got lost.
    AfterEffect,
    /// It never comes back and nothing happened.
    HangBefore,
    /// It happened and never comes back.
    HangAfter,
    /// The answer got lost and it happens later, unless its session is ended before.
    Late,
    /// The session that holds the lock dies; nothing happened.
    Dies,
    /// It takes as long as many a bound, and is done.
    Slow,
    /// It is answered, and the answer is wrong: a look tells the contrary, a change is said to be done and is not.
    Wrong,
}

impl Moment {
    /// With those a call is not what was wanted of it.
    pub(crate) const ALL: [Self; 6] = [
        Self::BeforeEffect,
        Self::AfterEffect,
        Self::HangBefore,
        Self::HangAfter,
        Self::Late,
        Self::Dies,
    ];

    /// Whether the call never comes back.
    pub(crate) const fn hangs(self) -> bool {
        matches!(self, Self::HangBefore | Self::HangAfter)
    }

    /// Whether the effect is there when the call is given up.
    pub(crate) const fn lands(self) -> bool {
        matches!(self, Self::AfterEffect | Self::HangAfter)
    }
}

/// A call of one action on one step that goes wrong.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) action: Action,
    pub(crate) step: Step,
    /// Which call of the try, from 0; every one when absent.
    pub(crate) nth: Option<usize>,
    pub(crate) moment: Moment,
    /// In every try, or only once.
    pub(crate) always: bool,
    /// How often it has struck: a test of a fault that never struck proves nothing.
    pub(crate) hits: u32,
}

impl Fault {
    pub(crate) fn once(action: Action, step: Step, nth: usize, moment: Moment) -> Self {
        Self { action, step, nth: Some(nth), moment, always: false, hits: 0 }
    }

    /// Every call of the action on this step goes wrong.
    pub(crate) fn always(action: Action, step: Step, moment: Moment) -> Self {
        Self { action, step, nth: None, moment, always: true, hits: 0 }
    }

    pub(crate) fn strikes(&self, current: Option<(Action, Step)>, nth: usize) -> bool {
        current == Some((self.action, self.step))
            && self.nth.is_none_or(|wanted| wanted == nth)
            && (self.always || self.hits == 0)
    }
}

/// Where the process is ended, as abruptly as by SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// The call with this number, from 0.
    Call(usize),
    /// The append with this number, from 0.
    Append(usize),
}

/// How far that call or append had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    NotLanded,
    Landed,
    /// It was sent and happens later, unless its session is ended before.
    Late,
}

/// What the world does to the process at one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    Kill,
    Cancel,
    Panic,
    /// As by SIGSTOP: it does nothing until it is told to go on.
    StandStill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) blow: Blow,
    pub(crate) point: Point,
    pub(crate) reached: Reached,
}

impl Strike {
    pub(crate) const fn new(blow: Blow, point: Point, reached: Reached) -> Self {
        Self { blow, point, reached }
    }
}

/// A server is killed, as abruptly as by SIGKILL or a power cut, and started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) server: usize,
    /// At the call with this number, from 0, whoever makes it.
    pub(crate) call: usize,
    /// What that call is for is done before.
    pub(crate) landed: bool,
    pub(crate) down: Duration,
}

/// One call, for tests of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) current: Option<(Action, Step)>,
    pub(crate) what: &'static str,
    pub(crate) nth: usize,
}
