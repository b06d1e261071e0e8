//! The address alone: moved, announced, asked for.

use std::time::Duration;

use intermission::swap::{
    endpoint::{Endpoint, FloatingIp, Host},
    observation::{Address, FloatingIpView, HostFound},
};
use lab::network::{DEVICE, Network};
use tokio::time::{Instant, sleep};

const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the neighbours may take to hear of it.
const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const IPV6: &str = "fd77::100/128";

pub(crate) fn address(index: usize) -> Address {
    Address { host: format!("10.77.0.{}", index + 1), port: 3306 }
}

pub(crate) fn floating(network: &Network, prefix: &str) -> FloatingIp {
    asked_from(network, prefix, 2)
}

/// The neighbours are asked from that host.
fn asked_from(network: &Network, prefix: &str, host: usize) -> FloatingIp {
    let hosts = (0..2).map(|index| Host {
        server: format!("db{}", index + 1),
        address: address(index),
        device: DEVICE.to_owned(),
        exec: network.hosts[index].exec(),
    });
    let probe = network.hosts[host].exec();
    FloatingIp::new(prefix.parse().unwrap(), hosts.collect(), probe, TIMEOUT)
}

async fn look(endpoint: &FloatingIp) -> FloatingIpView {
    let view = endpoint.observe().await;
    assert!(view.refusals.is_empty(), "{:?}", view.refusals);
    view.floating_ip.expect("a floating IP")
}

fn found(view: &FloatingIpView, index: usize) -> &HostFound {
    view.hosts[index].found.as_ref().expect("an answer")
}

fn holders(view: &FloatingIpView) -> [bool; 2] {
    [0, 1].map(|index| found(view, index).holds_on.is_some())
}

/// What the client believes to be the hardware address behind an address.
async fn believed(network: &Network, ip: &str) -> String {
    let shown = network.hosts[2].ip(&["neigh", "show", ip]).await.unwrap();
    let mac = shown.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
    mac.unwrap_or_default().to_owned()
}

/// A client that is sure of the old primary's hardware address, as after a conversation a moment ago.
async fn believe(network: &Network, ip: &str, mac: &str) {
    let sure = ["neigh", "replace", ip, "lladdr", mac, "dev", DEVICE, "nud", "reachable"];
    network.hosts[2].ip(&sure).await.unwrap();
}

