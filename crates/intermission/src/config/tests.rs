//! Defaults, the example file and the text of every error an operator can cause.

use std::path::Path;
use std::time::Duration;

use expect_test::{Expect, expect};

use super::Config;
use super::gate::Upstream;

const EXAMPLE: &str = include_str!("../../../../examples/intermission.toml");
const MINIMAL: &str = r#"
[[app]]
name = "shop"
hosts = ["shop.example.com"]
upstreams = ["127.0.0.1:3000"]
"#;

fn parse(text: &str) -> Result<Config, super::ConfigError> {
    Config::parse(Path::new("x.toml"), text)
}

fn check_error(text: &str, want: &Expect) {
    let error = parse(text).unwrap_err();
    want.assert_eq(&error.to_string());
}

#[test]
fn example_holds_every_key_with_its_default() {
    let example = parse(EXAMPLE).unwrap();
    let minimal = parse(MINIMAL).unwrap();
    assert_eq!(example.gate, minimal.gate);
    assert_eq!(example.apps.first(), minimal.apps.first());
    let resolved: toml::Table = toml::from_str(&minimal.print().unwrap()).unwrap();
    let gate = resolved["gate"].as_table().unwrap();
    let app = resolved["app"][0].as_table().unwrap();
    for key in gate.keys().chain(app.keys()) {
        assert!(EXAMPLE.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
    }
}

/// Also those that have no default; each is told by the complaint about one that there is not.
#[test]
fn example_shows_every_key() {
    let other_table = "admin_tls = { certificate = \"c\", key = \"k\", x = 1 }";
    for table in ["[gate]\nx = 1", "[[app]]\nx = 1", &format!("[gate]\n{other_table}")] {
        let complaint = parse(table).unwrap_err().to_string();
        let (_, list) =
            complaint.split_once("expected one of ").unwrap_or_else(|| panic!("{complaint}"));
        for key in list.split('`').skip(1).step_by(2) {
            assert!(EXAMPLE.contains(&format!("{key} = ")), "{key}");
        }
    }
}

/// What the example shows behind a comment sign, because an app has none unless it is told to.
fn with_warm_up() -> String {
    let example = EXAMPLE.replace("\n# warm_up = ", "\nwarm_up = ");
    assert_ne!(example, EXAMPLE);
    example
}

#[test]
fn the_example_shows_every_default_of_a_warm_up() {
    let shown = parse(&with_warm_up()).unwrap().apps.remove(0).warm_up.unwrap();
    let minimal =
        parse(&format!("{MINIMAL}\nwarm_up = {{ path = \"/up\" }}")).unwrap().apps.remove(0);
    assert_eq!(
        minimal.warm_up.as_ref().unwrap().host_for(&minimal.hosts),
        Some("shop.example.com")
    );
    let least = super::gate::WarmUp { host: shown.host.clone(), ..minimal.warm_up.unwrap() };
    assert_eq!(least, shown);
    let printed = toml::to_string(&shown).unwrap();
    let line = EXAMPLE.lines().find(|line| line.starts_with("# warm_up = ")).unwrap();
    for key in printed.lines().filter_map(|line| line.split(' ').next()) {
        assert!(line.contains(&format!("{key} = ")), "{key}");
    }
}

#[test]
fn a_warm_up_that_cannot_be_meant_is_named() {
    let example = with_warm_up();
    for (from, to, key) in [
        ("path = \"/up\"", "path = \"up\"", "warm_up.path"),
        ("path = \"/up\"", "path = \"/up\\r\\nx: y\"", "warm_up.path"),
        ("host = \"shop.example.com\"", "host = \"a\\r\\nb\"", "warm_up.host"),
        ("host = \"shop.example.com\"", "host = \"\"", "warm_up.host"),
        ("successes = 3", "successes = 0", "warm_up.successes"),
        ("concurrency = 1,", "concurrency = 0,", "warm_up.concurrency"),
        ("interval = \"50ms\"", "interval = \"0s\"", "warm_up.interval"),
        ("timeout = \"5s\" }\n\n[cluster]", "timeout = \"11m\" }\n\n[cluster]", "warm_up.timeout"),
    ] {
        let (before, warm_up) = example.split_at(example.find("warm_up = {").unwrap());
        assert!(warm_up.contains(from), "{from}");
        let changed = format!("{before}{}", warm_up.replacen(from, to, 1));
        let error = parse(&changed).unwrap_err().to_string();
        assert!(error.contains(&format!("app.shop.{key}")), "{error}");
    }
    let any = MINIMAL.replace("shop.example.com", "*");
    let error = parse(&format!("{any}\nwarm_up = {{ path = \"/up\" }}")).unwrap_err().to_string();
    assert!(error.contains("app.shop.warm_up.host"), "{error}");
    parse(&format!("{any}\nwarm_up = {{ path = \"/up\", host = \"shop:80\" }}")).unwrap();
}

#[test]
fn what_config_check_prints_parses_to_the_same() {
    let config = parse(EXAMPLE).unwrap();
    assert_eq!(parse(&config.print().unwrap()).unwrap(), config);
}

#[test]
fn durations_are_typed() {
    let text = format!("{MINIMAL}\nmax_wait = \"1m 30s\"\nlease = \"1500ms\"");
    let app = parse(&text).unwrap().apps.remove(0);
    assert_eq!((app.max_wait, app.lease), (Duration::from_secs(90), Duration::from_millis(1500)));
}

#[test]
fn upstreams_of_every_kind_print_as_written() {
    for text in ["127.0.0.1:3000", "[::1]:3000", "app-1.internal:80", "unix:/run/shop.sock"] {
        assert_eq!(text.parse::<Upstream>().unwrap().to_string(), text);
    }
    for text in ["", "3000", "a b:1", "unix:relative.sock", "host:0", "http://a:1", "a:99999"] {
        assert!(text.parse::<Upstream>().is_err(), "{text}");
    }
}

#[test]
fn errors_name_file_key_and_mend() {
    check_error(
        "[gate]\nlisten_on = []\n",
        &expect![
            "x.toml:2: `listen_on`: unknown field `listen_on`, expected one of `listen`, `listen_tls`, `certificates`, `threads`, `admin_socket`, `admin_socket_group`, `admin_listen`, `admin_tls`, `admin_token_env`, `admin_token_file`, `admin_read_token_env`, `admin_read_token_file`, `state_dir`, `audit_log`, `shutdown_grace`, `take_over_grace`, `connections_max`, `connections_per_client_max`, `client_head_timeout`, `client_body_timeout`, `client_write_timeout`, `upstream_connect_timeout`, `upstream_head_timeout`, `upstream_body_timeout`, `upstream_idle_timeout`, `upstream_idle_max`, `upstream_resolve_interval`, `endless_idle_timeout`, `front_timeout`, `error_pages`, `trusted_proxies`, `proxy_protocol_from`"
        ],
    );
    check_error(
        "[gate]\nthreads = \"two\"\n",
        &expect![[r#"x.toml:2: `threads`: invalid type: string "two", expected usize"#]],
    );
    check_error(
        "[gate]\nshutdown_grace = \"soon\"\n",
        &expect![[
            r#"x.toml:2: `shutdown_grace`: failed to parse input in the "friendly" duration format: expected duration to start with a unit value (a decimal integer) after an optional sign, but no integer was found"#
        ]],
    );
    check_error(
        "[gate]\nlisten = []\n",
        &expect![[
            r#"x.toml: `gate.listen`: is empty; write at least one address, for example ["127.0.0.1:8080"]"#
        ]],
    );
    check_error(
        "[gate]\nupstream_head_timeout = \"0s\"\n",
        &expect![[
            r#"x.toml: `gate.upstream_head_timeout`: 0ns is out of range; write a time from "1ms" to "24h""#
        ]],
    );
    check_error(
        &MINIMAL.replace("shop.example.com", "Shop:80"),
        &expect![[
            r#"x.toml: `app.shop.hosts`: "Shop:80" is no host name; write a host name in lower case without scheme and port, or *. before the rest of one"#
        ]],
    );
    check_error(
        &MINIMAL.replace("127.0.0.1:3000", "nowhere"),
        &expect![[
            r#"x.toml:5: `upstreams`: "nowhere" is no upstream; write "host:port" or "unix:/path/of.sock""#
        ]],
    );
    check_error(
        &MINIMAL.replace("\"shop\"", "\"../shop\""),
        &expect![[
            r#"x.toml: `app.name`: "../shop" is no usable name; use up to 64 of a-z, 0-9, `-` and `_`, beginning with a letter or a digit"#
        ]],
    );
    check_error(
        &format!("{MINIMAL}{MINIMAL}"),
        &expect!["x.toml: `app.shop`: is there twice; give each app its own name"],
    );
    check_error(
        &format!("{MINIMAL}\nlease = \"10m\""),
        &expect![
            "x.toml: `app.shop.lease`: 600s is longer than lease_max, 300s; make it shorter, or raise lease_max"
        ],
    );
}

#[test]
fn addresses_types_and_policies_that_are_none_are_named() {
    check_error(
        "[gate]\ntrusted_proxies = [\"10.1.0.0/8\"]\n",
        &expect![[
            r#"x.toml:2: `trusted_proxies`: "10.1.0.0/8" begins within its range; write "10.0.0.0/8""#
        ]],
    );
    check_error(
        "[gate]\nproxy_protocol_from = [\"lb1\"]\n",
        &expect![[
            r#"x.toml:2: `proxy_protocol_from`: "lb1" is no range of addresses; write "10.0.0.0/8", "fd00::/8" or one address"#
        ]],
    );
    check_error(
        &format!("{MINIMAL}\nendless_types = [\"text/event-stream; charset=utf-8\"]"),
        &expect![[
            r#"x.toml: `app.shop.endless_types`: "text/event-stream; charset=utf-8" is no content type; write it in lower case and without parameters, for example "text/event-stream""#
        ]],
    );
    check_error(
        &format!("{MINIMAL}\nupgrades = \"kill\""),
        &expect!["x.toml:7: `upgrades`: unknown variant `kill`, expected `keep` or `close`"],
    );
}

#[test]
fn h13_a_bypass_that_could_be_meant_for_nobody_or_everybody_is_named() {
    for (rules, key, why) in [
        ("", "bypass", "has no rule"),
        ("paths = []", "bypass.paths", "is empty"),
        ("methods = []", "bypass.methods", "is empty"),
        ("from = []", "bypass.from", "is empty"),
        ("user_agents = []", "bypass.user_agents", "is empty"),
        ("paths = [\"\"]", "bypass.paths", "is no path"),
        ("paths = [\"/up\", \"up\"]", "bypass.paths", "is no path"),
        ("methods = [\"get\"]", "bypass.methods", "is no method"),
        ("methods = [\"\"]", "bypass.methods", "is no method"),
        ("user_agents = [\"\"]", "bypass.user_agents", "is sent by nobody"),
        ("user_agents = [\" Probe\"]", "bypass.user_agents", "is sent by nobody"),
        ("from = [\"10.1.0.0/16\"]", "bypass.from", "trusted_proxies"),
        ("from = [\"0.0.0.0/0\"]", "bypass.from", "trusted_proxies"),
        ("header = { name = \"\" }", "bypass.header.name", "is no name of a header"),
        ("header = { name = \"x-pass\" }", "bypass.header.token", "is not given"),
        (
            "header = { name = \"x-pass\", token_env = \"A\", token_file = \"/t\" }",
            "bypass.header.token",
            "is given twice",
        ),
    ] {
        let text = format!(
            "[gate]\ntrusted_proxies = [\"10.0.0.0/8\"]\n{MINIMAL}\nbypass = {{ {rules} }}"
        );
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(&format!("`app.shop.{key}`: ")) && error.contains(why), "{error}");
    }
    let example = EXAMPLE.replace("\n# bypass = ", "\nbypass = ");
    let bypass = parse(&example).unwrap().apps.remove(0).bypass.unwrap();
    assert!(bypass.header.is_some() && bypass.methods.is_some());
}

#[test]
fn a_front_that_is_too_quick_to_hold_for_is_named() {
    check_error(
        "[gate]\nfront_timeout = \"900ms\"\n",
        &expect![[
            r#"x.toml: `gate.front_timeout`: 900ms leaves held requests no time; write 1s or more, or leave it out"#
        ]],
    );
}

#[test]
fn there_is_no_admin_api_over_tcp_without_tls_and_a_token() {
    check_error(
        "[gate]\nadmin_listen = [\"10.0.0.5:7443\"]\nadmin_token_env = \"T\"\n",
        &expect![[
            r#"x.toml: `gate.admin_tls`: is not given: the admin API is not served over TCP without TLS; write admin_tls = { certificate = "….pem", key = "….key" }"#
        ]],
    );
    check_error(
        "[gate]\nadmin_listen = [\"10.0.0.5:7443\"]\nadmin_tls = { certificate = \"c\", key = \"k\" }\n",
        &expect![
            "x.toml: `gate.admin_token`: is not given: TCP needs a token or a client's certificate; write gate.admin_token_file or gate.admin_token_env, or gate.admin_tls.client_ca_file and operators; make one: openssl rand -hex 32"
        ],
    );
    check_error(
        "[gate]\nadmin_token_file = \"/t\"\n",
        &expect![[
            r#"x.toml: `gate.admin_listen`: is empty, and there is a certificate or a token for it; write admin_listen = ["10.0.0.5:7443"], or leave the others out"#
        ]],
    );
}

#[test]
fn clients_certificates_that_nobody_could_use_are_named() {
    let with = |tls: &str| {
        let tls = format!("{{ certificate = \"c\", key = \"k\", {tls} }}");
        format!("[gate]\nadmin_listen = [\"10.0.0.5:7443\"]\nadmin_tls = {tls}\n{MINIMAL}")
    };
    for (tls, key) in [
        ("operators = [\"a\"]", "gate.admin_tls.client_ca_file"),
        ("readers = [\"a\"]", "gate.admin_tls.client_ca_file"),
        ("client_ca_file = \"ca\"", "gate.admin_tls.operators"),
        ("client_ca_file = \"ca\", operators = [\"*.a\"]", "gate.admin_tls.operators"),
        ("client_ca_file = \"ca\", operators = [\"\"]", "gate.admin_tls.operators"),
        ("client_ca_file = \"ca\", readers = [\"Shop.internal\"]", "gate.admin_tls.operators"),
        (
            "client_ca_file = \"ca\", operators = [\"a\"], readers = [\"a\"]",
            "gate.admin_tls.readers",
        ),
    ] {
        let error = parse(&with(tls)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("x.toml: `{key}")), "{tls}: {error}");
    }
    let good = with("client_ca_file = \"ca\", operators = [\"a.b\"], readers = [\"spiffe://A/b\"]");
    parse(&good).unwrap();
    check_error(
        "[gate]\nadmin_read_token_env = \"A\"\nadmin_read_token_file = \"/b\"\n",
        &expect![
            "x.toml: `gate.admin_read_token`: is given twice; write either gate.admin_read_token_file or gate.admin_read_token_env; make one: openssl rand -hex 32"
        ],
    );
}

/// Whoever reads could operate.
#[test]
fn the_two_tokens_are_not_the_same() {
    let token = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file.as_file(), text.as_bytes()).unwrap();
        file
    };
    let [one, same, other] =
        ["0123456789abcdef", "0123456789abcdef", "123456789abcdef0"].map(|it| token(&it.repeat(2)));
    let of = |read: &tempfile::NamedTempFile| super::gate::Gate {
        admin_token_file: Some(one.path().to_owned()),
        admin_read_token_file: Some(read.path().to_owned()),
        ..super::gate::Gate::default()
    };
    assert!(of(&other).admin_read_token().unwrap().is_some());
    let error = of(&same).admin_read_token().unwrap_err().to_string();
    assert!(
        error.starts_with("gate.admin_read_token and gate.admin_token are the same"),
        "{error}"
    );
}

