use super::plan;
use crate::swap::{
    gtid::GtidSet,
    observation::{Flavor, Observation, ServerView, ThreadState},
    plan::{
        Plan,
        kind::Proof,
        tests::{UUIDS, observe, replica, request},
    },
    position::{Barrier, Coordinates, Tracking},
    refusal::{Code, Refusal},
    server::Life,
    step::Step,
};

const BOTH: [Flavor; 2] = [Flavor::MariaDb, Flavor::MySql];

fn set(flavor: Flavor, last: u32) -> GtidSet {
    match flavor {
        Flavor::MySql => GtidSet::parse_mysql(&format!("{}:1-{last}", UUIDS[0])),
        Flavor::MariaDb => GtidSet::parse_mariadb(&format!("0-1-{last}")),
    }
    .expect("a set")
}

/// A replica that has noticed its source's death.
fn bereft(flavor: Flavor, server_id: u32) -> ServerView {
    let mut view = replica(flavor, server_id);
    view.channels[0].io = ThreadState::Connecting;
    view.channels[0].received = Some(Barrier::Gtid(set(flavor, 100)));
    view
}

/// db1 does not answer.
fn without_primary<const N: usize>(views: [ServerView; N]) -> Observation {
    let mut observation = observe(views);
    observation.servers[0].view = Err("connection refused".to_owned());
    observation
}

fn silent(_: &str) -> Life {
    Life::Silent("connection refused".to_owned())
}

fn planned(observation: &Observation, to: Option<&str>) -> Result<Plan, Vec<Refusal>> {
    plan(observation, silent, &request(to), Proof::Word)
}

fn codes(planned: Result<Plan, Vec<Refusal>>) -> Vec<Code> {
    planned.err().unwrap_or_default().iter().map(|refusal| refusal.code).collect()
}

fn codes_after(flavor: Flavor, change: impl FnOnce(&mut ServerView)) -> Vec<Code> {
    let mut views = [bereft(flavor, 1), bereft(flavor, 2)];
    change(&mut views[1]);
    codes(planned(&without_primary(views), None))
}

#[test]
fn the_proof_comes_first_and_the_way_home_is_told() {
    for flavor in BOTH {
        let observation = without_primary([bereft(flavor, 1), bereft(flavor, 2)]);
        let plan = planned(&observation, None).expect("a plan");
        assert_eq!((plan.old.name.as_str(), plan.new.name.as_str()), ("db1", "db2"));
        let steps: Vec<Step> = plan.steps().collect();
        let wanted = [Step::Lock, Step::Fence, Step::Ready, Step::Quiet, Step::Hold, Step::Barrier];
        assert_eq!(steps[..wanted.len()], wanted);
        for step in [Step::Settle, Step::EndSessions, Step::Rejoin, Step::Prove, Step::Follow] {
            assert!(!steps.contains(&step) && !plan.has(step), "{step}");
        }
        assert!(plan.way_home().iter().any(|line| line.contains("intermission rejoin")));
        let journaled = serde_json::to_string(&plan).expect("JSON");
        assert_eq!(serde_json::from_str::<Plan>(&journaled).expect("a plan"), plan);
    }
}

#[test]
fn any_sign_of_life_refuses() {
    for flavor in BOTH {
        let alive = [Code::PrimaryAlive];
        assert_eq!(
            codes(planned(
                &observe([super::super::tests::healthy(flavor)[0].clone(), bereft(flavor, 2)]),
                None
            )),
            alive
        );
        assert_eq!(codes_after(flavor, |view| view.channels[0].io = ThreadState::Yes), alive);
        let observation = without_primary([bereft(flavor, 1), bereft(flavor, 2)]);
        let hook = Proof::Hook { bound: std::time::Duration::from_secs(1) };
        for (life, proof, wanted) in [
            (Life::Answers("it greets".to_owned()), Proof::Word, &alive[..]),
            (Life::Answers("it greets".to_owned()), hook.clone(), &alive),
            (Life::Accepts, Proof::Word, &alive),
            (Life::Accepts, hook, &[]),
        ] {
            let planned = plan(&observation, |_| life.clone(), &request(None), proof);
            assert_eq!(codes(planned), wanted, "{life}");
        }
        // A sibling that is connected has seen it, too.
        let mut connected = bereft(flavor, 3);
        connected.channels[0].io = ThreadState::Yes;
        let three = without_primary([bereft(flavor, 1), bereft(flavor, 2), connected]);
        assert_eq!(codes(planned(&three, Some("db2"))), alive);
    }
}

