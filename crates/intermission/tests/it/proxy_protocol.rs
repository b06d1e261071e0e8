//! PROXY headers, good ones and others.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::certificate::Authority;
use super::gate::Setup;
use super::http2_client::{Http2, answer, curl};
use super::tls_client::{connect, handshake, serving};
use super::upstream::Upstream;
use super::wire::{Wire, get};

const FROM: &str = "proxy_protocol_from = [\"127.0.0.1\"]";
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 203.0.113.9\r\n\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n";
/// 192.0.2.7:12345 to 10.0.0.1:443
const FOUR: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

#[tokio::test]
async fn the_client_is_whom_the_header_names() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).gate(FROM).start().await;
    let own = gate.address.port().to_string();
    let six = [&[0x20, 1, 0x0d, 0xb8], &[0; 11][..], &[7], &[0; 16], &[0, 1, 0, 80]].concat();
    for (header, address, port) in [
        (LINE.to_vec(), "192.0.2.7", "443"),
        (b"PROXY TCP6 2001:db8::7 ::1 1 80\r\n".to_vec(), "2001:db8::7", "80"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", &own),
        (binary(0x21, 0x11, FOUR), "192.0.2.7", "443"),
        (binary(0x21, 0x11, &[FOUR, &[3, 0, 4, 1, 2, 3, 4]].concat()), "192.0.2.7", "443"),
        (binary(0x21, 0x21, &six), "2001:db8::7", "80"),
        (binary(0x20, 0x11, FOUR), "127.0.0.1", &own),
        (binary(0x20, 0x00, &[]), "127.0.0.1", &own),
    ] {
        let shown = header.escape_ascii().to_string();
        let mut wire = Wire::connect(gate.address).await;
        wire.send_bytes(&[&header, GET].concat()).await;
        assert_eq!(wire.answer().await.status, 200, "{shown}");
        // It counts for all requests of its connection.
        wire.send_bytes(GET).await;
        assert_eq!(wire.answer().await.status, 200, "{shown}");
        for seen in upstream.seen().split_off(upstream.arrived() - 2) {
            assert_eq!(seen.headers["x-forwarded-for"], address, "{shown}");
            assert_eq!(seen.headers["x-forwarded-port"], port, "{shown}");
        }
    }
}

#[tokio::test]
async fn a_header_may_come_in_pieces_and_its_client_may_be_a_trusted_proxy() {
    let upstream = Upstream::start().await;
    let setup = Setup::shop(&upstream).gate(FROM).gate("trusted_proxies = [\"192.0.2.0/24\"]");
    let gate = setup.start().await;
    for header in [LINE.to_vec(), binary(0x21, 0x11, FOUR)] {
        let mut wire = Wire::connect(gate.address).await;
        wire.stream.set_nodelay(true).unwrap();
        for byte in header {
            wire.send_bytes(&[byte]).await;
            tokio::task::yield_now().await;
        }
        wire.send_bytes(GET).await;
        assert_eq!(wire.answer().await.status, 200);
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.headers["x-forwarded-for"], "203.0.113.9, 192.0.2.7");
    }
}

