//! Every fault of the campaign, on the whole stage with both servers, against this very program; some with MariaDB 11.8 too, and
//! some where replication goes by file and position.
//!
//! Needs the feature `fault-injection` and the lab's program: `make test` builds both. All cases of a kind take turns on its
//! stages, so that no more of them run than [`STAGES`] says, however many threads the tests have: they wait for most of
//! their time, and three stages of a kind take half as long as one.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may stop where it stands, and says what it measured"
)]

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use intermission::swap::step::Step;
use lab::faults::{Bench, Case, Ground, Kind, STEPS, cases, play};
use lab::server::Series;
use lab::stage::Programs;
use tokio::sync::Semaphore;

/// For each kind, and others where there are hosts.
static STAGES: [Stages; 7] = [
    Stages::new(3, by_gtid(Series::MariaDb), Ground::Loopback),
    Stages::new(3, by_gtid(Series::MySql), Ground::Loopback),
    Stages::new(1, by_gtid(Series::MariaDb118), Ground::Loopback),
    Stages::new(1, by_coordinates(Series::MariaDb), Ground::Loopback),
    Stages::new(1, by_coordinates(Series::MySql), Ground::Loopback),
    Stages::new(1, by_gtid(Series::MariaDb), Ground::Network),
    Stages::new(1, by_gtid(Series::MySql), Ground::Network),
];

/// Where the cases of one kind are played.
struct Stages {
    kind: Kind,
    ground: Ground,
    /// As many as there may be.
    turns: Semaphore,
    /// Those that wait for a case.
    idle: Mutex<Vec<Bench>>,
}

