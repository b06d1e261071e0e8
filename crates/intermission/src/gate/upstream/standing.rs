//! What all workers know of one upstream: whether it is well, and where its name leads.
//!
//! As long as it is well a request reads two words that nobody writes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::config::gate::{Eject, Upstream as Address};

#[derive(Debug)]
pub(crate) struct Standing {
    address: Address,
    /// What the times below count from.
    began: Instant,
    /// As the health checks have it.
    is_down: AtomicBool,
    /// Left out until then, ms; 0: not.
    out_until_ms: AtomicU64,
    /// Of users' requests, in a row.
    failures: AtomicU32,
    /// Counts the changes of `known`.
    edition: AtomicU64,
    known: Mutex<Known>,
    /// Whoever looks its name up is to do it now.
    pub(super) look_up: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Known {
    /// Where its name leads. None: it has none, or was not looked up yet.
    addresses: Option<Arc<[SocketAddr]>>,
    /// Why it was taken out, by the checks or after failures.
    problem: Option<String>,
}

/// How an upstream failed a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Unreachable,
    BrokeOff,
    Slow,
}

/// Whether requests are sent to it, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    Up,
    /// By the checks.
    Down(String),
    /// After failures, for this long yet.
    Ejected(String, Duration),
}

impl Standing {
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address,
            began: Instant::now(),
            is_down: AtomicBool::new(false),
            out_until_ms: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            edition: AtomicU64::new(0),
            known: Mutex::default(),
            look_up: Arc::default(),
        }
    }

    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn is_well(&self) -> bool {
        !self.is_down.load(Ordering::Relaxed) && self.out_for().is_none()
    }

    pub(crate) fn health(&self) -> Health {
        let problem = || self.known().problem.clone().unwrap_or_default();
        if self.is_down.load(Ordering::Relaxed) {
            return Health::Down(problem());
        }
        match self.out_for() {
            Some(left) => Health::Ejected(problem(), left),
            None => Health::Up,
        }
    }

    /// A user's request was answered.
    pub(crate) fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.out_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// A user's request was not.
    pub(crate) fn failed(&self, eject: Eject, trouble: Trouble) {
        if trouble == Trouble::Unreachable {
            self.look_up.notify_one();
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let threshold = u32::try_from(eject.failures).unwrap_or(u32::MAX);
        if threshold == 0 || failures < threshold {
            return;
        }
        // Once its time is over it is tried again, and out again with the first failure.
        self.failures.store(threshold, Ordering::Relaxed);
        let was_well = self.is_well();
        let until = self.began.elapsed().saturating_add(eject.duration);
        let problem = format!("{failures} attempts in a row: {}", trouble.words());
        self.out_until_ms.store(millis(until).max(1), Ordering::Relaxed);
        if was_well {
            let (upstream, for_ms) = (&self.address, eject.duration.as_millis());
            tracing::warn!(%upstream, for_ms, problem, "upstream left out");
            self.known().problem = Some(problem);
        }
    }

    /// As the health checks find it.
    pub(super) fn set_down(&self, problem: Option<String>) {
        let is_down = problem.is_some();
        self.known().problem = problem;
        self.is_down.store(is_down, Ordering::Relaxed);
        if !is_down {
            self.answered();
        }
    }

    /// Where its name leads now.
    pub(super) fn leads_to(&self, addresses: Vec<SocketAddr>) {
        let mut known = self.known();
        if known.addresses.as_deref() != Some(addresses.as_slice()) {
            if known.addresses.is_some() {
                tracing::info!(upstream = %self.address, ?addresses, "the upstream's name leads elsewhere");
            }
            known.addresses = Some(addresses.into());
            self.edition.fetch_add(1, Ordering::Release);
        }
    }

    pub(crate) fn addresses(&self) -> Option<Arc<[SocketAddr]>> {
        self.known().addresses.clone()
    }

    /// Whether its name still leads to `peer`, for who has seen `edition`; which is brought up to date.
    pub(crate) fn still_leads_to(&self, peer: Option<SocketAddr>, edition: &mut u64) -> bool {
        let newest = self.edition.load(Ordering::Acquire);
        if *edition == newest {
            return true;
        }
        *edition = newest;
        let addresses = self.addresses();
        peer.is_none_or(|peer| addresses.is_none_or(|addresses| addresses.contains(&peer)))
    }

    pub(crate) fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    fn out_for(&self) -> Option<Duration> {
        let until = match self.out_until_ms.load(Ordering::Relaxed) {
            0 => return None,
            until => Duration::from_millis(until),
        };
        until.checked_sub(self.began.elapsed()).filter(|left| !left.is_zero())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    const fn words(self) -> &'static str {
        match self {
            Self::Unreachable => "no connection",
            Self::BrokeOff => "it broke off before it answered",
            Self::Slow => "no answer in time",
        }
    }
}

