//! Active health checks.

use intermission::admin::api::UpstreamHealth;

use super::gate::{Gate, Setup};
use super::harness::{assert_contains, until};
use super::upstream::Upstream;
use super::wire::get;

const CHECKS: &str =
    "health = { path = \"/up\", host = \"shop.example\", interval = \"10ms\", rise = 2, fall = 2 }";

async fn until_health(gate: &Gate, index: usize, health: UpstreamHealth) {
    until(&format!("upstream {index} is {health:?}"), async || {
        (gate.shop().await.upstreams[index].health == health).then_some(())
    })
    .await;
}

fn users(upstream: &Upstream) -> usize {
    upstream.paths().iter().filter(|path| *path == "/").count()
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_well_gets_no_requests_until_it_does() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let gate = Setup::shops(&[&one, &two], CHECKS).start().await;
    one.answer_always(500);
    until_health(&gate, 0, UpstreamHealth::Down).await;
    let before = users(&one);
    for _ in 0..10 {
        assert_eq!(get(gate.address, "/").await.status, 200);
    }
    assert_eq!((users(&one), users(&two)), (before, 10));
    let said = gate.cli(&["status"]).await.stdout;
    assert_contains(&said, format!("shop: {one} is down: health check: it answered 500"));
    one.answer_always(200);
    until_health(&gate, 0, UpstreamHealth::Up).await;
    until("it has requests again", async || {
        assert_eq!(get(gate.address, "/").await.status, 200);
        (users(&one) > before).then_some(())
    })
    .await;
    let check = one.seen().into_iter().find(|seen| seen.path == "/up").unwrap();
    assert_eq!(check.headers["host"], "shop.example");
    assert_contains(check.headers["user-agent"].to_str().unwrap(), "intermission-health/");
}

#[tokio::test]
async fn where_none_is_well_requests_are_tried_all_the_same() {
    let upstream = Upstream::start().await;
    let gate = Setup::shops(&[&upstream], CHECKS).start().await;
    upstream.answer_always(500);
    until_health(&gate, 0, UpstreamHealth::Down).await;
    // What the application says, not what the gate thinks of it.
    assert_eq!(get(gate.address, "/").await.status, 500);
    assert_eq!(users(&upstream), 1);
}

#[tokio::test]
async fn what_an_application_answers_while_it_is_held_is_not_held_against_it() {
    let upstream = Upstream::start().await;
    let gate = Setup::shops(&[&upstream], CHECKS).start().await;
    let held = gate.hold("shop").await;
    upstream.answer_always(500);
    let checks = upstream.arrived();
    upstream.until_arrived(checks + 10).await;
    upstream.answer_always(200);
    // The last of the bad answers may still be on its way.
    let checks = upstream.arrived();
    upstream.until_arrived(checks + 2).await;
    gate.release("shop", held.generation).await;
    let checks = upstream.arrived();
    upstream.until_arrived(checks + 4).await;
    assert_eq!(gate.shop().await.upstreams[0].health, UpstreamHealth::Up);
    assert!(!gate.log().contains("upstream down"), "{}", gate.log());
}

#[tokio::test]
async fn an_upstream_that_is_not_there_or_says_nothing_is_down() {
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let checks = CHECKS.replace("rise", "timeout = \"50ms\", rise");
    let address = silent.local_addr().unwrap();
    let gate = Setup::shops(&[&gone, &address], &checks).start().await;
    for index in [0, 1] {
        until_health(&gate, index, UpstreamHealth::Down).await;
    }
    let said = gate.cli(&["status"]).await.stdout;
    assert_contains(&said, "Connection refused");
    assert_contains(&said, "no answer within 50ms");
}
