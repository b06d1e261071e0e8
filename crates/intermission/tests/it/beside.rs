//! Beside a web server that asks, and by a file.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use intermission::admin::api::AppState;
use lab::server::lab_dir;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::gate::{Gate, Setup, directory};
use super::harness::{assert_contains, soon, until};
use super::upstream::Upstream;
use super::wire::{Answer, Wire, get};

const ASK: &str = "ask_path = \"/_intermission/ask\"";

fn touch(file: &Path) {
    drop(std::fs::File::create(file).unwrap());
}

/// A web server of one test.
struct WebServer {
    address: SocketAddr,
    folder: TempDir,
    _process: Child,
}

impl WebServer {
    /// With the configuration that `text` makes of its address and its folder.
    async fn start(
        program: &Path,
        arguments: &[&str],
        text: impl Fn(SocketAddr, &Path) -> String,
    ) -> Self {
        loop {
            // Whoever takes the port before the server does is found out by the server.
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let folder = directory();
            let mut conf = std::fs::File::create(folder.path().join("conf")).unwrap();
            conf.write_all(text(address, folder.path()).as_bytes()).unwrap();
            let mut process = Command::new(program)
                .args(arguments)
                .arg(folder.path().join("conf"))
                .current_dir(folder.path())
                .env("HOME", folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(std::fs::File::create(folder.path().join("said")).unwrap())
                .kill_on_drop(true)
                .spawn()
                .expect("run scripts/servers");
            let serves =
                until("the web server serves", async || match process.try_wait().unwrap() {
                    Some(_) => Some(false),
                    None => tokio::net::TcpStream::connect(address).await.is_ok().then_some(true),
                });
            if serves.await {
                return Self { address, folder, _process: process };
            }
            let said = std::fs::read_to_string(folder.path().join("said")).unwrap();
            assert_contains(&said, "in use");
        }
    }

    async fn nginx(gate: &Gate, upstream: &Upstream) -> Self {
        let program = lab_dir().join("nginx/usr/sbin/nginx");
        let (gate, upstream) = (gate.address, upstream.address);
        Self::start(&program, &["-e", "stderr", "-c"], |address, folder| {
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let temporary = temporary.map(|name| format!("{name}_temp_path {}/{name};", folder.display()));
            format!(
                "daemon off; pid {}/pid; worker_processes 1; {}\n\
                 events {{ worker_connections 512; }}\n\
                 http {{ access_log off; {}\n\
                   server {{ listen {address};\n\
                     location / {{ auth_request /ask; error_page 500 = @held; proxy_pass http://{upstream}; }}\n\
                     location = /ask {{ internal; proxy_pass http://{gate}/_intermission/ask;\n\
                       proxy_pass_request_body off; proxy_set_header Content-Length \"\";\n\
                       proxy_set_header Host $host; proxy_read_timeout 60s; }}\n\
                     location @held {{ add_header Retry-After 5 always; return 503; }}\n\
                   }}\n\
                 }}\n",
                folder.display(),
                if rustix::process::getuid().is_root() { "user root;" } else { "" },
                temporary.concat(),
            )
        })
        .await
    }

    async fn caddy(gate: &Gate, upstream: &Upstream) -> Self {
        let program = lab_dir().join("caddy/usr/bin/caddy");
        let (gate, upstream) = (gate.address, upstream.address);
        let arguments = ["run", "--adapter", "caddyfile", "--config"];
        Self::start(&program, &arguments, |address, _| {
            format!(
                "{{\n admin off\n auto_https off\n}}\nhttp://:{} {{\n bind 127.0.0.1\n forward_auth {gate} {{\n  \
                 uri /_intermission/ask\n }}\n reverse_proxy {upstream}\n}}\n",
                address.port()
            )
        })
        .await
    }

    async fn post(&self, body: &str) -> Answer {
        let mut wire = Wire::connect(self.address).await;
        wire.send(&format!(
            "POST /entries HTTP/1.1\r\nhost: shop\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        wire.answer().await
    }
}

async fn is_asked_first(gate: Gate, upstream: Upstream, server: WebServer) {
    assert_eq!(get(server.address, "/page").await.status, 200, "{:?}", server.folder);
    assert_eq!(upstream.arrived(), 1);
    let held = gate.hold("shop").await;
    let mut waiting = Vec::new();
    for number in 1..=20 {
        let address = server.address;
        waiting.push(tokio::spawn(async move { get(address, &format!("/page/{number}")).await }));
        gate.until_held("shop", number).await;
    }
    let posted = server.post("kept while it waits");
    let released = async {
        gate.until_held("shop", 21).await;
        assert_eq!(upstream.arrived(), 1, "nothing passes");
        gate.release("shop", held.generation).await;
    };
    let (posted, ()) = tokio::join!(posted, released);
    assert_eq!(posted.status, 200);
    for answer in waiting {
        assert_eq!(soon("an answer", answer).await.unwrap().status, 200);
    }
    assert_eq!(upstream.arrived(), 22);
    assert!(upstream.seen().iter().any(|seen| seen.body == "kept while it waits"));
    // Held for longer than one request may be: 503, and the upstream hears nothing.
    let held = gate.hold("patient").await;
    let mut wire = Wire::connect(server.address).await;
    wire.send("GET / HTTP/1.1\r\nhost: patient\r\n\r\n").await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(upstream.arrived(), 22);
    gate.release("patient", held.generation).await;
}

async fn asked() -> (Gate, Upstream) {
    let upstream = Upstream::start().await;
    let impatient = format!("{ASK}\nmax_wait = \"300ms\"");
    let setup = Setup::default().asked("shop", "*", ASK).asked("patient", "patient", &impatient);
    (setup.start().await, upstream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_asks_before_every_request() {
    let (gate, upstream) = asked().await;
    let server = WebServer::nginx(&gate, &upstream).await;
    is_asked_first(gate, upstream, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_asks_before_every_request() {
    let (gate, upstream) = asked().await;
    let server = WebServer::caddy(&gate, &upstream).await;
    is_asked_first(gate, upstream, server).await;
}

#[tokio::test]
async fn one_who_asks_is_answered_by_the_gate_and_nothing_else_is_served() {
    let upstream = Upstream::start().await;
    let gate = Setup::shop(&upstream).asked("only", "only", ASK).start().await;
    let answer = get(gate.address, "/_intermission/ask").await;
    assert_eq!((answer.status, upstream.arrived()), (200, 1), "an app that is not asked serves it");
    let mut wire = Wire::connect(gate.address).await;
    for (target, status) in [
        ("/_intermission/ask", 204),
        ("/_intermission/ask?x=1", 204),
        ("/", 404),
        ("/_intermission/asked", 404),
    ] {
        wire.send(&format!("GET {target} HTTP/1.1\r\nhost: only\r\n\r\n")).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    assert_eq!(gate.app("only").await.in_flight, 0);
    assert_eq!(upstream.arrived(), 1);
}

#[tokio::test]
async fn while_the_file_exists_the_app_is_held() {
    let upstream = Upstream::start().await;
    let folder = directory();
    let file = folder.path().join("hold");
    let further = format!("hold_file = {file:?}\nlease = \"1s\"");
    let mut gate = Setup::default().app("shop", "*", &upstream, &further).start().await;
    assert_eq!(get(gate.address, "/").await.status, 200);
    touch(&file);
    let status = gate.until_state("shop", AppState::Held).await;
    assert_contains(&status.hold.unwrap().holder, "file ");
    let address = gate.address;
    let waiting = tokio::spawn(async move { get(address, "/").await });
    gate.until_held("shop", 1).await;
    // For longer than the lease, which is renewed.
    let generation = gate.shop().await.generation;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let status = gate.shop().await;
    assert_eq!(
        (status.state, status.generation, upstream.arrived()),
        (AppState::Held, generation, 1)
    );
    std::fs::remove_file(&file).unwrap();
    assert_eq!(soon("an answer", waiting).await.unwrap().status, 200);
    gate.until_state("shop", AppState::Open).await;

    // Somebody else's hold is left alone, and followed by the file's.
    let held = gate.hold("shop").await;
    touch(&file);
    gate.release("shop", held.generation).await;
    let status = gate.until_state("shop", AppState::Held).await;
    assert_contains(&status.hold.unwrap().holder, "file ");
    // A gate that comes back takes it up again, and the end of the file ends it.
    gate.crash_and_restart().await;
    assert_eq!(gate.shop().await.state, AppState::Held);
    std::fs::remove_file(&file).unwrap();
    gate.until_state("shop", AppState::Open).await;
    assert_eq!(get(gate.address, "/").await.status, 200);

    // Given up while it drains, for nobody waits for it any more.
    let address = gate.address;
    let slow = tokio::spawn(async move { get(address, "/slow").await });
    upstream.until_arrived(4).await;
    touch(&file);
    gate.until_state("shop", AppState::Draining).await;
    std::fs::remove_file(&file).unwrap();
    gate.until_state("shop", AppState::Open).await;
    upstream.let_go(1);
    drop(slow);
}
