//! Global transaction identifiers of both servers as sets that can be compared exactly.
//!
//! `MASTER_GTID_WAIT` of MariaDB compares only sequence numbers and ignores the server id, so whether a barrier has
//! been applied is always decided here, on sets read from the servers.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The most text accepted as one set, in bytes. A set with a million intervals is a broken answer.
const TEXT_MAX: usize = 4 * 1024 * 1024;

/// A set of transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GtidSet {
    /// MySQL: source uuid (with `:tag` where tagged) → closed intervals, ascending, not adjacent.
    MySql(BTreeMap<String, Vec<(u64, u64)>>),
    /// MariaDB: the last sequence number of each `domain-server`; it stands for every earlier one of that pair.
    #[serde(with = "mariadb_text")]
    MariaDb(BTreeMap<(u32, u32), u64>),
}

/// Why a text is not a set of transactions.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GtidError {
    /// A part of the text does not have the server's documented form.
    #[error("not a transaction set: {part:?} in an answer of {length} bytes")]
    Malformed { part: String, length: usize },
    /// More text than any server sends.
    #[error("a transaction set of {length} bytes, more than {TEXT_MAX}")]
    TooLong { length: usize },
}

impl GtidSet {
    /// Parses `@@gtid_executed` of MySQL: `uuid[:tag]:first-last:first-last,…`, with newlines between sources.
    ///
    /// # Errors
    /// [`GtidError`] names the part that does not fit.
    pub fn parse_mysql(text: &str) -> Result<Self, GtidError> {
        let mut sets: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        for part in parts(text)? {
            let malformed = || malformed(part, text);
            let mut tokens = part.split(':').map(str::trim);
            let uuid = tokens.next().filter(|t| is_uuid(t)).ok_or_else(malformed)?;
            let uuid = uuid.to_ascii_lowercase();
            let mut source = uuid.clone();
            let mut intervals = 0_usize;
            for token in tokens {
                if token.starts_with(|c: char| c.is_ascii_digit()) {
                    let interval = parse_interval(token).ok_or_else(malformed)?;
                    sets.entry(source.clone()).or_default().push(interval);
                    intervals += 1;
                } else if is_tag(token) {
                    source = format!("{uuid}:{token}");
                } else {
                    return Err(malformed());
                }
            }
            if intervals == 0 {
                return Err(malformed());
            }
        }
        for intervals in sets.values_mut() {
            *intervals = merge(std::mem::take(intervals));
        }
        Ok(Self::MySql(sets))
    }

    /// Parses `@@gtid_binlog_pos` or `@@gtid_binlog_state` of MariaDB: `domain-server-sequence,…`.
    ///
    /// # Errors
    /// [`GtidError`] names the part that does not fit.
    pub fn parse_mariadb(text: &str) -> Result<Self, GtidError> {
        let mut last = BTreeMap::new();
        for part in parts(text)? {
            let (domain, server, sequence) =
                parse_triple(part).ok_or_else(|| malformed(part, text))?;
            let known = last.entry((domain, server)).or_insert(sequence);
            *known = sequence.max(*known);
        }
        Ok(Self::MariaDb(last))
    }

    /// Whether no transaction is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::MySql(sets) => sets.is_empty(),
            Self::MariaDb(last) => last.is_empty(),
        }
    }

    /// The transactions in `self` that `other` lacks. Sets of different servers have nothing in common.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::MySql(ours), Self::MySql(theirs)) => Self::MySql(
                ours.iter()
                    .map(|(source, intervals)| {
                        let removed = theirs.get(source).map_or(&[][..], Vec::as_slice);
                        (source.clone(), subtract(intervals, removed))
                    })
                    .filter(|(_, intervals)| !intervals.is_empty())
                    .collect(),
            ),
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => Self::MariaDb(
                ours.iter()
                    .filter(|(key, sequence)| theirs.get(key).is_none_or(|known| known < sequence))
                    .map(|(key, sequence)| (*key, *sequence))
                    .collect(),
            ),
            (Self::MySql(_), Self::MariaDb(_)) | (Self::MariaDb(_), Self::MySql(_)) => self.clone(),
        }
    }

    /// What of `self`, a position that binary logs begin at, a replica that has applied `applied` has not reached. MariaDB's
    /// positions are compared by domain and number, as the servers do it: another server may have written what follows.
    #[must_use]
    pub fn beyond(&self, applied: &Self) -> Self {
        let (Self::MariaDb(begin), Self::MariaDb(reached)) = (self, applied) else {
            return self.minus(applied);
        };
        let is_reached = |domain: u32, sequence: u64| {
            reached.iter().any(|((in_domain, _), last)| *in_domain == domain && *last >= sequence)
        };
        let missing = begin.iter().filter(|((domain, _), last)| !is_reached(*domain, **last));
        Self::MariaDb(missing.map(|(key, last)| (*key, *last)).collect())
    }

    /// Whether every transaction of `other` is in `self`.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.minus(self).is_empty()
    }
}

