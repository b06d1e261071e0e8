//! Calls over TCP that nobody stands behind, again and again.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use intermission::admin::api::{ErrorBody, ErrorCode};
use intermission::admin::client::ClientError;

use super::by_hand::By;
use super::certificate::{TOKEN, write};
use super::harness::{assert_contains, run};
use super::remote_caller::{client, settings};
use super::role::{READ_TOKEN, calling, gate_with_certificates, gate_with_tokens};

/// `FAILURES_MAX`
const FAILURES: usize = 10;
const WRONG: &str = "ffffffffffffffffffffffffffffffff";
const STATUS: &str = "GET /v1/status";

#[tokio::test]
async fn who_guesses_is_not_listened_to_for_a_while_and_nobody_else_is_hurt() {
    let (authority, gate, address) = gate_with_tokens().await;
    let here = By::nobody(&authority, address);
    let kept = client(&settings(&authority, address));
    kept.status().await.unwrap();
    for number in 0..FAILURES {
        let shown = (number % 2 == 0).then_some(WRONG);
        assert_eq!(here.call(shown, STATUS, "").await.0, 401, "{number}");
    }
    for shown in [Some(WRONG), None, Some(TOKEN), Some(READ_TOKEN)] {
        let (status, body) = here.call(shown, STATUS, "").await;
        let body: ErrorBody = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body.code), (429, ErrorCode::TooManyFailures), "{shown:?}");
        assert!((1..=60).contains(&body.retry_after_s.unwrap()), "{body:?}");
    }
    let bearer = format!("{STATUS} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    let answer = here.ask(&bearer).await;
    assert_contains(&answer, "\r\nretry-after: ");
    assert_contains(&answer, "\r\nconnection: close\r\n");

    // Who was known before goes on, from the same address; so do others from elsewhere, and the socket.
    let began = Instant::now();
    kept.status().await.unwrap();
    let elsewhere = By { from: Ipv4Addr::new(127, 0, 0, 2), ..here };
    assert_eq!(elsewhere.call(Some(TOKEN), STATUS, "").await.0, 200);
    assert_eq!(elsewhere.call(Some(WRONG), STATUS, "").await.0, 401);
    gate.client.status().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());

    let log = gate.log();
    let told = |part: &str| {
        log.lines().filter(|line| line.contains(" WARN ") && line.contains(part)).count()
    };
    assert_eq!(told("peer=127.0.0.1:"), 2, "the first, and that the budget is spent");
    assert_eq!((told("no right token"), told("no further token")), (2, 1));
    assert!(!log.contains(WRONG));
}

#[tokio::test]
async fn a_connection_that_reads_cannot_guess_at_the_other_token() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (authority, _gate, address) = gate_with_tokens().await;
    let here = By::nobody(&authority, address);
    let mut stream = here.connect().await.unwrap();
    for (token, wanted) in [(READ_TOKEN, "200"), (READ_TOKEN, "200"), (TOKEN, "429")] {
        let request =
            format!("GET /v1/apps HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n");
        if wanted == "429" {
            for _ in 0..FAILURES {
                assert_eq!(here.call(None, STATUS, "").await.0, 401);
            }
        }
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 16 * 1024];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with(&format!("HTTP/1.1 {wanted} ")), "{answer}");
    }
}

#[tokio::test]
async fn a_certificate_is_no_guess() {
    let (authority, _gate, address) = gate_with_certificates().await;
    let here = By::nobody(&authority, address);
    for _ in 0..FAILURES {
        assert_eq!(here.call(Some(WRONG), STATUS, "").await.0, 401);
    }
    assert_eq!(here.call(Some(WRONG), STATUS, "").await.0, 429);
    let swap = By { certificate: Some("swap"), ..here };
    assert_eq!(swap.call(None, STATUS, "").await.0, 200);
    assert_eq!(swap.call(Some(WRONG), STATUS, "").await.0, 429);
}

#[tokio::test]
async fn the_commands_say_how_long_to_wait() {
    let (authority, _gate, address) = gate_with_tokens().await;
    let here = By::nobody(&authority, address);
    for _ in 0..FAILURES {
        here.call(Some(WRONG), STATUS, "").await;
    }
    let error = client(&settings(&authority, address)).status().await.unwrap_err();
    assert!(matches!(error, ClientError::TooManyFailures { .. }), "{error:?}");
    let token = authority.path("right");
    write(&token, TOKEN);
    let config = calling(&authority, address, &format!("token_file = {token:?}"));
    let ran = run(config.as_ref(), &["--gate", &address.to_string(), "status"]).await;
    assert_eq!(ran.code, Some(2));
    assert_contains(&ran.stderr, "accepts no token from this machine's address for ");
}
