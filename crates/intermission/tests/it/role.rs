//! Who may read and who may operate: by token and by certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use intermission::admin::api::{
    AppState, ErrorBody, ErrorCode, ReleaseRequest, RenewRequest, Role,
};
use intermission::admin::client::ClientError;
use intermission::admin::gates::AdminGate;
use intermission::config::cluster::RemoteGate;
use intermission::swap::gates::Gates;
use intermission::swap::refusal::Code;

use super::by_hand::{By, pair};
use super::certificate::{Authority, TOKEN, write};
use super::gate::{Gate, LEASE_MS, Setup, ask};
use super::harness::{assert_contains, run};
use super::remote_caller::{client, settings};
use super::upstream::Upstream;

pub(super) const READ_TOKEN: &str = "fedcba9876543210fedcba9876543210";
const HOLD: &str = r#"{"holder":"a","drain_ms":100}"#;
const MONITOR: &str = "spiffe://shop.example.com/monitor";

/// With a token for each role.
pub(super) async fn gate_with_tokens() -> (Authority, Gate, SocketAddr) {
    let authority = Authority::new();
    authority.issue("gate", "127.0.0.1", false);
    let read = authority.path("read-token");
    write(&read, READ_TOKEN);
    let lines = authority.serving("127.0.0.1:0", "gate");
    let lines = format!("{lines}\nadmin_read_token_file = {read:?}");
    let gate = Setup::shop(Upstream::start().await).gate(&lines).start().await;
    let address = gate.admin_address().await;
    (authority, gate, address)
}

/// Without a token; there are certificates `swap`, `monitor` and `other`, and `expired`.
pub(super) async fn gate_with_certificates() -> (Authority, Gate, SocketAddr) {
    let authority = Authority::new();
    authority.issue("gate", "127.0.0.1", false);
    authority.issue("swap", "Swap1.internal", false);
    authority.issue("monitor", MONITOR, false);
    authority.issue("other", "other.internal", false);
    authority.issue("expired", "swap1.internal", true);
    let lines = certifying(&authority, &["swap1.internal"], &[MONITOR]);
    let gate = Setup::shop(Upstream::start().await).gate(&lines).start().await;
    let address = gate.admin_address().await;
    (authority, gate, address)
}

/// What its `[gate]` says.
fn certifying(authority: &Authority, operators: &[&str], readers: &[&str]) -> String {
    let [certificate, key, clients] =
        ["gate.pem", "gate.key", "clients.pem"].map(|file| authority.path(file));
    write(&clients, &std::fs::read_to_string(authority.ca_file()).unwrap());
    format!(
        "admin_listen = [\"127.0.0.1:0\"]\nadmin_tls = {{ certificate = {certificate:?}, key = {key:?}, \
         client_ca_file = {clients:?}, operators = {operators:?}, readers = {readers:?} }}"
    )
}

fn by_token(authority: &Authority, address: SocketAddr, file: &str) -> RemoteGate {
    RemoteGate { token_file: Some(authority.path(file)), ..settings(authority, address) }
}

fn by_certificate(authority: &Authority, address: SocketAddr, name: &str) -> RemoteGate {
    let [certificate, key] = pair(authority, name).map(Some);
    RemoteGate { token_file: None, certificate, key, ..settings(authority, address) }
}

/// Reads everything, and is told of each change that it may not make it.
async fn assert_reads_only(gate: &Gate, settings: &RemoteGate) {
    let reader = client(settings);
    assert_eq!(reader.status().await.unwrap().role, Role::Read);
    reader.apps().await.unwrap();
    reader.events().await.unwrap();
    let held = gate.hold("shop").await;
    let generation = held.generation;
    let renewal = RenewRequest { generation, lease_ms: None };
    for refused in [
        reader.hold("shop", &ask(LEASE_MS, 100)).await.map(drop),
        reader.renew("shop", &renewal).await.map(drop),
        reader.release("shop", &ReleaseRequest { generation }).await.map(drop),
        reader.warm_up("shop", Duration::from_secs(1)).await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, ClientError::Forbidden { .. }), "{error:?}");
        assert_contains(&error.to_string(), "needs the role operate");
        assert_contains(&error.to_string(), "gate.admin_tls.operators");
    }
    assert_eq!(gate.shop().await.state, AppState::Held, "nothing was changed");
    gate.release("shop", generation).await;
}

