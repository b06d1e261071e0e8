//! The emergency card typed from each step that a swap may have died at: whoever types it ends up with one writer that has
//! every row.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use intermission::mysql::MySqlClientAddress;
use intermission::swap::{
    executor::{Executor, FileLog, Flush, Log},
    gates::Gates,
    journal::JournalError,
    observation::Flavor as SwapFlavor,
    plan::{Plan, Planned, Request},
    record::{Action, Entry, Outcome, Record},
    run::{self, Parties},
    step::Step,
};
use lab::{
    cluster::OPERATOR,
    server::{Flavor, lab_dir},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    bench::Bench,
    failover::{fenced_by, plan as plan_failover},
    role::{allow_events, schedule, wait_for_a_tick},
};

lab::on_both!(
    before_the_commit_point_the_card_undoes_from_each_step,
    the_card_finishes_from_each_step,
    where_events_and_an_address_move_the_card_undoes_and_finishes,
    a_failover_is_finished_and_undone_by_its_card,
);

const PATIENCE: Duration = Duration::from_secs(30);

/// A journal whose writer dies right after an intent.
struct DiesAt {
    step: Step,
    /// What is on disk when the machine is back: nothing behind the intent to promote.
    kept: Option<FileLog>,
    card: Arc<Mutex<Vec<String>>>,
    died: Option<tokio::sync::oneshot::Sender<()>>,
    failed: Arc<Mutex<String>>,
}

#[async_trait]
impl Log for DiesAt {
    async fn flushed(&mut self) -> Result<(), JournalError> {
        match &mut self.kept {
            Some(kept) => kept.flushed().await,
            None => Ok(()),
        }
    }

