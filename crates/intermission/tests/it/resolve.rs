//! Upstreams by name, whose addresses change. The names are in a file of hosts of the gate's own.

use std::io::Write as _;

use tokio::net::TcpListener;

use super::gate::{Setup, directory};
use super::harness::{soon, until};
use super::wire::{Wire, get};

/// Runs what follows it with the file as /etc/hosts, which nobody else sees.
const WITH_HOSTS: &str = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";

/// In place: it stays the same file.
fn write(path: &std::path::Path, text: &str) {
    let file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// Answers every request of its one connection with `said`, until the connection ends.
async fn serve(listener: TcpListener, said: &'static str) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut wire = Wire::of(stream);
            while wire.has_more().await {
                wire.request().await;
                let length = said.len();
                wire.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{said}"))
                    .await;
            }
        });
    }
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_followed_also_by_connections_in_use() {
    let here = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = here.local_addr().unwrap().port();
    let there = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    tokio::spawn(serve(here, "here"));
    tokio::spawn(serve(there, "there"));
    let directory = directory();
    let hosts = directory.path().join("hosts");
    write(&hosts, "127.0.0.1 app.internal\n");
    let setup = Setup::shop(format!("app.internal:{port}"))
        .gate("threads = 1\nupstream_idle_timeout = \"5m\"\nupstream_resolve_interval = \"20ms\"")
        .behind(&["unshare", "--mount", "sh", "-c", WITH_HOSTS, hosts.to_str().unwrap()]);
    let gate = soon("the gate", setup.start_in(directory)).await;
    assert_eq!(get(gate.address, "/").await.body, "here");
    write(&hosts, "127.0.0.2 app.internal\n");
    until("it has moved", async || (get(gate.address, "/").await.body == "there").then_some(()))
        .await;
    // A name that is not known for a while is no reason to forget where it led.
    write(&hosts, "");
    until("it cannot be looked up", async || {
        gate.log().contains("the upstream's name cannot be looked up").then_some(())
    })
    .await;
    assert_eq!(get(gate.address, "/").await.body, "there");
}