async fn assert_operates(settings: &RemoteGate) {
    let operator = client(settings);
    assert_eq!(operator.status().await.unwrap().role, Role::Operate);
    let held = operator.hold("shop", &ask(LEASE_MS, 1_000)).await.unwrap();
    let release = ReleaseRequest { generation: held.generation };
    operator.release("shop", &release).await.unwrap();
}

#[tokio::test]
async fn the_read_token_reads_and_changes_nothing() {
    let (authority, gate, address) = gate_with_tokens().await;
    assert_reads_only(&gate, &by_token(&authority, address, "read-token")).await;
    assert_operates(&by_token(&authority, address, "token")).await;
    assert_eq!(gate.client.status().await.unwrap().role, Role::Operate, "by the socket");

    let nobody = By::nobody(&authority, address);
    let (status, body) = nobody.call(Some(READ_TOKEN), "POST /v1/apps/shop/hold", HOLD).await;
    let body: ErrorBody = serde_json::from_str(&body).unwrap();
    assert_eq!((status, body.status, body.code), (403, 403, ErrorCode::Forbidden));
    assert_eq!((body.needs, body.has), (Some(Role::Operate), Some(Role::Read)));
    assert!(!gate.log().contains(READ_TOKEN) && !gate.log().contains(TOKEN));
}

#[tokio::test]
async fn a_certificate_has_the_role_of_the_list_that_names_it() {
    let (authority, gate, address) = gate_with_certificates().await;
    assert_reads_only(&gate, &by_certificate(&authority, address, "monitor")).await;
    assert_operates(&by_certificate(&authority, address, "swap")).await;

    let nobody = By::nobody(&authority, address);
    let other = By { certificate: Some("other"), ..nobody };
    for line in ["GET /v1/status", "POST /v1/apps/shop/hold"] {
        let (status, body) = other.call(None, line, HOLD).await;
        let body: ErrorBody = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body.code, body.has), (403, ErrorCode::Forbidden, None), "{line}");
        assert_contains(&body.message, "certificate other.internal");
        assert_eq!(nobody.call(None, line, HOLD).await.0, 401, "{line}");
        // A token decides where one is shown.
        let swap = By { certificate: Some("swap"), ..nobody };
        assert_eq!(swap.call(Some(TOKEN), line, HOLD).await.0, 401, "{line}");
    }
    assert_eq!(gate.shop().await.state, AppState::Open);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_believed_is_refused_and_named() {
    let (authority, _gate, address) = gate_with_certificates().await;
    let strange = Authority::new();
    strange.issue("swap", "swap1.internal", false);
    let [certificate, key] = pair(&strange, "swap").map(Some);
    let strange = RemoteGate { certificate, key, ..by_certificate(&authority, address, "swap") };
    let expired = by_certificate(&authority, address, "expired");
    for settings in [strange, expired] {
        let error = client(&settings).status().await.unwrap_err();
        assert!(matches!(error, ClientError::OwnCertificate { .. }), "{error:?}");
        assert_contains(&error.to_string(), "gate.admin_tls.client_ca_file");
        let refused = preflight(&settings).await.unwrap();
        assert_eq!(refused.0, Code::GateToken);
        assert_contains(&refused.1, "clientAuth");
    }
}

#[tokio::test]
async fn another_authority_of_clients_needs_no_restart() {
    let (authority, _gate, address) = gate_with_certificates().await;
    let swap = by_certificate(&authority, address, "swap");
    assert_operates(&swap).await;
    let next = Authority::new();
    next.issue("swap", "swap1.internal", false);
    write(&authority.path("clients.pem"), &std::fs::read_to_string(next.ca_file()).unwrap());
    assert!(client(&swap).status().await.is_err());
    let [certificate, key] = pair(&next, "swap").map(Some);
    assert_operates(&RemoteGate { certificate, key, ..swap }).await;
}

