//! Reading server-sent events.

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::{Asked, Client, ClientError, Driver, REPLY_BYTES_MAX, Sender, driven};
use crate::admin::api::{EVENTS_PATH, Event, Lost};

/// One event is a few hundred bytes; more without an end is not from a gate.
const PENDING_BYTES_MAX: usize = 64 * 1024;

/// The stream of events, until the gate stops.
pub struct Events {
    driver: Option<Driver>,
    body: Incoming,
    pending: Vec<u8>,
    /// The connection lives as long as its sender.
    _sender: Sender,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// What a refusal can be read as but an error.
#[derive(Debug, serde::Deserialize)]
enum Never {}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    Event(Event),
    /// We were too slow: so many events are lost.
    Lost(u64),
}

impl Events {
    pub(super) async fn open(client: &Client) -> Result<Self, ClientError> {
        let mut line = client.connect().await?;
        let (path, body) = (EVENTS_PATH.to_owned(), Bytes::new());
        let asked = Asked { method: Method::GET, path, body, repeatable: true };
        let answer = line.sender.send_request(client.request(&asked));
        let response =
            driven(&mut line.driver, answer).await.map_err(|error| client.broke(error.into()))?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            let body = Limited::new(body, REPLY_BYTES_MAX).collect();
            let body = driven(&mut line.driver, body).await.map_err(|error| client.broke(error))?;
            return client.read::<Never>(head.status, &body.to_bytes()).map(|never| match never {});
        }
        Ok(Self { driver: line.driver, body, pending: Vec::new(), _sender: line.sender })
    }

    /// The next message; `None` at the end of the stream. Waits as long as nothing happens.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            if let Some(message) = self.take_message() {
                if let Some(notice) = parse(&message) {
                    return Some(notice);
                }
                continue;
            }
            let frame = driven(&mut self.driver, self.body.frame()).await?.ok()?;
            self.pending.extend_from_slice(frame.data_ref()?);
            if self.pending.len() > PENDING_BYTES_MAX {
                return None;
            }
        }
    }

    fn take_message(&mut self) -> Option<String> {
        let end = self.pending.windows(2).position(|pair| pair == b"\n\n")?;
        let message: Vec<u8> = self.pending.drain(..end + 2).collect();
        Some(String::from_utf8_lossy(&message).into_owned())
    }
}

/// `None` for a keep-alive, and for kinds of a newer gate.
fn parse(message: &str) -> Option<Notice> {
    let field = |name| message.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let data = field("data:")?;
    if field("event:") == Some("lost") {
        let lost: Lost = serde_json::from_str(data).ok()?;
        return Some(Notice::Lost(lost.lost));
    }
    serde_json::from_str(data).ok().map(Notice::Event)
}