async fn comes_to_believe(network: &Network, ip: &str, mac: &str) {
    let deadline = Instant::now() + PATIENCE;
    while believed(network, ip).await != mac {
        let now = believed(network, ip).await;
        assert!(Instant::now() < deadline, "the client still believes in {now} and not in {mac}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn f27_a_client_with_a_stale_neighbour_learns_of_the_move() {
    let network = Network::start(3).await.unwrap();
    for prefix in [Network::floating_prefix().as_str(), IPV6] {
        let ip = prefix.split('/').next().unwrap();
        let endpoint = floating(&network, prefix);
        if prefix == IPV6 {
            network.hosts[0].ip(&["addr", "add", prefix, "dev", DEVICE, "nodad"]).await.unwrap();
        }
        let view = look(&endpoint).await;
        assert_eq!(holders(&view), [true, false], "{view:?}");
        let macs = [0, 1].map(|index| found(&view, index).mac.clone());
        assert_eq!(view.answers.as_deref(), Ok([macs[0].clone()].as_slice()), "{prefix}");

        endpoint.prepare(&address(0), &address(1)).await.unwrap();
        believe(&network, ip, &macs[0]).await;
        endpoint.withdraw(&address(0)).await.unwrap();
        assert_eq!(holders(&look(&endpoint).await), [false, false]);
        let said = endpoint.point(&address(1), &address(0)).await.unwrap();
        assert_eq!(said, "");
        comes_to_believe(&network, ip, &macs[1]).await;
        let view = look(&endpoint).await;
        assert_eq!(holders(&view), [false, true]);
        assert_eq!(view.answers.as_deref(), Ok([macs[1].clone()].as_slice()), "{prefix}");

        // All of it again changes nothing, and so does the way back.
        endpoint.withdraw(&address(0)).await.unwrap();
        endpoint.point(&address(1), &address(0)).await.unwrap();
        assert_eq!(holders(&look(&endpoint).await), [false, true]);
        endpoint.give_back(&address(0), &address(1)).await.unwrap();
        comes_to_believe(&network, ip, &macs[0]).await;
        assert_eq!(holders(&look(&endpoint).await), [true, false]);
    }
}

#[tokio::test]
async fn f27_whoever_else_has_the_address_is_seen() {
    let network = Network::start(4).await.unwrap();
    let prefix = Network::floating_prefix();
    let endpoint = floating(&network, &prefix);
    let mac = found(&look(&endpoint).await, 0).mac.clone();
    let stranger = &network.hosts[3];
    stranger.ip(&["addr", "add", &prefix, "dev", DEVICE]).await.unwrap();
    let answers = look(&endpoint).await.answers.expect("asked");
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(answers.contains(&mac), "{answers:?}");
    stranger.ip(&["addr", "del", &prefix, "dev", DEVICE]).await.unwrap();
    network.hosts[1].ip(&["addr", "add", &prefix, "dev", DEVICE]).await.unwrap();
    let view = look(&endpoint).await;
    assert_eq!(holders(&view), [true, true]);
    // Asked from a host that has it, nobody can be asked.
    assert!(look(&asked_from(&network, &prefix, 0)).await.answers.is_err());
}

#[tokio::test]
async fn an_address_that_takes_others_along_is_seen() {
    let network = Network::start(3).await.unwrap();
    let prefix = Network::floating_prefix();
    let endpoint = floating(&network, &prefix);
    assert!(found(&look(&endpoint).await, 0).takes_along.is_empty());
    let host = &network.hosts[0];
    let own = format!("{}/24", host.address());
    host.ip(&["addr", "del", &prefix, "dev", DEVICE]).await.unwrap();
    host.ip(&["addr", "del", &own, "dev", DEVICE]).await.unwrap();
    host.ip(&["addr", "add", &prefix, "dev", DEVICE]).await.unwrap();
    host.ip(&["addr", "add", &own, "dev", DEVICE]).await.unwrap();
    let promote = |value: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{DEVICE}/promote_secondaries");
        ["sh".to_owned(), "-c".to_owned(), format!("echo {value} >{path}")]
    };
    host.run(&promote("0").each_ref().map(String::as_str)).await.unwrap();
    let all = "echo 0 >/proc/sys/net/ipv4/conf/all/promote_secondaries";
    host.run(&["sh", "-c", all]).await.unwrap();
    assert_eq!(found(&look(&endpoint).await, 0).takes_along, std::slice::from_ref(&own));
    host.run(&promote("1").each_ref().map(String::as_str)).await.unwrap();
    assert!(found(&look(&endpoint).await, 0).takes_along.is_empty());
    endpoint.withdraw(&address(0)).await.unwrap();
    let left = host.ip(&["-o", "addr", "show", "dev", DEVICE]).await.unwrap();
    assert!(left.contains(&own) && !left.contains(&prefix), "{left}");
}

#[tokio::test]
async fn a_host_that_cannot_be_asked_is_named_with_the_way_there() {
    let network = Network::start(3).await.unwrap();
    let host = |exec: &[&str], device: &str| Host {
        server: "db1".to_owned(),
        address: address(0),
        device: device.to_owned(),
        exec: exec.iter().map(|word| (*word).to_owned()).collect(),
    };
    let exec = network.hosts[0].exec();
    let reached: Vec<&str> = exec.iter().map(String::as_str).collect();
    for (host, words) in [
        (host(&["/nonexistent/ssh"], DEVICE), "No such file"),
        (host(&["sh", "-c", "echo Permission denied >&2; exit 255"], DEVICE), "Permission denied"),
        (host(&reached, "eth7"), "eth7"),
    ] {
        let prefix = Network::floating_prefix().parse().unwrap();
        let endpoint = FloatingIp::new(prefix, vec![host], network.hosts[2].exec(), TIMEOUT);
        let view = look(&endpoint).await;
        let error = view.hosts[0].found.as_ref().expect_err(words);
        assert!(error.contains(words) && error.contains("db1"), "{error}");
    }
}

#[tokio::test]
async fn an_address_that_comes_back_while_it_moves_is_not_taken_for_moved() {
    let network = Network::start(3).await.unwrap();
    let prefix = Network::floating_prefix();
    // On another device than the configured one, where "addr del" does not find it.
    let host = &network.hosts[0];
    host.ip(&["addr", "del", &prefix, "dev", DEVICE]).await.unwrap();
    host.ip(&["addr", "add", &prefix, "dev", "lo"]).await.unwrap();
    let endpoint = floating(&network, &prefix);
    let error = endpoint.withdraw(&address(0)).await.expect_err("it is still there");
    assert!(error.to_string().contains("still there"), "{error}");
    assert!(error.to_string().contains("Address not found"), "{error}");
}

/// What the announcer has to say is said at once, and the next order is heard.
#[tokio::test]
async fn an_announcement_that_fails_says_why_and_the_next_one_works() {
    let network = Network::start(3).await.unwrap();
    let endpoint = floating(&network, IPV6);
    endpoint.prepare(&address(0), &address(1)).await.unwrap();
    // Without IPv6 on the device there is nothing to announce it by.
    let off = |value: &str| format!("echo {value} >/proc/sys/net/ipv6/conf/{DEVICE}/disable_ipv6");
    network.hosts[1].run(&["sh", "-c", &off("1")]).await.unwrap();
    let began = Instant::now();
    let error = endpoint.point(&address(1), &address(0)).await.expect_err("no IPv6");
    assert!(error.to_string().contains("db2: cannot put"), "{error}");
    network.hosts[1].run(&["sh", "-c", &off("0")]).await.unwrap();
    endpoint.point(&address(1), &address(0)).await.unwrap();
    network.hosts[1].ip(&["link", "set", DEVICE, "down"]).await.unwrap();
    let error = endpoint.point(&address(1), &address(0)).await.expect_err("the device is down");
    assert!(error.to_string().contains("db2: cannot announce"), "{error}");
    assert!(began.elapsed() < TIMEOUT, "it waited for an answer: {error}");
}
