//! A hold that waits no longer for requests in flight, where its app says so.

use intermission::admin::api::AppState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::gate::{Setup, ask};
use super::harness::soon;
use super::http2_client::Http2;
use super::upstream::Upstream;
use super::wire::Wire;

const LEASE_MS: u64 = 30_000;
const DRAIN_MS: u64 = 800;
const KILL: &str = "stragglers = \"kill\"";

#[tokio::test]
async fn h9_requests_in_flight_are_cut_off_where_the_app_says_so_and_the_hold_is_in_force() {
    let (shop, blog) = (Upstream::start().await, Upstream::start().await);
    let further = format!("{KILL}\nbypass = {{ paths = [\"/slow/up\"] }}");
    let setup = Setup::default().app("shop", "*", &shop, &further);
    let gate = setup.app("blog", "blog.example", &blog, "").start().await;
    let mut clients = Vec::new();
    for (path, host) in [("/slow/up", "shop"), ("/slow/1", "blog"), ("/slow/2", "shop")] {
        let mut client = Wire::connect(gate.address).await;
        client.send(&format!("GET {path}?key=1 HTTP/1.1\r\nhost: {host}.example\r\n\r\n")).await;
        clients.push(client);
    }
    let http2 = Http2::connect(gate.address).await;
    let other = http2.get("/slow/3");
    shop.until_arrived(3).await;
    blog.until_arrived(1).await;
    let held = gate.client.hold("shop", &ask(LEASE_MS, DRAIN_MS)).await.unwrap();
    let mut killed: Vec<_> = held.killed.iter().map(|it| it.path.as_str()).collect();
    killed.sort_unstable();
    assert_eq!(killed, ["/slow/2", "/slow/3"]);
    assert!(held.drained_ms >= DRAIN_MS / 2 && held.drained_ms < DRAIN_MS, "{held:?}");
    let app = gate.shop().await;
    assert_eq!((app.state, app.in_flight), (AppState::Held, 0));
    let answer = clients.pop().unwrap().answer().await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("check before you repeat"), "{}", answer.body);
    assert_eq!(soon("an answer", other).await.unwrap().unwrap().status(), 503);
    // Who no hold waits for, and who asks another app, is left alone.
    shop.let_go(3);
    blog.let_go(1);
    for mut client in clients {
        assert_eq!(client.answer().await.body, "ok");
    }
    gate.release("shop", held.generation).await;
    let mut client = Wire::connect(gate.address).await;
    client.send("GET /again HTTP/1.1\r\nhost: shop.example\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
}

/// Also where the end of the connection is that of the body, or the client takes nothing of it.
#[tokio::test]
async fn h9_a_response_that_was_cut_off_does_not_look_whole() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Setup::default().app("shop", "*", app.local_addr().unwrap(), KILL).start().await;
    let part = "x".repeat(16 * 1024 * 1024);
    for (length, sent) in [("", "half".to_owned()), ("content-length: 99999999\r\n", part)] {
        let mut client = Wire::connect(gate.address).await;
        client.get("/report").await;
        let mut server = Wire::of(soon("a connection", app.accept()).await.unwrap().0);
        server.request().await;
        let head = format!("HTTP/1.1 200 OK\r\n{length}\r\n");
        server.send(&head).await;
        // The gate ends this connection before it has taken all of it.
        let sending = tokio::spawn(async move {
            let written = server.stream.write_all(sent.as_bytes()).await;
            (server, written)
        });
        assert_eq!(client.head().await.status, 200);
        let held = gate.client.hold("shop", &ask(LEASE_MS, DRAIN_MS)).await.unwrap();
        assert_eq!(held.killed.len(), 1, "{held:?}");
        assert_eq!(gate.shop().await.in_flight, 0);
        // Chunks without the last one, or less than was said.
        let mut rest = Vec::new();
        let read = client.stream.read_to_end(&mut rest);
        soon("the end", read).await.unwrap_or_default();
        let (_server, written) = soon("the end", sending).await.unwrap();
        assert_eq!(written.is_ok(), length.is_empty(), "{written:?}");
        assert!(!rest.ends_with(b"0\r\n\r\n") && rest.len() < 99_999_999, "{}", rest.len());
        gate.release("shop", held.generation).await;
    }
}