    async fn append(&mut self, entry: &Entry, flush: Flush) -> Result<(), JournalError> {
        if let Some(kept) = &mut self.kept {
            kept.append(entry, flush).await?;
        }
        if matches!(entry.record, Record::Intent { step: Step::Promote, .. }) {
            self.kept = None;
        }
        if let Record::Outcome { step, outcome: Outcome::Failed { message, .. }, .. } =
            &entry.record
        {
            *self.failed.lock().unwrap() = format!("{step}: {message}");
        }
        let Record::Intent { action, step, emergency, .. } = &entry.record else { return Ok(()) };
        if !emergency.is_empty() {
            self.card.lock().unwrap().clone_from(emergency);
        }
        if *action == Action::Perform && *step == self.step {
            self.died.take().unwrap().send(()).unwrap();
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

/// Runs the plan until the intent of `step` is journaled and its process dies: the card as it is journaled then.
/// With the process go its sessions.
async fn die_at(parties: Parties, plan: Plan, step: Step) -> Vec<String> {
    die_with(parties, plan, step, None).await
}

pub(crate) async fn die_with(
    parties: Parties,
    plan: Plan,
    step: Step,
    kept: Option<FileLog>,
) -> Vec<String> {
    let card = Arc::new(Mutex::new(Vec::new()));
    let (died, death) = tokio::sync::oneshot::channel();
    let failed = Arc::new(Mutex::new(String::new()));
    let log = DiesAt {
        step,
        kept,
        card: Arc::clone(&card),
        died: Some(died),
        failed: Arc::clone(&failed),
    };
    let steps = run::steps_of(&parties, plan).unwrap();
    drop(parties);
    let listener = Arc::new(|_: &_| {});
    let executor = Executor::begin(steps, log, CancellationToken::new(), listener).await.unwrap();
    let running = tokio::spawn(executor.run());
    let came = timeout(PATIENCE, death).await.expect("it comes to an end");
    assert!(came.is_ok(), "not {step}: {}", failed.lock().unwrap());
    running.abort();
    drop(running.await);
    let card = card.lock().unwrap().clone();
    assert!(!card.is_empty(), "no card before {step}");
    card
}

/// Types the line that begins with `what`, which releases.
async fn typed(bench: &Bench, card: &[String], what: &str) {
    let released = run_line(bench, card, what);
    assert_eq!(released, "released\n", "{what}: {card:#?}");
    // What that command does.
    bench.asked.release("").await.unwrap();
}

/// Types the line that begins with `what`, with the client of the server's own kind and its password, and with programs that
/// stand for the gate's and the endpoint's.
fn run_line(bench: &Bench, card: &[String], what: &str) -> String {
    let flavor = bench.flavor();
    let line = card.iter().find(|line| line.starts_with(what));
    let line = line.unwrap_or_else(|| panic!("no {what:?} in {card:#?}"));
    let (_, command) = line.split_once(": ").unwrap();
    let client = match flavor {
        Flavor::MariaDb => "mariadb".to_owned(),
        Flavor::MySql => lab_dir().join("bin/mysql").display().to_string(),
    };
    let folder = tempfile::tempdir().unwrap();
    let program = |name: &str, script: String| {
        let path = folder.path().join(name);
        lab_write(&path, &format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    // The card has it ask for the password at the terminal.
    program(
        "mysql",
        format!(
            "for word; do shift; [ \"$word\" = -p ] || set -- \"$@\" \"$word\"; done\nexec {client} \"$@\""
        ),
    );
    program("intermission", "echo released >> \"$0.log\"".to_owned());
    program("point", "exit 0".to_owned());
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
        .env("MYSQL_PWD", OPERATOR.password)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command}: {said}");
    std::fs::read_to_string(folder.path().join("intermission.log")).unwrap_or_default()
}

fn lab_write(path: &Path, text: &str) {
    use std::io::Write as _;
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

pub(crate) async fn planned(bench: &Bench) -> Plan {
    bench.expect_codes(&[]).await;
    let looked = run::preflight(&bench.parties(), bench.journals(), &Bench::request()).await;
    match looked.unwrap() {
        Ok(Planned::Swap(plan)) => *plan,
        other => panic!("{other:?}"),
    }
}

async fn assert_one_writer(bench: &Bench, writer: usize, row: &str) {
    assert_eq!(bench.pair.primary_index().await.unwrap(), writer, "{row}");
    timeout(PATIENCE, bench.write(writer, row)).await.expect("nothing waits").unwrap();
}

/// Steps without an intent on disk have the card of the step before.
async fn before_the_commit_point_the_card_undoes_from_each_step(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let before = [
        Step::Lock,
        Step::Quiet,
        Step::Hold,
        Step::Settle,
        Step::Fence,
        Step::Barrier,
        Step::CatchUp,
        Step::Promote,
    ];
    for (number, step) in before.into_iter().enumerate() {
        let plan = planned(&bench).await;
        let card = die_at(bench.parties(), plan, step).await;
        typed(&bench, &card, "to undo by hand").await;
        assert_one_writer(&bench, 0, &format!("undone {number}")).await;
        bench.pair.wait_replicated().await.unwrap();
        bench.assert_same_rows().await;
    }
}

async fn the_card_finishes_from_each_step(flavor: Flavor) {
    let after = [
        Step::Hold,
        Step::Fence,
        Step::CatchUp,
        Step::Promote,
        Step::Endpoint,
        Step::EndSessions,
        Step::Release,
        Step::Detach,
        Step::Rejoin,
        Step::Prove,
        Step::Unlock,
    ];
    for step in after {
        let bench = Bench::new(flavor).await;
        bench.write(0, "before").await.unwrap();
        let plan = planned(&bench).await;
        let card = die_at(bench.parties(), plan, step).await;
        if step < Step::Fence {
            // It is the old primary's until it is fenced, and what it takes has to come along.
            bench.write(0, "last").await.unwrap();
        }
        let can_undo = card.iter().any(|line| line.starts_with("to undo by hand"));
        assert_eq!(can_undo, step <= Step::Promote, "{step}: {card:#?}");
        typed(&bench, &card, "to finish by hand").await;
        assert_one_writer(&bench, 1, "after").await;
        assert!(bench.pair.is_read_only(0).await.unwrap(), "{step}");
        let rows = if step < Step::Fence { "3" } else { "2" };
        assert_eq!(bench.ask(1, "SELECT COUNT(*) FROM ledger.entries").await, rows, "{step}");
    }
}

/// The steps that only such a swap has.
async fn where_events_and_an_address_move_the_card_undoes_and_finishes(flavor: Flavor) {
    let request =
        || Request { withdrawal: Some(Duration::from_secs(1)), canary: true, ..Bench::request() };
    let looked = async |bench: &Bench| {
        let old = with_client_address(bench, 0);
        let looked = run::preflight(&old, bench.journals(), &request()).await.unwrap();
        match looked {
            Ok(Planned::Swap(plan)) => (with_client_address(bench, 1), *plan),
            other => panic!("{other:?}"),
        }
    };
    let bench = Bench::new(flavor).await;
    allow_events(&bench).await;
    schedule(&bench).await;
    for step in [Step::Ready, Step::Hold, Step::Withdraw, Step::Fence, Step::Promote] {
        let (parties, plan) = looked(&bench).await;
        if is_mariadbs_alone(step, &plan) {
            continue;
        }
        let card = die_at(parties, plan, step).await;
        typed(&bench, &card, "to undo by hand").await;
        assert_one_writer(&bench, 0, &format!("undone at {step}")).await;
        wait_for_a_tick(&bench, 1).await;
        bench.pair.wait_replicated().await.unwrap();
    }
    for step in [Step::Withdraw, Step::Canary, Step::Release, Step::Events, Step::Settings] {
        let bench = Bench::new(flavor).await;
        allow_events(&bench).await;
        schedule(&bench).await;
        let (parties, plan) = looked(&bench).await;
        if is_mariadbs_alone(step, &plan) {
            continue;
        }
        let card = die_at(parties, plan, step).await;
        typed(&bench, &card, "to finish by hand").await;
        run_line(&bench, &card, "if finished by hand, then for the events");
        assert_one_writer(&bench, 1, "after").await;
        assert!(bench.pair.is_read_only(0).await.unwrap(), "{step}");
        wait_for_a_tick(&bench, 2).await;
    }
}

/// MySQL's fence stops the events by itself: there is nothing to make ready, and to set right.
fn is_mariadbs_alone(step: Step, plan: &Plan) -> bool {
    let is_alone = matches!(step, Step::Ready | Step::Settings);
    assert!(plan.has(step) || (is_alone && plan.flavor == SwapFlavor::MySql), "{step}");
    !plan.has(step)
}

/// A server's own address stands for the one that clients have.
fn with_client_address(bench: &Bench, leads_to: usize) -> Parties {
    let client_address = MySqlClientAddress::new(bench.access(leads_to), []);
    Parties { client_address: Some(Arc::new(client_address)), ..bench.parties() }
}

async fn a_failover_is_finished_and_undone_by_its_card(flavor: Flavor) {
    let before = [Step::Lock, Step::Fence, Step::Ready, Step::Hold, Step::CatchUp, Step::Promote];
    let bench = Bench::new(flavor).await;
    bench.write(0, "before").await.unwrap();
    bench.pair.wait_replicated().await.unwrap();
    bench.pair.server(0).kill().await.unwrap();
    let parties = fenced_by(&bench, "exit 0");
    for step in before {
        let plan = plan_failover(&bench, &parties, &Bench::request()).await;
        let card = die_at(fenced_by(&bench, "exit 0"), plan, step).await;
        typed(&bench, &card, "to undo by hand").await;
        assert!(bench.pair.is_read_only(1).await.unwrap(), "{step}");
    }
    for (number, step) in [Step::Promote, Step::Endpoint, Step::Detach].into_iter().enumerate() {
        let plan = plan_failover(&bench, &parties, &Bench::request()).await;
        let card = die_at(fenced_by(&bench, "exit 0"), plan, step).await;
        typed(&bench, &card, "to finish by hand").await;
        assert!(!bench.pair.is_read_only(1).await.unwrap(), "{step}");
        bench.write(1, &format!("after {number}")).await.unwrap();
        // For the next round it is a replica that is fenced.
        let [_, close] = bench.switches();
        bench.sql(1, [close]).await;
        let start = bench.either("START SLAVE", "START REPLICA");
        bench.sql(1, [start]).await;
    }
}
