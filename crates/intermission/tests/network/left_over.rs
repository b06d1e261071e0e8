//! Connections that a host could not say goodbye to, because the address was gone from it.

use std::process::Stdio;

use intermission::swap::endpoint::Endpoint;
use lab::network::{Host, Network};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Duration, Instant, timeout},
};

use crate::address::{address, floating};

const PATIENCE: Duration = Duration::from_secs(10);
/// A client's packets that nobody answers are sent again for minutes; a reset comes at once.
const AT_ONCE: Duration = Duration::from_secs(3);
/// Both ends of every connection of the test have the same ports, as two of a busy client's have sooner or later.
const PORT: u16 = 7777;
const CLIENT_PORT: u16 = 45_999;

/// Answers each byte on one connection after another; told something, it closes the one there is.
const SERVER: &str = r#"
    use IO::Socket::INET; use IO::Select; $| = 1;
    my $l = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1) or die "listen: $!";
    my $s = IO::Select->new($l, \*STDIN); my $c; print "ready\n";
    while (1) { for my $h ($s->can_read) {
        if ($h == $l) { $c = $l->accept; $s->add($c); }
        elsif ($h == \*STDIN) { sysread(STDIN, my $b, 100) or exit; $s->remove($c); $c->shutdown(2); close $c; print "closed\n"; }
        else { my $n = sysread($h, my $b, 1); if ($n) { syswrite($h, $b) } else { $s->remove($h); close $h } }
    } }
"#;
/// Connects when told "connect", closes when told "close", otherwise sends a byte and says what comes back.
const CLIENT: &str = r#"
    use IO::Socket::INET; $| = 1; my $c; $SIG{PIPE} = "IGNORE"; print "ready\n";
    while (my $order = <STDIN>) {
        if ($order eq "connect\n") { $c = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => $ARGV[1],
            LocalPort => $ARGV[2], ReuseAddr => 1, Timeout => 5); print $c ? "connected\n" : "failed: $!\n"; }
        elsif ($order eq "close\n") { setsockopt($c, SOL_SOCKET, SO_LINGER, pack("ii", 1, 0)); close $c; print "closed\n"; }
        else { my $n = syswrite($c, "x") && sysread($c, my $b, 1); print $n ? "answered\n" : "ended\n"; }
    }
"#;

pub(crate) struct Program {
    _child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Program {
    pub(crate) async fn start(host: &Host, script: &str, arguments: &[String]) -> Self {
        let exec = host.exec();
        let mut child = Command::new(&exec[0])
            .args(&exec[1..])
            .args(["perl", "-e", script])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut program = Self { _child: child, stdin, stdout };
        assert_eq!(program.hear().await, "ready");
        program
    }

    pub(crate) async fn hear(&mut self) -> String {
        let line = timeout(PATIENCE, self.stdout.next_line()).await.expect("it answers");
        line.unwrap().expect("it lives")
    }

    pub(crate) async fn tell(&mut self, order: &str) -> String {
        self.stdin.write_all(format!("{order}\n").as_bytes()).await.unwrap();
        self.hear().await
    }
}

/// Linux before 6.11 lets nobody end a connection whose program has closed it.
fn forgets_all() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(11))
}

#[tokio::test]
async fn what_is_left_of_a_connection_does_not_swallow_another() {
    let network = Network::start(3).await.unwrap();
    let prefix = Network::floating_prefix();
    let endpoint = floating(&network, &prefix);
    let port = vec![PORT.to_string()];
    let mut servers = [
        Program::start(&network.hosts[0], SERVER, &port).await,
        Program::start(&network.hosts[1], SERVER, &port).await,
    ];
    let arguments = [Network::floating().to_string(), PORT.to_string(), CLIENT_PORT.to_string()];
    let mut client = Program::start(&network.hosts[2], CLIENT, &arguments).await;
    assert_eq!(client.tell("connect").await, "connected");
    assert_eq!(client.tell("send").await, "answered");
    // There and back, as a swap does it: the server ends its connections when the address is gone.
    for (old, new) in [(0, 1), (1, 0)] {
        endpoint.prepare(&address(old), &address(new)).await.unwrap();
        endpoint.withdraw(&address(old)).await.unwrap();
        if old == 0 {
            assert_eq!(servers[old].tell("close").await, "closed");
        }
        endpoint.point(&address(new), &address(old)).await.unwrap();
        if old == 0 {
            // The client goes on with the other host, and happens to have the same port again.
            assert_eq!(client.tell("close").await, "closed");
            assert_eq!(client.tell("connect").await, "connected");
            assert_eq!(client.tell("send").await, "answered");
        }
    }
    if forgets_all() {
        let began = Instant::now();
        assert_eq!(client.tell("send").await, "ended", "it was another host's");
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    }
    assert_eq!(client.tell("close").await, "closed");
    assert_eq!(client.tell("connect").await, "connected");
    assert_eq!(client.tell("send").await, "answered");
}
