use std::time::Duration;

use super::{Allowed, Planned, Request, plan};
use crate::swap::{
    condition::Condition,
    gates::{GateBounds, MaxWait, WarmUp},
    gtid::GtidSet,
    observation::{
        Access, Address, Blocker, Denied, Flavor, Observation, ReplicaView, Seen, ServerView,
        ThreadState,
    },
    position::Tracking,
    refusal::{Code, Refusal},
    role::{EventsView, RoleSettings},
    settings::Bounds,
    step::Step,
};

pub(super) const UUIDS: [&str; 4] = [
    "3e11fa47-71ca-11e1-9e33-c80aa9429562",
    "4e11fa47-71ca-11e1-9e33-c80aa9429562",
    "5e11fa47-71ca-11e1-9e33-c80aa9429562",
    "6e11fa47-71ca-11e1-9e33-c80aa9429562",
];

pub(super) fn address(port: u16) -> Address {
    Address { host: "127.0.0.1".to_owned(), port }
}

fn view(flavor: Flavor, server_id: u32) -> ServerView {
    let executed = match flavor {
        Flavor::MySql => GtidSet::parse_mysql(&format!("{}:1-100", UUIDS[0])),
        Flavor::MariaDb => GtidSet::parse_mariadb("0-1-100"),
    };
    let executed = executed.expect("a set");
    ServerView {
        flavor,
        version: match flavor {
            Flavor::MariaDb => "10.11.19-MariaDB-log".to_owned(),
            Flavor::MySql => "8.4.5".to_owned(),
        },
        server_id,
        uuid: (flavor == Flavor::MySql)
            .then(|| UUIDS[usize::try_from(server_id).expect("small") - 1].to_owned()),
        access: Access::WRITABLE,
        gtid_on: true,
        checkpoint_ms: (flavor == Flavor::MySql).then_some(300),
        binlog_on: true,
        log_replica_updates: true,
        applied: executed.clone(),
        purged: executed.minus(&executed),
        executed,
        channels: Vec::new(),
        prepared_xa: Vec::new(),
        denied: Vec::new(),
        replication_login: None,
        blockers: Vec::new(),
        missing_database: None,
        role: RoleSettings::default(),
        events: EventsView::default(),
        condition: Condition::default(),
    }
}

/// db1 is the primary, db2 its healthy replica.
pub(super) fn healthy(flavor: Flavor) -> [ServerView; 2] {
    [view(flavor, 1), replica(flavor, 2)]
}

/// A healthy replica of db1.
pub(super) fn replica(flavor: Flavor, server_id: u32) -> ServerView {
    let primary = view(flavor, 1);
    let mut replica = view(flavor, server_id);
    replica.access = Access { read_only: true, super_read_only: flavor == Flavor::MySql };
    replica.channels.push(ReplicaView {
        channel: String::new(),
        source: address(3301),
        source_uuid: primary.uuid.clone(),
        source_server_id: 1,
        io: ThreadState::Yes,
        sql: ThreadState::Yes,
        io_error: None,
        sql_error: None,
        lag_s: Some(0),
        tracking: Tracking::Gtid,
        applied_to: None,
        received: None,
        user: "repl".to_owned(),
        delay_s: 0,
    });
    replica
}

/// db1, db2, … on the ports from 3301.
pub(super) fn observe<const N: usize>(views: [ServerView; N]) -> Observation {
    let seen = |(view, number): (ServerView, u16)| Seen {
        name: format!("db{number}"),
        address: address(3300 + number),
        view: Ok(view),
    };
    Observation {
        servers: views.into_iter().zip(1..).map(seen).collect(),
        surroundings: Vec::new(),
        floating_ip: None,
        gates: GateBounds::default(),
        client_address: None,
    }
}

pub(super) fn request(to: Option<&str>) -> Request {
    let bounds = Bounds::default();
    Request {
        id: "test".to_owned(),
        program: "intermission".to_owned(),
        to: to.map(str::to_owned),
        replication_user: "repl".to_owned(),
        apps: vec!["shop".to_owned()],
        endpoint: bounds.statement,
        withdrawal: None,
        canary: false,
        before_release: None,
        allowed: Allowed::default(),
        bounds,
    }
}

fn codes(observation: &Observation) -> Vec<Code> {
    match plan(observation, &request(None)) {
        Ok(_) => Vec::new(),
        Err(refusals) => refusals.iter().map(|refusal| refusal.code).collect(),
    }
}

fn codes_after(flavor: Flavor, change: impl FnOnce(&mut [ServerView; 2])) -> Vec<Code> {
    let mut views = healthy(flavor);
    change(&mut views);
    codes(&observe(views))
}

