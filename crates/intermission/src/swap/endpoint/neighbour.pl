# Talks to the neighbours on one link about an IP address: ARP for IPv4, neighbour discovery for IPv6; and to the kernel about its connections.
# One command a line: WHAT INTERFACE-INDEX HARDWARE-ADDRESS IP
#   announce   says that the address is here, now and some more times in the background, as long as it is here
#   ask        prints the hardware address of everybody who says that it is with him
#   remember   looks which TCP connections there are by the address
#   cut        ends those that were remembered, and prints how many
# Ends every answer with a line "done"; what went wrong is a line "failed: WHY" before it. No single quotes in here: it travels in them.
use strict;
use Socket qw(:DEFAULT inet_pton AF_INET6 pack_sockaddr_in6);

my @REPEATS = (0.1, 0.3, 0.7, 1.2, 2);
my ($ASKED, $ASK_S) = (2, 0.25);
my ($PACKET, $ETH_ARP, $ICMP6, $IPV6) = (17, 0x0806, 58, 41);
my ($HOPS, $OUT) = (18, 17);
# Of sock_diag(7), and of linux/inet_diag.h and linux/tcp_states.h.
my ($NETLINK, $SOCK_DIAG, $BY_FAMILY, $DESTROY, $ERROR, $DONE) = (16, 4, 20, 21, 2, 3);
my ($REQUEST, $ACKNOWLEDGED, $DUMP, $BYTECODE, $SOURCE_IS) = (1, 4, 0x300, 1, 7);
# Neither closed (6 and 7) nor listening (10).
my ($TCP, $CONNECTED) = (6, 0xfff & ~(1 << 6 | 1 << 7 | 1 << 10));
my $ANSWER_MAX = 65536;

sub link_address { my ($index, $hw) = @_; pack("S n i S C C a8", $PACKET, $ETH_ARP, $index, 1, 0, 6, $hw) }

sub arp {
    my ($index) = @_;
    socket(my $link, $PACKET, SOCK_RAW, unpack("S", pack("n", $ETH_ARP))) or die "socket: $!\n";
    bind($link, link_address($index, "")) or die "bind: $!\n";
    $link;
}

# Sends only, and stays open: Linux takes 10 ms and more to close such a socket.
my $arp_sender;
sub arp_sender {
    if (!$arp_sender) { socket($arp_sender, $PACKET, SOCK_RAW, 0) or die "socket: $!\n" }
    $arp_sender;
}

sub arp_frame {
    my ($kind, $hw, $from, $to) = @_;
    my $all = "\xff" x 6;
    pack("a6 a6 n n n C C n a6 a4 a6 a4", $all, $hw, $ETH_ARP, 1, 0x0800, 6, 4, $kind, $hw, $from,
        $kind == 2 ? $all : "\0" x 6, $to);
}

sub icmp6 {
    my ($index) = @_;
    socket(my $link, AF_INET6, SOCK_RAW, $ICMP6) or die "socket: $!\n";
    setsockopt($link, $IPV6, $HOPS, pack("i", 255)) or die "hop limit: $!\n";
    setsockopt($link, $IPV6, $OUT, pack("i", $index)) or die "interface: $!\n";
    $link;
}

# What to call to announce once.
sub announcer {
    my ($index, $hw, $ip) = @_;
    if (my $address = inet_pton(AF_INET, $ip)) {
        my ($link, $to) = (arp_sender(), link_address($index, "\xff" x 6));
        return sub {
            for my $kind (1, 2) { send($link, arp_frame($kind, $hw, $address, $address), 0, $to) or die "send: $!\n" }
        };
    }
    my $address = inet_pton(AF_INET6, $ip) or die "not an address: $ip\n";
    my $link = icmp6($index);
    bind($link, pack_sockaddr_in6(0, $address)) or die "bind: $!\n";
    my $to = pack_sockaddr_in6(0, inet_pton(AF_INET6, "ff02::1"), $index);
    my $advertisement = pack("C C n N a16 C C a6", 136, 0, 0, 0x20000000, $address, 2, 1, $hw);
    return sub { send($link, $advertisement, 0, $to) or die "send: $!\n" };
}

# Announces again what it is told of, in a process of its own that outlives its session and that nobody waits for. Started before
# anybody waits: a fork takes long. Gives the pipe by which it is told: INTERFACE-INDEX HARDWARE-ADDRESS IP.
sub repeater {
    pipe(my $orders, my $pipe) or die "pipe: $!\n";
    my $child = fork;
    die "fork: $!\n" unless defined $child;
    return $pipe if $child;
    close $pipe;
    $SIG{HUP} = "IGNORE";
    open($_, "+<", "/dev/null") for *STDIN, *STDOUT, *STDERR;
    while (my $line = <$orders>) { repeat(split " ", $line) }
    exit 0;
}

sub repeat {
    my ($index, $mac, $ip) = @_;
    for my $pause (@REPEATS) {
        select(undef, undef, undef, $pause);
        # It may have moved on: then whoever has it now announces it.
        last unless `ip -o addr show to $ip`;
        eval { announcer($index, bytes_of($mac), $ip)->(); 1 } or last;
    }
}

