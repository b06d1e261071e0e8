//! What time it is, as answers say it (RFC 9110 6.6.1): written anew only as often as somebody looks.

use std::cell::Cell;

use jiff::Timestamp;

const BYTES: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();

#[derive(Debug)]
pub(crate) struct Date(Cell<[u8; BYTES]>);

impl Date {
    pub(crate) fn now() -> Self {
        Self(Cell::new(text(Timestamp::now())))
    }

    pub(crate) fn update(&self) {
        self.0.set(text(Timestamp::now()));
    }

    pub(super) const fn get(&self) -> [u8; BYTES] {
        self.0.get()
    }
}

fn text(now: Timestamp) -> [u8; BYTES] {
    let text = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    // Only a year of five digits is longer.
    text.as_bytes().try_into().unwrap_or(*b"Thu, 01 Jan 1970 00:00:00 GMT")
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_date_is_written_as_http_has_it() {
        for (at, written) in [
            ("1994-11-06T08:49:37Z", b"Sun, 06 Nov 1994 08:49:37 GMT"),
            ("2026-02-28T23:59:59.9+00", b"Sat, 28 Feb 2026 23:59:59 GMT"),
        ] {
            assert_eq!(&text(at.parse().unwrap()), written);
        }
    }
}