/// The code and the mend.
async fn preflight(settings: &RemoteGate) -> Option<(Code, String)> {
    let client = Arc::new(client(settings));
    let gate = AdminGate::new(client, "shop".to_owned(), "intermission".to_owned());
    let refusal = gate.preflight().await.pop();
    refusal.map(|refusal| (refusal.code, refusal.mend))
}

#[tokio::test]
async fn check_refuses_what_may_only_read() {
    let (authority, _gate, address) = gate_with_tokens().await;
    assert!(preflight(&by_token(&authority, address, "token")).await.is_none());
    let (code, mend) = preflight(&by_token(&authority, address, "read-token")).await.unwrap();
    assert_eq!((code, code.word().as_str()), (Code::GateRole, "gate-role"));
    assert_contains(&mend, "gate.admin_token_file");
    let (authority, _gate, address) = gate_with_certificates().await;
    let reader = by_certificate(&authority, address, "monitor");
    assert_eq!(preflight(&reader).await.unwrap().0, Code::GateRole);
    let other = by_certificate(&authority, address, "other");
    assert_eq!(preflight(&other).await.unwrap().0, Code::GateRole);
}

/// The configuration of the machine that calls, whose gate is shown `shown`.
pub(super) fn calling(authority: &Authority, address: SocketAddr, shown: &str) -> String {
    let config = authority.path("calling.toml");
    let ca_file = authority.ca_file();
    let text = format!(
        "[swap]\napps = [\"shop\"]\nendpoint = {{ command = [\"true\"] }}\n\
         gates = [{{ address = \"{address}\", ca_file = {ca_file:?}, {shown} }}]\n"
    );
    write(&config, &text);
    config.display().to_string()
}

#[tokio::test]
async fn the_commands_say_what_may_not_be_done_and_what_would_do() {
    let (authority, gate, address) = gate_with_tokens().await;
    let gate_name = address.to_string();
    let words = |word| ["--gate", gate_name.as_str(), word, "shop"];
    write(&authority.path("wrong"), &TOKEN.replace('0', "1"));
    let shown = |file: &str| format!("token_file = {:?}", authority.path(file));

    let config = calling(&authority, address, &shown("read-token"));
    assert_eq!(run(config.as_ref(), &words("status")[..3]).await.code, Some(0));
    let ran = run(config.as_ref(), &words("hold")).await;
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert_contains(&ran.stderr, "the read token from ");
    assert_contains(&ran.stderr, "use the token of gate.admin_token_file");

    let config = calling(&authority, address, &shown("wrong"));
    let ran = run(config.as_ref(), &words("status")[..3]).await;
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert_contains(&ran.stderr, "does not know whoever calls");
    assert_eq!(gate.shop().await.generation, 0);
}

#[tokio::test]
async fn a_certificate_operates_by_the_commands_too() {
    let (authority, gate, address) = gate_with_certificates().await;
    let [certificate, key] = pair(&authority, "swap");
    let shown = format!("certificate = {certificate:?}, key = {key:?}");
    let config = calling(&authority, address, &shown);
    let gate_name = address.to_string();
    let ran = run(config.as_ref(), &["--gate", &gate_name, "hold", "shop", "--", "true"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(gate.shop().await.generation, 1);

    let [_, other] = pair(&authority, "other");
    let shown = format!("certificate = {certificate:?}, key = {other:?}");
    let ran =
        run(calling(&authority, address, &shown).as_ref(), &["--gate", &gate_name, "status"]).await;
    assert_eq!(ran.code, Some(2));
    assert_contains(&ran.stderr, "swap.gates[0]: the key ");
    assert_contains(&ran.stderr, "does not belong to the certificate ");
}
