//! Free TCP ports for servers.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

/// Below the range that outgoing connections take their ports from (32768 and up on Linux), so that nobody's
/// connection sits on a server's port while that server is restarted.
const PORTS: Range<u16> = 12_000..32_000;
/// How many ports are looked at before giving up.
const TRIES: u32 = 200;

/// A port that was free a moment ago. Another process may still take it first: the caller tries again.
pub(super) fn free_port() -> Option<u16> {
    (0..TRIES)
        .map(|_| fastrand::u16(PORTS))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
}
