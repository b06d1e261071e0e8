//! Warming an app up: past its hold, every upstream, several times in a row.

use std::sync::Arc;
use std::time::{Duration, Instant};

use intermission::admin::api::{AppState, ErrorCode};
use intermission::admin::client::Client;
use intermission::admin::gates::AdminGate;
use intermission::swap::gates::{AllGates, Gates};
use intermission::swap::refusal::Code;
use tokio::net::TcpListener;

use super::gate::{Gate, LEASE_MS, Setup, ask};
use super::harness::{assert_contains, until};
use super::upstream::Upstream;
use super::wire::get;

const LIMIT: Duration = Duration::from_secs(10);
const QUICK: &str =
    r#"warm_up = { path = "/up", host = "shop.test", interval = "2ms", timeout = "500ms" }"#;

/// `count` upstreams of one app.
async fn gate(count: usize, warm_up: &str) -> (Vec<Upstream>, Gate) {
    let mut upstreams = Vec::new();
    for _ in 0..count {
        upstreams.push(Upstream::start().await);
    }
    let addresses: Vec<String> = upstreams.iter().map(ToString::to_string).collect();
    // Setup puts one pair of quotes around it.
    let gate = Setup::default().app("shop", "*", addresses.join("\", \""), warm_up).start().await;
    (upstreams, gate)
}

fn as_swap(gate: &Gate) -> AdminGate {
    AdminGate::new(
        Arc::new(Client::new(gate.socket())),
        "shop".to_owned(),
        "intermission".to_owned(),
    )
}

#[tokio::test]
async fn every_upstream_is_asked_past_the_hold_in_a_way_that_can_be_recognised() {
    let (upstreams, gate) = gate(3, QUICK).await;
    let held = gate.hold("shop").await;
    let waiting = tokio::spawn(get(gate.address, "/page"));
    gate.until_held("shop", 1).await;
    let reply = gate.client.warm_up("shop", LIMIT).await.unwrap();
    assert_eq!(reply.upstreams.len(), 3);
    for (warm, upstream) in reply.upstreams.iter().zip(&upstreams) {
        assert_eq!(warm.upstream, upstream.to_string());
        assert_eq!((warm.requests, warm.failed), (3, 0));
        let seen = upstream.seen();
        assert_eq!(upstream.paths(), ["/up"; 3], "the held request went on");
        assert_eq!(upstream.connections(), 1, "not by the pool");
        let header = |name: &str| seen[0].headers[name].to_str().unwrap();
        assert_eq!((seen[0].method.as_str(), header("host")), ("GET", "shop.test"));
        assert_contains(header("user-agent"), "intermission-warm-up/");
    }
    let app = gate.shop().await;
    assert_eq!((app.state, app.held, app.in_flight), (AppState::Held, 1, 0));
    gate.release("shop", held.generation).await;
    assert_eq!(waiting.await.unwrap().status, 200);
}

