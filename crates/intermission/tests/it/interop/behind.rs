//! Application servers behind the gate.

use std::fmt::Display;

use super::super::gate::{Gate, Setup};
use super::super::harness::until;
use super::super::wire::{Answer, Wire};
use super::case::{Case, Server};

const BODY: usize = 100_000;

async fn get(wire: &mut Wire, path: &str) -> Answer {
    wire.get(path).await;
    wire.answer().await
}

async fn post(wire: &mut Wire) -> Answer {
    let body = "x".repeat(BODY);
    wire.send(&format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY}\r\n\r\n{body}")).await;
    wire.answer().await
}

/// The process that has answered, whose other words are these.
fn by(answer: &Answer, words: &str) -> String {
    assert_eq!(answer.status, 200);
    let (process, rest) = answer.body.split_once(' ').unwrap();
    assert_eq!(rest, words);
    process.to_owned()
}

/// What an application has to do with all day, on connections to `server`. The process that has answered.
async fn serves(gate: &Gate, server: &Server) -> String {
    let mut wire = Wire::connect(gate.address).await;
    for _ in 0..20 {
        by(&get(&mut wire, "/").await, "GET 0\n");
    }
    let length = format!("POST {BODY}\n");
    by(&post(&mut wire).await, &length);
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab").await;
    wire.send("cde\r\n3\r\nfgh\r\n0\r\n\r\n").await;
    by(&wire.answer().await, "POST 8\n");
    let chunked = get(&mut wire, "/chunked").await;
    assert_eq!((chunked.status, chunked.body.as_str()), (200, "one\ntwo\nthree\n"));
    assert_eq!(chunked.headers["transfer-encoding"], "chunked");
    let closed = async || (server.connections() == 0).then_some(());
    until("idle connections are closed", closed).await;
    by(&post(&mut wire).await, &length);
    by(&get(&mut wire, "/").await, "GET 0\n")
}

async fn gate(upstream: impl Display) -> Gate {
    // What is idle is closed by the application.
    let setup = Setup::shop(upstream).gate("threads = 1\nupstream_idle_timeout = \"1h\"");
    setup.start().await
}

/// Those who are held are answered by the new process.
async fn is_restarted_during_a_hold(case: &Case, gate: &Gate, server: &mut Server, former: &str) {
    let held = gate.hold("shop").await;
    let mut waiting = Vec::new();
    for number in 1..=12 {
        let mut wire = Wire::connect(gate.address).await;
        waiting.push(tokio::spawn(async move {
            let posts = number % 3 == 0;
            let answer = if posts { post(&mut wire).await } else { get(&mut wire, "/").await };
            by(&answer, &if posts { format!("POST {BODY}\n") } else { "GET 0\n".to_owned() })
        }));
        gate.until_held("shop", number).await;
    }
    case.restart(server).await;
    gate.release("shop", held.generation).await;
    for answer in waiting {
        assert_ne!(answer.await.unwrap(), former);
    }
}

async fn serves_on_a_port(mut case: Case) {
    let mut server = case.serve(0, &[3000]).await;
    let gate = gate(server.addresses[0]).await;
    let process = serves(&gate, &server).await;
    is_restarted_during_a_hold(&case, &gate, &mut server, &process).await;
}

pub(super) async fn gunicorn_closes_every_connection(case: Case) {
    serves_on_a_port(case).await;
}

pub(super) async fn puma_keeps_connections(case: Case) {
    serves_on_a_port(case).await;
}

pub(super) async fn gunicorn_listens_on_a_socket(case: Case) {
    let socket = case.path("app.sock");
    let mut server = case.serve_on(0, &socket).await;
    let gate = gate(format!("unix:{}", socket.display())).await;
    let process = serves(&gate, &server).await;
    is_restarted_during_a_hold(&case, &gate, &mut server, &process).await;
}

pub(super) async fn php_is_behind_nginx(mut case: Case) {
    let mut php = case.serve_on(0, &case.path("php.sock")).await;
    let nginx = case.serve(1, &[3000]).await;
    let gate = gate(nginx.addresses[0]).await;
    let process = serves(&gate, &nginx).await;
    is_restarted_during_a_hold(&case, &gate, &mut php, &process).await;
}
