//! The pace of a release: how many of the line may be on their way.

use crate::{Generation, Pace};

/// Two limits. `unwritten` keeps the order: over all releases, never more than `concurrency`
/// requests are granted and not yet written upstream. `running` against `window` spares the
/// upstream: it counts the requests of this release only, so that endless responses of an earlier
/// one cannot block it.
#[derive(Debug)]
pub(crate) struct Ramp {
    pace: Pace,
    generation: Generation,
    unwritten: u32,
    running: u32,
    window: u32,
}

/// A place in the ramp, held by a granted request.
#[derive(Debug)]
pub(crate) struct Place {
    generation: Generation,
    written: bool,
}

impl Ramp {
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            pace,
            generation: Generation::NONE,
            unwritten: 0,
            running: 0,
            window: pace.concurrency.get(),
        }
    }

    /// A window that has grown goes on from where it is, within the new bounds.
    pub(crate) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        let widest = pace.concurrency_max.max(pace.concurrency).get();
        self.window = self.window.clamp(pace.concurrency.get(), widest);
    }

    /// The release of `generation` begins: the window starts small again.
    pub(crate) fn begin(&mut self, generation: Generation) {
        self.generation = generation;
        self.running = 0;
        self.window = self.pace.concurrency.get();
    }

    pub(crate) fn try_take(&mut self) -> Option<Place> {
        if self.unwritten >= self.pace.concurrency.get() || self.running >= self.window {
            return None;
        }
        self.unwritten += 1;
        self.running += 1;
        Some(Place { generation: self.generation, written: false })
    }

    /// Says whether this was news.
    pub(crate) fn written(&mut self, place: &mut Place) -> bool {
        if place.written {
            return false;
        }
        place.written = true;
        self.unwritten -= 1;
        true
    }

    /// Only a request that was written widens the window: one given back proves nothing.
    #[expect(clippy::needless_pass_by_value, reason = "a place is given back once")]
    pub(crate) fn give_back(&mut self, place: Place) {
        let Place { generation, written } = place;
        if !written {
            self.unwritten -= 1;
        }
        if generation != self.generation {
            return;
        }
        self.running -= 1;
        if written {
            let widest = self.pace.concurrency_max.max(self.pace.concurrency).get();
            self.window = self.window.saturating_add(1).min(widest);
        }
    }

    /// Granted in the newest release and not yet answered.
    pub(crate) const fn running(&self) -> u32 {
        self.running
    }

    /// Everyone granted has been written: who comes now overtakes nobody.
    pub(crate) const fn all_written(&self) -> bool {
        self.unwritten == 0
    }
}

impl Place {
    pub(crate) const fn generation(&self) -> Generation {
        self.generation
    }

    pub(crate) const fn is_written(&self) -> bool {
        self.written
    }
}
