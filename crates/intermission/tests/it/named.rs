//! What is told of a request: to the application, to the client, and in the log.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;

use super::gate::Setup;
use super::harness::assert_contains;
use super::upstream::Upstream;
use super::wire::{Wire, get};

const SENT: &str = "GET / HTTP/1.1\r\nhost: shop.example\r\nx-forwarded-for: 203.0.113.9\r\n\
                    x-forwarded-proto: https\r\nx-forwarded-host: www.example\r\nx-forwarded-port: 443\r\n\
                    x-request-id: theirs-1\r\nx-request-start: t=5\r\n\r\n";

#[tokio::test]
async fn only_trusted_proxies_may_say_for_whom_they_ask() {
    for (trusted, is_trusted) in [
        ("[]", false),
        ("[\"10.0.0.0/8\", \"::/0\"]", false),
        ("[\"10.0.0.0/8\", \"127.0.0.0/8\"]", true),
    ] {
        let upstream = Upstream::start().await;
        let setup = Setup::shop(&upstream).gate(&format!("trusted_proxies = {trusted}"));
        let gate = setup.start().await;
        let mut wire = Wire::connect(gate.address).await;
        wire.send(SENT).await;
        let answer = wire.answer().await;
        let seen = upstream.seen().remove(0).headers;
        let told = |name: &str| seen[name].to_str().unwrap().to_owned();
        let port = gate.address.port().to_string();
        let want = if is_trusted {
            ["203.0.113.9, 127.0.0.1", "https", "www.example", "443"]
        } else {
            ["127.0.0.1", "http", "shop.example", &port]
        };
        let names = ["for", "proto", "host", "port"].map(|name| format!("x-forwarded-{name}"));
        assert_eq!(names.map(|name| told(&name)), want, "{trusted}");
        assert_eq!(told("x-request-id") == "theirs-1", is_trusted, "{trusted}");
        assert_eq!(told("x-request-start") == "t=5", is_trusted, "{trusted}");
        assert_eq!(answer.headers["x-request-id"], told("x-request-id"));
    }
}

#[tokio::test]
async fn a_held_request_is_told_when_it_came_and_its_client_how_long_it_was_held() {
    let upstream = Upstream::start().await;
    let further = "max_wait = \"700ms\"";
    let gate = Setup::default().app("shop", "*", &upstream, further).start().await;
    assert!(!get(gate.address, "/open").await.headers.contains_key("server-timing"));
    let generation = gate.hold("shop").await.generation;
    let came = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut wire = Wire::connect(gate.address).await;
    wire.get("/held").await;
    gate.until_held("shop", 1).await;
    let held = Duration::from_millis(150);
    tokio::time::sleep(held).await;
    gate.release("shop", generation).await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 200);
    assert!(timing(&answer.headers["server-timing"]) >= held, "{answer:?}");
    let start = upstream.seen().remove(1).headers["x-request-start"].to_str().unwrap().to_owned();
    let start = Duration::from_micros(start.strip_prefix("t=").unwrap().parse().unwrap());
    let late = Duration::from_secs(5);
    assert!(start >= came && start < came + late, "{start:?} {came:?}");
    // The next one on this connection was not held.
    wire.get("/next").await;
    assert!(!wire.answer().await.headers.contains_key("server-timing"));
    gate.hold("shop").await;
    wire.get("/late").await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 503);
    assert!(timing(&answer.headers["server-timing"]) >= Duration::from_millis(700), "{answer:?}");
}

fn timing(header: &str) -> Duration {
    let milliseconds: f64 = header.strip_prefix("hold;dur=").unwrap().parse().unwrap();
    // Rounded to a tenth.
    Duration::from_secs_f64((milliseconds + 0.05) / 1000.0)
}

#[tokio::test]
async fn what_is_logged_of_a_request_has_the_id_that_its_client_was_given() {
    let refusing = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let gate = Setup::default().app("shop", "shop.example", refusing, "").start().await;
    let answer = get(gate.address, "/").await;
    assert_eq!((answer.status, answer.headers["x-request-id"].len()), (502, 32));
    assert_contains(&gate.log(), format!("request_id=\"{}\"", answer.headers["x-request-id"]));
    let mut wire = Wire::connect(gate.address).await;
    wire.send("GET / HTTP/1.1\r\nhost: other.example\r\n\r\n").await;
    let unknown = wire.answer().await;
    assert_eq!((unknown.status, unknown.headers["x-request-id"].len()), (421, 32));
}
