//! The admin socket and what comes over it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use intermission::admin::api::{AppState, ErrorBody, ErrorCode, EventKind};
use intermission::admin::client::{Client, ClientError, Notice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::gate::{Gate, Setup, ask};
use super::harness::{assert_contains, soon};
use super::upstream::Upstream;

/// One that no machine has.
const OTHER_GROUP: u32 = 54_321;

async fn gate() -> Gate {
    Setup::shop(Upstream::start().await).start().await
}

/// Sends one request as it is, and gives the status and the body of the answer.
async fn raw(socket: &Path, request: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(soon("an answer", stream.read_to_end(&mut answer)).await);
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

async fn post(gate: &Gate, path: &str, body: &str) -> (u16, ErrorBody) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, body) = raw(&gate.socket(), &request).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

#[tokio::test]
async fn the_socket_is_its_owners_only() {
    let gate = gate().await;
    let mode = std::fs::metadata(gate.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Who runs the tests may give a file to a group it is in; an administrator to any.
#[tokio::test]
async fn the_socket_is_a_groups_too_where_one_is_configured() {
    let is_root = rustix::process::geteuid().is_root();
    let id = if is_root { OTHER_GROUP } else { rustix::process::getegid().as_raw() };
    let line = format!("admin_socket_group = {id}");
    let gate = Setup::shop(Upstream::start().await).gate(&line).start().await;
    let metadata = std::fs::metadata(gate.socket()).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.gid()), (0o660, id));
    assert!(gate.client.status().await.is_ok());
    if is_root {
        let path = gate.directory.path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_contains(&connect_as(&gate, id).await, "connected");
        assert_contains(&connect_as(&gate, id + 1).await, "Permission denied");
    }
}

/// What a stranger of that group has of the socket.
async fn connect_as(gate: &Gate, group: u32) -> String {
    let program = "use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0) or die; \
                   print connect(S, pack_sockaddr_un($ARGV[0])) ? 'connected' : $!";
    let output = tokio::process::Command::new("setpriv")
        .args(["--reuid=65534", &format!("--regid={group}"), "--clear-groups"])
        .args(["perl", "-e", program])
        .arg(gate.socket())
        .output();
    let output = output.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_group_is_found_by_its_name_or_the_key_is_named() {
    let own = rustix::process::getegid().as_raw();
    let groups = std::fs::read_to_string("/etc/group").unwrap();
    let name = groups.lines().find(|line| line.split(':').nth(2) == Some(&own.to_string()));
    let name = name.unwrap().split(':').next().unwrap();
    let line = format!("admin_socket_group = {name:?}");
    let gate = Setup::shop(Upstream::start().await).gate(&line).start().await;
    assert_eq!(std::fs::metadata(gate.socket()).unwrap().gid(), own);

    let directory = super::gate::directory();
    let line = "admin_socket_group = \"no-such-group\"";
    Setup::shop("127.0.0.1:3000").gate(line).write(&directory);
    let refused = super::harness::run(&directory.path().join("config.toml"), &["serve"]).await;
    assert_eq!(refused.code, Some(2));
    assert_contains(
        &refused.stderr,
        "gate.admin_socket_group: there is no group \"no-such-group\"",
    );
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap).collect();
    assert!(left.iter().all(|file| !file.file_name().to_string_lossy().contains("sock")));
}

#[tokio::test]
async fn a_dead_socket_is_replaced_a_served_one_is_not() {
    let mut gate = gate().await;
    gate.crash();
    assert!(gate.socket().exists());
    gate.crash_and_restart().await;
    let other = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(gate.config()).unwrap();
    let state = other.path().join("state");
    let text = text.replace(
        &format!("{}/state", gate.directory.path().display()),
        &state.display().to_string(),
    );
    let config = other.path().join("config.toml");
    std::io::Write::write_all(&mut std::fs::File::create(&config).unwrap(), text.as_bytes())
        .unwrap();
    let refused = super::harness::run(&config, &["serve"]).await;
    assert_eq!(refused.code, Some(2));
    assert_contains(&refused.stderr, "another gate is serving the admin socket");
    assert!(gate.client.status().await.is_ok());
}

#[tokio::test]
async fn a_port_that_is_in_use_is_named() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = super::gate::directory();
    Setup::shop("127.0.0.1:3000").write(&directory);
    let config = directory.path().join("config.toml");
    let address = other.local_addr().unwrap().to_string();
    let text = std::fs::read_to_string(&config).unwrap().replace("127.0.0.1:0", &address);
    std::io::Write::write_all(&mut std::fs::File::create(&config).unwrap(), text.as_bytes())
        .unwrap();
    let refused = super::harness::run(&config, &["serve"]).await;
    assert_eq!(refused.code, Some(2));
    assert_contains(&refused.stderr, format!("cannot listen on {address} (gate.listen)"));
}

#[tokio::test]
async fn two_gates_do_not_share_a_socket_or_a_state_directory() {
    let mut gate = gate().await;
    let refused = gate.refusal_to_start().await;
    assert_eq!(refused.code, Some(2));
    assert_contains(&refused.stderr, "another gate is serving the admin socket");
    let text = std::fs::read_to_string(gate.config()).unwrap();
    let mut file = std::fs::File::create(gate.config()).unwrap();
    std::io::Write::write_all(&mut file, text.replace("admin.sock", "other.sock").as_bytes())
        .unwrap();
    let refused = gate.refusal_to_start().await;
    assert_eq!(refused.code, Some(2));
    assert_contains(&refused.stderr, "is in use by another gate");
}

