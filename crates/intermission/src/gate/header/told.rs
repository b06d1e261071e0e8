//! What upstreams are told about a request besides its own fields.
//!
//! It is written into the head as it is sent and never put among the client's fields: that would cost more than all the rest of a
//! request's preparation.

use bytes::BytesMut;
use http::header::{FORWARDED, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Request};

use super::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PROTO};
use crate::gate::arrival::{Arrival, X_REQUEST_ID, X_REQUEST_START};
use crate::gate::client::{Client, Named};
use crate::gate::framing::write_field;

/// Whose request it is, and when and as what it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(super) client: &'a Named,
    pub(super) is_trusted: bool,
    pub(super) arrival: &'a Arrival,
}

impl<'a> About<'a> {
    pub(crate) const fn new(client: &'a Client, arrival: &'a Arrival) -> Self {
        Self { client: &client.named, is_trusted: client.is_trusted, arrival }
    }

    /// Writes the fields of `request`, and those that the gate answers for.
    pub(crate) fn write_fields<B>(self, head: &mut BytesMut, request: &Request<B>) {
        let headers = request.headers();
        let host = match request.uri().authority() {
            Some(authority) => Some(authority.as_str().as_bytes()),
            None => headers.get(HOST).map(HeaderValue::as_bytes),
        };
        write_field(head, &HOST, host.unwrap_or_default());
        if self.is_trusted {
            self.add_to_what_is_said(head, headers, host);
        } else {
            self.say_everything(head, headers, host);
        }
        write_field(head, &X_REQUEST_ID, self.arrival.id.as_bytes());
    }

    fn say_everything(self, head: &mut BytesMut, headers: &HeaderMap, host: Option<&[u8]>) {
        for (name, value) in headers {
            if !is_the_gates(name) {
                write_field(head, name, value.as_bytes());
            }
        }
        head.extend_from_slice(&self.client.fields);
        if let Some(host) = host {
            write_field(head, &X_FORWARDED_HOST, host);
        }
        write_field(head, &X_REQUEST_START, self.arrival.start.as_bytes());
    }

    /// Whoever took the request in first knows best, and who named the client before is named beside it.
    fn add_to_what_is_said(self, head: &mut BytesMut, headers: &HeaderMap, host: Option<&[u8]>) {
        let is_written_anew =
            |name: &HeaderName| [HOST, X_FORWARDED_FOR, X_REQUEST_ID].contains(name);
        for (name, value) in headers {
            if !is_written_anew(name) {
                write_field(head, name, value.as_bytes());
            }
        }
        let Named { address, port, proto, .. } = self.client;
        let before = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
        let chain: Vec<&[u8]> = before.chain([address.as_bytes()]).collect();
        write_field(head, &X_FORWARDED_FOR, &chain.join(&b", "[..]));
        let start = &self.arrival.start;
        let unless_said = [
            (X_FORWARDED_PROTO, Some(proto.as_bytes())),
            (X_FORWARDED_PORT, Some(port.as_bytes())),
            (X_FORWARDED_HOST, host),
            (X_REQUEST_START, Some(start.as_bytes())),
        ];
        for (name, value) in unless_said {
            if let Some(value) = value
                && !headers.contains_key(&name)
            {
                write_field(head, &name, value);
            }
        }
    }
}

/// Whether the gate answers for it, alone where the client is not trusted.
pub(super) fn is_the_gates(name: &HeaderName) -> bool {
    if name == HOST || name == FORWARDED {
        return true;
    }
    const OURS: [HeaderName; 6] = [
        X_FORWARDED_FOR,
        X_FORWARDED_PROTO,
        X_FORWARDED_HOST,
        X_FORWARDED_PORT,
        X_REQUEST_ID,
        X_REQUEST_START,
    ];
    name.as_str().starts_with("x-") && OURS.contains(name)
}
