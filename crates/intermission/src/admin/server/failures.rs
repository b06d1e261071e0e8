//! Calls that nobody stands behind, counted by where they come from.
//!
//! Who has spent the budget of an address gets no further token from there looked at for the rest of a minute. What is not
//! a guess goes on meanwhile: a connection may show the token that it has shown before, and a certificate cannot be guessed.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::admin::api::Role;
use crate::config::cidr::one_client;

/// Failures of one address within [`WINDOW`]. Someone who mistypes needs fewer; a token has 2^128 possibilities or more.
pub(super) const FAILURES_MAX: u32 = 10;
/// From the first failure on.
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are remembered; the one that failed first is forgotten for a further one.
const ADDRESSES_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<IpAddr, Window>>);

/// Of one address.
#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    failures: u32,
}

/// Why a token is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    Wrong,
    /// For so long.
    NotLookedAt(Duration),
}

impl Failures {
    /// What the token is that `look` looks at; `shown` is what its connection has shown before. Counts it if it is none. One
    /// after the other, so that no more are looked at at once than one after another.
    pub(super) fn judge(
        &self,
        peer: SocketAddr,
        now: Instant,
        shown: Option<Role>,
        look: impl FnOnce() -> Option<Role>,
    ) -> Result<Role, Denied> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = windows.get(&one_client(peer.ip())).and_then(|window| window.spent(now));
        let Some(wait) = spent else {
            let role = look();
            return role.ok_or_else(|| {
                count(&mut windows, peer, now);
                Denied::Wrong
            });
        };
        if shown.is_none() {
            return Err(Denied::NotLookedAt(wait));
        }
        // Not any other one: that would be a guess.
        look().filter(|role| Some(*role) == shown).ok_or(Denied::NotLookedAt(wait))
    }

    /// A certificate that was refused.
    pub(super) fn count(&self, peer: SocketAddr, now: Instant) {
        count(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), peer, now);
    }
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= WINDOW
    }

    /// How long it goes on, if its budget is spent.
    fn spent(&self, now: Instant) -> Option<Duration> {
        let left = WINDOW.checked_sub(now.saturating_duration_since(self.began))?;
        (self.failures >= FAILURES_MAX && !left.is_zero()).then_some(left)
    }
}

/// Logged when the first one of a window comes, and when its budget is spent; not for each.
fn count(windows: &mut HashMap<IpAddr, Window>, peer: SocketAddr, now: Instant) {
    let address = one_client(peer.ip());
    if windows.get(&address).is_some_and(|window| window.is_over(now)) {
        windows.remove(&address);
    }
    if windows.len() >= ADDRESSES_MAX && !windows.contains_key(&address) {
        make_room(windows, now);
    }
    let window = windows.entry(address).or_insert(Window { began: now, failures: 0 });
    window.failures = window.failures.saturating_add(1);
    if window.failures == 1 {
        tracing::warn!(%peer, "an admin call over TCP was refused: no right token or certificate");
    } else if window.failures == FAILURES_MAX {
        tracing::warn!(
            %peer,
            "{FAILURES_MAX} admin calls were refused within {WINDOW:?}: no further token from this address is looked at for the \
             rest of it"
        );
    }
}

fn make_room(windows: &mut HashMap<IpAddr, Window>, now: Instant) {
    windows.retain(|_, window| !window.is_over(now));
    if windows.len() < ADDRESSES_MAX {
        return;
    }
    let oldest = windows.iter().min_by_key(|(_, window)| window.began).map(|(address, _)| *address);
    if let Some(oldest) = oldest {
        windows.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 1)
    }

    fn guess(failures: &Failures, from: &str, now: Instant) -> Denied {
        failures.judge(at(from), now, None, || None).unwrap_err()
    }

    fn spend(failures: &Failures, from: &str, now: Instant) {
        for _ in 0..FAILURES_MAX {
            assert_eq!(guess(failures, from, now), Denied::Wrong);
        }
    }

    #[test]
    fn who_has_spent_the_budget_is_not_looked_at_for_the_rest_of_the_minute() {
        let (failures, began) = (Failures::default(), Instant::now());
        spend(&failures, "10.0.0.1", began);
        let later = began + Duration::from_secs(20);
        let wait = Denied::NotLookedAt(WINDOW - Duration::from_secs(20));
        let unseen = || -> Option<Role> { panic!("a guess was looked at") };
        assert_eq!(failures.judge(at("10.0.0.1"), later, None, unseen), Err(wait));
        // The same address as IPv6 has it.
        assert_eq!(guess(&failures, "::ffff:10.0.0.1", later), wait);
        let right = || Some(Role::Operate);
        assert_eq!(failures.judge(at("10.0.0.2"), later, None, right), Ok(Role::Operate));
        assert_eq!(failures.judge(at("10.0.0.1"), began + WINDOW, None, right), Ok(Role::Operate));
        spend(&failures, "10.0.0.1", began + WINDOW);
    }

    #[test]
    fn a_connection_goes_on_with_the_token_it_has_shown_and_no_other() {
        let (failures, now) = (Failures::default(), Instant::now());
        spend(&failures, "10.0.0.1", now);
        let judge = |shown, token| failures.judge(at("10.0.0.1"), now, Some(shown), || token);
        assert_eq!(judge(Role::Read, Some(Role::Read)), Ok(Role::Read));
        for (shown, token) in [
            (Role::Read, Some(Role::Operate)),
            (Role::Operate, Some(Role::Read)),
            (Role::Read, None),
        ] {
            assert_eq!(judge(shown, token), Err(Denied::NotLookedAt(WINDOW)));
        }
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let (failures, now) = (Failures::default(), Instant::now());
        spend(&failures, "2001:db8::1", now);
        assert_eq!(guess(&failures, "2001:db8::ffff:2", now), Denied::NotLookedAt(WINDOW));
        assert_eq!(guess(&failures, "2001:db8:0:1::1", now), Denied::Wrong);
    }

    #[test]
    fn no_more_addresses_are_remembered_than_there_is_room_for() {
        let (failures, began) = (Failures::default(), Instant::now());
        let address = |number: u32| std::net::Ipv4Addr::from_bits(number).to_string();
        spend(&failures, "192.0.2.1", began);
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() * 2 {
            let now = began + Duration::from_micros(u64::from(number) + 1);
            assert_eq!(guess(&failures, &address(number), now), Denied::Wrong);
            assert!(failures.0.lock().unwrap().len() <= ADDRESSES_MAX);
        }
        // Of those whose time is over none takes room.
        failures.count(at("192.0.2.2"), began + WINDOW * 2);
        assert_eq!(failures.0.lock().unwrap().len(), 1);
    }
}
