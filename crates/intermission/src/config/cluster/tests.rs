use std::path::Path;

use super::SwapGate;
use crate::{
    config::Config,
    swap::{endpoint::Start, settings::Bounds},
};

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
    assert_eq!(endpoint.start, Start::default());
    let floating = swap.floating_ip.expect("a floating IP");
    assert_eq!(floating.timeout, super::DEFAULT_FLOATING_IP_TIMEOUT);
    let haproxy = swap.haproxy.expect("a backend");
    assert_eq!(haproxy.timeout, super::DEFAULT_HAPROXY_TIMEOUT);
    assert_eq!(swap.client_address.expect("there").port, super::DEFAULT_PORT);
    assert_eq!((swap.attempts, swap.backoff), (super::DEFAULT_ATTEMPTS, super::DEFAULT_BACKOFF));
    assert_eq!((swap.allow_differences, swap.allow_upgrade), (Vec::new(), false));
    assert!(EXAMPLE.contains("\nallow_differences = ") && EXAMPLE.contains("\nallow_upgrade = "));
    assert!(EXAMPLE.contains("\nattempts = ") && EXAMPLE.contains("\nbackoff = "));
    let guarding = (swap.guardian_after, swap.sentinel_for);
    assert_eq!(guarding, (super::DEFAULT_GUARDIAN_AFTER, super::DEFAULT_SENTINEL_FOR));
    assert!(EXAMPLE.contains("\nguardian_after = ") && EXAMPLE.contains("\nsentinel_for = "));
    assert_eq!(cluster.marker_schema, super::DEFAULT_MARKER_SCHEMA);
    assert_eq!(cluster.servers[0].port, super::DEFAULT_PORT);
    let printed = toml::to_string(&swap.bounds).expect("prints");
    let bounds = EXAMPLE.split_once("[swap.bounds]").expect("the section").1;
    for key in printed.lines().filter_map(|line| line.split(' ').next()) {
        assert!(bounds.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
    }
}

fn with_hook() -> String {
    let example = EXAMPLE.replace("\n# before_release = ", "\nbefore_release = ");
    assert_ne!(example, EXAMPLE);
    example
}

#[test]
fn the_example_shows_a_hook_with_its_default() {
    let swap = parse(&with_hook()).expect("parses").swap.expect("a swap");
    assert_eq!(swap.before_release[0].timeout, super::DEFAULT_HOOK_TIMEOUT);
    for (from, to, key) in [
        ("\"systemctl\", \"restart\", \"shop\"", "", "swap.before_release[0].command"),
        ("timeout = \"5s\" }]", "timeout = \"0s\" }]", "swap.before_release[0].timeout"),
    ] {
        let example = with_hook();
        assert!(example.contains(from), "{from}");
        let error = parse(&example.replacen(from, to, 1)).expect_err(key);
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn the_variables_with_passwords_are_known() {
    let own = r#"device = "eth0", replication = { user = "r", password_env = "OTHER" }, exec"#;
    let text = EXAMPLE.replacen(r#"device = "eth0", exec"#, own, 1);
    let cluster = parse(&text).expect("parses").cluster.expect("a cluster");
    let names = ["OTHER", "INTERMISSION_REPLICATION_PASSWORD", "INTERMISSION_PASSWORD"];
    assert_eq!(cluster.password_variables(), names);
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
        ("guardian_after = \"1s\"", "guardian_after = \"1ms\"", "swap.guardian_after"),
        ("sentinel_for = \"3s\"", "sentinel_for = \"1h\"", "swap.sentinel_for"),
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

/// The example's gates, which are a comment there.
fn with_gates(from: &str, to: &str) -> Result<Config, String> {
    let text = EXAMPLE.replacen("# gates = ", "gates = ", 1);
    assert!(text.contains(from), "{from}");
    parse(&text.replacen(from, to, 1))
}

#[test]
fn gates_are_sockets_or_remote() {
    let config = with_gates("", "").expect("parses");
    let gates = &config.swap.as_ref().expect("a swap").gates;
    let [SwapGate::Socket(socket), SwapGate::Remote(remote)] = gates.as_slice() else {
        panic!("{gates:?}")
    };
    assert_eq!(socket, Path::new("/run/intermission/admin.sock"));
    assert_eq!(remote.address.to_string(), "gate2.internal:7443");
    assert_eq!(parse(&config.print().expect("prints")).expect("parses"), config);
    let ca_file = ", ca_file = \"/etc/intermission/gates-ca.pem\"";
    let token = ", token_file = \"/etc/intermission/token\"";
    with_gates(token, ", certificate = \"c\", key = \"k\"").expect("does instead of a token");
    let (socket, remote) = ("[\"/run/intermission/admin.sock\"", "gate2.internal:7443\"");
    let twice = "[\"/run/a.sock\", \"/run/a.sock\"";
    for (from, to, why) in [
        (ca_file, "", "missing field `ca_file`"),
        (ca_file, ", ca_fiel = \"\"", "unknown field `ca_fiel`"),
        (
            token,
            "",
            "`swap.gates[1].token`: is not given: TCP needs a token or a client's certificate",
        ),
        (token, ", key = \"k\"", "`swap.gates[1]`: has a certificate or a key, and not both"),
        (token, &format!("{token}, token_env = \"T\""), "`swap.gates[1].token`: is given twice"),
        (token, ", token = \"hunter2\"", "unknown field `token`"),
        (remote, "gate2.internal\"", "\"gate2.internal\" is no address of a gate"),
        (socket, "[17", "invalid type: integer `17`, expected the path of an admin socket, or {"),
        (socket, twice, "`swap.gates[1]`: is there twice"),
    ] {
        let error = with_gates(from, to).expect_err(why);
        assert!(error.contains(why), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn two_to_five_servers_each_once() {
    let with = |more: &[&str]| {
        let entry = |name: &&str| {
            format!("  {{ name = \"{name}\", host = \"{name}.internal\", device = \"eth0\" }},\n")
        };
        let more: String = more.iter().map(entry).collect();
        parse(&EXAMPLE.replacen("]\nuser = ", &format!("{more}]\nuser = "), 1))
    };
    let five = with(&["db3", "db4", "db5"]).expect("parses");
    assert_eq!(five.cluster.expect("a cluster").servers.len(), super::SERVERS_MAX);
    let six = with(&["db3", "db4", "db5", "db6"]).expect_err("too many");
    assert!(six.contains("names 6 servers"), "{six}");
    assert!(with(&["db3", "db1"]).expect_err("twice").contains("db1 is there twice"));
    let own = r#"port = 3306, replication = { user = "r", password = "x" }"#;
    let of_one = EXAMPLE.replacen("port = 3306", own, 1);
    assert!(parse(&of_one).is_ok(), "a pair may have two accounts");
    let third = "  { name = \"db3\", host = \"db3\", device = \"eth0\" },\n]\nuser = ";
    let of_one = parse(&of_one.replacen("]\nuser = ", third, 1)).expect_err("three may not");
    assert!(of_one.contains("cluster.servers[0].replication"), "{of_one}");
}
