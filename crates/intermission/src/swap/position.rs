//! Places in the stream of replication: told by GTID, or by file and offset of a server's binary log.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{condition::ChannelTls, gtid::GtidSet};

/// A place in a server's binary log: what both manuals call binary log coordinates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordinates {
    pub file: String,
    /// Bytes from the file's beginning.
    pub offset: u64,
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

/// How a place is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tracking {
    #[default]
    Gtid,
    Coordinates,
}

/// The last thing the old primary wrote, as its replicas know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Barrier {
    Gtid(GtidSet),
    /// In the old primary's binary log.
    At(Coordinates),
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gtid(set) => set.fmt(f),
            Self::At(coordinates) => coordinates.fmt(f),
        }
    }
}

/// How a replica finds at another source where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// By what it has applied itself.
    Gtid,
    /// From here in that source's binary log.
    At(Coordinates),
}

/// A replica's channel to its source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    pub name: String,
    pub tracking: Tracking,
    pub tls: ChannelTls,
}
