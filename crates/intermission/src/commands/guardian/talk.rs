//! What a swap and its guardian say to each other, by a socket pair: first one message each and the journal's lock, then lines.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
};

use crate::swap::plan::Plan;

/// How often each tells the other that it is there.
pub(super) const BEAT_EVERY: Duration = Duration::from_millis(100);
/// For the guardian to read its first message.
pub(super) const HELLO_BOUND: Duration = Duration::from_secs(10);
/// The longest line: an alarm names two servers.
const LINE_MAX: u64 = 64 * 1024;

/// What a guardian is given, followed by the journal's lock.
#[derive(Serialize, Deserialize)]
pub(super) struct Hello {
    /// The process that swaps.
    pub(super) pid: u32,
    /// The configuration as that process read it; passwords may be in it, so it goes neither by the arguments nor by a file.
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) named: Option<PathBuf>,
    pub(super) journals: PathBuf,
    pub(super) plan: Plan,
}

/// A guardian's own sessions, by server.
pub(super) type Sessions = BTreeMap<String, Vec<u64>>;

/// Whether it has all that it would need.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ready {
    Yes(Sessions),
    No(String),
}

/// What a guardian says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    Beat,
    Alarm(String),
}

pub(super) async fn write(
    stream: &mut OwnedWriteHalf,
    line: &impl Serialize,
) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    stream.write_all(&text).await
}

/// Lines of the other process.
pub(super) struct Reader(BufReader<OwnedReadHalf>);

impl Reader {
    pub(super) fn new(stream: OwnedReadHalf) -> Self {
        Self(BufReader::new(stream))
    }

    /// The next line; `None` when the other process is gone, or says what cannot be meant.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.0).take(LINE_MAX);
        let read = bounded.read_until(b'\n', &mut line).await;
        match read {
            Ok(1..) => serde_json::from_slice(&line).ok(),
            Ok(0) | Err(_) => None,
        }
    }
}
