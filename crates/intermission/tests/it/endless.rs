//! Responses that are not meant to end.

use std::time::Duration;

use http_body_util::BodyExt;
use intermission::admin::api::ErrorCode;
use tokio::net::TcpListener;

use super::gate::{Gate, Setup, ask};
use super::harness::{soon, until};
use super::http2_client::Http2;
use super::wire::Wire;

const EVENTS: &str = "text/event-stream; charset=utf-8";

/// A response of this type that has begun: the client's end and the application's.
async fn begun(gate: &Gate, app: &TcpListener, kind: &str) -> (Wire, Wire) {
    let mut client = Wire::connect(gate.address).await;
    client.get("/events").await;
    let mut server = Wire::of(soon("a connection", app.accept()).await.unwrap().0);
    server.request().await;
    server
        .send(&format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        ))
        .await;
    assert_eq!(client.head().await.status, 200);
    (client, server)
}

/// Sent only when the one before has arrived.
async fn events(client: &mut Wire, server: &mut Wire, count: usize) {
    for number in 0..count {
        let event = format!("data: {number:04}\n\n");
        server.send(&format!("{:x}\r\n{event}\r\n", event.len())).await;
        assert_eq!(client.chunk().await.as_deref(), Some(event.as_str()));
    }
}

#[tokio::test]
async fn each_event_arrives_as_soon_as_it_is_sent_and_no_hold_waits_for_the_next() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Setup::shop(app.local_addr().unwrap()).start().await;
    let (mut client, mut server) = begun(&gate, &app, EVENTS).await;
    events(&mut client, &mut server, 200).await;
    until("none in flight", async || (gate.shop().await.in_flight == 0).then_some(())).await;
    let held = gate.client.hold("shop", &ask(30_000, 200)).await.unwrap();
    events(&mut client, &mut server, 10).await;
    gate.release("shop", held.generation).await;
    events(&mut client, &mut server, 10).await;
    server.send("0\r\n\r\n").await;
    assert_eq!(client.chunk().await, None);
}

#[tokio::test]
async fn no_hold_waits_for_events_by_http2_and_they_go_on_meanwhile() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Setup::shop(app.local_addr().unwrap()).start().await;
    let http2 = Http2::connect(gate.address).await;
    let sent = http2.get("/events");
    let mut server = Wire::of(soon("a connection", app.accept()).await.unwrap().0);
    server.request().await;
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type:";
    server.send(&format!("{head} {EVENTS}\r\n\r\n")).await;
    let mut body = soon("a head", sent).await.unwrap().unwrap().into_body();
    let mut event = async || {
        server.send("9\r\ndata: 1\n\n\r\n").await;
        let frame = soon("an event", body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "data: 1\n\n");
    };
    event().await;
    let held = gate.client.hold("shop", &ask(30_000, 200)).await.unwrap();
    event().await;
    gate.release("shop", held.generation).await;
    event().await;
}

#[tokio::test]
async fn a_hold_waits_for_the_head_of_an_endless_response() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Setup::shop(app.local_addr().unwrap()).start().await;
    let mut client = Wire::connect(gate.address).await;
    client.get("/events").await;
    let mut server = Wire::of(soon("a connection", app.accept()).await.unwrap().0);
    server.request().await;
    let refused = gate.client.hold("shop", &ask(30_000, 200)).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::DrainTimedOut));
}

#[tokio::test]
async fn which_types_are_endless_is_the_apps_choice() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = app.local_addr().unwrap();
    let further = "endless_types = [\"application/x-ndjson\"]";
    let gate = Setup::default().app("shop", "*", address, further).start().await;
    let lines = begun(&gate, &app, "Application/X-NDJSON").await;
    gate.client.hold("shop", &ask(200, 200)).await.unwrap();
    until("the lease is over", async || gate.shop().await.hold.is_none().then_some(())).await;
    let events = begun(&gate, &app, EVENTS).await;
    let refused = gate.client.hold("shop", &ask(30_000, 200)).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::DrainTimedOut));
    drop((lines, events));
}

#[tokio::test]
async fn an_event_may_be_longer_in_coming_than_a_part_of_a_body() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let setup = Setup::shop(app.local_addr().unwrap()).gate("upstream_body_timeout = \"100ms\"");
    let gate = setup.gate("endless_idle_timeout = \"600ms\"").start().await;
    let (mut client, mut server) = begun(&gate, &app, EVENTS).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    events(&mut client, &mut server, 1).await;
    assert!(client.is_closed().await);
}
