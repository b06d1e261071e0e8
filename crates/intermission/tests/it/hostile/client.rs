//! Sends what a case consists of, and reads until the other side ends the connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use super::case::Case;
use super::frame;
use super::recorder::BIG_BYTES;
use crate::it::harness::DEADLINE;

/// A client that takes nothing looks this often whether it is still connected.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// And this long: several times the time-outs that every server here is given.
const LOOK_FOR: Duration = Duration::from_secs(7);

/// All that came, and whether the connection was ended.
#[derive(Debug)]
struct Came {
    bytes: Vec<u8>,
    ended: bool,
}

async fn converse(address: SocketAddr, case: &Case) -> Came {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut from, mut to) = stream.into_split();
    let bytes = case.bytes.clone();
    // An error says that it has been ended: what came before is read.
    let writing = tokio::spawn(async move {
        drop(to.write_all(&bytes).await);
        to
    });
    if case.takes_nothing {
        let began = Instant::now();
        while began.elapsed() < LOOK_FOR {
            let look = tokio::time::timeout(LOOK_EVERY, from.ready(Interest::ERROR));
            if look.await.is_ok() {
                break;
            }
        }
    }
    let mut came = Came { bytes: Vec::new(), ended: false };
    let reading = async {
        // A reset is an end as well.
        while from.read_buf(&mut came.bytes).await.is_ok_and(|length| length > 0) {}
    };
    came.ended = tokio::time::timeout(DEADLINE, reading).await.is_ok();
    writing.abort();
    came
}

/// The statuses that came, or how the connection ended.
pub(crate) async fn http1(address: SocketAddr, case: &Case) -> String {
    let came = converse(address, case).await;
    if case.takes_nothing {
        let part = match (came.ended, came.bytes.len() < BIG_BYTES) {
            (false, _) => "open",
            (true, true) => "cut off",
            (true, false) => "served in whole",
        };
        return part.to_owned();
    }
    let text = String::from_utf8_lossy(&came.bytes);
    let statuses = text.match_indices("HTTP/1.").filter_map(|(at, _)| text.get(at + 9..at + 12));
    let statuses: Vec<&str> = statuses.collect();
    match (came.ended, statuses.is_empty(), came.bytes.is_empty()) {
        (false, ..) => "open".to_owned(),
        (true, true, true) => "closed".to_owned(),
        (true, true, false) => "an answer without a head".to_owned(),
        (true, false, _) => statuses.join(" "),
    }
}

/// The status of each stream, or how it or the connection ended.
pub(crate) async fn http2(address: SocketAddr, case: &Case) -> String {
    let came = converse(address, case).await;
    if !came.ended {
        return "open".to_owned();
    }
    let ends = frame::ends(&came.bytes);
    if ends.is_empty() { "closed".to_owned() } else { ends.join(" ") }
}
