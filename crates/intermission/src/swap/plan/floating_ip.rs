//! What is checked of the floating IP: that clients reach the old primary by it, and nobody else.

use super::Side;
use crate::swap::{
    observation::{FloatingIpView, HostFound, HostView},
    refusal::{Code, Refusal},
};

/// Where the floating IP is, and whose hosts a swap has no need of.
#[derive(Debug)]
pub(super) struct Look<'a> {
    pub(super) view: &'a FloatingIpView,
    /// The names of the siblings.
    pub(super) siblings: Vec<&'a str>,
}

impl Look<'_> {
    fn is_needed(&self, host: &HostView) -> bool {
        !self.siblings.contains(&host.server.as_str())
    }

    /// What is wrong with the two hosts, whoever is the primary.
    pub(super) fn check_hosts(&self) -> Vec<Refusal> {
        let address = &self.view.address;
        let mut refusals = Vec::new();
        for host in self.view.hosts.iter().filter(|host| self.is_needed(host)) {
            match &host.found {
                Err(reason) => refusals.push(unseen(host, address, reason)),
                Ok(found) => refusals.extend(check_host(&host.server, found, address)),
            }
        }
        refusals
    }

    /// That it is on the old primary and nowhere else.
    pub(super) fn check_place(&self, old: &Side<'_>) -> Option<Refusal> {
        let needed = self.view.hosts.iter().filter(|host| self.is_needed(host));
        let all_seen = needed.clone().all(|host| host.found.is_ok());
        check_place(old, self.view, all_seen)
    }

    pub(super) fn warn(&self) -> Vec<Refusal> {
        let siblings = self.view.hosts.iter().filter(|host| !self.is_needed(host));
        let unseen = siblings.filter_map(|host| {
            let reason = host.found.as_ref().err()?;
            Some(unseen(host, &self.view.address, reason))
        });
        warn(self.view).into_iter().chain(unseen).collect()
    }
}

fn unseen(host: &HostView, address: &str, reason: &str) -> Refusal {
    Refusal::new(
        Code::FloatingIpUnknown,
        format!("whether {} has the floating IP {address} cannot be seen: {reason}", host.server),
        "correct exec and device of that server, or let this machine run commands there",
    )
}

fn check_place(old: &Side<'_>, view: &FloatingIpView, all_seen: bool) -> Option<Refusal> {
    let address = &view.address;
    let holders: Vec<(&str, &HostFound)> = view
        .hosts
        .iter()
        .filter_map(|host| Some((host.server.as_str(), host.found.as_ref().ok()?)))
        .filter(|(_, found)| found.holds_on.is_some())
        .collect();
    match holders.as_slice() {
        [(name, found)] if *name == old.seen.name => check_answers(name, found, view),
        [] if !all_seen => None,
        [] => Some(Refusal::new(
            Code::FloatingIpNotOnPrimary,
            format!("no server has the floating IP {address}"),
            format!("put it on {}, or correct swap.floating_ip", old.label()),
        )),
        [(name, _)] => Some(Refusal::new(
            Code::FloatingIpNotOnPrimary,
            format!("the floating IP {address} is on {name}, but {} is the primary", old.label()),
            format!("take it off {name} and put it on {}", old.seen.name),
        )),
        several => Some(Refusal::new(
            Code::FloatingIpTwice,
            format!(
                "the floating IP {address} is on several servers: {}",
                several.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
            ),
            format!("ip addr del {address} dev DEVICE on all but {}", old.seen.name),
        )),
    }
}

