//! How many connections, or held requests of an app, one client may have. Counted once for each, all
//! workers together; no request that goes on at once looks at it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::cidr::one_client;

/// No larger than there are connections, or held requests.
#[derive(Debug)]
pub(crate) struct Shares {
    /// 0: no limit.
    max: AtomicUsize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection or held request of a client, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    client: IpAddr,
    of: Arc<Shares>,
}

impl Shares {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: AtomicUsize::new(max), taken: Mutex::default() })
    }

    /// Whoever has more keeps it.
    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Where there is none, nobody is counted.
    pub(crate) fn has_limit(&self) -> bool {
        self.max.load(Ordering::Relaxed) > 0
    }

    /// None: that client has its share already.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let client = one_client(address);
        self.with(|taken| {
            let count = taken.entry(client).or_default();
            let max = self.max.load(Ordering::Relaxed);
            if max > 0 && *count >= max {
                return None;
            }
            *count += 1;
            Some(Share { client, of: Arc::clone(self) })
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<IpAddr, usize>) -> T) -> T {
        // A number is whole at any time.
        change(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.with(|taken| {
            if let Some(count) = taken.get_mut(&self.client) {
                *count -= 1;
                if *count == 0 {
                    taken.remove(&self.client);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Shares;

    #[test]
    fn a_client_has_its_share_and_gets_it_back() {
        let shares = Shares::new(2);
        let take = |address: &str| shares.take(address.parse().unwrap());
        for (one, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"),
        ] {
            let first = take(one);
            let second = take(same);
            assert!(first.is_some() && second.is_some() && take(one).is_none(), "{one}");
            assert!(take(other).is_some());
            drop(second);
            assert!(take(one).is_some());
        }
        shares.with(|taken| assert!(taken.is_empty(), "{taken:?}"));
    }
}
