//! What bounds a hold and its release.

use std::num::NonZeroU32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in line at most; the next one is told [`Entry::Full`](crate::Entry::Full).
    pub held_max: usize,
    pub pace: Pace,
}

/// How fast a release lets the line go. Both at 1: strictly one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Released requests that may run at the start, and those not yet written upstream at any
    /// time. At 1 they reach the upstream exactly in the order they came.
    pub concurrency: NonZeroU32,
    /// Where the window of running released requests stops growing; never below `concurrency`.
    pub concurrency_max: NonZeroU32,
}
