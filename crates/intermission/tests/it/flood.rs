//! Clients of HTTP/2 that mean no good, frame by frame (RFC 9113 4.1).

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use super::gate::{Gate, Setup};
use super::harness::soon;
use super::hostile::frame::{
    CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
    frame, head,
};
use super::upstream::Upstream;
use super::wire::get;

const ENHANCE_YOUR_CALM: u32 = 11;
/// `GET /` by `http`, all three in the static table, and `:authority: a` as a literal (RFC 7541).
pub(crate) const GET: &[u8] = b"\x82\x86\x84\x01\x01a";
/// What the gate may grow by while it is flooded with a hundred times as much.
const GROWTH_KIB_MAX: usize = 8 * 1024;

/// Reads until the connection is closed; the code of a GOAWAY that came before, and the bytes.
async fn until_closed(mut from: OwnedReadHalf) -> (Option<u32>, usize) {
    let (mut code, mut bytes, mut buffer) = (None, 0, Vec::new());
    // A reset is an end as well.
    while from.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
        while let Some((length, kind)) = head(&buffer).filter(|head| buffer.len() >= head.0) {
            let frame: Vec<u8> = buffer.drain(..length).collect();
            bytes += length;
            if kind == GOAWAY {
                code = Some(u32::from_be_bytes(frame[13..17].try_into().unwrap()));
            }
        }
    }
    (code, bytes)
}

/// Sends `parts` while it reads; the code of the GOAWAY, and how many parts could be sent.
async fn flood(address: SocketAddr, parts: impl Iterator<Item = Vec<u8>>) -> (Option<u32>, usize) {
    let (from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
    let reading = tokio::spawn(until_closed(from));
    to.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    let mut sent = 0;
    for part in parts {
        if soon("a write", to.write_all(&part)).await.is_err() {
            break;
        }
        sent += 1;
    }
    (soon("the end of the connection", reading).await.unwrap().0, sent)
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_loses_it() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).gate("client_write_timeout = \"300ms\"").start().await;
    let mut stream = TcpStream::connect(gate.address).await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE = 0: no room for any body.
    let settings = frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0");
    let get = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET);
    stream.write_all(&[PREFACE, &settings, &get].concat()).await.unwrap();
    upstream.until_arrived(1).await;
    let mut buffer = Vec::new();
    let reset = async {
        loop {
            while let Some((length, kind)) = head(&buffer).filter(|head| buffer.len() >= head.0) {
                if kind == RST_STREAM {
                    return;
                }
                buffer.drain(..length);
            }
            assert!(stream.read_buf(&mut buffer).await.unwrap() > 0, "it was closed instead");
        }
    };
    soon("the end of the stream", reset).await;
    serves_on(&gate).await;
}

async fn shop() -> (Upstream, Gate) {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).gate("client_head_timeout = \"2s\"").start().await;
    (upstream, gate)
}

async fn serves_on(gate: &Gate) {
    assert_eq!(get(gate.address, "/after").await.status, 200);
    let app = gate.shop().await;
    assert_eq!((app.held, app.in_flight), (0, 0));
}

#[tokio::test]
async fn streams_opened_and_reset_by_the_thousand_end_the_connection() {
    let (upstream, gate) = shop().await;
    // A hundred of them in a packet.
    let parts = (0..200).map(|part| {
        let streams = (0..100).map(|number| 2 * (100 * part + number) + 1);
        let each = |stream| {
            let head = frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
            [head, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        };
        streams.flat_map(each).collect()
    });
    let (code, _sent) = flood(gate.address, parts).await;
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    assert!(upstream.arrived() < 1_000, "{}", upstream.arrived());
    serves_on(&gate).await;
}

#[tokio::test]
async fn a_head_that_never_ends_ends_the_connection() {
    let (upstream, gate) = shop().await;
    let before = gate.memory_kib();
    // A field of 16 000 bytes in each: `x` as a literal that is not indexed.
    let value = vec![b'v'; 16_000];
    let field = [&b"\x00\x01x\x7f\x81\x7c"[..], &value].concat();
    let first = frame(HEADERS, END_STREAM, 1, GET);
    let parts =
        std::iter::once(first).chain((0..10_000).map(|_| frame(CONTINUATION, 0, 1, &field)));
    let (_code, sent) = flood(gate.address, parts).await;
    assert!(sent < 1_000, "{sent}");
    // And of frames without anything in them.
    let first = frame(HEADERS, END_STREAM, 1, GET);
    let parts =
        std::iter::once(first).chain((0..1_000_000).map(|_| frame(CONTINUATION, 0, 1, &[])));
    let (_code, sent) = flood(gate.address, parts).await;
    assert!(sent < 500_000, "{sent}");
    let grown = gate.memory_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown}");
    assert_eq!(upstream.arrived(), 0);
    serves_on(&gate).await;
}

#[tokio::test]
async fn frames_that_want_an_answer_fill_no_memory_of_a_gate_that_cannot_send_it() {
    let (_upstream, gate) = shop().await;
    let before = gate.memory_kib();
    for kind in [SETTINGS, PING] {
        let payload: &[u8] = if kind == PING { &[0; 8] } else { &[] };
        let each = frame(kind, 0, 0, payload);
        let many = each.repeat(10_000);
        // Answers are not read.
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        let mut bytes = 0;
        while bytes < 200 * 1024 * 1024 {
            let wrote = stream.write_all(&many);
            match tokio::time::timeout(std::time::Duration::from_millis(500), wrote).await {
                Ok(Ok(())) => bytes += many.len(),
                // It reads no more, or has ended the connection.
                Ok(Err(_)) | Err(_) => break,
            }
        }
        println!("kind {kind}: {bytes} bytes taken");
        let grown = gate.memory_kib().saturating_sub(before);
        assert!(grown < GROWTH_KIB_MAX, "{grown} KiB after {bytes} bytes of kind {kind}");
    }
    serves_on(&gate).await;
}