/// The query may hold what nobody should read.
#[tokio::test]
async fn the_query_is_sent_and_shown_to_nobody() {
    let further = r#"warm_up = { path = "/up?token=hunter2", host = "a", timeout = "100ms" }"#;
    let (upstreams, gate) = gate(1, further).await;
    gate.client.warm_up("shop", LIMIT).await.unwrap();
    assert_eq!(upstreams[0].paths(), ["/up?token=hunter2"; 3]);
    upstreams[0].answer_next(&[500; 1000]);
    let swap = as_swap(&gate);
    let said = format!("{:?}{:?}", swap.warm_up(LIMIT).await, swap.bounds().await);
    assert_contains(&said, "GET /up ");
    let status = gate.cli(&["status", "--json"]).await.stdout;
    let log = std::fs::read_to_string(gate.directory.path().join("log")).unwrap();
    for text in [said, status, log] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn an_app_without_a_warm_up_is_warm_at_once() {
    let (upstreams, gate) = gate(1, "").await;
    assert!(gate.client.warm_up("shop", LIMIT).await.unwrap().upstreams.is_empty());
    assert_eq!(as_swap(&gate).bounds().await.unwrap().warm_up, None);
    assert_eq!(as_swap(&gate).warm_up(LIMIT).await.unwrap(), "");
    assert_eq!(upstreams[0].arrived(), 0);
    let ran = gate.cli(&["warm-up", "shop"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_contains(&ran.stderr, "has no warm_up");
}

/// H34: what an application remembers of a failure is over before users are let go on.
#[tokio::test]
async fn h34_failures_are_asked_away_and_only_successes_in_a_row_count() {
    let (upstreams, gate) = gate(2, QUICK).await;
    upstreams[1].answer_next(&[500, 200, 200, 503, 200]);
    let reply = gate.client.warm_up("shop", LIMIT).await.unwrap();
    let counts: Vec<_> = reply.upstreams.iter().map(|u| (u.requests, u.failed)).collect();
    assert_eq!(counts, [(3, 0), (7, 2)]);
    assert_eq!(upstreams[1].paths(), ["/up"; 7]);
}

#[tokio::test]
async fn a_round_is_as_many_requests_at_once_as_the_pool_has_connections() {
    let further = r#"warm_up = { path = "/slow", host = "a", concurrency = 5, successes = 2 }"#;
    let (upstreams, gate) = gate(1, further).await;
    let warming = async {
        upstreams[0].until_arrived(5).await;
        // None of the second round before the whole first one is answered.
        upstreams[0].let_go(4);
        until("four answers", async || (upstreams[0].waiting() == 1).then_some(())).await;
        assert_eq!(upstreams[0].arrived(), 5);
        upstreams[0].let_go(1);
        upstreams[0].until_arrived(10).await;
        upstreams[0].let_go(5);
    };
    let (reply, ()) = tokio::join!(gate.client.warm_up("shop", LIMIT), warming);
    assert_eq!(reply.unwrap().upstreams[0].requests, 10);
    assert_eq!(upstreams[0].connections(), 5);
}

#[tokio::test]
async fn f13_what_does_not_answer_well_in_time_is_named_and_nobody_is_let_go() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // The kernel accepts for it; it never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream::start().await;
    let all = [upstream.to_string(), gone.to_string(), silent.local_addr().unwrap().to_string()];
    let gate = Setup::default().app("shop", "*", all.join("\", \""), QUICK).start().await;
    let held = gate.hold("shop").await;
    let began = Instant::now();
    let error = gate.client.warm_up("shop", LIMIT).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(error.code(), Some(ErrorCode::WarmUpFailed));
    let said = error.to_string();
    assert_contains(
        &said,
        "2 of 3 upstreams did not answer 2xx 3 times in a row to GET /up within 500ms",
    );
    assert_contains(&said, format!("{gone}, asked "));
    assert_contains(&said, "Connection refused");
    assert_contains(&said, format!("{}, asked 1 times: no answer", all[2]));
    assert!(!said.contains(&all[0]), "{said}");
    assert_eq!(gate.shop().await.state, AppState::Held);
    // A caller may have less time than the app allows.
    let began = Instant::now();
    gate.client.warm_up("shop", Duration::from_millis(30)).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_millis(450), "{:?}", began.elapsed());
    gate.release("shop", held.generation).await;
}

#[tokio::test]
async fn a_path_that_is_not_there_is_refused_before_anybody_waits() {
    let (upstreams, gate) = gate(2, QUICK).await;
    let swap = as_swap(&gate);
    assert!(swap.preflight().await.is_empty());
    let bounds = swap.bounds().await.unwrap();
    let warm_up = bounds.warm_up.unwrap();
    assert_eq!(warm_up.bound, Duration::from_millis(500));
    assert_contains(&warm_up.said[0], "shop: GET /up (Host: shop.test) of ");
    assert_eq!(bounds.max_wait.unwrap().bound, Duration::from_secs(30));
    upstreams[0].answer_next(&[404; 1000]);
    let refusals = swap.preflight().await;
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(refusals[0].code, Code::WarmUpFails);
    assert_contains(&refusals[0].sentence, format!("{}, asked ", upstreams[0]));
    assert_contains(&refusals[0].sentence, "it answered 404 Not Found");
    assert_contains(&refusals[0].mend, "intermission warm-up shop");
    let ran = gate.cli(&["warm-up", "shop"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_contains(&ran.stderr, "404 Not Found");
    upstreams[0].answer_next(&[]);
    let ran = gate.cli(&["warm-up", "shop"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_contains(&ran.stdout, format!("shop: {} (3 requests)", upstreams[0]));
}

#[tokio::test]
async fn one_caller_at_a_time_and_one_that_leaves_ends_it() {
    let further = r#"warm_up = { path = "/slow", host = "a" }"#;
    let (upstreams, gate) = gate(1, further).await;
    let first = gate.client.warm_up("shop", LIMIT);
    tokio::select! {
        _ = first => panic!("nobody answered"),
        () = upstreams[0].until_arrived(1) => {}
    }
    // Dropped now; the gate notices that its caller is gone.
    until("the first one is over", async || {
        let short = gate.client.warm_up("shop", Duration::from_millis(1)).await;
        let code = short.unwrap_err().code();
        assert!(
            [Some(ErrorCode::WarmUpUnderWay), Some(ErrorCode::WarmUpFailed)].contains(&code),
            "{code:?}"
        );
        (code == Some(ErrorCode::WarmUpFailed)).then_some(())
    })
    .await;
}

/// Each gate asks its own upstreams; one that is not warm is a failure of all.
#[tokio::test]
async fn several_gates_warm_up_their_own_upstreams() {
    let (first_upstreams, first) = gate(2, QUICK).await;
    let (second_upstreams, second) = gate(1, QUICK).await;
    let all = AllGates::new(vec![Arc::new(as_swap(&first)), Arc::new(as_swap(&second))]);
    assert_eq!(all.bounds().await.unwrap().warm_up.unwrap().said.len(), 2);
    let said = all.warm_up(LIMIT).await.unwrap();
    for upstream in first_upstreams.iter().chain(&second_upstreams) {
        assert_contains(&said, format!("{upstream} (3 requests)"));
    }
    second_upstreams[0].answer_next(&[500; 1000]);
    let error = all.warm_up(LIMIT).await.unwrap_err().to_string();
    assert_contains(&error, second.client.gate());
    assert_contains(&error, "by hand: intermission warm-up shop");
    first_upstreams[0].answer_next(&[500; 1000]);
    second_upstreams[0].answer_next(&[500; 1000]);
    let error = all.warm_up(LIMIT).await.unwrap_err().to_string();
    for upstream in [&first_upstreams[0], &second_upstreams[0]] {
        assert_contains(&error, format!("{upstream}, asked "));
    }
}

/// A gate that dies comes back held, and is asked again.
#[tokio::test]
async fn h1_a_gate_that_comes_back_in_time_is_asked_again() {
    let further = r#"warm_up = { path = "/up", host = "a", timeout = "20s" }"#;
    let (upstreams, mut gate) = gate(1, further).await;
    let swap = as_swap(&gate);
    gate.client.hold("shop", &ask(LEASE_MS, 1_000)).await.unwrap();
    gate.crash();
    // The first call finds nobody: it is on its way before the gate is started.
    let (said, ()) =
        tokio::join!(biased; swap.warm_up(Duration::from_secs(20)), gate.crash_and_restart());
    assert_contains(&said.unwrap(), "(3 requests)");
    assert_eq!(upstreams[0].paths(), ["/up"; 3]);
    assert_eq!(gate.shop().await.state, AppState::Held);
    let generation = gate.shop().await.generation;
    gate.release("shop", generation).await;
}