#[test]
fn a_replica_that_cannot_apply_all_is_refused() {
    for flavor in BOTH {
        let error = Some("error 1062".to_owned());
        let broken = codes_after(flavor, |view| {
            view.channels[0].sql = ThreadState::No;
            view.channels[0].sql_error = error;
        });
        assert_eq!(broken, [Code::SqlThread]);
        assert_eq!(
            codes_after(flavor, |view| view.channels[0].delay_s = 9),
            [Code::DelayedReplica]
        );
        assert_eq!(
            codes_after(flavor, |view| view.channels[0].received = None),
            [Code::LagUnknown]
        );
        let writable = |view: &mut ServerView| view.access = super::Access::WRITABLE;
        assert_eq!(codes_after(flavor, writable), [Code::ReplicaNotFenced]);
        // Stopped by somebody it is started, where that throws nothing away.
        let stopped = |receiver, last| {
            codes_after(flavor, |view| {
                view.channels[0].io = receiver;
                view.channels[0].sql = ThreadState::No;
                view.channels[0].received = Some(Barrier::Gtid(set(flavor, last)));
            })
        };
        assert_eq!(stopped(ThreadState::Connecting, 120), []);
        assert_eq!(stopped(ThreadState::No, 100), []);
        let risk: &[Code] = if flavor == Flavor::MariaDb { &[Code::RelayLogAtRisk] } else { &[] };
        assert_eq!(stopped(ThreadState::No, 120), risk);
    }
}

#[test]
fn nobody_who_has_less_is_preferred() {
    for flavor in BOTH {
        let mut ahead = bereft(flavor, 3);
        ahead.channels[0].received = Some(Barrier::Gtid(set(flavor, 107)));
        let three = without_primary([bereft(flavor, 1), bereft(flavor, 2), ahead]);
        assert_eq!(codes(planned(&three, None)), [Code::TargetNeeded]);
        assert_eq!(codes(planned(&three, Some("db1"))), [Code::UnknownTarget]);
        let refusals = planned(&three, Some("db2")).expect_err("refused");
        assert_eq!(
            refusals.iter().map(|one| one.code).collect::<Vec<_>>(),
            [Code::CandidateBehind]
        );
        assert!(refusals[0].sentence.contains("101-107") || flavor == Flavor::MariaDb);
        let plan = planned(&three, Some("db3")).expect("a plan");
        assert_eq!((plan.siblings.len(), plan.siblings[0].name.as_str()), (1, "db2"));
        assert!(plan.has(Step::Follow));
    }
}

#[test]
fn what_may_be_lost_is_told_with_its_bound() {
    let told = |change: &dyn Fn(&mut ServerView)| {
        let mut view = bereft(Flavor::MySql, 2);
        change(&mut view);
        let plan = planned(&without_primary([bereft(Flavor::MySql, 1), view]), None);
        plan.expect("a plan").failover().expect("one").loss.join("\n")
    };
    let plain = told(&|_| {});
    assert!(plain.contains(&format!("up to {}:1-100", UUIDS[0])), "{plain}");
    assert!(plain.contains("is not told") && plain.contains("after that is lost"), "{plain}");
    let known = told(&|view| {
        view.condition.heard_s = Some(12);
        view.role.semi_sync.replica = Some(true);
    });
    assert!(known.contains("last 12 s ago") && known.contains("is here, unless"), "{known}");
    let by_place = told(&|view| {
        let end = Coordinates { file: "bin.000007".to_owned(), offset: 42 };
        view.channels[0].tracking = Tracking::Coordinates;
        view.channels[0].received = Some(Barrier::At(end));
    });
    assert!(by_place.contains("up to bin.000007:42"), "{by_place}");
}
