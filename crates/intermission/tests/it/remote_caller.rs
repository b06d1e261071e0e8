//! Who calls a gate over TCP without the right to, or without sense; and a gate that is not the right one.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use intermission::admin::client::{Client, ClientError};
use intermission::admin::gates::AdminGate;
use intermission::config::cluster::RemoteGate;
use intermission::swap::gates::Gates;
use intermission::swap::refusal::{Code, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::by_hand::By;
use super::certificate::{Authority, TOKEN, write};
use super::gate::{Gate, Setup, directory};
use super::harness::{Ran, assert_contains, run, soon};
use super::upstream::Upstream;
use super::wire::get;

/// `ADMITTED_WITHIN` and a busy machine.
const SENT_AWAY_WITHIN: Duration = Duration::from_secs(8);
/// `STRANGERS_MAX`
const STRANGERS: usize = 64;

/// A gate whose certificate is made out to `host`.
async fn gate_for(host: &str, expired: bool) -> (Authority, Gate, SocketAddr) {
    let authority = Authority::new();
    authority.issue("gate", host, expired);
    let upstream = Upstream::start().await;
    let gate = Setup::shop(upstream).gate(&authority.serving("127.0.0.1:0", "gate")).start().await;
    let address = gate.admin_address().await;
    (authority, gate, address)
}

async fn gate() -> (Authority, Gate, SocketAddr) {
    gate_for("127.0.0.1", false).await
}

/// As `swap.gates` has it.
pub(super) fn settings(authority: &Authority, address: SocketAddr) -> RemoteGate {
    RemoteGate {
        address: address.to_string().parse().unwrap(),
        ca_file: authority.ca_file(),
        token_env: None,
        token_file: Some(authority.token_file()),
        certificate: None,
        key: None,
        name: None,
    }
}

pub(super) fn client(gate: &RemoteGate) -> Client {
    Client::remote(gate, "swap.gates[0]").unwrap()
}

async fn refusal(gate: &RemoteGate) -> Option<Refusal> {
    let gates =
        AdminGate::new(Arc::new(client(gate)), "shop".to_owned(), "intermission".to_owned());
    let mut refusals = gates.preflight().await;
    assert!(refusals.len() < 2, "{refusals:?}");
    refusals.pop()
}

/// Nobody took anything: the socket answers, and so does the application.
async fn assert_unhurt(gate: &Gate) {
    let began = Instant::now();
    assert!(gate.shop().await.hold.is_none());
    assert_eq!(get(gate.address, "/page").await.status, 200);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// When the other side has closed.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    drop(soon("the gate closes", stream.read_to_end(&mut rest)).await);
}

#[tokio::test]
async fn a_wrong_token_and_none_get_the_same_answer_and_do_nothing() {
    let (authority, gate, address) = gate().await;
    let close = "connection: close\r\n\r\n";
    let hold = "POST /v1/apps/shop/hold HTTP/1.1\r\nhost: a\r\ncontent-length: 14\r\n";
    let mut bodies = Vec::new();
    // Each from an address of its own: the eleventh failure of one would get another answer.
    let from = |number: usize| Ipv4Addr::new(127, 0, 1, u8::try_from(number).unwrap());
    for token in [
        String::new(),
        "authorization: Bearer \r\n".to_owned(),
        format!("authorization: Bearer {}\r\n", TOKEN.replace('0', "1")),
        format!("authorization: Bearer {TOKEN}0\r\n"),
        format!("authorization: Bearer {}\r\n", &TOKEN[..31]),
        format!("authorization: Basic {TOKEN}\r\n"),
        format!("authorization: {TOKEN}\r\n"),
    ] {
        for head in ["GET /v1/status HTTP/1.1\r\nhost: a\r\n", hold] {
            let mut request = format!("{head}{token}\r\n");
            if head == hold {
                request += r#"{"holder":"a"}"#;
            }
            let caller = By { from: from(bodies.len() + 1), ..By::nobody(&authority, address) };
            let answer = caller.ask(&request).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
            assert_contains(&answer, "content-type: application/problem+json");
            assert_contains(&answer, "www-authenticate: Bearer");
            assert_contains(&answer, "connection: close");
            bodies.push(answer.split_once("\r\n\r\n").unwrap().1.to_owned());
        }
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert_contains(&bodies[0], r#""code":"unauthorized""#);
    assert_unhurt(&gate).await;
    let right =
        format!("GET /v1/status HTTP/1.1\r\nhost: a\r\nauthorization: bearer {TOKEN}\r\n{close}");
    assert_contains(&By::nobody(&authority, address).ask(&right).await, "HTTP/1.1 200 ");
    assert!(!gate.log().contains(TOKEN), "the token is in the log");
}

#[tokio::test]
async fn check_says_which_of_token_and_certificate_is_wrong() {
    let (authority, gate, address) = gate().await;
    let right = settings(&authority, address);
    assert!(refusal(&right).await.is_none());

    write(&authority.path("other"), &TOKEN.replace('a', "b"));
    let token = RemoteGate { token_file: Some(authority.path("other")), ..right.clone() };
    let refused = refusal(&token).await.unwrap();
    assert_eq!(refused.code, Code::GateToken);
    assert_eq!(refused.code.word(), "gate-token");
    assert_contains(&refused.sentence, address.to_string());
    assert_contains(&refused.mend, "gate.admin_token_file");

    let strange = Authority::new();
    let ca = RemoteGate { ca_file: strange.ca_file(), ..right.clone() };
    let refused = refusal(&ca).await.unwrap();
    assert_eq!(
        (refused.code, refused.code.word().as_str()),
        (Code::GateCertificate, "gate-certificate")
    );
    assert_contains(&refused.sentence, "UnknownIssuer");
    assert_contains(&refused.mend, "ca_file");

    let name = RemoteGate { name: Some("gate2.internal".to_owned()), ..right.clone() };
    let refused = refusal(&name).await.unwrap();
    assert_eq!(refused.code, Code::GateCertificate);
    assert_contains(&refused.sentence, "not valid for name \"gate2.internal\"");
    let error = client(&name).status().await.unwrap_err();
    assert!(matches!(error, ClientError::Certificate { .. }), "{error:?}");
    for shown in [format!("{:?}", client(&right)), format!("{:?}", client(&token).status().await)] {
        assert!(!shown.contains(TOKEN) && !shown.contains("bcdef"), "{shown}");
    }
    assert_unhurt(&gate).await;
}

#[tokio::test]
async fn a_name_of_the_certificates_stands_in_for_the_address() {
    let (authority, _gate, address) = gate_for("gate1.internal", false).await;
    let by_address = settings(&authority, address);
    assert_eq!(refusal(&by_address).await.unwrap().code, Code::GateCertificate);
    let by_name = RemoteGate { name: Some("gate1.internal".to_owned()), ..by_address };
    assert!(refusal(&by_name).await.is_none());
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let (authority, gate, address) = gate_for("127.0.0.1", true).await;
    let refused = refusal(&settings(&authority, address)).await.unwrap();
    assert_eq!(refused.code, Code::GateCertificate);
    assert_contains(&refused.sentence, "expired");
    assert_unhurt(&gate).await;
}

#[tokio::test]
async fn a_new_certificate_and_a_new_token_need_no_restart() {
    let (authority, gate, address) = gate_for("127.0.0.1", true).await;
    let right = settings(&authority, address);
    assert_eq!(refusal(&right).await.unwrap().code, Code::GateCertificate);
    authority.issue("gate", "127.0.0.1", false);
    assert!(refusal(&right).await.is_none());
    let early = client(&right);
    early.status().await.unwrap();

    // What is wrong changes nothing.
    write(&authority.path("token"), "short");
    write(&authority.path("good"), TOKEN);
    let former = RemoteGate { token_file: Some(authority.path("good")), ..right.clone() };
    assert!(refusal(&former).await.is_none());
    assert_contains(&gate.log(), "going on with the former certificates and tokens");
    assert_contains(&gate.log(), "the token has 5 characters");
    gate.clear_log();

    write(&authority.path("token"), &TOKEN.replace('a', "b"));
    assert!(refusal(&right).await.is_none());
    assert_eq!(refusal(&former).await.unwrap().code, Code::GateToken);
    // Also by a connection that was there before.
    assert!(matches!(early.status().await, Err(ClientError::Unauthorized { .. })));
}

#[tokio::test]
async fn plain_http_is_closed_at_once_and_tls_to_a_plain_port_is_said() {
    let (authority, gate, address) = gate().await;
    let began = Instant::now();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /v1/status HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    closed(&mut plain).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_unhurt(&gate).await;

    // The port of requests instead of the admin API's.
    let error = client(&settings(&authority, gate.address)).status().await.unwrap_err();
    assert!(matches!(error, ClientError::NoTls { .. }), "{error:?}");
    assert_contains(&error.to_string(), "does not speak TLS like a gate");
    let refused = refusal(&settings(&authority, gate.address)).await.unwrap();
    assert_eq!(refused.code, Code::GateUnreachable);
}

/// As many as may be there: they say nothing, begin a handshake, begin a request, or make one without the token.
#[tokio::test]
async fn strangers_who_stay_hurt_nobody_and_are_sent_away() {
    let (authority, gate, address) = gate().await;
    let kept = client(&settings(&authority, address));
    kept.status().await.unwrap();
    let mut strangers = Vec::new();
    for number in 0..STRANGERS - 1 {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            // The beginning of a record that is a handshake's.
            stranger.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
        }
        strangers.push(stranger);
    }
    let mut slow = By::nobody(&authority, address).connect().await.unwrap();
    slow.write_all(b"GET /v1/status HTTP/1.1\r\nhost: a\r\nx: ").await.unwrap();

    // Who has shown the token before is none of them; the socket and the requests even less.
    let began = Instant::now();
    kept.status().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_unhurt(&gate).await;
    // Who comes now waits until their time is over.
    let began = Instant::now();
    let waits = soon("a call", async {
        loop {
            if client(&settings(&authority, address)).status().await.is_ok() {
                break began.elapsed();
            }
        }
    });
    assert!(waits.await < SENT_AWAY_WITHIN);
    for stranger in &mut strangers {
        closed(stranger).await;
    }
    let mut rest = Vec::new();
    drop(soon("the gate closes", slow.read_to_end(&mut rest)).await);
    assert!(began.elapsed() < SENT_AWAY_WITHIN, "{:?}", began.elapsed());
    assert_unhurt(&gate).await;
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let (authority, gate, address) = gate().await;
    let head = format!("GET /{} HTTP/1.1\r\n", "x".repeat(40_000));
    let answer = By::nobody(&authority, address).ask(&head).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_unhurt(&gate).await;
}

/// What `serve` says instead of serving.
async fn refusal_to_serve(authority: &Authority, certificate: &str, key: &str) -> String {
    let directory = directory();
    let lines = authority.serving_with("127.0.0.1:0", certificate, key);
    Setup::shop("127.0.0.1:3000").gate(&lines).write(&directory);
    refused(&directory.path().join("config.toml")).await
}

async fn refused(config: &Path) -> String {
    let Ran { code, stderr, .. } = run(config, &["serve"]).await;
    assert_eq!(code, Some(2), "{stderr}");
    assert!(!stderr.contains(TOKEN), "{stderr}");
    stderr
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_their_key() {
    let authority = Authority::new();
    authority.issue("one", "127.0.0.1", false);
    authority.issue("two", "127.0.0.1", false);
    write(&authority.path("empty.pem"), "");
    let encrypted = std::fs::read_to_string(authority.path("one.key")).unwrap();
    let encrypted = encrypted.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    write(&authority.path("encrypted.key"), &encrypted);
    write(
        &authority.path("torn.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let path = |file: &str| authority.path(file).display().to_string();
    for (certificate, key, named, file, why) in [
        ("none.pem", "one.key", "certificate", "none.pem", "cannot read"),
        ("one.pem", "none.key", "key", "none.key", "cannot read"),
        ("one.key", "one.key", "certificate", "one.key", "has no certificate in it"),
        ("empty.pem", "one.key", "certificate", "empty.pem", "has no certificate in it"),
        ("torn.pem", "one.key", "certificate", "torn.pem", "cannot be used"),
        ("one.pem", "one.pem", "key", "one.pem", "has no private key in it"),
        ("one.pem", "encrypted.key", "key", "encrypted.key", "and not encrypted"),
    ] {
        let said = refusal_to_serve(&authority, certificate, key).await;
        assert_contains(&said, format!("gate.admin_tls.{named}: "));
        assert_contains(&said, path(file));
        assert_contains(&said, why);
    }
    let said = refusal_to_serve(&authority, "one.pem", "two.key").await;
    assert_contains(&said, "two.key does not belong to the certificate ");
    write(&authority.path("token"), "tooshort\n");
    let said = refusal_to_serve(&authority, "one.pem", "one.key").await;
    assert_contains(&said, "gate.admin_token_file: the token has 8 characters");
    assert!(!said.contains("tooshort"), "{said}");
}

#[tokio::test]
async fn an_admin_port_that_is_in_use_is_named() {
    let authority = Authority::new();
    authority.issue("gate", "127.0.0.1", false);
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let directory = directory();
    let lines = authority.serving(&address, "gate");
    Setup::shop("127.0.0.1:3000").gate(&lines).write(&directory);
    let config = directory.path().join("config.toml");
    let said = refused(&config).await;
    assert_contains(&said, format!("cannot listen on {address} (gate.admin_listen)"));
}
