//! When each request is to be sent and what it is: a pure function of the options.

use std::time::Duration;

use super::LoadOptions;
use super::record::Kind;

const PERMILLE: u64 = 1000;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// One request to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    /// Time after the start of the load.
    pub(super) intended: Duration,
    pub(super) kind: Kind,
    pub(super) client: u32,
    pub(super) token: u64,
}

/// The endless schedule: one request per slot of `1 / rate`, at a random place in its slot, so that the load keeps its
/// rate exactly and never beats in time with anything periodic in the servers.
#[derive(Debug)]
pub(super) struct Schedule {
    slot_ns: u64,
    writes_permille: u64,
    clients: u32,
    random: fastrand::Rng,
    sent: u64,
    /// Next client per kind: writes and reads each go round all clients.
    next_writer: u32,
    next_reader: u32,
}

impl Schedule {
    /// `rate` and `clients` must not be zero.
    pub(super) fn new(options: &LoadOptions) -> Self {
        Self {
            slot_ns: NANOS_PER_SECOND / u64::from(options.rate.max(1)),
            writes_permille: u64::from(options.writes_permille).min(PERMILLE),
            clients: options.clients.max(1),
            random: fastrand::Rng::with_seed(options.seed),
            sent: 0,
            next_writer: 0,
            next_reader: 0,
        }
    }

    /// The next request; intended times never go back.
    pub(super) fn next(&mut self) -> Planned {
        let slot = self.sent;
        self.sent += 1;
        let jitter = self.random.u64(0..self.slot_ns.max(1));
        let intended = Duration::from_nanos(slot.saturating_mul(self.slot_ns) + jitter);
        // Spreads the writes evenly: the count of writes among the first n requests is n * share, rounded down.
        let writes = |n: u64| n * self.writes_permille / PERMILLE;
        let kind = if writes(slot + 1) > writes(slot) { Kind::Write } else { Kind::Read };
        let next = match kind {
            Kind::Write => &mut self.next_writer,
            Kind::Read => &mut self.next_reader,
        };
        let client = *next;
        *next = (client + 1) % self.clients;
        Planned { intended, kind, client, token: self.random.u64(..) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(rate: u32, writes_permille: u32, clients: u32) -> LoadOptions {
        let target = "127.0.0.1:1".parse().expect("an address");
        LoadOptions { rate, writes_permille, clients, ..LoadOptions::new(target, "shop") }
    }

    #[test]
    fn the_rate_is_exact_and_time_never_goes_back() {
        let mut schedule = Schedule::new(&options(400, 500, 8));
        let planned: Vec<_> = (0..4000).map(|_| schedule.next()).collect();
        assert!(planned.is_sorted_by_key(|planned| planned.intended));
        let in_second =
            |s: u64| planned.iter().filter(|planned| planned.intended.as_secs() == s).count();
        assert!((0..10).all(|s| in_second(s) == 400));
    }

    #[test]
    fn the_share_of_writes_is_exact_and_spread_evenly() {
        for permille in [0, 1, 250, 500, 999, 1000] {
            let mut schedule = Schedule::new(&options(100, permille, 8));
            let kinds: Vec<_> = (0..1000).map(|_| schedule.next().kind).collect();
            let writes = |part: &[Kind]| part.iter().filter(|kind| **kind == Kind::Write).count();
            assert_eq!(writes(&kinds), usize::try_from(permille).expect("small"));
            assert_eq!(writes(&kinds[..500]), usize::try_from(permille / 2).expect("small"));
        }
    }

    #[test]
    fn every_client_writes_in_turn_and_tokens_differ() {
        let mut schedule = Schedule::new(&options(100, 1000, 4));
        let planned: Vec<_> = (0..8).map(|_| schedule.next()).collect();
        let clients: Vec<_> = planned.iter().map(|planned| planned.client).collect();
        assert_eq!(clients, [0, 1, 2, 3, 0, 1, 2, 3]);
        let tokens: std::collections::HashSet<_> = planned.iter().map(|p| p.token).collect();
        assert_eq!(tokens.len(), 8);
    }
}
