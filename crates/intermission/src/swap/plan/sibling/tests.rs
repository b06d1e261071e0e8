use crate::swap::{
    gtid::GtidSet,
    observation::{Access, Denied, Flavor, ReplicaView, ServerView, ThreadState},
    plan::{
        Plan, Planned, candidates, plan,
        tests::{UUIDS, address, healthy, observe, replica, request},
    },
    position::Tracking,
    refusal::{Code, Refusal},
    sibling::Threads,
};

const FLAVORS: [Flavor; 2] = [Flavor::MariaDb, Flavor::MySql];

/// db1 is the primary, db2 to db4 its replicas.
fn four(flavor: Flavor) -> [ServerView; 4] {
    let [primary, second] = healthy(flavor);
    [primary, second, replica(flavor, 3), replica(flavor, 4)]
}

fn planned(views: [ServerView; 4], to: Option<&str>) -> Result<Plan, Vec<Refusal>> {
    match plan(&observe(views), &request(to)) {
        Ok(Planned::Swap(plan)) => Ok(*plan),
        Ok(Planned::AlreadyPrimary(name)) => panic!("{name} is no target"),
        Err(refusals) => Err(refusals),
    }
}

/// The warnings of a swap to db2 when db3 is not as it should be.
fn warnings(flavor: Flavor, change: impl FnOnce(&mut ServerView)) -> Vec<Refusal> {
    let mut views = four(flavor);
    change(&mut views[2]);
    let plan = planned(views, Some("db2")).expect("a sick sibling refuses nothing");
    assert_eq!(plan.siblings.len(), 2);
    plan.warnings
}

fn codes(refusals: &[Refusal]) -> Vec<Code> {
    refusals.iter().map(|refusal| refusal.code).collect()
}

#[test]
fn of_several_replicas_a_person_says_which() {
    for flavor in FLAVORS {
        let mut views = four(flavor);
        views[2].channels[0].lag_s = Some(7);
        let refusals = planned(views, None).expect_err("not said");
        assert_eq!(codes(&refusals), [Code::TargetNeeded]);
        for words in ["db2 (0 s behind)", "db3 (7 s behind)"] {
            assert!(refusals[0].sentence.contains(words), "{}", refusals[0]);
        }
        assert!(refusals[0].mend.contains("intermission swap --to db3"), "{}", refusals[0]);
        let plan = planned(four(flavor), Some("db3")).expect("a plan");
        assert_eq!((plan.old.name.as_str(), plan.new.name.as_str()), ("db1", "db3"));
        let names: Vec<&str> = plan.siblings.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["db2", "db4"]);
        assert_eq!(plan.warnings, []);
        assert_eq!(candidates(&observe(four(flavor))), ["db2", "db3", "db4"]);
        assert!(candidates(&observe(healthy(flavor))).is_empty());
    }
    let unknown = planned(four(Flavor::MySql), Some("db9")).expect_err("refused");
    assert_eq!(codes(&unknown), [Code::UnknownTarget]);
    // One host of them all.
    let several = planned(four(Flavor::MySql), Some("127.0.0.1")).expect_err("refused");
    assert!(several[0].sentence.starts_with("more than one"), "{}", several[0]);
    let there = plan(&observe(four(Flavor::MySql)), &request(Some("127.0.0.1:3301")));
    assert!(matches!(there, Ok(Planned::AlreadyPrimary(_))), "{there:?}");
}

#[test]
fn f31_whatever_is_wrong_with_a_sibling_is_a_warning_that_says_what_happens_and_its_mend() {
    for flavor in FLAVORS {
        let of = |change: fn(&mut ReplicaView)| warnings(flavor, |v| change(&mut v.channels[0]));
        let led = "it is led to db2 all the same";
        let left = "it is left alone";
        for (code, words, found) in [
            (Code::IoThread, led, of(|c| c.io = ThreadState::Connecting)),
            (Code::LagUnknown, led, of(|c| c.lag_s = None)),
            (Code::Lag, led, of(|c| c.lag_s = Some(900))),
            (Code::DelayedReplica, led, of(|c| c.delay_s = 60)),
            (
                Code::ReplicationWithoutGtid,
                "stands exactly",
                of(|c| c.tracking = Tracking::Coordinates),
            ),
            (Code::SiblingLogin, "\"other\"", of(|c| c.user = "other".to_owned())),
            (Code::NotAReplica, left, warnings(flavor, |v| v.channels.clear())),
        ] {
            assert_eq!(codes(&found), [code], "{found:?}");
            let Refusal { sentence, mend, .. } = &found[0];
            assert!(sentence.contains("sibling db3") && sentence.contains(words), "{sentence}");
            assert!(!mend.is_empty());
        }
        let stopped = of(|c| {
            (c.io, c.sql, c.lag_s) = (ThreadState::No, ThreadState::No, None);
            c.sql_error = Some("error 1062".to_owned());
        });
        assert_eq!(codes(&stopped), [Code::IoThread], "one warning for one server");
        assert!(stopped[0].sentence.contains("1062"), "{}", stopped[0]);
        let denied =
            |privilege: &str| Denied { privilege: privilege.to_owned(), answer: "1227".to_owned() };
        let needed = warnings(flavor, |v| v.denied.push(denied("REPLICATION_SLAVE_ADMIN")));
        assert_eq!(codes(&needed), [Code::MissingPrivilege]);
        assert!(warnings(flavor, |v| v.denied.push(denied("RELOAD"))).is_empty());
        let hidden = warnings(flavor, |v| {
            v.channels.clear();
            v.denied.push(denied("REPLICATION CLIENT"));
        });
        assert_eq!(codes(&hidden), [Code::MissingPrivilege]);
    }
}

