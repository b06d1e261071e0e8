//! Noticing that the machine at the other end of a TCP connection is gone.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Probes within the time after which the other end counts as gone: one lost probe proves nothing.
const PROBES: u32 = 4;
/// Linux counts these in whole seconds.
const PROBE_EVERY_MIN: Duration = Duration::from_secs(1);

/// From now on `stream` fails once its other end has acknowledged nothing for `gone_after`, be it what was sent or a probe,
/// and sends what is written at once.
pub(super) fn watch_over(stream: &TcpStream, gone_after: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let every = (gone_after / PROBES).max(PROBE_EVERY_MIN);
    let keep_alive = TcpKeepalive::new().with_time(every).with_interval(every).with_retries(PROBES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keep_alive)?;
    // tcp(7): with it keep-alive ends by this time, too.
    socket.set_tcp_user_timeout(Some(gone_after))
}
