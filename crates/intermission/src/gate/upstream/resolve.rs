//! Looks the names of upstreams up, beside the requests: a name server that does not answer delays none of them, and the
//! addresses it gave last stay in use.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::sleep;

use super::Standing;
use crate::config::gate::Upstream as Address;
use crate::shutdown::Shutdown;

/// However many connections fail, the name server is asked no more often.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// Until the gate stops or nobody needs the upstream any more. Within a tokio runtime.
pub(crate) fn keep_resolving(standing: &Arc<Standing>, interval: Duration, shutdown: &Shutdown) {
    let Address::Name { host, port } = standing.address() else { return };
    let (host, port) = (host.clone(), *port);
    let look_up = Arc::clone(&standing.look_up);
    let standing = Arc::downgrade(standing);
    let stopping = shutdown.clone();
    shutdown.spawn(async move {
        loop {
            if !resolve(&standing, &host, port).await {
                return;
            }
            tokio::select! {
                () = sleep(interval) => {}
                () = async { sleep(PAUSE_MIN.min(interval)).await; look_up.notified().await } => {}
                () = stopping.ending() => return,
            }
        }
    });
}

/// False: nobody needs it. One look-up at a time: the resolver has bounds of its own (resolv.conf).
async fn resolve(standing: &Weak<Standing>, host: &str, port: u16) -> bool {
    let found = lookup_host((host, port)).await.map(Iterator::collect);
    let Some(standing) = standing.upgrade() else { return false };
    match found {
        Ok(addresses) => {
            let mut addresses: Vec<_> = addresses;
            // Name servers change the order by themselves.
            addresses.sort_unstable();
            addresses.dedup();
            if !addresses.is_empty() {
                standing.leads_to(addresses);
            }
        }
        Err(error) => {
            let known = standing.addresses();
            tracing::warn!(upstream = %standing.address(), %error, ?known, "the upstream's name cannot be looked up");
        }
    }
    true
}
