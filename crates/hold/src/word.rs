//! The atomic word of a lane: `[closed bit | requests in flight]`.

use crate::sync::{AtomicU64, Ordering};

const CLOSED: u64 = 1 << 63;

/// The closed bit changes only under the app's lock. While it is set the count grows only by
/// grants, also under the lock; so a sum over closed lanes that reaches zero stays at zero.
///
/// Two cache lines wide (processors fetch them in pairs), so that lanes do not slow each other.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Word(AtomicU64);

impl Word {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The one step that decides: counted in flight, or `false` and nothing changed.
    pub(crate) fn try_enter(&self) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        while seen & CLOSED == 0 {
            match self.0.compare_exchange_weak(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(changed) => seen = changed,
            }
        }
        false
    }

    /// Counts one in whatever the closed bit says. Only under the lock.
    pub(crate) fn admit(&self) {
        self.0.fetch_add(1, Ordering::Acquire);
    }

    /// Counts one out; says whether the lane was closed, so that the lock must be taken.
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        let before = self.0.fetch_sub(1, Ordering::Release);
        debug_assert!(before & !CLOSED > 0, "counted out more often than in");
        before & CLOSED != 0
    }

    pub(crate) fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(crate) fn open(&self) {
        self.0.fetch_and(!CLOSED, Ordering::AcqRel);
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.0.load(Ordering::Acquire) & !CLOSED
    }
}
