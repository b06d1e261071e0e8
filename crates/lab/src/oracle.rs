//! The judge: holds every acknowledged write against what both servers have in the end.
//!
//! An acknowledged write must be there, once, in its client's order, and the servers must agree. A write that was
//! never acknowledged may be there or not: its client does not know either.

mod read;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use crate::cluster::{ClusterError, Pair};

pub use read::read_ledger;

/// A write the application answered for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Write {
    pub client: u32,
    /// The client's own counter: the client sends the next write after the answer to this one.
    pub seq: u64,
    pub token: String,
}

/// A row of the ledger as one server has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// In the order of the inserts.
    pub id: u64,
    pub write: Write,
    /// As the server prints it.
    pub created: String,
}

/// A defect seen on one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Defect {
    /// 0 or 1.
    pub server: usize,
    pub write: Write,
}

/// A row the servers do not agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub id: u64,
    pub rows: [Option<Entry>; 2],
}

/// What became of the writes. Empty lists are what a swap must leave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub acknowledged: usize,
    /// Rows on each server.
    pub rows: [usize; 2],
    /// Acknowledged and absent.
    pub lost: Vec<Defect>,
    /// Written again: the token, or the client's counter, is there already.
    pub duplicated: Vec<Defect>,
    /// Acknowledged, but inserted after a later write of the same client.
    pub out_of_order: Vec<Defect>,
    pub differing: Vec<Difference>,
    /// Rows nobody got an answer for, counted on both servers together as one: allowed.
    pub unknown: usize,
}

// === impl Verdict ===

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty()
            && self.duplicated.is_empty()
            && self.out_of_order.is_empty()
            && self.differing.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.rows;
        write!(
            f,
            "{} acknowledged, {first} and {second} rows: {} lost, {} duplicated, {} out of order, {} differing, \
             {} unknown",
            self.acknowledged,
            self.lost.len(),
            self.duplicated.len(),
            self.out_of_order.len(),
            self.differing.len(),
            self.unknown,
        )
    }
}

/// Waits until the replica has everything, then compares. The load must have ended.
pub async fn examine(pair: &Pair, acknowledged: &[Write]) -> Result<Verdict, ClusterError> {
    pair.wait_replicated().await?;
    let (first, second) = tokio::try_join!(read_ledger(pair, 0), read_ledger(pair, 1))?;
    Ok(compare(acknowledged, [&first, &second]))
}

/// `servers` are the two ledgers, each by rising `id`.
#[must_use]
pub fn compare(acknowledged: &[Write], servers: [&[Entry]; 2]) -> Verdict {
    let mut verdict = Verdict {
        acknowledged: acknowledged.len(),
        rows: servers.map(<[Entry]>::len),
        differing: differences(servers),
        ..Verdict::default()
    };
    let known: HashSet<&Write> = acknowledged.iter().collect();
    let mut unknown = HashSet::new();
    for (server, entries) in servers.into_iter().enumerate() {
        let tag = |write: &Write| Defect { server, write: write.clone() };
        let present: HashSet<&Write> = entries.iter().map(|entry| &entry.write).collect();
        let lost = acknowledged.iter().filter(|write| !present.contains(write));
        verdict.lost.extend(lost.map(tag));
        verdict.duplicated.extend(duplicates(entries).into_iter().map(tag));
        verdict.out_of_order.extend(out_of_order(entries, &known).into_iter().map(tag));
        unknown.extend(present.difference(&known).copied());
    }
    verdict.unknown = unknown.len();
    verdict
}

/// Rows whose token or whose client's counter an earlier row has.
fn duplicates(entries: &[Entry]) -> Vec<&Write> {
    let mut tokens = HashSet::new();
    let mut counters = HashSet::new();
    let mut again = Vec::new();
    for Entry { write, .. } in entries {
        let new_token = tokens.insert(write.token.as_str());
        let new_counter = counters.insert((write.client, write.seq));
        if !(new_token && new_counter) {
            again.push(write);
        }
    }
    again
}

/// Only acknowledged writes: one whose client gave up on it may land at any later time.
fn out_of_order<'a>(entries: &'a [Entry], known: &HashSet<&Write>) -> Vec<&'a Write> {
    let mut last: HashMap<u32, u64> = HashMap::new();
    let mut late = Vec::new();
    for write in entries.iter().map(|entry| &entry.write).filter(|write| known.contains(write)) {
        let highest = last.entry(write.client).or_default();
        if write.seq < *highest {
            late.push(write);
        }
        *highest = write.seq.max(*highest);
    }
    late
}

fn differences([first, second]: [&[Entry]; 2]) -> Vec<Difference> {
    let mut rows: BTreeMap<u64, [Option<&Entry>; 2]> = BTreeMap::new();
    for entry in first {
        rows.entry(entry.id).or_default()[0] = Some(entry);
    }
    for entry in second {
        rows.entry(entry.id).or_default()[1] = Some(entry);
    }
    rows.into_iter()
        .filter(|(_, [left, right])| left != right)
        .map(|(id, rows)| Difference { id, rows: rows.map(Option::<&Entry>::cloned) })
        .collect()
}

#[cfg(test)]
mod tests;
