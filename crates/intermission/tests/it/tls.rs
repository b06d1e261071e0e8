//! TLS with clients: handshakes, certificates by name, and their files.

use std::net::SocketAddr;
use std::time::Duration;

use super::certificate::{Authority, write};
use super::gate::{Gate, Setup, directory};
use super::harness::{assert_contains, run, soon, until};
use super::http2_client::{Http2, answer, curl};
use super::tls_client::{connect, first_certificate, serving, shown};
use super::upstream::Upstream;
use super::wire::{Wire, get};

const NAME: &str = "shop.example";

async fn gate(authority: &Authority, upstream: &Upstream, names: &[&str]) -> Gate {
    Setup::shop(upstream).gate(&serving(authority, names)).start().await
}

fn shop() -> Authority {
    let authority = Authority::new();
    authority.issue("shop", NAME, false);
    authority
}

/// What curl prints for `path`.
async fn curl_tls(authority: &Authority, address: SocketAddr, further: &[&str]) -> String {
    let port = address.port();
    let ca = authority.ca_file().display().to_string();
    let resolve = format!("{NAME}:{port}:127.0.0.1");
    let url = format!("https://{NAME}:{port}/path?query");
    curl(&[&["--cacert", &ca, "--resolve", &resolve], further, &[&url]].concat()).await
}

#[tokio::test]
async fn curl_is_served_by_either_protocol_and_either_version_of_tls() {
    let (authority, upstream) = (shop(), Upstream::start().await);
    let gate = gate(&authority, &upstream, &["shop"]).await;
    let address = gate.tls_address().await;
    for (words, expected) in [
        (&["--http2"][..], "ok 2 200"),
        (&["--http1.1"], "ok 1.1 200"),
        (&["--no-alpn"], "ok 1.1 200"),
        (&["--http2", "--tls-max", "1.2"], "ok 2 200"),
        (&["--http1.1", "--tlsv1.3"], "ok 1.1 200"),
        (&["--http2", "-H", "Expect: 100-continue", "-d", "body"], "ok 2 200"),
        (&["--http1.1", "-H", "Expect: 100-continue", "-d", "body"], "ok 1.1 200"),
    ] {
        assert_eq!(curl_tls(&authority, address, words).await, expected, "{words:?}");
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.path, "/path?query");
        assert_eq!(seen.headers["x-forwarded-proto"], "https");
        assert_eq!(seen.headers["host"], format!("{NAME}:{}", address.port()));
        assert!(!seen.headers.contains_key("expect"));
        assert_eq!(seen.body, if words.contains(&"-d") { "body" } else { "" });
    }
    // The other port goes on in clear text.
    assert_eq!(get(gate.address, "/").await.status, 200);
    assert_eq!(upstream.seen().pop().unwrap().headers["x-forwarded-proto"], "http");
}