/// The form the server itself reads and prints, without newlines.
impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        match self {
            Self::MySql(sets) => {
                for (source, intervals) in sets {
                    write!(f, "{separator}{source}")?;
                    separator = ",";
                    for (first, last) in intervals {
                        if first == last {
                            write!(f, ":{first}")?;
                        } else {
                            write!(f, ":{first}-{last}")?;
                        }
                    }
                }
            }
            Self::MariaDb(last) => {
                for ((domain, server), sequence) in last {
                    write!(f, "{separator}{domain}-{server}-{sequence}")?;
                    separator = ",";
                }
            }
        }
        Ok(())
    }
}

/// JSON keys are strings, so a MariaDB set is written in the server's own form.
mod mariadb_text {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::GtidSet;

    pub(super) fn serialize<S: Serializer>(
        last: &BTreeMap<(u32, u32), u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&GtidSet::MariaDb(last.clone()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<(u32, u32), u64>, D::Error> {
        let text = String::deserialize(deserializer)?;
        match GtidSet::parse_mariadb(&text).map_err(D::Error::custom)? {
            GtidSet::MariaDb(last) => Ok(last),
            GtidSet::MySql(_) => Err(D::Error::custom("a MySQL set where a MariaDB one belongs")),
        }
    }
}

fn parts(text: &str) -> Result<impl Iterator<Item = &str>, GtidError> {
    if text.len() > TEXT_MAX {
        return Err(GtidError::TooLong { length: text.len() });
    }
    Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()))
}

fn malformed(part: &str, text: &str) -> GtidError {
    const SHOWN: usize = 80;
    GtidError::Malformed { part: part.chars().take(SHOWN).collect(), length: text.len() }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|g| g.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|g| g.chars().all(|c| c.is_ascii_hexdigit()))
}

