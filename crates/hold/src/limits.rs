//! What bounds a hold and its release.

use std::num::NonZeroU32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in line at most; the next one is told [`Entry::Full`](crate::Entry::Full).
    pub held_max: usize,
    pub pace: Pace,
    /// What becomes of the line when nobody renews the lease.
    pub on_expiry: OnExpiry,
    /// Released requests that fail one after the other before the release stops; none: it never does.
    pub failures_max: Option<NonZeroU32>,
}

/// How fast a release lets the line go. Both at 1: strictly one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Released requests that may run at the start, and those not yet written upstream at any
    /// time. At 1 they reach the upstream exactly in the order they came. While answers come within 25 ms fewer run, down to 16, where
    /// half as many are answered nearly as fast.
    pub concurrency: NonZeroU32,
    /// Where the window of running released requests stops growing; never below `concurrency`. Each answer widens it by one,
    /// but none that came within 25 ms in the first three seconds of the release.
    pub concurrency_max: NonZeroU32,
}

/// A lease has ended that nobody renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExpiry {
    /// The line goes on, in order.
    #[default]
    Release,
    /// Whoever is in line is turned away; whoever comes later goes on.
    Reject,
}

impl Limits {
    /// The line goes on when a lease ends, and no failure stops it.
    #[must_use]
    pub const fn new(held_max: usize, pace: Pace) -> Self {
        Self { held_max, pace, on_expiry: OnExpiry::Release, failures_max: None }
    }
}
