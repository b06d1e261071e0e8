use std::path::Path;

use crate::config::Config;

fn parse(keys: &str) -> Result<Config, String> {
    let text = format!("[[app]]\nname = \"shop\"\nhosts = [\"*\"]\n{keys}\n");
    Config::parse(Path::new("x.toml"), &text).map_err(|error| error.to_string())
}

#[test]
fn an_app_that_is_only_asked_has_no_upstreams() {
    let config = parse("ask_path = '/_intermission/ask'").expect("parses");
    let [app] = config.apps.as_slice() else { panic!("{config:?}") };
    assert!(app.upstreams.is_empty() && app.is_asked_at("/_intermission/ask"));
    assert!(!app.is_asked_at("/") && !app.is_asked_at("/_intermission/ask/"));
    let text = config.print().expect("prints");
    assert_eq!(Config::parse(Path::new("x.toml"), &text).expect("parses"), config);
}

#[test]
fn a_host_may_have_several_apps_by_their_paths_and_each_place_one() {
    let two = |first: &str, second: &str| {
        let app = |name: &str, keys: &str| {
            format!("[[app]]\nname = '{name}'\n{keys}\nupstreams = ['127.0.0.1:1']\n")
        };
        let text = app("one", first) + &app("two", second);
        Config::parse(Path::new("x.toml"), &text).map_err(|error| error.to_string())
    };
    two("hosts = ['a.example']", "hosts = ['a.example']\npaths = ['/api']").expect("parses");
    for (second, said) in [
        (
            "hosts = ['a.example']",
            "`app.two.hosts`: `a.example` is already served by the app `one`",
        ),
        ("hosts = ['*.']", "`app.two.hosts`: \"*.\" is no host name"),
        ("hosts = ['*.a.*']", "is no host name"),
        ("hosts = ['www.*']", "is no host name"),
        ("hosts = ['*a.example']", "is no host name"),
        ("hosts = ['b']\npaths = []", "`app.two.paths`: is empty"),
        ("hosts = ['b']\npaths = ['api']", "`app.two.paths`: \"api\" is no path"),
        ("hosts = ['b']\npaths = ['/a?b']", "`app.two.paths`: \"/a?b\" is no path"),
    ] {
        let error = two("hosts = ['a.example']", second).expect_err(said);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn what_cannot_be_asked_or_looked_for_is_named() {
    let upstreams = "upstreams = ['127.0.0.1:1']";
    for (keys, said) in [
        ("", "`app.shop.upstreams`: is empty; write where its requests go"),
        ("ask_path = 'ask'", "`app.shop.ask_path`: \"ask\" is no path"),
        ("ask_path = '/ask?app=shop'", "`app.shop.ask_path`: \"/ask?app=shop\" is no path"),
        (
            "ask_path = '/ask'\nwarm_up = { path = '/up', host = 'a' }",
            "`app.shop.warm_up`: has no upstreams to ask",
        ),
        (&format!("{upstreams}\nhold_file = 'hold'"), "`app.shop.hold_file`: hold is not absolute"),
    ] {
        let error = parse(keys).expect_err(said);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn how_upstreams_are_chosen_and_checked_is_read_and_what_cannot_be_meant_is_named() {
    let parse =
        |keys: &str| parse(&format!("upstreams = ['127.0.0.1:1', 'app.internal:80']\n{keys}"));
    let config = parse("health = { path = '/up', host = 'a' }\nbalance = 'least-connections'")
        .expect("parses");
    let text = config.print().expect("prints");
    assert_eq!(Config::parse(Path::new("x.toml"), &text).expect("parses"), config);
    parse("try_duration = '0s'\neject = { failures = 0 }").expect("parses");
    for (keys, said) in [
        (
            "balance = 'random'",
            "unknown variant `random`, expected `round-robin` or `least-connections`",
        ),
        ("try_duration = '11m'", "`app.shop.try_duration`: 660s is out of range"),
        ("eject = { failures = 1001 }", "`app.shop.eject.failures`: 1001 is out of range"),
        ("eject = { duration = '0s' }", "`app.shop.eject.duration`: 0ns is out of range"),
        ("health = { path = 'up', host = 'a' }", "`app.shop.health.path`: \"up\" is no path"),
        (
            "health = { path = '/up' }",
            "`app.shop.health.host`: is missing, and the app's first host is no name",
        ),
        (
            "health = { path = '/up', host = 'a', rise = 0 }",
            "`app.shop.health.rise`: 0 is out of range",
        ),
        (
            "health = { path = '/up', host = 'a', fall = 0 }",
            "`app.shop.health.fall`: 0 is out of range",
        ),
        ("health = { path = '/up', host = 'a', timeout = '0s' }", "`app.shop.health.timeout`"),
    ] {
        let error = parse(keys).expect_err(said);
        assert!(error.contains(said), "{error}");
    }
    let twice = Config::parse(
        Path::new("x.toml"),
        "[[app]]\nname = 'shop'\nhosts = ['*']\nupstreams = ['127.0.0.1:1', '127.0.0.1:1']\n",
    );
    let error = twice.expect_err("twice").to_string();
    assert!(error.contains("`app.shop.upstreams`: 127.0.0.1:1 is there twice"), "{error}");
}