#[test]
fn a_healthy_pair_is_planned_by_what_the_servers_say_not_by_order() {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        let Ok(Planned::Swap(there)) = plan(&observe(healthy(flavor)), &request(None)) else {
            panic!("refused");
        };
        assert_eq!((there.old.name.as_str(), there.new.name.as_str()), ("db1", "db2"));
        assert_eq!(there.old.recorded, Access::WRITABLE);
        let [primary, replica] = healthy(flavor);
        let Ok(Planned::Swap(back)) = plan(&observe([replica, primary]), &request(None)) else {
            panic!("refused");
        };
        assert_eq!((back.old.name.as_str(), back.new.name.as_str()), ("db2", "db1"));
    }
}

#[test]
fn f15_the_primary_as_target_is_nothing_to_do() {
    for to in ["db1", "127.0.0.1:3301"] {
        let planned = plan(&observe(healthy(Flavor::MariaDb)), &request(Some(to)));
        assert!(matches!(planned, Ok(Planned::AlreadyPrimary(_))), "{planned:?}");
    }
    let unknown = plan(&observe(healthy(Flavor::MariaDb)), &request(Some("db9")));
    assert_eq!(unknown.expect_err("refused")[0].code, Code::UnknownTarget);
}

#[test]
fn f02_f03_f04_a_replica_that_does_not_replicate_is_refused() {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        let channel = |change: fn(&mut ReplicaView)| {
            codes_after(flavor, |views| change(&mut views[1].channels[0]))
        };
        assert_eq!(channel(|c| c.lag_s = None), [Code::LagUnknown]);
        assert_eq!(channel(|c| c.lag_s = Some(3)), [Code::Lag]);
        assert_eq!(channel(|c| c.io = ThreadState::Connecting), [Code::IoThread, Code::LagUnknown]);
        let stopped = |lag_s: Option<u64>| {
            codes_after(flavor, |views| {
                let channel = &mut views[1].channels[0];
                (channel.io, channel.lag_s) = (ThreadState::No, lag_s);
            })
        };
        assert_eq!(stopped(None), stopped(Some(0)), "one fault, one answer");
        assert_eq!(stopped(Some(0)), [Code::IoThread, Code::LagUnknown]);
        assert_eq!(stopped(Some(3)), [Code::IoThread, Code::Lag], "what is known is told");
        assert_eq!(channel(|c| c.sql = ThreadState::No), [Code::SqlThread]);
        assert_eq!(channel(|c| c.delay_s = 60), [Code::DelayedReplica]);
        let wrong = channel(|c| {
            c.source_uuid = c.source_uuid.as_ref().map(|_| UUIDS[1].to_owned());
            c.source_server_id = 7;
        });
        assert_eq!(wrong, [Code::WrongSource]);
    }
}

#[test]
fn what_is_wrong_with_a_server_is_refused() {
    let on = |change: fn(&mut [ServerView; 2])| codes_after(Flavor::MySql, change);
    assert_eq!(on(|v| v[0].gtid_on = false), [Code::GtidOff]);
    assert_eq!(on(|v| v[1].binlog_on = false), [Code::BinlogOff]);
    assert_eq!(on(|v| v[1].log_replica_updates = false), [Code::ReplicaUpdatesNotLogged]);
    assert_eq!(on(|v| v[1].server_id = 1), [Code::SameServerId]);
    assert_eq!(on(|v| v[0].prepared_xa.push("x".to_owned())), [Code::PreparedXa]);
    assert_eq!(on(|v| v[1].access = Access::WRITABLE), [Code::ReplicaNotFenced]);
    assert_eq!(on(|v| v[0].access.read_only = true), [Code::NoPrimary]);
    assert_eq!(on(|v| v[1].replication_login = Some("no".to_owned())), [Code::ReplicationLogin]);
    assert_eq!(on(|v| v[1].channels.clear()), [Code::NotAReplica]);
    let denied = || Denied { privilege: "RELOAD".to_owned(), answer: "1227".to_owned() };
    assert_eq!(
        codes_after(Flavor::MySql, |v| v[0].denied.push(denied())),
        [Code::MissingPrivilege]
    );
    let blocker = Blocker {
        session: 7,
        user: "app".to_owned(),
        host: "h".to_owned(),
        age_s: 5,
        rows: Some(3),
        what: "open transaction".to_owned(),
    };
    assert_eq!(codes_after(Flavor::MySql, |v| v[0].blockers.push(blocker)), [Code::Blocked]);
}