fn check_host(server: &str, found: &HostFound, address: &str) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let expected = format!("{address} on {}", found.device);
    if let Some(held) = found.holds_on.as_ref().filter(|held| **held != expected) {
        refusals.push(Refusal::new(
            Code::FloatingIpUnknown,
            format!("{server} has {held}, and {expected} was expected"),
            "correct swap.floating_ip.address or the server's device",
        ));
    }
    if !found.takes_along.is_empty() {
        let along = found.takes_along.join(", ");
        refusals.push(Refusal::new(
            Code::FloatingIpPinned,
            format!("taking {address} off {server} would take {along} along, which was added after it"),
            format!(
                "sysctl net.ipv4.conf.{device}.promote_secondaries=1 on {server}, or have the floating IP as /32",
                device = found.device
            ),
        ));
    }
    if let Some(reason) = &found.lacks {
        refusals.push(Refusal::new(
            Code::FloatingIpUnknown,
            format!("{server} cannot announce {address}: {reason}"),
            "install perl there (Debian: perl-base) and let us use it as root",
        ));
    }
    refusals
}

/// Whoever else answers for it gets some of the clients.
fn check_answers(holder: &str, found: &HostFound, view: &FloatingIpView) -> Option<Refusal> {
    let address = &view.address;
    let answers = view.answers.as_ref().ok()?;
    let strangers: Vec<&str> =
        answers.iter().filter(|mac| **mac != found.mac).map(String::as_str).collect();
    if !strangers.is_empty() {
        return Some(Refusal::new(
            Code::FloatingIpElsewhere,
            format!(
                "{address} is on {holder} ({}), but {} answers for it too",
                found.mac,
                strangers.join(", ")
            ),
            "find that machine by its hardware address and take the floating IP off it",
        ));
    }
    answers.is_empty().then(|| {
        Refusal::new(
            Code::FloatingIpElsewhere,
            format!("{address} is on {holder}, but nobody answers for it on the network"),
            format!(
                "ip link show dev {} on {holder}: is it up, and on the clients' network?",
                found.device
            ),
        )
    })
}

