//! How long a hold lives, and by whose word.

use std::time::Instant;

use crate::{Current, Holder};

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) holder: Holder,
    pub(super) since: Instant,
    pub(super) until: Instant,
}

impl Lease {
    pub(super) fn current(&self, now: Instant) -> Current {
        Current {
            holder: self.holder.clone(),
            held_for: now.saturating_duration_since(self.since),
            lease_left: self.until.saturating_duration_since(now),
        }
    }
}
