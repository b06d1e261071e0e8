//! Connections by the address are ended where it was, and no others.

use std::time::Duration;

use intermission::swap::endpoint::{Endpoint, FloatingIp, Host};
use lab::network::{DEVICE, Network};
use tokio::process::Command;

use crate::{
    address::{IPV6, address, floating},
    left_over::Program,
};

const PORT: &str = "7778";
const PATIENCE: Duration = Duration::from_secs(5);
/// Listens for IPv4 and IPv6 with one socket, as the database servers do; answers each byte, and says how a connection broke.
const SERVER: &str = r#"
    use IO::Socket::IP; use IO::Select; $| = 1;
    my $l = IO::Socket::IP->new(LocalHost => "::", V6Only => 0, LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1) or die "listen: $@";
    my $s = IO::Select->new($l, \*STDIN); print "ready\n";
    while (1) { for my $h ($s->can_read) {
        if ($h == $l) { $s->add($l->accept) }
        elsif ($h == \*STDIN) { sysread(STDIN, my $b, 100) or exit; print "open ", $s->count - 2, "\n" }
        else { my $n = sysread($h, my $b, 1); if ($n) { syswrite($h, $b) } else { print "broke: $!\n"; $s->remove($h); close $h } }
    } }
"#;
/// Connects, and then sends a byte for each line and says what comes back.
const CLIENT: &str = r#"
    use IO::Socket::IP; $| = 1; my $c = IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => $ARGV[1], Timeout => 5) or die "connect: $@";
    print "ready\n";
    while (<STDIN>) { my $n = syswrite($c, "x") && sysread($c, my $b, 1); print $n ? "answered\n" : "ended\n" }
"#;

#[tokio::test]
async fn connections_by_the_address_are_cut_and_others_are_not() {
    let network = Network::start(3).await.unwrap();
    network.hosts[0].ip(&["addr", "add", IPV6, "dev", DEVICE, "nodad"]).await.unwrap();
    let mut server = Program::start(&network.hosts[0], SERVER, &[PORT.to_owned()]).await;
    let own = network.hosts[0].address().to_string();
    let prefixes = [Network::floating_prefix(), IPV6.to_owned()];
    let mut clients = Vec::new();
    for by in prefixes.iter().chain([&own]).map(|by| by.split('/').next().unwrap().to_owned()) {
        let mut client = Program::start(&network.hosts[2], CLIENT, &[by, PORT.to_owned()]).await;
        assert_eq!(client.tell("send").await, "answered");
        clients.push(client);
    }
    for (prefix, left) in prefixes.iter().zip([2, 1]) {
        let endpoint = floating(&network, prefix);
        assert_eq!(endpoint.cut(&address(0)).await, 0, "nothing was prepared");
        endpoint.prepare(&address(0), &address(1)).await.unwrap();
        assert_eq!(endpoint.cut(&address(0)).await, 0, "nothing was looked at");
        endpoint.remember(&address(0)).await.unwrap();
        endpoint.withdraw(&address(0)).await.unwrap();
        assert_eq!(endpoint.cut(&address(0)).await, 1, "{prefix}");
        assert_eq!(server.hear().await, "broke: Software caused connection abort");
        assert_eq!(server.tell("count").await, format!("open {left}"));
        assert_eq!(endpoint.cut(&address(0)).await, 0, "{prefix} again");
    }
    assert_eq!(clients[2].tell("send").await, "answered");
    assert_eq!(server.tell("count").await, "open 1");
}

/// Behind the look a way back announces the address, and users wait for that.
#[tokio::test]
async fn an_announcer_that_is_lost_before_the_hold_is_started_again() {
    let network = Network::start(3).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let noting = format!("echo $$ >>{}; exec \"$@\"", started.display());
    let mut exec = ["sh", "-c", &noting, "sh"].map(str::to_owned).to_vec();
    exec.extend(network.hosts[0].exec());
    let hosts = [(0, exec), (1, network.hosts[1].exec())].map(|(index, exec)| Host {
        server: format!("db{}", index + 1),
        address: address(index),
        device: DEVICE.to_owned(),
        exec,
    });
    let prefix = Network::floating_prefix().parse().unwrap();
    let endpoint = FloatingIp::new(prefix, hosts.to_vec(), network.hosts[2].exec(), PATIENCE);
    endpoint.prepare(&address(0), &address(1)).await.unwrap();
    let pids = || std::fs::read_to_string(&started).unwrap();
    let before = pids().lines().count();
    let announcer = pids().lines().last().unwrap().to_owned();
    let kill = Command::new("kill").args(["-KILL", &announcer]).status().await.unwrap();
    assert!(kill.success());
    endpoint.remember(&address(0)).await.unwrap();
    assert_eq!(pids().lines().count(), before + 1, "one program is started again");
    endpoint.withdraw(&address(0)).await.unwrap();
    endpoint.give_back(&address(0), &address(1)).await.unwrap();
    assert_eq!(pids().lines().count(), before + 1, "and none while users wait");
}
