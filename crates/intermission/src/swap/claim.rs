//! Whether this process may still go on with its swap. One that stood still for a while cannot know by itself: another may
//! have taken its journal over, finished the swap or taken it back, and be gone again.

use std::{fmt, sync::Arc};

/// What a process asks before it does anything: no longer so once somebody else has taken its journal over.
///
/// Whoever takes a journal over ends the sessions that hold the advisory locks afterwards. So a process that asks when it
/// has the lock, and not before, either learns of it or loses the lock.
#[derive(Clone)]
pub struct Claim(Arc<dyn Fn() -> bool + Send + Sync>);

impl Claim {
    #[must_use]
    pub fn new(stands: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(stands))
    }

    #[must_use]
    pub fn stands(&self) -> bool {
        (self.0)()
    }
}

impl Default for Claim {
    /// Of whoever has no journal: nobody can take it over.
    fn default() -> Self {
        Self::new(|| true)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.stands()).finish()
    }
}
