//! The judge: holds every acknowledged write against what each server has in the end.
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
    /// Its index in the cluster.
    pub server: usize,
    pub write: Write,
}

/// A row the servers do not agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub id: u64,
    /// By server.
    pub rows: Vec<Option<Entry>>,
}

/// What became of the writes. Empty lists are what a swap must leave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub acknowledged: usize,
    /// Rows on each server.
    pub rows: Vec<usize>,
    /// Acknowledged and absent.
    pub lost: Vec<Defect>,
    /// Written again: the token, or the client's counter, is there already.
    pub duplicated: Vec<Defect>,
    /// Acknowledged, but inserted after a later write of the same client.
    pub out_of_order: Vec<Defect>,
    pub differing: Vec<Difference>,
    /// Rows nobody got an answer for, counted on all servers together as one: allowed.
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
        let rows: Vec<String> = self.rows.iter().map(ToString::to_string).collect();
        write!(
            f,
            "{} acknowledged, {} rows: {} lost, {} duplicated, {} out of order, {} differing, \
             {} unknown",
            self.acknowledged,
            rows.join(" and "),
            self.lost.len(),
            self.duplicated.len(),
            self.out_of_order.len(),
            self.differing.len(),
            self.unknown,
        )
    }
}

/// Waits until every replica has everything, then compares. The load must have ended.
pub async fn examine(pair: &Pair, acknowledged: &[Write]) -> Result<Verdict, ClusterError> {
    pair.wait_replicated().await?;
    let mut ledgers = Vec::new();
    for server in 0..pair.servers.len() {
        ledgers.push(read_ledger(pair, server).await?);
    }
    let ledgers: Vec<&[Entry]> = ledgers.iter().map(Vec::as_slice).collect();
    Ok(compare(acknowledged, &ledgers))
}

/// `servers` are the ledgers, each by rising `id`.
#[must_use]
pub fn compare(acknowledged: &[Write], servers: &[&[Entry]]) -> Verdict {
    let mut verdict = Verdict {
        acknowledged: acknowledged.len(),
        rows: servers.iter().map(|entries| entries.len()).collect(),
        differing: differences(servers),
        ..Verdict::default()
    };
    let known: HashSet<&Write> = acknowledged.iter().collect();
    let mut unknown = HashSet::new();
    for (server, entries) in servers.iter().enumerate() {
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

fn differences(servers: &[&[Entry]]) -> Vec<Difference> {
    let mut rows: BTreeMap<u64, Vec<Option<&Entry>>> = BTreeMap::new();
    for (server, entries) in servers.iter().enumerate() {
        for entry in *entries {
            let row = rows.entry(entry.id).or_insert_with(|| vec![None; servers.len()]);
            if let Some(place) = row.get_mut(server) {
                *place = Some(entry);
            }
        }
    }
    let differ = |row: &Vec<Option<&Entry>>| row.iter().any(|entry| Some(entry) != row.first());
    rows.into_iter()
        .filter(|(_, row)| differ(row))
        .map(|(id, row)| Difference {
            id,
            rows: row.into_iter().map(Option::<&Entry>::cloned).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
