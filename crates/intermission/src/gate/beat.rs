//! Whether a worker thread still goes round: one that hangs answers nobody, and says nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::millis;

#[derive(Debug)]
pub(crate) struct Beat {
    began: Instant,
    last_ms: AtomicU64,
}

impl Beat {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    /// Now.
    pub(crate) fn beat(&self) {
        self.last_ms.store(millis(self.began.elapsed()), Ordering::Relaxed);
    }

    pub(crate) fn age(&self) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last)
    }
}
