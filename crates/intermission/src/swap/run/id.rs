//! The names of swaps.

use std::path::Path;

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

use crate::swap::journal;

const SECONDS: &str = "%Y%m%dT%H%M%SZ";

/// A fresh name for a swap with its journal in `dir`: its time to the microsecond, so that the order of names is the order of swaps even
/// within one second. Recovery looks at the newest only: where the clock has been set back, the name follows the newest there is. A
/// folder that cannot be read is told of by whoever uses it.
#[must_use]
pub fn new_id(dir: &Path, now: Timestamp) -> String {
    let newest = journal::list(dir).unwrap_or_default().pop();
    behind(newest.as_deref(), now)
}

fn behind(newest: Option<&str>, now: Timestamp) -> String {
    let id = written(now);
    let Some(newest) = newest.filter(|newest| **newest >= *id) else { return id };
    let next = read(newest).and_then(|at| at.checked_add(SignedDuration::from_micros(1)).ok());
    next.map_or(id, written)
}

fn written(at: Timestamp) -> String {
    let micros = at.subsec_nanosecond().unsigned_abs() / 1000;
    format!("{}-{micros:06}", at.strftime(SECONDS))
}

/// `None`: nobody's id.
fn read(id: &str) -> Option<Timestamp> {
    let (seconds, micros) = id.split_once('-')?;
    let at = TimeZone::UTC.to_timestamp(DateTime::strptime(SECONDS, seconds).ok()?).ok()?;
    at.checked_add(SignedDuration::from_micros(micros.parse().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::behind;

    #[test]
    fn ids_sort_by_time_within_a_second() {
        let id = |at: &str| behind(None, at.parse().expect("a time"));
        let (first, second) = (id("2026-01-02T03:04:05.099Z"), id("2026-01-02T03:04:05.1Z"));
        assert_eq!(first, "20260102T030405Z-099000");
        assert!(first < second && second < id("2026-01-02T03:04:06Z"));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_earlier_id() {
        let now = "2026-01-02T03:04:05Z".parse().expect("a time");
        for (newest, id) in [
            ("20260102T030404Z-999999", "20260102T030405Z-000000"),
            ("20260102T030405Z-000000", "20260102T030405Z-000001"),
            ("20991231T235959Z-999999", "21000101T000000Z-000000"),
            // Not one of ours: it sorts where it likes.
            ("zzz", "20260102T030405Z-000000"),
        ] {
            assert_eq!(behind(Some(newest), now), id, "{newest}");
        }
    }
}
