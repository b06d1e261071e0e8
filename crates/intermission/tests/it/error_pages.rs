//! Pages of the operator's own.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use super::gate::{Setup, directory};
use super::harness::assert_contains;
use super::reload::{READ, REFUSED, reload};
use super::upstream::Upstream;
use super::wire::Wire;

fn write(path: &Path, text: &str) {
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn pages_are_the_apps_or_the_gates_or_what_there_is() {
    let directory = directory();
    let folder = |name: &str| directory.path().join(name);
    for name in ["gate", "shop"] {
        std::fs::create_dir(folder(name)).unwrap();
        write(&folder(name).join("502.html"), &format!("<p>{name} 502"));
    }
    write(&folder("gate").join("421.html"), "<p>gate 421");
    write(&folder("gate").join("notes.txt"), "no page");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let setup = |shop: &str| {
        let further = "try_duration = \"0s\"";
        let own = format!("{further}\nerror_pages = {:?}", folder(shop));
        Setup::default()
            .app("shop", "shop.example", gone, &own)
            .app("blog", "blog.example", gone, further)
            .gate(&format!("error_pages = {:?}", folder("gate")))
    };
    let first = setup("shop");
    let pages = setup("nowhere");
    let gate = first.start_in(directory).await;
    let answer = async |host: &str, accept: &str| {
        let mut wire = Wire::connect(gate.address).await;
        wire.send(&format!("GET / HTTP/1.1\r\nhost: {host}\r\naccept: {accept}\r\n\r\n")).await;
        let answer = wire.answer().await;
        (answer.status, answer.headers["content-type"].clone(), answer.body)
    };
    let html = "text/html; charset=utf-8".to_owned();
    assert_eq!(
        answer("shop.example", "text/html").await,
        (502, html.clone(), "<p>shop 502".into())
    );
    assert_eq!(answer("blog.example", "*/*").await, (502, html.clone(), "<p>gate 502".into()));
    assert_eq!(answer("other.example", "*/*").await, (421, html, "<p>gate 421".into()));
    let problem = answer("shop.example", "application/json").await;
    assert_eq!(problem.1, "application/problem+json");

    reload(&gate, &pages, REFUSED).await;
    assert_contains(&gate.log(), "app.shop.error_pages: cannot read ");
    gate.clear_log();
    write(&gate.directory.path().join("shop/502.html"), "<p>new");
    Setup::default().write(&gate.directory);
    let again = Setup::default().app(
        "shop",
        "*",
        gone,
        &format!("try_duration = \"0s\"\nerror_pages = {:?}", gate.directory.path().join("shop")),
    );
    reload(&gate, &again, READ).await;
    assert_eq!(answer("shop.example", "*/*").await.2, "<p>new");
}

#[tokio::test]
async fn a_directory_without_a_page_is_named() {
    let upstream = Upstream::start().await;
    let directory = directory();
    std::fs::create_dir(directory.path().join("pages")).unwrap();
    let pages = format!("error_pages = {:?}", directory.path().join("pages"));
    Setup::shop(&upstream).gate(&pages).write(&directory);
    let ran = super::harness::run(&directory.path().join("config.toml"), &["serve"]).await;
    assert_eq!(ran.code, Some(2));
    assert_contains(&ran.stderr, "gate.error_pages: ");
    assert_contains(&ran.stderr, "has no page in it: name them by status, for example 503.html");
}