/// MySQL manual, "GTID Format": a tag starts with a letter or underscore and has at most 32 characters.
fn is_tag(text: &str) -> bool {
    const TAG_MAX: usize = 32;
    text.len() <= TAG_MAX
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn parse_interval(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (u64::from_str(first).ok()?, u64::from_str(last).ok()?);
    (first >= 1 && first <= last).then_some((first, last))
}

fn parse_triple(text: &str) -> Option<(u32, u32, u64)> {
    let mut numbers = text.split('-');
    let triple = (
        numbers.next()?.parse().ok()?,
        numbers.next()?.parse().ok()?,
        numbers.next()?.parse().ok()?,
    );
    numbers.next().is_none().then_some(triple)
}

fn merge(mut intervals: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    intervals.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(intervals.len());
    for (first, last) in intervals {
        match merged.last_mut() {
            Some(previous) if first <= previous.1.saturating_add(1) => {
                previous.1 = previous.1.max(last);
            }
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn subtract(from: &[(u64, u64)], removed: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut left = Vec::new();
    for &(first, last) in from {
        let mut next = first;
        for &(cut_first, cut_last) in removed {
            if cut_last < next {
                continue;
            }
            if cut_first > last {
                break;
            }
            if cut_first > next {
                left.push((next, cut_first - 1));
            }
            next = cut_last.saturating_add(1);
        }
        if next <= last {
            left.push((next, last));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, Strategy, any, proptest};

    use super::GtidSet;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn mysql(text: &str) -> GtidSet {
        GtidSet::parse_mysql(text).expect("a set")
    }

    fn mariadb(text: &str) -> GtidSet {
        GtidSet::parse_mariadb(text).expect("a set")
    }

    #[test]
    fn mysql_sets_with_newlines_and_tags_are_read() {
        let set = mysql(&format!("{A}:1-5:7:Tag_1:1-3,\n{B}:2"));
        assert_eq!(set.to_string(), format!("{A}:1-5:7,{A}:Tag_1:1-3,{B}:2"));
        assert!(mysql("").is_empty());
    }

    #[test]
    fn subtraction_finds_the_errant_transaction() {
        let replica = mysql(&format!("{A}:1-10,{B}:1"));
        let primary = mysql(&format!("{A}:1-12"));
        assert_eq!(replica.minus(&primary).to_string(), format!("{B}:1"));
        assert!(!primary.contains(&replica));
        assert!(mysql(&format!("{A}:1-3:5-9")).contains(&mysql(&format!("{A}:2:6-9"))));
        assert_eq!(
            mysql(&format!("{A}:1-9")).minus(&mysql(&format!("{A}:3-4:6"))).to_string(),
            format!("{A}:1-2:5:7-9")
        );
    }

    #[test]
    fn mariadb_compares_the_server_id_too() {
        // MASTER_GTID_WAIT('0-99-1') is satisfied by 0-1-5; a set is not.
        assert!(!mariadb("0-1-5").contains(&mariadb("0-99-1")));
        assert!(mariadb("0-1-5,0-2-9").contains(&mariadb("0-2-9")));
        assert_eq!(mariadb("0-1-5,1-2-3").minus(&mariadb("0-1-5,1-2-2")).to_string(), "1-2-3");
    }

    #[test]
    fn a_position_is_reached_by_whichever_server_wrote_last() {
        assert!(mariadb("0-1-50").beyond(&mariadb("0-2-80")).is_empty());
        assert_eq!(mariadb("0-1-50,1-1-3").beyond(&mariadb("0-2-80")).to_string(), "1-1-3");
        assert_eq!(mariadb("0-1-50").beyond(&mariadb("0-1-49")).to_string(), "0-1-50");
        let purged = mysql(&format!("{A}:1-5"));
        assert_eq!(purged.beyond(&mysql(&format!("{A}:1-3"))).to_string(), format!("{A}:4-5"));
        assert!(purged.beyond(&mysql(&format!("{A}:1-9"))).is_empty());
    }

    #[test]
    fn sets_of_different_servers_never_contain_each_other() {
        assert!(!mysql(&format!("{A}:1")).contains(&mariadb("0-1-1")));
    }

    #[test]
    fn broken_answers_are_refused() {
        for text in ["x", "3e11fa47:1", A, &format!("{A}:0"), &format!("{A}:5-2")] {
            assert!(GtidSet::parse_mysql(text).is_err(), "{text}");
        }
        for text in ["0-1", "0-1-2-3", "a-b-c", "0-1-99999999999999999999999"] {
            assert!(GtidSet::parse_mariadb(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_keeps_both_kinds() {
        for set in [mysql(&format!("{A}:1-5")), mariadb("0-1-5,2-3-4")] {
            let text = serde_json::to_string(&set).expect("serializes");
            assert_eq!(serde_json::from_str::<GtidSet>(&text).expect("parses"), set);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn minus_agrees_with_sets_of_numbers(
            ours in proptest::collection::btree_set(1_u64..40, 0..25),
            theirs in proptest::collection::btree_set(1_u64..40, 0..25),
        ) {
            let text = |numbers: &std::collections::BTreeSet<u64>| {
                numbers.iter().map(|n| format!("{A}:{n}")).collect::<Vec<_>>().join(",")
            };
            let difference = ours.difference(&theirs).copied().collect();
            assert_eq!(mysql(&text(&ours)).minus(&mysql(&text(&theirs))), mysql(&text(&difference)));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in any::<String>().prop_map(|s| s)) {
            drop(GtidSet::parse_mysql(&text));
            drop(GtidSet::parse_mariadb(&text));
        }
    }
}
