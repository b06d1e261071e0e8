use std::path::Path;

use crate::{config::Config, swap::settings::Bounds};

const EXAMPLE: &str = include_str!("../../../../../examples/intermission.toml");

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("x.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn the_example_shows_every_default() {
    let config = parse(EXAMPLE).expect("parses");
    let (cluster, swap) = (config.cluster.expect("a cluster"), config.swap.expect("a swap"));
    assert_eq!(swap.bounds, Bounds::default());
    let endpoint = swap.endpoint.expect("an endpoint");
    assert_eq!(endpoint.timeout, super::DEFAULT_ENDPOINT_TIMEOUT);
    assert_eq!(endpoint.start, super::Start::default());
    let floating = swap.floating_ip.expect("a floating IP");
    assert_eq!(floating.timeout, super::DEFAULT_FLOATING_IP_TIMEOUT);
    let haproxy = swap.haproxy.expect("a backend");
    assert_eq!(haproxy.timeout, super::DEFAULT_HAPROXY_TIMEOUT);
    assert_eq!(swap.client_address.expect("there").port, super::DEFAULT_PORT);
    assert_eq!((swap.attempts, swap.backoff), (super::DEFAULT_ATTEMPTS, super::DEFAULT_BACKOFF));
    assert_eq!((swap.allow_differences, swap.allow_upgrade), (Vec::new(), false));
    assert!(EXAMPLE.contains("\nallow_differences = ") && EXAMPLE.contains("\nallow_upgrade = "));
    assert!(EXAMPLE.contains("\nattempts = ") && EXAMPLE.contains("\nbackoff = "));
    assert_eq!(cluster.marker_schema, super::DEFAULT_MARKER_SCHEMA);
    assert_eq!(cluster.servers[0].port, super::DEFAULT_PORT);
    let printed = toml::to_string(&swap.bounds).expect("prints");
    let bounds = EXAMPLE.split_once("[swap.bounds]").expect("the section").1;
    for key in printed.lines().filter_map(|line| line.split(' ').next()) {
        assert!(bounds.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
    }
}

#[test]
fn a_password_in_the_file_is_not_printed() {
    let text =
        EXAMPLE.replace("password_env = \"INTERMISSION_PASSWORD\"", "password = \"hunter2\"");
    let config = parse(&text).expect("parses");
    assert!(!config.print().expect("prints").contains("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn what_cannot_be_meant_is_named() {
    for (from, to, key) in [
        ("name = \"db2\"", "name = \"db1\"", "cluster.servers"),
        ("fence = \"250ms\"", "fence = \"0s\"", "swap.bounds.fence"),
        ("apps = [\"shop\"]", "apps = []", "swap.apps"),
        ("device = \"eth0\"", "device = \"eth0; reboot\"", "cluster.servers[0].device"),
        ("exec = [\"ssh\", \"root@db1.internal\"]", "exec = [\"\"]", "cluster.servers[0].exec"),
        ("address = \"10.0.0.10/32\"", "address = \"10.0.0.10\"", "10.0.0.10"),
        ("timeout = \"1s\"", "timeout = \"0s\"", "swap.floating_ip.timeout"),
        ("backend = \"mysql\"", "backend = \"a; b\"", "swap.haproxy"),
        ("host = \"10.0.0.10\"", "host = \"\"", "swap.client_address"),
        ("allow_differences = []", "allow_differences = [\"sqlmode\"]", "swap.allow_differences"),
        ("attempts = 3", "attempts = 0", "swap.attempts"),
        ("backoff = \"2s\"", "backoff = \"2h\"", "swap.backoff"),
        ("marker_schema = \"intermission\"", "marker_schema = \"a`b\"", "cluster.marker_schema"),
        (
            "command = [\"/usr/local/bin/point-to-new-primary\"]",
            "command = []",
            "swap.endpoint.command",
        ),
    ] {
        assert!(EXAMPLE.contains(from), "{from}");
        let error = parse(&EXAMPLE.replacen(from, to, 1)).expect_err(key);
        assert!(error.contains(key), "{error}");
    }
    let own = r#"device = "eth0", account = { user = "other", password = "x" }, exec"#;
    let two = EXAMPLE.replacen(r#"device = "eth0", exec"#, own, 1);
    assert!(parse(&two).expect_err("two accounts").contains("swap.client_address"));
    let unknown = parse(&format!("{EXAMPLE}\nfnece = \"1s\"\n")).expect_err("unknown key");
    assert!(unknown.contains("fnece"), "{unknown}");
}
