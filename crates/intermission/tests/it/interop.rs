//! Programs of others against the gate: the cases of docs/INTEROP.md.

mod asking;
mod behind;
mod case;
mod curl;
mod fronts;
mod load;
mod websockets;

use std::process::Command;

use lab::server::lab_dir;

/// Each is a test that runs the commands of its row.
macro_rules! cases {
    ($($module:ident: $($name:ident)*;)*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $module::$name(case::Case::named(stringify!($name))).await;
            }
        )*)*
        const NAMES: &[&str] = &[$($(stringify!($name)),*),*];
    };
}

cases! {
    curl:
        curl_gets_by_http1
        curl_gets_by_http2_with_tls
        curl_gets_by_http2_in_clear_text
        curl_uploads_with_a_length
        curl_uploads_in_chunks
        curl_uploads_by_http2
        curl_waits_for_100_continue
        curl_reads_trailers
        curl_reads_trailers_by_http2
        curl_is_held_and_released
        curl_is_held_for_too_long
        curl_sends_a_proxy_header;
    load:
        wrk_notices_no_hold
        h2load_notices_no_hold
        h2load_notices_no_hold_with_tls
        h2load_notices_no_hold_by_http1;
    websockets:
        websockets_go_on_through_a_hold
        websockets_are_told_to_come_again;
    fronts:
        nginx_forwards
        nginx_sends_a_proxy_header
        haproxy_forwards_by_http2
        haproxy_sends_proxy_headers;
    asking:
        nginx_asks
        caddy_asks;
    behind:
        gunicorn_closes_every_connection
        gunicorn_listens_on_a_socket
        puma_keeps_connections
        php_is_behind_nginx;
}

#[test]
fn the_manual_has_every_case_and_no_other() {
    let rows = case::MANUAL.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows: Vec<_> = rows.map(|(name, _)| name).collect();
    assert_eq!(rows, NAMES);
}

#[test]
fn the_manual_has_the_versions_of_what_was_unpacked() {
    for (title, command) in [
        ("wrk 4.1", "wrk -v"),
        ("nghttp2 1.64", "h2load --version"),
        ("websockets 15.0", "python3 -m websockets --version"),
        ("nginx 1.26", "nginx -v"),
        ("gunicorn 23.0", "gunicorn --version"),
        ("Puma 6.6", "puma --version"),
        ("PHP-FPM 8.4", "php-fpm -v"),
    ] {
        let (_, version) = title.split_once(' ').unwrap();
        let mut titles = case::MANUAL.lines().filter(|line| line.starts_with("### "));
        assert!(titles.any(|line| line.contains(title)), "{title} is in no title");
        let words: Vec<_> = command.split(' ').collect();
        let program = lab_dir().join("bin").join(words[0]);
        let output = Command::new(program).args(&words[1..]).output().expect("run scripts/servers");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(version), "docs/INTEROP.md says {title}, but {command}: {said}");
    }
}