impl Stages {
    const fn new(most: usize, kind: Kind, ground: Ground) -> Self {
        Self { kind, ground, turns: Semaphore::const_new(most), idle: Mutex::new(Vec::new()) }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Bench>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn by_gtid(series: Series) -> Kind {
    Kind { series, coordinates: false }
}

const fn by_coordinates(series: Series) -> Kind {
    Kind { series, coordinates: true }
}

fn programs() -> Programs {
    let intermission = PathBuf::from(env!("CARGO_BIN_EXE_intermission"));
    let lab = intermission.parent().unwrap_or(Path::new("")).join("lab");
    assert!(lab.is_file(), "{} is not there: run `cargo build --bins`", lab.display());
    let repoint = lab.with_file_name("lab-repoint");
    Programs { lab, repoint, intermission }
}

/// Plays one case. Its turn comes with the lock of the server's stage.
fn play_case(kind: Kind, id: &str) {
    if !cfg!(feature = "fault-injection") {
        panic!("build with --features fault-injection");
    }
    let case = cases().into_iter().find(|case| case.id == id);
    let case: Case = case.unwrap_or_else(|| panic!("there is no case {id}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let result = runtime.block_on(async {
        let is_it = |stages: &&Stages| stages.kind == kind && stages.ground == case.ground;
        let stages = STAGES.iter().find(is_it).expect("a stage");
        let _turn = stages.turns.acquire().await.expect("a turn");
        let mut stage = stages.idle().pop();
        let result = play(&mut stage, &case, kind, &programs()).await;
        stages.idle().extend(stage);
        result
    });
    for figure in &result.figures {
        eprintln!("{kind:?} {figure}");
    }
    assert!(result.ok, "{kind:?} {id}: {}", result.outcome);
}

macro_rules! faults {
    (
        on_both { $($name:ident: $id:literal,)* }
        on_one { $($process:ident: $process_id:literal,)* }
    ) => {
        /// The cases that have a test here.
        const TESTED: &[&str] = &[$($id,)* $($process_id),*];

        mod mariadb {
            $(#[test] fn $name() { super::play_case(super::by_gtid(super::Series::MariaDb), $id); })*

            // What a process or a gate does, whatever the servers are.
            $(#[test] fn $process() { super::play_case(super::by_gtid(super::Series::MariaDb), $process_id); })*
        }

        mod mysql {
            $(#[test] fn $name() { super::play_case(super::by_gtid(super::Series::MySql), $id); })*
        }
    };
}

faults! {
    on_both {
        f1_the_applier_stops_while_users_wait: "F1",
        f2_the_replica_stopped_at_a_duplicate_key: "F2",
        f3_the_replica_follows_somebody_else: "F3",
        f4_the_lag_is_null: "F4",
        f5_a_table_lock_holds_the_fence_up: "F5a",
        f5_a_table_lock_is_held_all_the_time: "F5a:before",
        f5_a_table_lock_goes_away_after_an_attempt: "F5a:once",
        f5_f7_a_long_write_holds_the_fence_up: "F5b/F7",
        f10_f12_never_two_writers: "F10/F12",
        f11_the_relay_log_is_not_applied: "F11",
        f16_a_signal_in_the_hold: "F16:hold",
        f16_a_signal_in_the_settle_step: "F16:settle",
        f16_a_signal_between_two_attempts: "F16:between",
        f16_a_signal_in_the_fence: "F16:fence",
        f16_a_signal_in_the_catch_up: "F16:catch_up",
        f16_a_signal_behind_the_commit_point: "F16:promote",
        f29_the_replication_account_is_broken: "F29",
        f30_the_old_primary_is_a_healthy_replica: "F30",
        f32_both_have_one_server_id: "F32",
        f38_somebody_lifts_the_fence: "F38:fence",
        f38_somebody_opens_the_replica: "F38:replica",
        f40_everything_wrong_is_told_at_once: "F40",
        f43_a_prepared_xa_transaction: "F43",
        f44_an_idle_transaction_with_locks: "F44",
        f44_a_transaction_that_begins_while_held: "F44:late",
        f45_a_replica_that_hangs_and_answers_late: "F45",
        f46_a_transaction_that_ends_in_the_settle_step: "F46",
        the_replica_dies: "crash:replica",
        the_primary_dies: "crash:primary",
        the_old_primary_dies_at_the_fence: "old-dies:fence",
        the_old_primary_dies_at_the_release: "old-dies:release",
        the_new_primary_dies_at_the_canary: "new-dies:canary",
        the_new_primary_restarts_at_the_events: "new-restarts:events",
        f16_killed_at_hold: "kill:hold",
        f16_killed_at_fence: "kill:fence",
        f16_killed_at_catch_up: "kill:catch_up",
        f16_killed_at_promote: "kill:promote",
        f16_killed_at_endpoint: "kill:endpoint",
        f16_killed_at_end_sessions: "kill:end_sessions",
        f16_killed_at_release: "kill:release",
        f16_killed_at_events: "kill:events",
        f16_killed_at_detach: "kill:detach",
        f16_killed_at_rejoin: "kill:rejoin",
        f16_killed_at_follow: "kill:follow",
        f16_killed_at_settings: "kill:settings",
        f16_killed_while_the_fence_is_pending: "kill:pending",
        f16_killed_in_the_recovery: "kill:recover",
        f16_the_guardian_takes_back_what_was_killed_at_ready: "guarded:ready",
        f16_the_guardian_takes_back_what_was_killed_at_hold: "guarded:hold",
        f16_the_guardian_takes_back_what_was_killed_at_fence: "guarded:fence",
        f16_the_guardian_takes_back_what_was_killed_at_catch_up: "guarded:catch_up",
        f16_the_guardian_takes_back_what_was_killed_at_promote: "guarded:promote",
        f16_the_guardian_takes_back_what_stands_still_at_hold: "still:hold",
        f16_the_guardian_takes_back_what_stands_still_at_fence: "still:fence",
        f16_the_guardian_takes_back_what_stands_still_at_promote: "still:promote",
        the_guardian_dies_at_fence: "bereft:fence",
        the_guardian_dies_at_promote: "bereft:promote",
        a_panic_in_the_fence: "panic:fence",
        a_panic_at_the_commit_point: "panic:promote",
        f25_the_endpoint_keeps_old_connections: "F25",
        a_recovery_beside_the_guardian: "guardian:recover",
        f12_the_sentinel_sees_two_writers: "sentinel:two",
        no_password_shows: "passwords",
    }
    on_one {
        h1_the_gate_dies_in_the_hold_of_a_swap: "gate:hold",
        h1_the_gate_dies_in_the_fence_of_a_swap: "gate:fence",
        the_gate_dies_behind_the_commit_point: "gate:committed",
        the_gate_dies_and_stays_away: "gate:away",
        the_gate_is_down: "gate:down",
        h1_the_gate_dies_right_before_the_hold: "gate-dies:hold",
        h1_the_gate_dies_right_before_the_release: "gate-dies:release",
        the_swap_is_cut_off_from_the_old_primary: "cut-swap-old:catch_up",
        the_swap_is_cut_off_from_the_new_primary: "cut-swap-new:endpoint",
        the_servers_are_cut_off_from_each_other: "cut-old-new:catch_up",
        the_application_is_cut_off_from_the_old_primary: "cut-app-old:fence",
        the_application_is_cut_off_from_the_new_primary: "cut-app-new:release",
        the_clock_is_set_ahead_right_before_the_fence: "clock-ahead:fence",
        the_clock_is_set_back_right_before_the_hold: "clock-back:hold",
        f16_killed_since_the_clock_was_set_back: "kill:clock",
        the_old_primary_restarts_at_the_prove: "old-restarts:prove",
        h1_the_gate_dies_held: "H1",
        h4_the_gate_dies_draining: "H4",
        h42_the_holder_dies: "H42",
        f13_the_hook_fails_once: "endpoint:once",
        f13_the_hook_always_fails: "endpoint:always",
        f13_the_hook_hangs: "endpoint:hangs",
        f13_a_hook_before_the_release_fails_once: "hook:once",
        f13_f18_a_hook_before_the_release_always_fails: "hook:always",
        f13_f18_f34_a_hook_before_the_release_hangs: "hook:hangs",
        f18_f34_the_application_does_not_get_warm: "warm_up",
        the_journal_cannot_be_written: "journal",
        a_panic_in_the_hold: "panic:hold",
        a_panic_in_the_rejoin: "panic:rejoin",
        a_panic_when_the_guardian_has_taken_it_back: "panic:late",
        a_panic_when_the_guardian_has_found_it_promoted: "panic:committed",
        f15_the_target_is_the_primary: "F15",
        the_guardian_dies_at_quiet: "bereft:quiet",
        the_guardian_dies_at_release: "bereft:release",
        the_sentinel_sees_that_nobody_can_write: "sentinel:none",
    }
}

/// Cases that there are for each step. `lab faults` plays all of them (docs/PROOF.md says why): at most steps a process that dies or
/// stands still, a party that dies or is cut off, leaves the servers as it does at a neighbour that has a test.
const FAMILIES: [&str; 17] = [
    "kill",
    "guarded",
    "still",
    "bereft",
    "panic",
    "gate-dies",
    "old-dies",
    "new-dies",
    "old-restarts",
    "new-restarts",
    "cut-swap-old",
    "cut-swap-new",
    "cut-old-new",
    "cut-app-old",
    "cut-app-new",
    "clock-ahead",
    "clock-back",
];

/// A few of each kind: what differs by version is the servers' words, which every case uses.
mod mariadb_11_8 {
    macro_rules! some {
        ($($name:ident: $id:literal,)*) => {
            $(#[test] fn $name() { super::play_case(super::by_gtid(super::Series::MariaDb118), $id); })*
        };
    }

    some! {
        f1_the_applier_stops_while_users_wait: "F1",
        f2_the_replica_stopped_at_a_duplicate_key: "F2",
        f5_f7_a_long_write_holds_the_fence_up: "F5b/F7",
        f10_f12_never_two_writers: "F10/F12",
        f43_a_prepared_xa_transaction: "F43",
        f16_killed_at_catch_up: "kill:catch_up",
        f16_killed_at_events: "kill:events",
        f16_killed_at_rejoin: "kill:rejoin",
    }
}

/// Where it makes a difference how the old primary finds its place: from the barrier to the end.
macro_rules! by_coordinates {
    ($($name:ident: $id:literal,)*) => {
        mod mariadb_by_coordinates {
            $(#[test] fn $name() {
                super::play_case(super::by_coordinates(super::Series::MariaDb), $id);
            })*
        }

        mod mysql_by_coordinates {
            $(#[test] fn $name() {
                super::play_case(super::by_coordinates(super::Series::MySql), $id);
            })*
        }
    };
}

by_coordinates! {
    f11_the_relay_log_is_not_applied: "F11",
    f30_the_old_primary_is_a_healthy_replica: "F30",
    f16_killed_at_catch_up: "kill:catch_up",
    f16_killed_at_promote: "kill:promote",
    f16_killed_at_rejoin: "kill:rejoin",
    f16_killed_at_settings: "kill:settings",
}

#[test]
fn every_case_has_a_test() {
    let cases = cases();
    let family =
        |id: &str| FAMILIES.into_iter().find(|family| id.starts_with(&format!("{family}:")));
    for case in &cases {
        let is_tested = TESTED.contains(&case.id.as_str()) || family(&case.id).is_some();
        assert!(is_tested, "{} has no test", case.id);
    }
    for id in TESTED {
        assert!(cases.iter().any(|case| case.id == *id), "{id} is no case");
    }
    for wanted in FAMILIES {
        assert!(TESTED.iter().any(|id| family(id) == Some(wanted)), "{wanted} has no test");
    }
}

#[test]
fn every_step_is_killed() {
    // The bench has a forwarder, from which nothing is withdrawn, and siblings in a case of its own only.
    let elsewhere = [Step::Withdraw, Step::Follow];
    let killed = Step::ALL.into_iter().filter(|step| !elsewhere.contains(step)).map(Step::name);
    assert!(killed.eq(STEPS));
}
