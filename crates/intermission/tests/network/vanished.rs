//! The machine of a gate is gone: no packet is answered, nothing is refused.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use intermission::admin::{
    api::{AppState, AppStatus},
    client::Client,
};
use lab::network::{DEVICE, Network};
use tokio::{
    net::UnixListener,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::certificate::{Authority, write};

const DEADLINE: Duration = Duration::from_secs(20);
/// The admin API's own address, so that it can vanish while the requests' stays.
const ADMIN: &str = "10.77.0.51";
const DRAIN: Duration = Duration::from_secs(9);
/// Two seconds without an acknowledgement, and a busy machine.
const NOTICED_WITHIN: Duration = Duration::from_secs(6);

fn on(exec: &[String], words: &[&str]) -> Child {
    let (program, arguments) = exec.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).args(words).stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

/// Polls the gate by its socket, which no network is between.
async fn until(gate: &Client, what: &str, is_so: impl Fn(&AppStatus) -> bool) {
    let began = Instant::now();
    loop {
        match gate.apps().await {
            Ok(apps) if is_so(&apps.apps[0]) => return,
            state => assert!(began.elapsed() < DEADLINE, "waited in vain for {what}: {state:?}"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

fn write_configurations(authority: &Authority, gate: &str, path: &Path) {
    let text = format!(
        "[gate]\nlisten = [\"{gate}:8080\"]\nadmin_socket = {:?}\nstate_dir = {:?}\n{}\n\
         [[app]]\nname = \"shop\"\nhosts = [\"*\"]\nupstreams = [\"unix:{}\"]\n",
        path.join("admin.sock"),
        path.join("state"),
        authority.serving(&format!("{ADMIN}:7443"), "gate"),
        path.join("upstream.sock").display(),
    );
    write(&path.join("gate.toml"), &text);
    let text = format!(
        "[swap]\napps = [\"shop\"]\nendpoint = {{ command = [\"true\"] }}\ngates = [{}]\n",
        authority.swap_gate(&format!("{ADMIN}:7443"))
    );
    write(&path.join("swap.toml"), &text);
}

#[tokio::test]
async fn a_gate_whose_machine_vanishes_in_the_drain_is_given_up_soon_and_obeys_its_lease() {
    let network = Network::start(2).await.unwrap();
    let [swaps, serves] = network.hosts.as_slice() else { panic!("two hosts") };
    let admin = format!("{ADMIN}/24");
    serves.ip(&["addr", "add", &admin, "dev", DEVICE]).await.unwrap();
    let authority = Authority::new();
    authority.issue("gate", ADMIN, false);
    let directory = tempfile::tempdir().unwrap();
    let (path, address) = (directory.path(), serves.address().to_string());
    write_configurations(&authority, &address, path);
    let program = env!("CARGO_BIN_EXE_intermission");
    let config = |name: &str| path.join(name).display().to_string();

    // It takes requests and answers none.
    let _upstream = UnixListener::bind(path.join("upstream.sock")).unwrap();
    let _gate = on(&serves.exec(), &[program, "-c", &config("gate.toml"), "serve"]);
    let gate = Client::new(path.join("admin.sock"));
    until(&gate, "the gate", |_| true).await;
    let request = format!(
        "exec 3<>/dev/tcp/{address}/8080; printf 'GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n' >&3; exec sleep 60"
    );
    let _slow = on(&swaps.exec(), &["bash", "-c", &request]);
    until(&gate, "a request in flight", |app| app.in_flight == 1).await;

    let (at, drain) = (format!("{ADMIN}:7443"), format!("{}s", DRAIN.as_secs()));
    let words = [program, "-c", &config("swap.toml"), "--gate", &at, "hold", "shop"];
    let words = [&words[..], &["--drain", &drain, "--lease", "10s"]].concat();
    let holder = on(&swaps.exec(), &words);
    until(&gate, "the drain", |app| app.state == AppState::Draining).await;
    serves.ip(&["addr", "del", &admin, "dev", DEVICE]).await.unwrap();
    let vanished = Instant::now();
    let ended = timeout(DEADLINE, holder.wait_with_output()).await.expect("it ends").unwrap();
    let (took, said) = (vanished.elapsed(), String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("the gate at {at} broke off")), "{said}");
    assert!(took < NOTICED_WITHIN, "{took:?}: {said}");
    println!("noticed after {took:?}: {said}");
    until(&gate, "the end of the lease", |app| app.state == AppState::Open).await;

    // Nor does anybody wait for it before a hold.
    let began = Instant::now();
    let words = [program, "-c", &config("swap.toml"), "--gate", &at, "status"];
    let ended = on(&swaps.exec(), &words).wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("does its firewall let this machine through"), "{said}");
    assert!(began.elapsed() < NOTICED_WITHIN, "{:?}", began.elapsed());
}
