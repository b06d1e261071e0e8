//! What `ip -o` prints, as far as a floating IP needs it.

use super::IpPrefix;

/// What `ip` printed: its lines, and what it complained of, ready to be put behind a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Printed {
    pub(super) lines: Vec<String>,
    pub(super) complaints: String,
}

impl Printed {
    /// Every line about a link or an address begins with the link's number or, of a route, with the address; complaints
    /// begin with a word.
    pub(super) fn of(all: Vec<String>) -> Self {
        let is_complaint =
            |line: &String| COMPLAINTS.iter().any(|beginning| line.starts_with(beginning));
        let (said, lines): (Vec<String>, Vec<String>) = all.into_iter().partition(is_complaint);
        let complaints =
            if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) };
        Self { lines, complaints }
    }
}

/// How `ip` begins what is wrong (iproute2 6.1 and 6.15).
const COMPLAINTS: [&str; 6] =
    ["Error", "Command failed", "RTNETLINK answers", "Cannot", "Device ", "Object "];

/// What announcing needs to know of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) mac: String,
}

/// The end of `ip`'s answer.
pub(super) fn is_loopback(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(index, rest)| {
        index.chars().all(|c| c.is_ascii_digit()) && rest.starts_with("lo: <")
    })
}

/// `2: eth0@if5: <BROADCAST,…> mtu 1500 … link/ether 0a:… brd …`
pub(super) fn parse_link(line: &str) -> Option<Link> {
    let index = line.split_once(':')?.0.parse().ok()?;
    let mac = line.split_whitespace().skip_while(|word| *word != "link/ether").nth(1)?;
    let is_mac = mac.len() == 17 && mac.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
    is_mac.then(|| Link { index, mac: mac.to_owned() })
}

/// One line of `ip -o addr show`: device, address with prefix, whether it is a secondary one.
fn parse_address(line: &str) -> Option<(&str, IpPrefix, bool)> {
    let mut words = line.split_whitespace().skip(1);
    let device = words.next()?;
    let family = words.next()?;
    let address = words.next()?;
    let address = if address.contains('/') {
        address.parse()
    } else {
        format!("{address}/{}", if family == "inet" { 32 } else { 128 }).parse()
    };
    Some((device, address.ok()?, line.contains(" secondary ")))
}

/// `10.0.0.10/32 on eth0`, if it is here.
pub(super) fn holder_of(lines: &[String], floating: IpPrefix) -> Option<String> {
    let mut addresses = lines.iter().filter_map(|line| parse_address(line));
    let (device, address, _) = addresses.find(|(_, address, _)| address.ip == floating.ip)?;
    Some(format!("{address} on {device}"))
}

/// The host's own addresses that Linux removes together with the floating one: the secondary ones of its network, where
/// it is the primary one (`promote_secondaries` aside).
pub(super) fn taken_along(lines: &[String], floating: IpPrefix) -> Vec<String> {
    let all: Vec<_> = lines.iter().filter_map(|line| parse_address(line)).collect();
    let Some((device, held, false)) = all.iter().find(|(_, address, _)| address.ip == floating.ip)
    else {
        return Vec::new();
    };
    all.iter()
        .filter(|(on, address, secondary)| {
            on == device && *secondary && address.bits == held.bits && same_network(*address, *held)
        })
        .map(|(_, address, _)| address.to_string())
        .collect()
}

fn same_network(a: IpPrefix, b: IpPrefix) -> bool {
    let bits = |prefix: IpPrefix| match prefix.ip {
        std::net::IpAddr::V4(ip) => u32::from(ip).checked_shr(32 - u32::from(prefix.bits)),
        std::net::IpAddr::V6(_) => None,
    };
    // IPv6 knows no secondary addresses of this kind.
    bits(a).is_some() && bits(a) == bits(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_link_is_read_and_nothing_else() {
        let line = "7: eth0@if6: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP mode DEFAULT \
                    group default qlen 1000\\    link/ether 8e:1f:0a:00:b2:01 brd ff:ff:ff:ff:ff:ff link-netnsid 0";
        let mac = "8e:1f:0a:00:b2:01".to_owned();
        assert_eq!(parse_link(line), Some(Link { index: 7, mac }));
        assert_eq!(
            parse_link("1: lo: <LOOPBACK> mtu 65536\\    link/loopback 00:00:00:00:00:00 brd"),
            None
        );
        assert_eq!(parse_link("Device \"eth9\" does not exist."), None);
        assert!(is_loopback("1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536"));
        assert!(!is_loopback("1: lo    inet 127.0.0.1/8 scope host lo"));
    }

    #[test]
    fn complaints_are_told_from_lines() {
        let printed = Printed::of(lines(
            "Error: ipv4: Address not found.\nCommand failed -:1\n\
             2: eth0    inet 10.0.0.10/24 scope global eth0\\ valid_lft forever\n\
             Cannot find device \"eth9\"\nDevice \"eth9\" does not exist.\nRTNETLINK answers: File exists",
        ));
        assert_eq!(printed.lines.len(), 1, "{printed:?}");
        assert!(
            printed.complaints.starts_with(": Error: ipv4: Address not found.; Command"),
            "{printed:?}"
        );
        assert_eq!(Printed::of(Vec::new()).complaints, "");
    }

    #[test]
    fn a_primary_address_takes_its_network_along() {
        let floating: IpPrefix = "10.0.0.10/24".parse().expect("an address");
        let own_first = lines(
            "2: eth0    inet 10.0.0.1/24 brd 10.0.0.255 scope global eth0\\ valid_lft forever\n\
             2: eth0    inet 10.0.0.10/24 scope global secondary eth0\\ valid_lft forever",
        );
        assert_eq!(holder_of(&own_first, floating).as_deref(), Some("10.0.0.10/24 on eth0"));
        assert!(taken_along(&own_first, floating).is_empty());
        let floating_first = lines(
            "2: eth0    inet 10.0.0.10/24 scope global eth0\\ valid_lft forever\n\
             2: eth0    inet 10.0.1.1/24 scope global secondary eth0\\ valid_lft forever\n\
             2: eth0    inet 10.0.0.1/24 scope global secondary eth0\\ valid_lft forever",
        );
        assert_eq!(taken_along(&floating_first, floating), ["10.0.0.1/24"]);
        assert_eq!(holder_of(&lines("3: eth1 inet 10.0.0.11/24"), floating), None);
    }
}