#[tokio::test]
async fn whatever_is_wrong_with_a_call_is_said() {
    let gate = gate().await;
    let hold = "/v1/apps/shop/hold";
    let long = "x".repeat(20_000);
    for (path, body, status, code, message) in [
        (hold, "", 400, ErrorCode::BadRequest, "EOF"),
        (hold, "[1,2", 400, ErrorCode::BadRequest, "the body is not what this path takes"),
        (hold, r#"{"holder":"a","leas_ms":1}"#, 400, ErrorCode::BadRequest, "leas_ms"),
        (hold, r#"{"holder":""}"#, 400, ErrorCode::BadRequest, "holder"),
        (hold, r#"{"holder":"a\u001b[2J"}"#, 400, ErrorCode::BadRequest, "control"),
        (hold, r#"{"holder":"a","lease_ms":0}"#, 400, ErrorCode::BadRequest, "lease_ms"),
        (hold, r#"{"holder":"a","lease_ms":300001}"#, 400, ErrorCode::BadRequest, "lease_max"),
        (
            hold,
            r#"{"holder":"a","lease_ms":18446744073709551615}"#,
            400,
            ErrorCode::BadRequest,
            "lease_max",
        ),
        (hold, r#"{"holder":"a","lease_ms":-1}"#, 400, ErrorCode::BadRequest, "-1"),
        (
            hold,
            r#"{"holder":"a","lease_ms":10,"drain_ms":11}"#,
            400,
            ErrorCode::BadRequest,
            "drain_ms",
        ),
        (hold, &long, 413, ErrorCode::TooLarge, "16384"),
        ("/v1/apps/nope/hold", "{}", 404, ErrorCode::UnknownApp, "there is: shop"),
        ("/v1/apps/%2e%2e%2fshop/hold", "{}", 404, ErrorCode::UnknownApp, "../shop"),
        ("/v1/apps/%ff/hold", "{}", 400, ErrorCode::BadRequest, ""),
        ("/v1/apps/shop/renew", r#"{"generation":1}"#, 409, ErrorCode::Stale, "generation 1"),
        ("/v1/apps/shop/release", r#"{"generation":"1"}"#, 400, ErrorCode::BadRequest, "u64"),
        ("/v1/apps/shop/kill", "{}", 404, ErrorCode::NotFound, "/v1/status"),
        ("/v1/status", "{}", 405, ErrorCode::MethodNotAllowed, "method"),
    ] {
        let (got, error) = post(&gate, path, body).await;
        assert_eq!((got, error.status, error.code), (status, status, code), "{path} {error:?}");
        assert_contains(&error.message, message);
    }
    let request = format!("GET /{long}{long}{long}{long} HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(raw(&gate.socket(), &request).await.0, 431);
    let app = gate.shop().await;
    assert_eq!((app.state, app.generation), (AppState::Open, 0), "nothing was changed");
}

#[tokio::test]
async fn events_tell_what_happens_to_a_hold() {
    let gate = gate().await;
    let mut events = gate.client.events().await.unwrap();
    let held = gate.hold("shop").await;
    gate.release("shop", held.generation).await;
    gate.client.hold("shop", &ask(50, 50)).await.unwrap();
    for expected in [
        EventKind::Draining,
        EventKind::Held,
        EventKind::Released,
        EventKind::Draining,
        EventKind::Held,
        EventKind::Expired,
    ] {
        let notice = soon("an event", events.next()).await.unwrap();
        let Notice::Event(event) = notice else { panic!("{notice:?}") };
        assert_eq!((event.kind, event.app.as_str()), (expected, "shop"));
    }
}

#[tokio::test]
async fn a_client_that_listens_too_slowly_is_told_what_it_lost() {
    let gate = gate().await;
    let mut events = gate.client.events().await.unwrap();
    // Neither the socket's buffers nor the 256 events the gate keeps hold so many.
    for _ in 0..3_000 {
        let held = gate.hold("shop").await;
        gate.release("shop", held.generation).await;
    }
    loop {
        match soon("a loss", events.next()).await.unwrap() {
            Notice::Lost(lost) => return assert!(lost > 0),
            Notice::Event(_) => {}
        }
    }
}

#[tokio::test]
async fn the_client_survives_a_restart_of_the_gate_and_keeps_its_connection() {
    let mut gate = gate().await;
    let client = Client::new(gate.socket());
    client.status().await.unwrap();
    gate.crash_and_restart().await;
    client.status().await.unwrap();
    let calls = 200;
    let began = Instant::now();
    for _ in 0..calls {
        client.status().await.unwrap();
    }
    let per_call = began.elapsed() / calls;
    assert!(per_call < Duration::from_millis(5), "{per_call:?}");
    gate.crash();
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. } | ClientError::Broke { .. }), "{error}");
    let error = client.status().await.unwrap_err();
    assert_contains(&error.to_string(), "is `intermission serve` running");
    assert_contains(&error.to_string(), "admin.sock");
}