#[tokio::test]
async fn the_certificate_is_chosen_by_name_and_the_first_is_for_everybody_else() {
    let (authority, upstream) = (Authority::new(), Upstream::start().await);
    authority.issue("first", "first.example", false);
    authority.issue("wild", "*.shop.example", false);
    authority.issue("exact", "exact.shop.example", false);
    let gate = gate(&authority, &upstream, &["first", "wild", "exact"]).await;
    let address = gate.tls_address().await;
    for (name, certificate) in [
        ("first.example", "first"),
        ("FIRST.example", "first"),
        ("any.shop.example", "wild"),
        ("exact.shop.example", "exact"),
    ] {
        let stream = connect(&authority, address, name, "h2").await.unwrap();
        let expected = first_certificate(&authority.path(&format!("{certificate}.pem")));
        assert_eq!(shown(&stream), expected, "{name}");
    }
    // A wildcard is for one label, and an address is no name.
    for name in ["other.example", "a.b.shop.example", "shop.example", "127.0.0.1"] {
        let refused = connect(&authority, address, name, "h2").await.unwrap_err();
        assert_contains(&format!("{refused:?}"), "first.example");
    }
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_and_a_broken_one_is_not() {
    let (authority, upstream) = (shop(), Upstream::start().await);
    let gate = gate(&authority, &upstream, &["shop"]).await;
    let address = gate.tls_address().await;
    let file = authority.path("shop.pem");
    let until_shown = async |certificate| {
        until("another certificate", async || {
            let stream = connect(&authority, address, NAME, "h2").await.unwrap();
            (shown(&stream) == certificate).then_some(())
        })
        .await;
    };
    let before = Http2::connect_tls(connect(&authority, address, NAME, "h2").await.unwrap()).await;
    let first = first_certificate(&file);
    authority.issue("shop", NAME, false);
    let second = first_certificate(&file);
    assert_ne!(first, second);
    until_shown(second.clone()).await;

    // Somebody else's key, then no certificate at all, then no file.
    let key = std::fs::read_to_string(authority.path("shop.key")).unwrap();
    authority.issue("other", NAME, false);
    let broken = [
        (std::fs::read_to_string(authority.path("other.pem")).ok(), "does not belong to"),
        (Some("not a certificate".to_owned()), "has no certificate in it: it must be PEM"),
        (None, "cannot read"),
    ];
    for (text, words) in broken {
        match text {
            Some(text) => write(&file, &text),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let log = until("an error", async || {
            Some(gate.log()).filter(|log| log.contains("going on with the former certificate"))
        })
        .await;
        let error = log.lines().find(|line| line.contains(" ERROR ")).unwrap();
        assert_contains(error, words);
        assert_contains(error, file.display().to_string());
        gate.clear_log();
        assert_eq!(curl_tls(&authority, address, &[]).await, "ok 2 200");
        until_shown(second.clone()).await;
    }
    write(&file, &std::fs::read_to_string(authority.path("other.pem")).unwrap());
    write(
        &authority.path("shop.key"),
        &std::fs::read_to_string(authority.path("other.key")).unwrap(),
    );
    until_shown(first_certificate(&file)).await;
    assert_ne!(key, std::fs::read_to_string(authority.path("shop.key")).unwrap());
    assert_eq!(answer(before.get("/")).await.status, 200, "a connection of before");
}

async fn refusal(lines: &str) -> String {
    let directory = directory();
    Setup::shop("127.0.0.1:1").gate(lines).write(&directory);
    let ran = soon("serve ends", run(&directory.path().join("config.toml"), &["serve"])).await;
    assert_ne!(ran.code, Some(0));
    ran.stderr
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named_at_the_start() {
    let authority = shop();
    authority.issue("other", NAME, false);
    let files = |certificate: &str, key: &str| {
        let [certificate, key] = [certificate, key].map(|file| authority.path(file));
        format!(
            "listen_tls = [\"127.0.0.1:0\"]\n\
             certificates = [{{ certificate_file = {certificate:?}, key_file = {key:?} }}]"
        )
    };
    for (lines, words) in [
        (files("shop.pem", "other.key"), &["does not belong", "shop.pem", "other.key"][..]),
        (files("none.pem", "shop.key"), &["gate.certificates.certificate_file", "none.pem"]),
        (files("shop.key", "shop.key"), &["no certificate in it", "shop.key"]),
        (files("shop.pem", "shop.pem"), &["no private key in it", "shop.pem"]),
        ("listen_tls = [\"127.0.0.1:0\"]".to_owned(), &["gate.certificates", "write"]),
    ] {
        let refusal = refusal(&lines).await;
        for word in words {
            assert_contains(&refusal, word);
        }
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended_and_keeps_nobody_waiting() {
    let (authority, upstream) = (shop(), Upstream::start().await);
    let setup = Setup::shop(&upstream).gate(&serving(&authority, &["shop"])).gate("threads = 1");
    let gate = setup.gate("client_head_timeout = \"1s\"").start().await;
    let address = gate.tls_address().await;
    let mut stuck = Vec::new();
    for text in ["", "\u{16}", "\u{16}\u{3}\u{1}\u{0}\u{7f}\u{1}"] {
        for _ in 0..20 {
            let mut wire = Wire::connect(address).await;
            wire.send(text).await;
            stuck.push(wire);
        }
    }
    assert_eq!(curl_tls(&authority, address, &[]).await, "ok 2 200");
    for wire in &mut stuck {
        assert!(wire.is_closed().await);
    }
}

#[tokio::test]
async fn a_handshake_counts_as_a_connection() {
    let (authority, upstream) = (shop(), Upstream::start().await);
    let setup = Setup::shop(&upstream).gate(&serving(&authority, &["shop"]));
    let gate = setup.gate("threads = 1\nconnections_max = 2").start().await;
    let address = gate.tls_address().await;
    let mut stuck = Vec::new();
    // One above the bound is in the hand of each accept loop, and there are two.
    for _ in 0..3 {
        stuck.push(Wire::connect(address).await);
    }
    let over = tokio::spawn(async move { connect(&authority, address, NAME, "h2").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!over.is_finished());
    stuck.pop();
    soon("a handshake", over).await.unwrap().unwrap();
}

#[tokio::test]
async fn clear_text_at_the_port_of_tls_does_no_harm() {
    let (authority, upstream) = (shop(), Upstream::start().await);
    let gate = gate(&authority, &upstream, &["shop"]).await;
    let address = gate.tls_address().await;
    let mut wire = Wire::connect(address).await;
    wire.get("/").await;
    // An alert, which is no HTTP.
    assert!(!wire.is_closed().await, "something is said before it is closed");
    assert_eq!(curl_tls(&authority, address, &[]).await, "ok 2 200");
    assert_eq!(upstream.arrived(), 1);
}

/// The kernel sees a client leave behind what TLS has not read.
#[tokio::test]
async fn a_client_that_leaves_while_it_is_held_frees_its_place() {
    let (authority, upstream) = (shop(), Upstream::start().await);
    let gate = gate(&authority, &upstream, &["shop"]).await;
    let address = gate.tls_address().await;
    let held = gate.hold("shop").await;
    let http2 = Http2::connect_tls(connect(&authority, address, NAME, "h2").await.unwrap()).await;
    let requests: Vec<_> = (0..3).map(|number| http2.get(&format!("/left/{number}"))).collect();
    gate.until_held("shop", 3).await;
    let mut http1 = connect(&authority, address, NAME, "http/1.1").await.unwrap();
    let text = "POST /left HTTP/1.1\r\nhost: a\r\ncontent-length: 400\r\n\r\npart of a body";
    tokio::io::AsyncWriteExt::write_all(&mut http1, text.as_bytes()).await.unwrap();
    gate.until_held("shop", 4).await;
    drop(http1);
    gate.until_held("shop", 3).await;
    http2.cut();
    gate.until_held("shop", 0).await;
    for request in requests {
        assert!(soon("an end", request).await.unwrap().is_err());
    }
    gate.release("shop", held.generation).await;
    assert_eq!(curl_tls(&authority, address, &[]).await, "ok 2 200");
    assert_eq!(upstream.paths(), ["/path?query"]);
}
