//! What is noted of a request when it comes: its id, when it was, and later how long it was held.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// In the form New Relic's agents, Scout and Rails gems read: `t=` and microseconds since 1970.
pub(crate) const X_REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Of another proxy's id; longer ones are replaced.
const ID_BYTES_MAX: usize = 128;

#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) id: HeaderValue,
    pub(crate) start: HeaderValue,
    pub(crate) at: Instant,
    /// None: it was not.
    pub(crate) held: Option<Duration>,
}

impl Arrival {
    /// Now. A trusted client's own id is kept.
    pub(crate) fn now(headers: &HeaderMap, is_trusted: bool) -> Self {
        let theirs =
            if is_trusted { headers.get(X_REQUEST_ID).filter(|id| is_sane(id)) } else { None };
        let id = theirs.cloned().unwrap_or_else(random_id);
        Self { id, start: start(SystemTime::now()), at: Instant::now(), held: None }
    }

    /// Tells the client.
    pub(crate) fn note_on<B>(self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        if let Some(held) = self.held {
            let timing = format!("hold;dur={:.1}", held.as_secs_f64() * 1000.0);
            if let Ok(timing) = HeaderValue::try_from(timing) {
                headers.append(SERVER_TIMING, timing);
            }
        }
        headers.insert(X_REQUEST_ID, self.id);
    }
}

fn is_sane(id: &HeaderValue) -> bool {
    let length = id.as_bytes().len();
    (1..=ID_BYTES_MAX).contains(&length) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn random_id() -> HeaderValue {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut text = [b'0'; 32];
    for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(rand::random::<[u8; 16]>()) {
        let digit = |number: u8| DIGITS.get(usize::from(number)).copied().unwrap_or(b'0');
        *pair = [digit(byte >> 4), digit(byte & 0xf)];
    }
    header(&text)
}

fn start(now: SystemTime) -> HeaderValue {
    let micros = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let micros = u64::try_from(micros).unwrap_or(u64::MAX);
    let mut text = *b"t=01234567890123456789";
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(micros).as_bytes();
    let length = 2 + digits.len();
    if let Some(room) = text.get_mut(2..length) {
        room.copy_from_slice(digits);
    }
    header(text.get(..length).unwrap_or_default())
}

/// Digits always are one.
fn header(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use http::{HeaderMap, HeaderValue, Response};

    use super::{Arrival, start};

    fn id(theirs: &[u8], is_trusted: bool) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_bytes(theirs).unwrap());
        Arrival::now(&headers, is_trusted).id
    }

    #[test]
    fn an_id_is_kept_from_whom_is_trusted_and_made_for_others() {
        let longest = "x".repeat(128);
        assert_eq!(id(b"abc-1", true), "abc-1");
        assert_eq!(id(longest.as_bytes(), true), longest);
        for (theirs, is_trusted) in [
            (&b"abc-1"[..], false),
            (b"", true),
            (b"two words", true),
            (b"\xc3\xa9", true),
            ("x".repeat(129).as_bytes(), true),
        ] {
            let made = id(theirs, is_trusted);
            assert_eq!(made.len(), 32, "{made:?}");
            assert!(made.as_bytes().iter().all(u8::is_ascii_hexdigit), "{made:?}");
            assert_ne!(made, id(theirs, is_trusted));
        }
    }

    #[test]
    fn the_start_is_in_microseconds() {
        assert_eq!(
            start(UNIX_EPOCH + Duration::from_micros(1_732_812_345_678_901)),
            "t=1732812345678901"
        );
    }

    #[test]
    fn the_hold_is_one_timing_among_others() {
        let mut response = Response::new(());
        response.headers_mut().insert("server-timing", HeaderValue::from_static("db;dur=2"));
        let mut arrival = Arrival::now(&HeaderMap::new(), false);
        arrival.held = Some(Duration::from_micros(12_345));
        arrival.note_on(&mut response);
        let timings: Vec<_> = response.headers().get_all("server-timing").iter().collect();
        assert_eq!(timings, ["db;dur=2", "hold;dur=12.3"]);
    }
}