#[test]
fn tls_needs_a_certificate_and_a_port_of_its_own() {
    let certificates = "certificates = [{ certificate_file = \"c\", key_file = \"k\" }]";
    check_error(
        "[gate]\nlisten_tls = [\"0.0.0.0:443\"]\n",
        &expect![[
            r#"x.toml: `gate.certificates`: is empty, and gate.listen_tls is not; write certificates = [{ certificate_file = "….pem", key_file = "….key" }]"#
        ]],
    );
    check_error(
        &format!("[gate]\n{certificates}\n"),
        &expect![[
            r#"x.toml: `gate.listen_tls`: is empty, and there is a certificate for it; write listen_tls = ["0.0.0.0:443"], or leave gate.certificates out"#
        ]],
    );
    check_error(
        &format!("[gate]\nlisten_tls = [\"127.0.0.1:8080\"]\n{certificates}\n"),
        &expect![
            "x.toml: `gate.listen_tls`: has 127.0.0.1:8080, which is in gate.listen too; give each its own port"
        ],
    );
    parse(&format!("[gate]\nlisten = []\nlisten_tls = [\"[::]:443\"]\n{certificates}\n{MINIMAL}"))
        .unwrap();
}

#[test]
fn an_error_never_quotes_a_line() {
    let error = parse("[gate]\npassword = \"hunter2\n").unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}
