//! The client's side of one connection: who it is, and what its requests have in common.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use tokio::net::TcpStream;

use super::client_socket::ClientSocket;
use super::framing::write_field;
use super::header::{X_FORWARDED_FOR, X_FORWARDED_PORT, X_FORWARDED_PROTO};
use super::proxy_protocol::{self, Ends, ProxyHeaderError};
use super::share::{Share, Shares};
use super::stream::Shared;
use super::upgrade::Tunnel;
use crate::config::cidr::Cidr;
use crate::config::gate::Gate as Settings;

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    pub(crate) socket: Shared<ClientSocket>,
    /// Whether it is another proxy, whose word about its clients counts.
    pub(crate) is_trusted: bool,
    /// What upstreams are told about it.
    pub(crate) named: Named,
    /// What the connection becomes once the answer under way is written; never one of HTTP/2.
    pub(crate) tunnel: RefCell<Option<Tunnel>>,
}

/// See [`Client::holds`].
#[derive(Debug)]
pub(crate) struct HeldBy<'a>(&'a Client);

/// Room for the fields that name most clients.
const FIELDS_BYTES: usize = 96;

/// Made once per connection.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) address: HeaderValue,
    /// The one it connected to.
    pub(crate) port: HeaderValue,
    pub(crate) proto: HeaderValue,
    /// All of it as fields of a head.
    pub(crate) fields: Bytes,
}

/// See `gate.connections_per_client_max`.
#[derive(Debug, thiserror::Error)]
#[error("the client has as many connections as one may have (gate.connections_per_client_max)")]
pub(crate) struct TooMany;

impl Client {
    /// `proto`: as `X-Forwarded-Proto` has it.
    pub(crate) fn new(
        ends: Ends,
        proto: &'static str,
        socket: Shared<ClientSocket>,
        settings: &Settings,
    ) -> Self {
        let address = ends.client.ip().to_canonical();
        Self {
            address,
            socket,
            is_trusted: is_any(&settings.trusted_proxies, address),
            named: Named::new(address, ends.server.port(), proto),
            tunnel: RefCell::default(),
        }
    }

    /// One of its requests is held, as long as what is given back is kept.
    pub(crate) fn holds(&self) -> HeldBy<'_> {
        self.socket.with(|socket| socket.set_held(true));
        HeldBy(self)
    }
}

impl Drop for HeldBy<'_> {
    fn drop(&mut self) {
        self.0.socket.with(|socket| socket.set_held(false));
    }
}

impl Named {
    pub(crate) fn new(address: IpAddr, port: u16, proto: &'static str) -> Self {
        let address = HeaderValue::try_from(address.to_string());
        let address = address.unwrap_or(HeaderValue::from_static("unknown"));
        let (port, proto) = (HeaderValue::from(port), HeaderValue::from_static(proto));
        let mut fields = BytesMut::with_capacity(FIELDS_BYTES);
        let named =
            [(X_FORWARDED_FOR, &address), (X_FORWARDED_PROTO, &proto), (X_FORWARDED_PORT, &port)];
        for (name, value) in named {
            write_field(&mut fields, &name, value.as_bytes());
        }
        Self { address, port, proto, fields: fields.freeze() }
    }
}

/// What `client` takes of the connections. Proxies come for many: theirs are not counted.
///
/// # Errors
/// It has its share already.
pub(crate) fn share(
    shares: Option<&Arc<Shares>>,
    client: IpAddr,
    settings: &Settings,
) -> Result<Option<Share>, TooMany> {
    let Some(shares) = shares else { return Ok(None) };
    let address = client.to_canonical();
    let proxies = [&settings.trusted_proxies, &settings.proxy_protocol_from];
    if proxies.iter().any(|proxies| is_any(proxies, address)) {
        return Ok(None);
    }
    shares.take(address).map(Some).ok_or(TooMany)
}

/// Where a request comes from: the client, or whom the nearest of the trusted proxies names. None where those name nobody.
pub(crate) fn origin(client: &Client, headers: &HeaderMap, proxies: &[Cidr]) -> Option<IpAddr> {
    if !client.is_trusted {
        return Some(client.address);
    }
    let named = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let named = named.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    for name in named {
        let address: IpAddr = str::from_utf8(name.trim_ascii()).ok()?.parse().ok()?;
        if !is_any(proxies, address.to_canonical()) {
            return Some(address);
        }
    }
    None
}

/// Who is connected to whom: as the socket has it, or as the PROXY header of a peer that sends one.
pub(crate) async fn ends(
    stream: &mut TcpStream,
    peer: SocketAddr,
    settings: &Settings,
) -> Result<Ends, ProxyHeaderError> {
    let seen = Ends { client: peer, server: stream.local_addr().map_err(as_read)? };
    if !is_any(&settings.proxy_protocol_from, peer.ip()) {
        return Ok(seen);
    }
    Ok(proxy_protocol::read(stream).await?.unwrap_or(seen))
}

fn as_read(error: io::Error) -> ProxyHeaderError {
    ProxyHeaderError::Read(error)
}

fn is_any(ranges: &[Cidr], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}
