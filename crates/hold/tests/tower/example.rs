//! The example's application on real sockets.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use hold::tower::HoldLayer;
use hold::{Drain, Limits, Pace};
use http_body_util::channel::Channel;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::fixture::close;

#[path = "../../examples/axum_hold.rs"]
#[expect(dead_code, reason = "its `main` has ports that may be in use here")]
mod axum_hold;

const WITHIN: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(2);

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

async fn send(to: SocketAddr, method: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(WITHIN, stream.read_to_string(&mut text)).await.expect("answered in time").unwrap();
    text
}

async fn ask(to: SocketAddr, method: &str, path: &str) -> String {
    answer(send(to, method, path).await).await
}

async fn ask_until(to: SocketAddr, path: &str, wanted: &str) {
    let deadline = Instant::now() + WITHIN;
    loop {
        let text = ask(to, "GET", path).await;
        if text.contains(wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{path} never said {wanted}, last {text}");
        tokio::time::sleep(POLL_EVERY).await;
    }
}

#[tokio::test]
async fn the_example_is_held_and_released_by_its_operator() {
    let (users, operator) = axum_hold::app();
    let (users, operator) = (serve(users).await, serve(operator).await);
    assert!(ask(users, "GET", "/").await.ends_with("served\n"));

    assert!(ask(operator, "POST", "/hold").await.contains(r#"{"drain":"drained","generation":1}"#));
    assert!(ask(operator, "POST", "/hold").await.starts_with("HTTP/1.1 409"));
    let held = send(users, "GET", "/").await;
    let left = send(users, "GET", "/").await;
    ask_until(operator, "/", r#""held":2"#).await;
    assert!(ask(users, "GET", "/health").await.ends_with("well\n"));
    drop(left);
    ask_until(operator, "/", r#""held":1"#).await;

    assert!(ask(operator, "POST", "/release/7").await.starts_with("HTTP/1.1 409"));
    let released = ask(operator, "POST", "/release/1").await;
    assert!(released.contains(r#"{"held_total":2,"released":1}"#), "{released}");
    assert!(answer(held).await.ends_with("served\n"));
    ask_until(operator, "/", r#"{"held":0,"in_flight":0,"state":"open"}"#).await;
}

#[tokio::test]
async fn a_body_that_owns_the_ticket_is_counted_to_its_end() {
    let pace = Pace { concurrency: NonZeroU32::MIN, concurrency_max: NonZeroU32::MIN };
    let (hold, layer) = HoldLayer::new(Limits::new(1, pace), WITHIN, axum_hold::refuse);
    let (mut rows, body) = Channel::<Bytes>::new(1);
    let body = Arc::new(Mutex::new(Some(body)));
    let download = move || {
        let body = body.lock().unwrap().take().expect("asked once");
        async move { Body::new(body) }
    };
    let router = Router::new().route("/", get(download));
    let users = serve(router.layer(layer.keep_ticket(axum_hold::until_sent))).await;
    let mut stream = send(users, "GET", "/").await;
    rows.send_data(Bytes::from_static(b"first ")).await.unwrap();
    let mut head = vec![0; 12];
    timeout(WITHIN, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(head, b"HTTP/1.1 200");

    let generation = close(&hold);
    let mut drained = pin!(hold.drain_end(generation));
    assert!(timeout(POLL_EVERY, &mut drained).await.is_err());
    rows.send_data(Bytes::from_static(b"last")).await.unwrap();
    drop(rows);
    assert_eq!(timeout(WITHIN, drained).await.unwrap(), Drain::Drained);
    assert!(answer(stream).await.contains("last"));
}
