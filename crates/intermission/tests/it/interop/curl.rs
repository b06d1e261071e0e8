//! curl as the client.

use super::super::certificate::{Authority, write};
use super::super::gate::{Gate, Setup};
use super::super::harness::assert_contains;
use super::super::tls_client::serving;
use super::super::upstream::Upstream;
use super::case::Case;

const UPLOAD: usize = 10_000_000;

async fn gate(case: &mut Case, setup: impl FnOnce(Setup) -> Setup) -> (Gate, Upstream) {
    let upstream = Upstream::start().await;
    let gate = setup(Setup::shop(&upstream)).start().await;
    case.place(8080, gate.address);
    (gate, upstream)
}

async fn says(mut case: Case, said: &str) {
    let (_gate, upstream) = gate(&mut case, |setup| setup).await;
    assert_eq!(case.run(0).await, (said.to_owned(), true));
    assert_eq!(upstream.arrived(), 1);
}

pub(super) async fn curl_gets_by_http1(case: Case) {
    says(case, "ok 1.1 200").await;
}

pub(super) async fn curl_gets_by_http2_in_clear_text(case: Case) {
    says(case, "ok 2 200").await;
}

pub(super) async fn curl_gets_by_http2_with_tls(mut case: Case) {
    let authority = Authority::new();
    authority.issue("shop", "shop.example.com", false);
    let further = serving(&authority, &["shop"]);
    let (gate, upstream) = gate(&mut case, |setup| setup.gate(&further)).await;
    case.place(8443, gate.tls_address().await);
    std::fs::copy(authority.ca_file(), case.path("ca.pem")).unwrap();
    assert_eq!(case.run(0).await, ("ok 2 200".to_owned(), true));
    assert_eq!(upstream.seen()[0].headers["x-forwarded-proto"], "https");
}

async fn uploads(mut case: Case) {
    let (_gate, _upstream) = gate(&mut case, |setup| setup).await;
    let line = |number| format!("{number:09}\n");
    let upload: String = (0..UPLOAD / 10).map(line).collect();
    write(&case.path("upload"), &upload);
    assert_eq!(case.run(0).await, (String::new(), true));
    assert!(std::fs::read(case.path("download")).unwrap() == upload.as_bytes());
}

pub(super) async fn curl_uploads_with_a_length(case: Case) {
    uploads(case).await;
}

pub(super) async fn curl_uploads_in_chunks(case: Case) {
    uploads(case).await;
}

pub(super) async fn curl_uploads_by_http2(case: Case) {
    uploads(case).await;
}

pub(super) async fn curl_waits_for_100_continue(mut case: Case) {
    let (gate, upstream) = gate(&mut case, |setup| setup).await;
    let held = gate.hold("shop").await;
    let curl = case.start(0);
    gate.until_held("shop", 1).await;
    curl.until_said("> Expect: 100-continue").await;
    assert!(!curl.said().contains("< HTTP"), "answered while held: {}", curl.said());
    gate.release("shop", held.generation).await;
    let (said, _) = curl.ended().await;
    let answers: Vec<_> = said.lines().filter(|line| line.contains("< HTTP/1.1 ")).collect();
    assert_eq!(answers, ["< HTTP/1.1 100 Continue", "< HTTP/1.1 200 OK"]);
    assert_eq!(upstream.seen()[0].body, "body");
}

async fn reads_trailers(mut case: Case, end: &str) {
    let (_gate, upstream) = gate(&mut case, |setup| setup).await;
    let (said, succeeded) = case.run(0).await;
    assert!(succeeded && said.trim_end().ends_with(end), "{said:?}");
    assert_eq!(upstream.seen()[0].headers["te"], "trailers");
}

pub(super) async fn curl_reads_trailers(case: Case) {
    reads_trailers(case, "\r\n\r\nokx-sum: 2").await;
}

pub(super) async fn curl_reads_trailers_by_http2(case: Case) {
    reads_trailers(case, "\r\n\r\nokx-sum: 2").await;
}

pub(super) async fn curl_is_held_and_released(mut case: Case) {
    let (gate, upstream) = gate(&mut case, |setup| setup).await;
    let held = gate.hold("shop").await;
    let mut curl = case.start(0);
    gate.until_held("shop", 1).await;
    assert!(!curl.has_ended());
    assert_eq!(upstream.arrived(), 0);
    gate.release("shop", held.generation).await;
    let (said, succeeded) = curl.ended().await;
    assert!(succeeded && said.starts_with("HTTP/1.1 200 "), "{said}");
    assert_contains(&said, "server-timing: hold;dur=");
}

pub(super) async fn curl_is_held_for_too_long(mut case: Case) {
    let upstream = Upstream::start().await;
    let gate = Setup::default().app("shop", "*", &upstream, "max_wait = \"300ms\"").start().await;
    case.place(8080, gate.address);
    gate.hold("shop").await;
    let (said, _) = case.run(0).await;
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    assert_contains(&said, "retry-after: 5\r\n");
    assert_eq!(upstream.arrived(), 0);
}

pub(super) async fn curl_sends_a_proxy_header(mut case: Case) {
    let from = "proxy_protocol_from = [\"127.0.0.0/8\"]";
    let (_gate, upstream) = gate(&mut case, |setup| setup.gate(from)).await;
    assert_eq!(case.run(0).await, ("ok 1.1 200".to_owned(), true));
    assert_eq!(upstream.seen()[0].headers["x-forwarded-for"], "127.0.0.2");
}
