//! What an upstream answers, through `gate/exchange`. The first byte says the method, the second how many cuts follow:
//! each is a byte, and cuts what is left in the proportion it says. The rest is the response.
//!
//! Nothing panics or waits for ever, and what is taken for a response does not depend on the pieces it comes in.
#![no_main]

use std::time::Duration;

use http::Method;
use intermission::gate::fuzzing::{Received, receive};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::timeout;

const CUTS_MAX: u8 = 8;
const PATIENCE: Duration = Duration::from_secs(5);

thread_local! {
    static RUNTIME: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
}

fuzz_target!(|input: &[u8]| {
    let [method, cuts, rest @ ..] = input else { return };
    let method = if method % 4 == 0 { Method::HEAD } else { Method::GET };
    let cuts = usize::from(cuts % (CUTS_MAX + 1)).min(rest.len());
    let (cuts, response) = rest.split_at(cuts);
    let at_once = exchanged(&method, &[response]);
    let in_pieces = exchanged(&method, &pieces(cuts, response));
    match (at_once, in_pieces) {
        (Ok(at_once), Ok(in_pieces)) => {
            assert_eq!(at_once.status, in_pieces.status);
            assert_eq!(at_once.body, in_pieces.body);
            assert_eq!(at_once.trailers, in_pieces.trailers);
            // What comes behind the response is not always seen in time when it comes by itself.
            assert!(!at_once.is_free || in_pieces.is_free);
        }
        (Err(_), Err(_)) => {}
        (at_once, in_pieces) => panic!("at once {at_once:?}, in pieces {in_pieces:?}"),
    }
});

fn pieces<'r>(cuts: &[u8], mut response: &'r [u8]) -> Vec<&'r [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let at = response.len() * usize::from(*cut) / 256;
        let (piece, rest) = response.split_at(at);
        pieces.push(piece);
        response = rest;
    }
    pieces.push(response);
    pieces
}

fn exchanged(method: &Method, pieces: &[&[u8]]) -> Result<Received, String> {
    RUNTIME.with(|runtime| LocalSet::new().block_on(runtime, exchange(method, pieces)))
}

async fn exchange(method: &Method, pieces: &[&[u8]]) -> Result<Received, String> {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    let sending = async {
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            // It may have been refused already.
            drop(theirs.write_all(piece).await);
            tokio::task::yield_now().await;
        }
        drop(theirs.shutdown().await);
        drop(theirs.read_to_end(&mut Vec::new()).await);
    };
    let both = async { tokio::join!(receive(ours, method.clone()), sending).0 };
    timeout(PATIENCE, both).await.expect("it ends, since the upstream has")
}
