//! One upstream as a worker thread sees it, and which of an app's upstreams is next.

mod health;
mod resolve;
mod standing;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) use self::health::watch_health;
pub(crate) use self::resolve::keep_resolving;
pub(crate) use self::standing::{Health, Standing, Trouble};
use super::pool::Pool;
use crate::config::gate::{Balance, Upstream as Address};

#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) pool: Rc<Pool>,
    pub(crate) standing: Arc<Standing>,
    in_use: InUse,
}

/// How many of an upstream's connections this worker is using.
#[derive(Debug, Clone, Default)]
struct InUse(Rc<Cell<usize>>);

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Use(InUse);

impl Upstream {
    pub(crate) fn new(standing: Arc<Standing>, pool: Rc<Pool>) -> Self {
        Self { pool, standing, in_use: InUse::default() }
    }

    pub(crate) fn address(&self) -> &Address {
        self.standing.address()
    }

    /// Counts a connection that is about to be used.
    pub(crate) fn enter(&self) -> Use {
        let count = &self.in_use.0;
        count.set(count.get() + 1);
        Use(self.in_use.clone())
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let count = &self.0.0;
        count.set(count.get().saturating_sub(1));
    }
}

/// The index of the upstream to try next: one that is well and not among `tried`, from `turn` on; where none is well, any.
pub(crate) fn next(
    upstreams: &[Upstream],
    balance: Balance,
    turn: usize,
    tried: &[usize],
) -> Option<usize> {
    let well =
        |index: &usize| upstreams.get(*index).is_some_and(|upstream| upstream.standing.is_well());
    let untried = || in_turn(upstreams.len(), turn).filter(|index| !tried.contains(index));
    let best = match balance {
        Balance::RoundRobin => untried().find(well),
        // The first of those with equally many.
        Balance::LeastConnections => untried()
            .filter(well)
            .min_by_key(|index| upstreams.get(*index).map(|upstream| upstream.in_use.0.get())),
    };
    // Those left out are tried only where nobody else could be.
    let none_well = || !(0..upstreams.len()).any(|index| well(&index));
    best.or_else(|| if none_well() { untried().next() } else { None })
}

fn in_turn(count: usize, turn: usize) -> impl Iterator<Item = usize> {
    let first = turn.checked_rem(count).unwrap_or(0);
    (first..count).chain(0..first)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Standing, Trouble, Upstream, next};
    use crate::config::gate::{Balance, Eject};
    use crate::gate::pool::Pool;
    use crate::shutdown::Shutdown;

    const NO_MERCY: Eject = Eject { failures: 1, duration: Duration::from_secs(60) };

    fn upstreams(count: usize) -> Vec<Upstream> {
        let one = |port| {
            let address = format!("127.0.0.1:{port}").parse().unwrap();
            let standing = Arc::new(Standing::new(address));
            let pool = Pool::new(1, Duration::from_secs(1), Arc::clone(&standing), Shutdown::new());
            Upstream::new(standing, pool)
        };
        (1..=count).map(one).collect()
    }

    fn fail(upstream: &Upstream) {
        upstream.standing.failed(NO_MERCY, Trouble::Unreachable);
    }

    #[test]
    fn each_has_its_turn_and_those_left_out_have_none() {
        let all = upstreams(3);
        let order = |tried: &[usize]| {
            (0..4).map(|turn| next(&all, Balance::RoundRobin, turn, tried)).collect::<Vec<_>>()
        };
        assert_eq!(order(&[]), [Some(0), Some(1), Some(2), Some(0)]);
        assert_eq!(order(&[1]), [Some(0), Some(2), Some(2), Some(0)]);
        assert_eq!(order(&[0, 1, 2]), [None; 4]);
        fail(&all[1]);
        assert_eq!(order(&[]), [Some(0), Some(2), Some(2), Some(0)]);
        assert_eq!(order(&[0, 2]), [None; 4]);
    }

    #[test]
    fn where_all_are_left_out_all_are_tried() {
        let all = upstreams(2);
        all.iter().for_each(fail);
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            assert_eq!(next(&all, balance, 1, &[]), Some(1));
            assert_eq!(next(&all, balance, 1, &[1]), Some(0));
            assert_eq!(next(&all, balance, 1, &[1, 0]), None);
        }
        assert_eq!(next(&[], Balance::RoundRobin, 7, &[]), None);
    }

    #[test]
    fn the_one_with_the_fewest_connections_is_next() {
        let all = upstreams(3);
        let balance = Balance::LeastConnections;
        let (first, _second) = (all[0].enter(), all[1].enter());
        assert_eq!(next(&all, balance, 0, &[]), Some(2));
        let _third = all[2].enter();
        assert_eq!(next(&all, balance, 1, &[]), Some(1));
        drop(first);
        assert_eq!(next(&all, balance, 1, &[]), Some(0));
        fail(&all[0]);
        assert_eq!(next(&all, balance, 1, &[]), Some(1));
    }
}