#[test]
fn f31_a_sibling_that_is_down_is_a_warning_and_tried_all_the_same() {
    let mut observation = observe(four(Flavor::MariaDb));
    observation.servers[3].view = Err("connection refused".to_owned());
    let Ok(Planned::Swap(plan)) = plan(&observation, &request(Some("db2"))) else {
        panic!("refused")
    };
    assert_eq!(codes(&plan.warnings), [Code::Unreachable]);
    assert!(plan.warnings[0].sentence.contains("tried again"), "{}", plan.warnings[0]);
    assert_eq!(plan.siblings[1].ran, Threads::BOTH);
}

#[test]
fn f32_duplicate_ids_and_two_writers_are_refused_wherever_they_are() {
    for flavor in FLAVORS {
        let refused = |change: fn(&mut [ServerView; 4])| {
            let mut views = four(flavor);
            change(&mut views);
            codes(&planned(views, Some("db2")).expect_err("refused"))
        };
        assert_eq!(refused(|v| v[3].server_id = 3), [Code::SameServerId]);
        assert_eq!(refused(|v| v[3].server_id = 1), [Code::SameServerId]);
        assert_eq!(refused(|v| v[2].access = Access::WRITABLE), [Code::ReplicaNotFenced]);
        let two = refused(|v| {
            v[2].access = Access::WRITABLE;
            v[2].channels.clear();
        });
        assert_eq!(two, [Code::TwoPrimaries]);
        assert_eq!(refused(|v| v[0].access.read_only = true), [Code::NoPrimary]);
    }
    let mut views = four(Flavor::MySql);
    views[3].uuid = views[2].uuid.clone();
    let refusals = planned(views, Some("db2")).expect_err("refused");
    assert_eq!(codes(&refusals), [Code::SameServerId]);
    assert!(refusals[0].sentence.contains("server_uuid"), "{}", refusals[0]);
}

#[test]
fn f3_f41_a_server_of_another_cluster_is_left_alone() {
    for flavor in FLAVORS {
        let foreign = warnings(flavor, |v| {
            let channel = &mut v.channels[0];
            channel.source = address(4000);
            channel.source_server_id = 77;
            channel.source_uuid = channel.source_uuid.as_ref().map(|_| UUIDS[1].replace('4', "9"));
        });
        assert_eq!(codes(&foreign), [Code::WrongSource]);
        assert!(foreign[0].sentence.contains("left alone"), "{}", foreign[0]);
        // F3: the address is right and the server behind it another, with no lag and no error.
        let elsewhere = warnings(flavor, |v| {
            let channel = &mut v.channels[0];
            channel.source_server_id = 77;
            channel.source_uuid = channel.source_uuid.as_ref().map(|_| UUIDS[1].replace('4', "9"));
        });
        assert_eq!(codes(&elsewhere), [Code::WrongSource]);
    }
}

#[test]
fn f3_a_sibling_behind_the_candidate_or_another_sibling_stays_there() {
    for flavor in FLAVORS {
        for source in [2, 4_u16] {
            let found = warnings(flavor, |v| {
                let channel = &mut v.channels[0];
                channel.source = address(3300 + source);
                channel.source_server_id = u32::from(source);
                let uuid = UUIDS[usize::from(source) - 1].to_owned();
                channel.source_uuid = channel.source_uuid.as_ref().map(|_| uuid);
            });
            assert_eq!(found, [], "behind db{source}");
        }
    }
}

#[test]
fn a_sibling_with_other_transactions_or_too_far_behind_is_left_alone() {
    let set = |text: &str| GtidSet::parse_mariadb(text).expect("a set");
    let errant = warnings(Flavor::MariaDb, |v| v.executed = set("0-1-100,0-3-101"));
    assert_eq!(codes(&errant), [Code::ErrantTransactions]);
    assert!(errant[0].sentence.contains("0-3-101"), "{}", errant[0]);
    let mut views = four(Flavor::MariaDb);
    views[1].purged = set("0-1-90");
    views[2].applied = set("0-1-80");
    let plan = planned(views, Some("db2")).expect("a plan");
    assert_eq!(codes(&plan.warnings), [Code::BinlogsPurged]);
    assert!(plan.warnings[0].sentence.contains("sibling db3"), "{}", plan.warnings[0]);
}

#[test]
fn what_somebody_has_stopped_is_remembered() {
    let mut views = four(Flavor::MySql);
    let channel = &mut views[2].channels[0];
    (channel.io, channel.sql, channel.lag_s) = (ThreadState::No, ThreadState::No, None);
    let channel = &mut views[3].channels[0];
    (channel.sql, channel.sql_error) = (ThreadState::No, Some("1062".to_owned()));
    let plan = planned(views, Some("db2")).expect("a plan");
    assert_eq!(plan.siblings[0].ran, Threads { receiver: false, applier: false });
    assert!(plan.warnings[0].sentence.contains("stays stopped"), "{}", plan.warnings[0]);
    assert_eq!(plan.siblings[1].ran, Threads::BOTH, "an error is no decision of a person");
}