sub bytes_of { (my $hw = $_[0]) =~ tr/://d; pack("H12", $hw) }

sub ask {
    my ($index, $hw, $ip) = @_;
    my ($link, $question, $to, $hear);
    if (my $address = inet_pton(AF_INET, $ip)) {
        $link = arp($index);
        ($question, $to) = (arp_frame(1, $hw, "\0" x 4, $address), link_address($index, "\xff" x 6));
        $hear = sub {
            my ($from_hw, $from) = unpack("x22 a6 a4", $_[0]);
            $from eq $address ? $from_hw : undef;
        };
    } else {
        my $address = inet_pton(AF_INET6, $ip) or die "not an address: $ip\n";
        $link = icmp6($index);
        my $group = inet_pton(AF_INET6, "ff02::1:ff00:0");
        substr($group, 13) = substr($address, 13);
        $to = pack_sockaddr_in6(0, $group, $index);
        $question = pack("C C n N a16 C C a6", 135, 0, 0, 0, $address, 1, 1, $hw);
        $hear = sub {
            my ($type, $target, $option, $from_hw) = unpack("C x7 a16 C x a6", $_[0]);
            $type == 136 && $target eq $address && $option == 2 ? $from_hw : undef;
        };
    }
    my %heard;
    for (1 .. $ASKED) {
        send($link, $question, 0, $to) or die "send: $!\n";
        my $left = $ASK_S;
        while ($left > 0) {
            my $ready = "";
            vec($ready, fileno($link), 1) = 1;
            (my $found, $left) = select($ready, undef, undef, $left);
            last unless $found > 0;
            recv($link, my $frame, 2048, 0);
            next if length $frame < 32;
            my $from = $hear->($frame);
            $heard{join ":", unpack("(H2)*", $from)} = 1 if defined $from;
        }
    }
    print "$_\n" for sort keys %heard;
    return;
}

sub tell_kernel {
    my ($diag, $type, $flags, $words) = @_;
    send($diag, pack("L S S L L a*", 16 + length $words, $type, $REQUEST | $flags, 1, 0, $words), 0) or die "send: $!\n";
}

sub hear_kernel {
    my ($diag) = @_;
    defined(recv($diag, my $said, $ANSWER_MAX, 0)) or die "recv: $!\n";
    $said;
}

# A connection that came by IPv4 to a socket of IPv6 is one of that family, and found all the same.
my @connections;
sub remember {
    my ($ip) = @_;
    my $address = inet_pton(AF_INET, $ip) || inet_pton(AF_INET6, $ip) or die "not an address: $ip\n";
    my $length = length $address;
    my $filter = pack("C C S C C x2 l a*", $SOURCE_IS, 12 + $length, 16 + $length,
        $length == 4 ? AF_INET : AF_INET6, 8 * $length, -1, $address);
    socket(my $diag, $NETLINK, SOCK_RAW, $SOCK_DIAG) or die "socket: $!\n";
    @connections = ();
    for my $family (AF_INET, AF_INET6) {
        tell_kernel($diag, $BY_FAMILY, $DUMP, pack("C C x2 L x48 S S a*", $family, $TCP, $CONNECTED, 4 + length $filter, $BYTECODE, $filter));
        my $more = 1;
        while ($more) {
            my $said = hear_kernel($diag);
            while ($more && length $said >= 16) {
                my ($size, $type) = unpack("L S", $said);
                if ($type == $ERROR) { $! = -unpack("x16 l", $said); die "list connections: $!\n" }
                $more = 0 if $type == $DONE || $size < 16;
                push @connections, pack("C C x2 L a48", $family, $TCP, ~0 & 0xffffffff, substr($said, 20, 48)) if $type == $BY_FAMILY;
                substr($said, 0, ($size + 3) & ~3, "") if $more;
            }
        }
    }
    return;
}

sub cut {
    socket(my $diag, $NETLINK, SOCK_RAW, $SOCK_DIAG) or die "socket: $!\n";
    my $count = 0;
    for my $connection (splice @connections) {
        tell_kernel($diag, $DESTROY, $ACKNOWLEDGED, $connection);
        # One that is gone is none any more.
        $count++ if unpack("x16 l", hear_kernel($diag)) == 0;
    }
    print "$count\n";
    return;
}

my %DO = (
    announce => sub { announcer(@_)->() },
    ask => \&ask,
    remember => sub { remember($_[2]) },
    cut => \&cut,
);
$| = 1;
$SIG{$_} = "IGNORE" for qw(CHLD PIPE);
eval { arp_sender() };
my $repeater = eval { repeater() };
print "done\n";
while (my $line = <STDIN>) {
    my ($what, $index, $mac, $ip) = split " ", $line;
    my $done = eval { $DO{$what}->($index, bytes_of($mac), $ip); 1 };
    if (!$done) { chomp(my $why = $@); $why =~ tr/\n/ /; print "failed: $why\n" }
    print "done\n";
    syswrite($repeater, "$index $mac $ip\n") if $repeater && $done && $what eq "announce";
}