fn millis(duration: Duration) -> u64 {
    crate::gate::millis(duration)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Health, Standing, Trouble};
    use crate::config::gate::Eject;

    fn standing() -> Standing {
        Standing::new("app.internal:80".parse().unwrap())
    }

    #[test]
    fn failures_in_a_row_put_it_out_and_one_answer_forgets_them() {
        let eject = Eject { failures: 3, duration: Duration::from_secs(60) };
        let standing = standing();
        for trouble in [Trouble::Unreachable, Trouble::Slow] {
            standing.failed(eject, trouble);
        }
        standing.answered();
        for _ in 0..2 {
            standing.failed(eject, Trouble::BrokeOff);
            assert!(standing.is_well());
        }
        standing.failed(eject, Trouble::Unreachable);
        let Health::Ejected(problem, left) = standing.health() else { panic!("{standing:?}") };
        assert_eq!(problem, "3 attempts in a row: no connection");
        assert!(left > Duration::from_secs(50), "{left:?}");
        // It was tried although it is out, because all were.
        standing.answered();
        assert_eq!(standing.health(), Health::Up);
    }

    #[test]
    fn after_its_time_one_failure_is_enough() {
        let standing = standing();
        let short = Eject { failures: 2, duration: Duration::from_millis(1) };
        standing.failed(short, Trouble::Unreachable);
        standing.failed(short, Trouble::Unreachable);
        while let Health::Ejected(_, left) = standing.health() {
            assert!(left <= short.duration, "{left:?}");
        }
        standing.failed(Eject { failures: 2, duration: Duration::from_secs(60) }, Trouble::Slow);
        assert!(!standing.is_well());
    }

    #[test]
    fn none_is_put_out_where_nobody_wants_it() {
        let standing = standing();
        for _ in 0..100 {
            let never = Eject { failures: 0, duration: Duration::from_secs(60) };
            standing.failed(never, Trouble::Unreachable);
        }
        assert_eq!(standing.health(), Health::Up);
    }

    #[test]
    fn a_check_that_succeeds_forgets_the_failures_of_requests() {
        let standing = standing();
        standing.failed(Eject { failures: 1, duration: Duration::from_secs(60) }, Trouble::Slow);
        standing.set_down(Some("it answered 500".to_owned()));
        assert_eq!(standing.health(), Health::Down("it answered 500".to_owned()));
        standing.set_down(None);
        assert_eq!(standing.health(), Health::Up);
    }

    #[test]
    fn a_connection_is_kept_as_long_as_the_name_leads_to_its_peer() {
        let standing = standing();
        let [here, there] = ["127.0.0.1:80", "127.0.0.2:80"].map(|text| text.parse().unwrap());
        let mut edition = standing.edition();
        assert!(standing.still_leads_to(Some(here), &mut edition));
        standing.leads_to(vec![here, there]);
        assert!(standing.still_leads_to(Some(here), &mut edition));
        standing.leads_to(vec![there]);
        assert!(standing.still_leads_to(Some(there), &mut { edition }));
        assert!(!standing.still_leads_to(Some(here), &mut edition));
        // A unix socket has no name.
        assert!(standing.still_leads_to(None, &mut 0));
    }
}
