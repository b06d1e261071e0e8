//! nginx and HAProxy as they are without much ado: what they refuse is what they refuse by default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::server::lab_dir;

use super::PATIENCE;
use crate::it::web_server::WebServer;

pub(crate) fn nginx_program() -> PathBuf {
    lab_dir().join("bin/nginx")
}

pub(crate) fn haproxy_program() -> PathBuf {
    lab_dir().join("haproxy/usr/sbin/haproxy")
}

pub(crate) async fn nginx(upstream: SocketAddr, http2: bool) -> WebServer {
    let text = |address, folder: &Path| nginx_conf(address, folder, upstream, http2);
    WebServer::start(&nginx_program(), &["-e", "stderr", "-c"], text).await
}

pub(crate) async fn haproxy(upstream: SocketAddr, http2: bool) -> WebServer {
    let text = |address, _: &Path| haproxy_conf(address, upstream, http2);
    WebServer::start(&haproxy_program(), &["-db", "-f"], text).await
}

/// Both versions, as the table names them.
pub(crate) fn versions() -> String {
    let said = |program: PathBuf, before: &str| {
        let output = Command::new(program).arg("-v").output().expect("run scripts/servers");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let version = said.split(before).nth(1).expect("a version").split_whitespace().next();
        version.unwrap().to_owned()
    };
    let nginx = said(nginx_program(), "nginx/");
    let haproxy = said(haproxy_program(), "version ");
    format!("nginx {nginx} and HAProxy {haproxy}")
}

/// Clients that wait for nothing are waited for as long as the gate does.
fn nginx_conf(address: SocketAddr, folder: &Path, upstream: SocketAddr, http2: bool) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|name| format!("{name}_temp_path {}/{name};", folder.display()));
    format!(
        "daemon off; pid {}/pid; worker_processes 1; {}\nevents {{ worker_connections 4096; }}\n\
         http {{ access_log off; {}\n client_header_timeout {PATIENCE}; client_body_timeout {PATIENCE};\n \
         send_timeout {PATIENCE}; keepalive_timeout {PATIENCE}; lingering_timeout {PATIENCE};\n \
         lingering_time {PATIENCE};\n server {{ listen {address}{};\n location / {{ proxy_pass http://{upstream};\n \
         proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Connection \"\"; }} }} }}\n",
        folder.display(),
        if rustix::process::getuid().is_root() { "user root;" } else { "" },
        temporary.concat(),
        if http2 { " http2" } else { "" },
    )
}

fn haproxy_conf(address: SocketAddr, upstream: SocketAddr, http2: bool) -> String {
    format!(
        "defaults\n mode http\n timeout connect 5s\n timeout server 10s\n timeout client {PATIENCE}\n \
         timeout http-request {PATIENCE}\n timeout http-keep-alive {PATIENCE}\n\
         frontend in\n bind {address}{}\n default_backend out\nbackend out\n server one {upstream}\n",
        if http2 { " proto h2" } else { "" }
    )
}