fn warn(view: &FloatingIpView) -> Option<Refusal> {
    let reason = view.answers.as_ref().err()?;
    Some(Refusal::new(
        Code::FloatingIpUnproven,
        format!("nobody but the servers was asked who has {}: {reason}", view.address),
        "name a machine on the clients' network in swap.floating_ip.probe",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swap::{
        client_address::Identity,
        observation::{Address, ClientAddressView, Flavor, HostView},
        plan::{
            Planned, plan,
            tests::{healthy, observe, request},
        },
    };

    const MACS: [&str; 2] = ["0a:00:00:00:00:01", "0a:00:00:00:00:02"];

    fn found(index: usize, holds: bool) -> HostFound {
        HostFound {
            mac: MACS[index].to_owned(),
            device: "eth0".to_owned(),
            holds_on: holds.then(|| "10.0.0.10/24 on eth0".to_owned()),
            takes_along: Vec::new(),
            lacks: None,
        }
    }

    fn view(holds: [bool; 2]) -> FloatingIpView {
        let host = |index: usize, name: &str| HostView {
            server: name.to_owned(),
            found: Ok(found(index, holds[index])),
        };
        FloatingIpView {
            address: "10.0.0.10/24".to_owned(),
            hosts: vec![host(0, "db1"), host(1, "db2")],
            answers: Ok(vec![MACS[0].to_owned()]),
        }
    }

    fn outcome(view: FloatingIpView) -> Result<Vec<Code>, Vec<Code>> {
        let mut observation = observe(healthy(Flavor::MySql));
        observation.floating_ip = Some(view);
        let codes = |all: &[Refusal]| all.iter().map(|refusal| refusal.code).collect();
        match plan(&observation, &request(None)) {
            Ok(Planned::Swap(plan)) => Ok(codes(&plan.warnings)),
            Ok(Planned::AlreadyPrimary(name)) => panic!("{name} is no target"),
            Err(refusals) => Err(codes(&refusals)),
        }
    }

    #[test]
    fn the_primary_has_it_and_nobody_else_answers() {
        assert_eq!(outcome(view([true, false])), Ok(Vec::new()));
    }

    #[test]
    fn f27_every_other_place_of_it_is_refused() {
        use Code::{FloatingIpElsewhere, FloatingIpNotOnPrimary, FloatingIpTwice};
        assert_eq!(outcome(view([true, true])), Err(vec![FloatingIpTwice]));
        assert_eq!(outcome(view([false, true])), Err(vec![FloatingIpNotOnPrimary]));
        assert_eq!(outcome(view([false, false])), Err(vec![FloatingIpNotOnPrimary]));
        let mut third = view([true, false]);
        third.answers = Ok(vec![MACS[0].to_owned(), "0a:00:00:00:00:99".to_owned()]);
        assert_eq!(outcome(third), Err(vec![FloatingIpElsewhere]));
        let mut silent = view([true, false]);
        silent.answers = Ok(Vec::new());
        assert_eq!(outcome(silent), Err(vec![FloatingIpElsewhere]));
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        let mut unasked = view([true, false]);
        unasked.answers = Err("there is a router before it".to_owned());
        assert_eq!(outcome(unasked), Ok(vec![Code::FloatingIpUnproven]));
        let mut unseen = view([true, false]);
        unseen.hosts[1].found = Err("Permission denied (publickey)".to_owned());
        assert_eq!(outcome(unseen), Err(vec![Code::FloatingIpUnknown]));
        let mut nobody = view([false, false]);
        nobody.hosts[0].found = Err("no route to host".to_owned());
        assert_eq!(outcome(nobody), Err(vec![Code::FloatingIpUnknown]));
    }

    #[test]
    fn f40_what_is_wrong_with_a_host_is_said_beside_a_server_that_is_down() {
        let mut observation = observe(healthy(Flavor::MySql));
        observation.servers[0].view = Err("connection refused".to_owned());
        let mut unseen = view([true, false]);
        unseen.hosts[1].found = Err("no such key".to_owned());
        observation.floating_ip = Some(unseen);
        let address = Address { host: "10.0.0.10".to_owned(), port: 3306 };
        let identity = Err("connection refused".to_owned());
        observation.client_address = Some(ClientAddressView { address, identity });
        let refusals = plan(&observation, &request(None)).expect_err("refused");
        let codes: Vec<Code> = refusals.iter().map(|refusal| refusal.code).collect();
        for code in [Code::Unreachable, Code::ClientAddressUnreachable, Code::FloatingIpUnknown] {
            assert_eq!(codes.iter().filter(|found| **found == code).count(), 1, "{codes:?}");
        }
    }

    #[test]
    fn a_host_that_is_not_ready_for_it_is_named() {
        let mut other_bits = found(0, true);
        other_bits.holds_on = Some("10.0.0.10/32 on eth1".to_owned());
        let pinned = HostFound { takes_along: vec!["10.0.0.1/24".to_owned()], ..found(0, true) };
        let dumb = HostFound { lacks: Some("perl: not found".to_owned()), ..found(0, true) };
        for (host, code) in [
            (other_bits, Code::FloatingIpUnknown),
            (pinned, Code::FloatingIpPinned),
            (dumb, Code::FloatingIpUnknown),
        ] {
            let mut view = view([true, false]);
            view.hosts[0].found = Ok(host);
            assert_eq!(outcome(view), Err(vec![code]));
        }
    }

    #[test]
    fn f27_the_clients_address_must_lead_to_the_primary() {
        let outcome = |identity: Result<Identity, String>| {
            let mut observation = observe(healthy(Flavor::MySql));
            let address = Address { host: "10.0.0.10".to_owned(), port: 3306 };
            observation.client_address = Some(ClientAddressView { address, identity });
            let planned = plan(&observation, &request(None));
            planned.map_err(|refusals| refusals.iter().map(|r| r.code).collect::<Vec<_>>())
        };
        let [old, new] = healthy(Flavor::MySql)
            .map(|view| Identity { uuid: view.uuid, server_id: view.server_id });
        assert!(outcome(Ok(old)).is_ok());
        assert_eq!(outcome(Ok(new)), Err(vec![Code::ClientAddressElsewhere]));
        let refused = Err("connection refused".to_owned());
        assert_eq!(outcome(refused), Err(vec![Code::ClientAddressUnreachable]));
    }
}