#[test]
fn errant_transactions_are_named() {
    let mut views = healthy(Flavor::MySql);
    views[1].executed =
        GtidSet::parse_mysql(&format!("{}:1-100,{}:1-2", UUIDS[0], UUIDS[1])).expect("a set");
    let refusals = plan(&observe(views), &request(None)).expect_err("refused");
    assert_eq!(refusals[0].code, Code::ErrantTransactions);
    assert!(refusals[0].sentence.contains(&format!("{}:1-2", UUIDS[1])), "{refusals:?}");
}

#[test]
fn f40_every_refusal_is_told_at_once_with_code_and_mend() {
    let mut views = healthy(Flavor::MySql);
    views[0].gtid_on = false;
    views[1].channels[0].lag_s = None;
    views[1].prepared_xa.push("x".to_owned());
    let mut observation = observe(views);
    observation.surroundings.push(Refusal::new(Code::GateUnreachable, "gate", "start it"));
    let refusals = plan(&observation, &request(None)).expect_err("refused");
    let codes: Vec<Code> = refusals.iter().map(|refusal| refusal.code).collect();
    assert_eq!(codes, [Code::GateUnreachable, Code::PreparedXa, Code::LagUnknown, Code::GtidOff]);
    for refusal in refusals {
        assert!(!refusal.mend.is_empty() && !refusal.sentence.is_empty());
        assert!(refusal.to_string().contains(&refusal.code.word()));
    }
}

#[test]
fn f20_a_lease_shorter_than_an_attempt_is_refused() {
    let mut request = request(None);
    request.bounds.lease = request.bounds.drain;
    let refusals = plan(&observe(healthy(Flavor::MariaDb)), &request).expect_err("refused");
    assert_eq!(refusals[0].code, Code::LeaseTooShort);
}

#[test]
fn f20_the_hooks_and_the_warm_up_are_part_of_the_time_users_are_held() {
    let longest = request(None).bounds.longest_attempt();
    let second = Duration::from_secs(1);
    let planned = |before_release, warm_up: Option<Duration>, lease, max_wait: Option<Duration>| {
        let mut request = request(None);
        (request.before_release, request.bounds.lease) = (before_release, lease);
        let mut observation = observe(healthy(Flavor::MySql));
        let warm_up = warm_up.map(|bound| WarmUp { bound, said: vec!["asks".to_owned()] });
        let max_wait = max_wait.map(|bound| MaxWait { app: "shop".to_owned(), bound });
        observation.gates = GateBounds { warm_up, max_wait };
        plan(&observation, &request)
    };
    for (hooks, warm_up, all) in [
        (None, None, longest),
        (Some(second), None, longest + second),
        (None, Some(second * 2), longest + second * 2),
        (Some(second), Some(second * 2), longest + second * 3),
    ] {
        let Ok(Planned::Swap(plan)) = planned(hooks, warm_up, all, Some(all)) else {
            panic!("{hooks:?} {warm_up:?} refused");
        };
        assert_eq!(plan.longest_attempt() + plan.longest_readying(), all);
        assert_eq!(plan.has(Step::BeforeRelease), hooks.is_some());
        assert_eq!(plan.has(Step::WarmUp), warm_up.is_some());
        assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
        let short = all - Duration::from_millis(1);
        let refusals = planned(hooks, warm_up, short, None).expect_err("refused");
        assert_eq!(refusals[0].code, Code::LeaseTooShort);
        assert!(refusals[0].mend.contains(&format!("{all:?}")), "{}", refusals[0]);
        let Ok(Planned::Swap(plan)) = planned(hooks, warm_up, all, Some(short)) else {
            panic!("{hooks:?} {warm_up:?} refused");
        };
        assert_eq!(plan.warnings[0].code, Code::MaxWaitShort);
        assert!(plan.warnings[0].sentence.contains("shop"), "{}", plan.warnings[0]);
    }
}

#[test]
fn an_unreachable_server_is_named_with_its_address() {
    let mut observation = observe(healthy(Flavor::MariaDb));
    observation.servers[1].view = Err("connection refused".to_owned());
    let refusals = plan(&observation, &request(None)).expect_err("refused");
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].code, Code::Unreachable);
    assert!(refusals[0].sentence.contains("db2 at 127.0.0.1:3302"), "{}", refusals[0].sentence);
}

#[test]
fn two_writable_servers_without_replication_are_refused() {
    let codes = codes_after(Flavor::MySql, |views| {
        views[1].channels.clear();
        views[1].access = Access::WRITABLE;
    });
    assert_eq!(codes, [Code::NotAReplica, Code::TwoPrimaries]);
}
