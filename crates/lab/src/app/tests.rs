//! The app on real pairs.

use mysql_async::prelude::Queryable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::*;
use crate::cluster::{APP, Pair, PairOptions};
use crate::server::Flavor;

const POOL: usize = 8;
const ER_NO_SUCH_THREAD: u16 = 1094;

async fn start(pair: &Pair) -> SocketAddr {
    let url = format!("mysql://{}@{}/ledger", APP.user, pair.server(0).address());
    let ledger = Ledger::new(&url, Some(APP.password.to_owned()), POOL, Checks::AtCheckout)
        .expect("a ledger");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let app = App::bind(listen, ledger).await.expect("bound");
    let address = app.address().expect("an address");
    tokio::spawn(app.run());
    address
}

/// Status and body of one request on a connection of its own.
async fn request(app: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(app).await.expect("connected");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").expect("a body").1.to_owned())
}

async fn post(app: SocketAddr, client: u32, seq: u64) -> u16 {
    let body = format!(r#"{{"client":{client},"seq":{seq},"token":"{client}-{seq}"}}"#);
    request(app, "POST", "/entries", &body).await.0
}

/// Writes from every pooled connection at once; returns the statuses.
async fn post_from_all(app: SocketAddr, seq: u64) -> Vec<u16> {
    let clients = u32::try_from(POOL * 4).expect("small");
    let posts: JoinSet<u16> = (0..clients).map(|client| post(app, client, seq)).collect();
    posts.join_all().await
}

async fn app_sessions(pair: &Pair) -> Vec<u64> {
    let mut root = pair.connect(0).await.expect("root");
    let sql = format!("SELECT id FROM information_schema.processlist WHERE user = '{}'", APP.user);
    root.query(sql).await.expect("the process list")
}

async fn kill_app_sessions(pair: &Pair) -> usize {
    let sessions = app_sessions(pair).await;
    let mut root = pair.connect(0).await.expect("root");
    for id in &sessions {
        match root.query_drop(format!("KILL CONNECTION {id}")).await {
            Ok(()) => {}
            // One killed in an earlier round may just have gone.
            Err(mysql_async::Error::Server(error)) if error.code == ER_NO_SUCH_THREAD => {}
            Err(error) => panic!("cannot kill {id}: {error}"),
        }
    }
    sessions.len()
}

async fn answers_writes_and_survives_killed_sessions(flavor: Flavor) {
    let pair = Pair::start(flavor, &PairOptions::default()).await.expect("a pair");
    let app = start(&pair).await;
    answers(app).await;
    survives_killed_sessions(&pair, app).await;
    tells_a_read_only_server(&pair, app).await;
}

async fn answers(app: SocketAddr) {
    assert_eq!(request(app, "GET", "/up", "").await.0, 200);
    assert_eq!(request(app, "GET", "/entries/latest", "").await, (200, "null".to_owned()));
    assert_eq!(post(app, 7, 1).await, 201);
    let latest = request(app, "GET", "/entries/latest", "").await;
    assert_eq!(latest, (200, r#"{"client":7,"seq":1,"token":"7-1"}"#.to_owned()));
}

/// A session killed while idle is the pool's affair, not a user's, for all of them at once too.
async fn survives_killed_sessions(pair: &Pair, app: SocketAddr) {
    let statuses = post_from_all(app, 10).await;
    assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
    for round in 0..3 {
        assert!(kill_app_sessions(pair).await > 0);
        let statuses = post_from_all(app, 20 + round).await;
        assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
        assert!(app_sessions(pair).await.len() <= POOL);
    }
}

/// A read-only server is told as it is, and reads go on.
async fn tells_a_read_only_server(pair: &Pair, app: SocketAddr) {
    pair.run(0, vec!["SET GLOBAL read_only = 1".to_owned()]).await.expect("read-only");
    let entry = r#"{"client":1,"seq":9,"token":"x"}"#;
    let (status, body) = request(app, "POST", "/entries", entry).await;
    assert!(status == 503 && body.contains("read-only"), "{status} {body}");
    assert_eq!(request(app, "GET", "/entries/latest", "").await.0, 200);
    pair.run(0, vec!["SET GLOBAL read_only = 0".to_owned()]).await.expect("writable");
    assert_eq!(post(app, 7, 2).await, 201);
}

#[tokio::test]
async fn a_pool_on_mariadb_survives_killed_sessions() {
    answers_writes_and_survives_killed_sessions(Flavor::MariaDb).await;
}

#[tokio::test]
async fn a_pool_on_mysql_survives_killed_sessions() {
    answers_writes_and_survives_killed_sessions(Flavor::MySql).await;
}
