//! How many connections one client may have. Counted once per connection, all workers together; no
//! request looks at it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::cidr::one_client;

/// No larger than there are connections.
#[derive(Debug)]
pub(crate) struct Shares {
    max: NonZeroUsize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of a client, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    client: IpAddr,
    of: Arc<Shares>,
}

impl Shares {
    pub(crate) fn new(max: NonZeroUsize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default() })
    }

    /// None: that client has its share already.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let client = one_client(address);
        self.with(|taken| {
            let count = taken.entry(client).or_default();
            if *count >= self.max.get() {
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
    use std::num::NonZeroUsize;

    use super::Shares;

    #[test]
    fn a_client_has_its_share_and_gets_it_back() {
        let shares = Shares::new(NonZeroUsize::new(2).unwrap());
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