#[tokio::test]
async fn connections_that_do_not_begin_with_a_header_are_closed_and_others_are_served() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).gate(FROM).start().await;
    let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..], b"\r\n"].concat();
    let broken_off = [
        b"".to_vec(),
        b"P".to_vec(),
        b"PROXY TCP4 192.0.2.7 10.0".to_vec(),
        SIGNATURE.to_vec(),
        binary(0x21, 0x11, FOUR)[..20].to_vec(),
    ];
    let wrong = [
        b"PROXY TCP4 1.2.3 10.0.0.1 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n".to_vec(),
        b"PROXY \0\0\0\0\0\0\0\0\0\r\n".to_vec(),
        vec![b'\n'; 64 * 1024],
        vec![0xff; 64 * 1024],
        long,
        binary(0x21, 0x11, &FOUR[..8]),
        binary(0x21, 0x21, FOUR),
        binary(0x21, 0xff, FOUR),
        binary(0x11, 0x11, FOUR),
        binary(0x21, 0x11, &[0; 65535]),
    ];
    let wrong = wrong.map(|header| [&header, GET].concat());
    for hostile in broken_off.into_iter().chain(wrong) {
        let mut wire = Wire::connect(gate.address).await;
        // It may be closed before all of it is written.
        drop(wire.stream.write_all(&hostile).await);
        drop(wire.stream.shutdown().await);
        assert!(wire.is_closed().await, "{}", hostile[..hostile.len().min(50)].escape_ascii());
    }
    let mut wire = Wire::connect(gate.address).await;
    wire.send_bytes(GET).await;
    assert!(wire.is_closed().await, "a request without a header was answered");
    assert_eq!(upstream.arrived(), 0);
    let mut wire = Wire::connect(gate.address).await;
    wire.send_bytes(&[LINE, GET].concat()).await;
    assert_eq!(wire.answer().await.status, 200);
}

#[tokio::test]
async fn a_header_comes_before_tls_and_before_http2() {
    let (authority, upstream) = (Authority::new(), Upstream::start().await);
    authority.issue("shop", "shop.example", false);
    let setup = Setup::shop(&upstream).gate(FROM).gate(&serving(&authority, &["shop"]));
    let gate = setup.start().await;
    let address = gate.tls_address().await;
    let begin = async |header: &[u8], protocol| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(header).await.unwrap();
        handshake(&authority, stream, "shop.example", protocol).await.unwrap()
    };
    let told = || {
        let headers = upstream.seen().pop().unwrap().headers;
        ["for", "port", "proto"]
            .map(|name| headers[format!("x-forwarded-{name}")].to_str().unwrap().to_owned())
    };
    for header in [LINE.to_vec(), binary(0x21, 0x11, &[FOUR, &[3, 0, 4, 1, 2, 3, 4]].concat())] {
        let mut wire = Wire::of(begin(&header, "http/1.1").await);
        wire.send_bytes(GET).await;
        assert_eq!(wire.answer().await.status, 200);
        assert_eq!(told(), ["192.0.2.7", "443", "https"]);
        let http2 = Http2::connect_tls(begin(&header, "h2").await).await;
        assert_eq!(answer(http2.get("/")).await.status, 200);
        assert_eq!(told(), ["192.0.2.7", "443", "https"]);
    }
    let url = format!("http://{}/", gate.address);
    let words = ["--haproxy-protocol", "--http2-prior-knowledge", &url];
    assert_eq!(curl(&words).await, "ok 2 200");
    assert_eq!(told(), ["127.0.0.1", &gate.address.port().to_string(), "http"]);
    // Without one, and with another where HTTP should begin.
    let arrived = upstream.arrived();
    connect(&authority, address, "shop.example", "h2").await.unwrap_err();
    let mut wire = Wire::of(begin(LINE, "http/1.1").await);
    wire.send_bytes(&[LINE, GET].concat()).await;
    assert_eq!(wire.answer().await.status, 400);
    assert_eq!(upstream.arrived(), arrived);
}

#[tokio::test]
async fn from_anybody_else_a_header_is_a_bad_request() {
    let upstream = Upstream::start().await;
    let setup = Setup::shop(&upstream).gate("proxy_protocol_from = [\"192.0.2.0/24\", \"::1\"]");
    let gate = setup.start().await;
    for header in [LINE.to_vec(), binary(0x21, 0x11, FOUR)] {
        let mut wire = Wire::connect(gate.address).await;
        wire.send_bytes(&[&header, GET].concat()).await;
        assert_eq!(wire.answer().await.status, 400);
    }
    assert_eq!(upstream.arrived(), 0);
    assert_eq!(get(gate.address, "/").await.status, 200);
}
