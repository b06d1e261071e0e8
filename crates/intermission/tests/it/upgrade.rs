//! WebSockets and other connections that leave HTTP.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use intermission::admin::api::AppState;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::certificate::Authority;
use super::gate::{Gate, Setup, ask};
use super::harness::{soon, until};
use super::tls_client::{connect, serving};
use super::upstream::Upstream;
use super::wire::Wire;

const CLOSE: &str = "upgrades = \"close\"";
const ASK: &str = "GET /cable HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                        sec-websocket-accept: s3pPLMBiTxaQ9kYGzhZRbK+xOo=\r\n\r\n";
/// "Service Restart".
const CLOSE_FRAME: &[u8] = b"\x88\x11\x03\xf4Service Restart";

/// An application whose sockets the test holds in its hand.
struct App(TcpListener);

impl App {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The next connection, and the head of its request.
    async fn request(&self) -> (Wire, HashMap<String, String>) {
        let mut wire = Wire::of(soon("a connection", self.0.accept()).await.unwrap().0);
        let (_, headers) = wire.request_head().await;
        (wire, headers)
    }

    /// A WebSocket: the client's end and the application's.
    async fn websocket(&self, gate: &Gate) -> (Wire, Wire) {
        let mut client = Wire::connect(gate.address).await;
        client.send(ASK).await;
        let (mut server, _) = self.request().await;
        server.send(SWITCHED).await;
        assert_eq!(client.head().await.status, 101);
        (client, server)
    }
}

/// Of a text frame of up to 125 bytes.
fn frame(text: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    match mask {
        None => [&[0x81, length], text.as_bytes()].concat(),
        Some(mask) => {
            let masked = text.bytes().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask);
            [0x81, 0x80 | length].into_iter().chain(mask).chain(masked).collect()
        }
    }
}

async fn pass<F, T>(from: &mut Wire<F>, to: &mut Wire<T>, bytes: &[u8])
where
    F: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let ((), passed) = tokio::join!(from.send_bytes(bytes), to.bytes(bytes.len()));
    assert!(passed == bytes, "{}", passed.escape_ascii());
}

async fn both_ways<C>(client: &mut Wire<C>, server: &mut Wire)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    pass(client, server, &frame("ping", Some([1, 2, 3, 4]))).await;
    pass(server, client, &frame("pong", None)).await;
}

/// A close frame as a client sends it, unmasked.
async fn masked_close_frame(server: &mut Wire) -> Vec<u8> {
    let bytes = server.bytes(4 + CLOSE_FRAME.len()).await;
    assert_eq!((bytes[0], bytes[1]), (0x88, 0x91));
    let (mask, payload) = bytes[2..].split_at(4);
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x88, 0x11].into_iter().chain(payload).collect()
}

