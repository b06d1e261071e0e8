//! The sentinel: looks at both servers again and again, and says so when both are writable at once, or neither for longer than a
//! swap may take.
//!
//! It only looks. It is part of the guardian, so that it looks on when the process that swaps stands still.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::server::Server;

/// The pause between two looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Both servers of a swap, by sessions of its own.
#[derive(Debug)]
pub struct Sentinel {
    old: Arc<dyn Server>,
    new: Arc<dyn Server>,
    judge: Judge,
}

/// Whether a server was seen to be writable; `None` where it did not answer.
type Seen = Option<bool>;

impl Sentinel {
    /// `budget` is how long nobody may be able to write.
    #[must_use]
    pub fn new(old: Arc<dyn Server>, new: Arc<dyn Server>, budget: Duration) -> Self {
        let names = [old.name().to_owned(), new.name().to_owned()];
        Self { old, new, judge: Judge::new(names, budget) }
    }

    /// Logs in where it can.
    pub async fn open(&self) {
        tokio::join!(see(self.old.as_ref()), see(self.new.as_ref()));
    }

    /// Looks until it is dropped.
    pub async fn watch(mut self, shout: impl Fn(String)) {
        loop {
            let (old, new) = self.look().await;
            if let Some(alarm) = self.judge.learn(Instant::now(), old, new) {
                shout(alarm);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The old primary between two looks at the new one: three times yes is both at once, and not one after the other.
    async fn look(&self) -> (Seen, Seen) {
        let new = see(self.new.as_ref()).await;
        let old = see(self.old.as_ref()).await;
        if (old, new) == (Some(true), Some(true)) {
            return (old, see(self.new.as_ref()).await);
        }
        (old, new)
    }
}

async fn see(server: &dyn Server) -> Seen {
    match server.access().await {
        Ok(access) => Some(access.is_writable()),
        Err(error) => {
            tracing::debug!(%error, "the sentinel sees nothing there");
            None
        }
    }
}

/// What is made of the looks; each state is told once.
#[derive(Debug)]
struct Judge {
    /// Of the old and the new primary.
    names: [String; 2],
    budget: Duration,
    both: bool,
    none_since: Option<Instant>,
    told_of_none: bool,
}

impl Judge {
    const fn new(names: [String; 2], budget: Duration) -> Self {
        Self { names, budget, both: false, none_since: None, told_of_none: false }
    }

    fn learn(&mut self, now: Instant, old: Seen, new: Seen) -> Option<String> {
        let [old_name, new_name] = &self.names;
        let both = old == Some(true) && new == Some(true);
        let is_new = both && !self.both;
        self.both = both;
        if is_new {
            return Some(format!("two servers are writable at once: {old_name} and {new_name}"));
        }
        if old == Some(true) || new == Some(true) {
            (self.none_since, self.told_of_none) = (None, false);
            return None;
        }
        let since = *self.none_since.get_or_insert(now);
        if self.told_of_none || now.duration_since(since) <= self.budget {
            return None;
        }
        self.told_of_none = true;
        let word = |seen: Seen| if seen.is_none() { "does not answer" } else { "is read-only" };
        Some(format!(
            "no server was seen to be writable for {:?}: {old_name} {}, {new_name} {}",
            self.budget,
            word(old),
            word(new)
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Judge, Seen};

    const YES: Seen = Some(true);
    const NO: Seen = Some(false);

    /// What is told of looks a second apart, with three seconds in which nobody need be writable.
    fn told(looks: &[(Seen, Seen)]) -> Vec<String> {
        let mut judge = Judge::new(["db1".to_owned(), "db2".to_owned()], Duration::from_secs(3));
        let began = Instant::now();
        let told = looks.iter().zip(0..).filter_map(|((old, new), second)| {
            judge.learn(began + Duration::from_secs(second), *old, *new)
        });
        told.collect()
    }

    #[test]
    fn a_swap_and_one_that_is_taken_back_are_nothing_to_tell() {
        let gap = [(NO, NO); 4];
        let swap = [&[(YES, NO)], &gap[..], &[(NO, YES), (None, YES), (NO, None), (NO, YES)]];
        assert_eq!(told(&swap.concat()), Vec::<String>::new());
        let back = [&[(YES, NO)], &gap[..], &[(YES, NO)], &gap[..], &[(YES, NO)]].concat();
        assert_eq!(told(&back), Vec::<String>::new());
    }

    #[test]
    fn two_writers_are_told_once_and_again_when_they_are_there_again() {
        let looks = [(YES, NO), (YES, YES), (YES, YES), (NO, YES), (YES, YES)];
        let told = told(&looks);
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], "two servers are writable at once: db1 and db2");
    }

    #[test]
    fn nobody_writable_is_told_once_the_budget_is_over() {
        let none = [(NO, NO), (NO, NO), (None, NO), (NO, NO), (None, NO), (NO, NO)];
        let told_of_none = told(&none);
        assert_eq!(told_of_none.len(), 1, "{told_of_none:?}");
        let expected =
            "no server was seen to be writable for 3s: db1 does not answer, db2 is read-only";
        assert_eq!(told_of_none[0], expected);
        let again = [&none[..], &[(YES, NO)], &none[..]].concat();
        assert_eq!(told(&again).len(), 2);
    }
}