#[tokio::test]
async fn a_websocket_is_handed_through_with_its_headers_and_each_side_ends_by_itself() {
    let app = App::start().await;
    let gate = Setup::shop(app.address()).start().await;
    let mut client = Wire::connect(gate.address).await;
    // A client that does not wait for the answer.
    client.send_bytes(&[ASK.as_bytes(), &frame("early", Some([9; 4]))].concat()).await;
    let (mut server, headers) = app.request().await;
    assert_eq!(
        (headers["connection"].as_str(), headers["upgrade"].as_str()),
        ("upgrade", "websocket")
    );
    assert_eq!(headers["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(gate.shop().await.in_flight, 1);
    // An application that speaks first.
    server.send_bytes(&[SWITCHED.as_bytes(), &frame("welcome", None)].concat()).await;
    let answer = client.head().await;
    assert_eq!(answer.status, 101);
    assert_eq!(
        (answer.headers["connection"].as_str(), answer.headers["upgrade"].as_str()),
        ("upgrade", "websocket")
    );
    assert_eq!(answer.headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzhZRbK+xOo=");
    assert_eq!(client.bytes(9).await, frame("welcome", None));
    assert_eq!(server.bytes(11).await, frame("early", Some([9; 4])));
    assert_eq!(gate.shop().await.in_flight, 0);
    both_ways(&mut client, &mut server).await;
    client.stream.shutdown().await.unwrap();
    assert!(server.is_closed().await);
    pass(&mut server, &mut client, &frame("after the client's end", None)).await;
    server.stream.shutdown().await.unwrap();
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_websocket_goes_by_tls_each_side_ends_by_itself_and_a_hold_closes_it() {
    let (authority, app) = (Authority::new(), App::start().await);
    authority.issue("shop", "shop.example", false);
    let setup = Setup::default().app("shop", "*", app.address(), CLOSE);
    let gate = setup.gate(&serving(&authority, &["shop"])).start().await;
    let address = gate.tls_address().await;
    let open = async || {
        let stream = connect(&authority, address, "shop.example", "http/1.1").await.unwrap();
        let mut client = Wire::of(stream);
        client.send_bytes(&[ASK.as_bytes(), &frame("early", Some([9; 4]))].concat()).await;
        let (mut server, headers) = app.request().await;
        assert_eq!(headers["x-forwarded-proto"], "https");
        server.send_bytes(&[SWITCHED.as_bytes(), &frame("welcome", None)].concat()).await;
        assert_eq!(client.head().await.status, 101);
        assert_eq!(client.bytes(9).await, frame("welcome", None));
        assert_eq!(server.bytes(11).await, frame("early", Some([9; 4])));
        (client, server)
    };
    let (mut client, mut server) = open().await;
    assert_eq!(gate.shop().await.in_flight, 0);
    client.stream.shutdown().await.unwrap();
    assert!(server.is_closed().await);
    pass(&mut server, &mut client, &frame("after the client's end", None)).await;
    server.stream.shutdown().await.unwrap();
    assert!(client.is_closed().await);

    let (mut client, mut server) = open().await;
    let long = [&[0x82, 127], &1_000_000_u64.to_be_bytes()[..], &[7; 1_000_000]].concat();
    pass(&mut server, &mut client, &long).await;
    let masked = [&[0x82, 255], &1_000_000_u64.to_be_bytes()[..], &[7; 1_000_004]].concat();
    pass(&mut client, &mut server, &masked).await;
    both_ways(&mut client, &mut server).await;
    gate.hold("shop").await;
    assert_eq!(client.bytes(CLOSE_FRAME.len()).await, CLOSE_FRAME);
    assert_eq!(masked_close_frame(&mut server).await, CLOSE_FRAME);
    assert!(client.is_closed().await);
    assert!(server.is_closed().await);
}

#[tokio::test]
async fn much_goes_both_ways_at_once_and_whoever_does_not_read_is_waited_for() {
    let app = App::start().await;
    let gate = Setup::shop(app.address()).start().await;
    let (mut client, mut server) = app.websocket(&gate).await;
    let bytes: Vec<u8> = (0..8_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let (mut from_client, mut to_client) = client.stream.split();
    let (mut from_server, mut to_server) = server.stream.split();
    let read = async |from: &mut tokio::net::tcp::ReadHalf<'_>| {
        let mut read = vec![0; bytes.len()];
        tokio::io::AsyncReadExt::read_exact(from, &mut read).await.unwrap();
        assert!(read == bytes);
    };
    let all = async {
        tokio::join!(
            async { to_client.write_all(&bytes).await.unwrap() },
            async { to_server.write_all(&bytes).await.unwrap() },
            async {
                read(&mut from_client).await;
                read(&mut from_server).await;
            },
        )
    };
    soon("all of it", all).await;
}

#[tokio::test]
async fn kept_websockets_go_on_through_a_hold_and_new_ones_wait_in_line() {
    let app = App::start().await;
    let gate = Setup::shop(app.address()).start().await;
    let (mut client, mut server) = app.websocket(&gate).await;
    let generation = gate.client.hold("shop", &ask(30_000, 500)).await.unwrap().generation;
    both_ways(&mut client, &mut server).await;
    let mut late = Wire::connect(gate.address).await;
    late.send(ASK).await;
    gate.until_held("shop", 1).await;
    let early = tokio::time::timeout(Duration::from_millis(100), app.0.accept()).await;
    assert!(early.is_err(), "a held request reached the application");
    gate.release("shop", generation).await;
    let (mut late_server, _) = app.request().await;
    late_server.send(SWITCHED).await;
    let answer = late.head().await;
    assert_eq!(answer.status, 101);
    assert!(answer.headers["server-timing"].starts_with("hold;dur="));
    both_ways(&mut late, &mut late_server).await;
    both_ways(&mut client, &mut server).await;
    gate.until_state("shop", AppState::Open).await;
}

#[tokio::test]
async fn websockets_that_a_hold_closes_are_told_1012_behind_the_frame_under_way() {
    let app = App::start().await;
    let gate = Setup::default().app("shop", "*", app.address(), CLOSE).start().await;
    let (mut client, mut server) = app.websocket(&gate).await;
    let (mut silent, mut silent_server) = app.websocket(&gate).await;
    let (down, up) =
        (frame("a frame from the server", None), frame("and back", Some([5, 6, 7, 8])));
    pass(&mut server, &mut client, &down[..7]).await;
    pass(&mut client, &mut server, &up[..3]).await;
    let generation = gate.client.hold("shop", &ask(30_000, 500)).await.unwrap().generation;
    // What follows the frame does not go on.
    server.send_bytes(&[&down[7..], &frame("late", None)].concat()).await;
    client.send_bytes(&[&up[3..], &frame("late", Some([1; 4]))].concat()).await;
    assert_eq!(client.bytes(down.len() - 7).await, down[7..]);
    assert_eq!(client.bytes(CLOSE_FRAME.len()).await, CLOSE_FRAME);
    assert_eq!(server.bytes(up.len() - 3).await, up[3..]);
    assert_eq!(masked_close_frame(&mut server).await, CLOSE_FRAME);
    assert_eq!(silent.bytes(CLOSE_FRAME.len()).await, CLOSE_FRAME);
    assert_eq!(masked_close_frame(&mut silent_server).await, CLOSE_FRAME);
    for mut wire in [client, server, silent, silent_server] {
        assert!(wire.is_closed().await);
    }
    // One that waited for the release is not closed by the hold it waited for.
    let mut late = Wire::connect(gate.address).await;
    late.send(ASK).await;
    gate.until_held("shop", 1).await;
    gate.release("shop", generation).await;
    let (mut late_server, _) = app.request().await;
    late_server.send(SWITCHED).await;
    assert_eq!(late.head().await.status, 101);
    gate.until_state("shop", AppState::Open).await;
    both_ways(&mut late, &mut late_server).await;
    gate.hold("shop").await;
    assert_eq!(late.bytes(CLOSE_FRAME.len()).await, CLOSE_FRAME);
}

#[tokio::test]
async fn the_clients_of_a_hold_are_not_all_told_at_once_and_nothing_is_carried_meanwhile() {
    let app = App::start().await;
    let gate = Setup::default().app("shop", "*", app.address(), CLOSE).start().await;
    let mut sockets = Vec::new();
    for _ in 0..24 {
        sockets.push(app.websocket(&gate).await);
    }
    gate.hold("shop").await;
    let told = sockets.into_iter().map(async |(mut client, mut server)| {
        client.send_bytes(&frame("late", Some([1; 4]))).await;
        assert_eq!(client.bytes(CLOSE_FRAME.len()).await, CLOSE_FRAME);
        let told = Instant::now();
        assert_eq!(masked_close_frame(&mut server).await, CLOSE_FRAME, "nothing before it");
        told
    });
    let told = futures_util::future::join_all(told).await;
    let (first, last) = (told.iter().min().unwrap(), told.iter().max().unwrap());
    // Spread evenly over half a second, they come this close once in millions of runs.
    assert!(*last - *first > Duration::from_millis(150), "{:?}", *last - *first);
}

#[tokio::test]
async fn a_websocket_that_opens_while_the_drain_waits_for_its_handshake_is_closed_too() {
    let app = App::start().await;
    let gate = Setup::default().app("shop", "*", app.address(), CLOSE).start().await;
    let mut client = Wire::connect(gate.address).await;
    client.send(ASK).await;
    let (mut server, _) = app.request().await;
    let request = ask(30_000, 15_000);
    let hold = gate.client.hold("shop", &request);
    let switch = async {
        gate.until_state("shop", AppState::Draining).await;
        server.send(SWITCHED).await;
        assert_eq!(client.head().await.status, 101);
        assert_eq!(client.bytes(CLOSE_FRAME.len()).await, CLOSE_FRAME);
    };
    let (held, ()) = tokio::join!(hold, switch);
    held.unwrap();
}

#[tokio::test]
async fn other_upgraded_connections_are_only_closed_and_a_side_that_does_not_answer_is_left() {
    let app = App::start().await;
    let gate = Setup::default().app("shop", "*", app.address(), CLOSE).start().await;
    let mut client = Wire::connect(gate.address).await;
    client.send(&ASK.replace("e: websocket", "e: other/1")).await;
    let (mut server, headers) = app.request().await;
    assert_eq!(headers["upgrade"], "other/1");
    server.send(&SWITCHED.replace("e: websocket", "e: other/1")).await;
    assert_eq!(client.head().await.status, 101);
    pass(&mut client, &mut server, b"anything").await;
    // Within a frame that is never finished.
    let (mut stuck, mut stuck_server) = app.websocket(&gate).await;
    pass(&mut stuck_server, &mut stuck, b"\x81\x7fpart").await;
    gate.hold("shop").await;
    for mut wire in [client, server, stuck] {
        assert!(wire.is_closed().await);
    }
}

#[tokio::test]
async fn an_upgraded_connection_on_which_nothing_passes_is_ended() {
    let app = App::start().await;
    let gate = Setup::shop(app.address()).gate("endless_idle_timeout = \"300ms\"").start().await;
    let (mut client, mut server) = app.websocket(&gate).await;
    both_ways(&mut client, &mut server).await;
    assert!(client.is_closed().await);
    assert!(server.is_closed().await);
}

#[tokio::test]
async fn at_a_stop_websockets_have_the_grace_and_are_told() {
    let app = App::start().await;
    let mut gate = Setup::shop(app.address()).gate("shutdown_grace = \"500ms\"").start().await;
    let (mut client, mut server) = app.websocket(&gate).await;
    gate.terminate();
    until("it stops", async || gate.client.status().await.unwrap().stopping.then_some(())).await;
    both_ways(&mut client, &mut server).await;
    assert_eq!(client.bytes(CLOSE_FRAME.len()).await, CLOSE_FRAME);
    assert_eq!(masked_close_frame(&mut server).await, CLOSE_FRAME);
    drop((client, server));
    assert_eq!(gate.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_websocket_that_has_ended() {
    let app = App::start().await;
    let mut gate = Setup::shop(app.address()).gate("shutdown_grace = \"1h\"").start().await;
    let (client, mut server) = app.websocket(&gate).await;
    drop(client);
    assert!(server.is_closed().await);
    drop(server);
    gate.terminate();
    assert_eq!(gate.exit_code().await, Some(0));
}

#[tokio::test]
async fn an_application_that_does_not_upgrade_answers_as_always() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).gate("threads = 1").start().await;
    let mut wire = Wire::connect(gate.address).await;
    for _ in 0..2 {
        wire.send(ASK).await;
        assert_eq!(wire.answer().await.body, "ok");
        wire.get("/").await;
        assert_eq!(wire.answer().await.body, "ok");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_or_that_names_no_protocol_is_502() {
    let app = App::start().await;
    let gate = Setup::shop(app.address()).start().await;
    let unnamed = SWITCHED.replace("upgrade: websocket\r\n", "");
    for (request, answer) in
        [("GET / HTTP/1.1\r\nhost: a\r\n\r\n", SWITCHED), (ASK, unnamed.as_str())]
    {
        let mut client = Wire::connect(gate.address).await;
        client.send(request).await;
        let (mut server, _) = app.request().await;
        server.send(answer).await;
        assert_eq!(client.answer().await.status, 502);
        assert!(server.is_closed().await);
    }
}
