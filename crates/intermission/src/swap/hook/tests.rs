use std::time::Duration;

use tokio::time::Instant;

use super::{CommandHooks, Hook, Hooks};
use crate::swap::{observation::Address, refusal::Code};

const PATIENCE: Duration = Duration::from_secs(10);

fn servers() -> (Address, Address) {
    let at = |port| Address { host: "127.0.0.1".to_owned(), port };
    (at(2), at(1))
}

fn hook(script: &str, timeout: Duration) -> Hook {
    Hook { program: "sh".to_owned(), args: vec!["-c".to_owned(), script.to_owned()], timeout }
}

fn hooks(scripts: &[&str]) -> CommandHooks {
    let hooks = scripts.iter().map(|script| hook(script, PATIENCE)).collect();
    CommandHooks::new(hooks, Vec::new())
}

async fn run(hooks: &CommandHooks) -> Result<String, String> {
    let (new, old) = servers();
    hooks.run(&new, &old).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn each_is_told_both_servers_in_order_and_how_it_ended_is_kept() {
    let script = "echo $INTERMISSION_NEW_PRIMARY; echo from $INTERMISSION_OLD_PRIMARY >&2";
    let said = run(&hooks(&[script, "echo second"])).await.expect("runs");
    let first = said.find("exit status: 0").expect("a status");
    assert!(said.contains(": 127.0.0.1:2 | from 127.0.0.1:1; sh -c 'echo second'"), "{said}");
    assert!(first < said.find("second").expect("the second"), "{said}");
    assert_eq!(CommandHooks::default().bound(), None);
    assert_eq!(hooks(&["", ""]).bound(), Some(PATIENCE * 2));
}

#[tokio::test]
async fn f13_one_that_fails_is_run_again_and_keeps_no_other_from_running() {
    let dir = tempfile::tempdir().expect("a directory");
    let (once, runs) = (dir.path().join("once"), dir.path().join("runs"));
    let fails_once = format!("[ -e {p} ] || {{ touch {p}; exit 1; }}", p = once.display());
    let fails = format!("echo run >>{}; echo no such unit >&2; exit 5", runs.display());
    let said = run(&hooks(&[&fails_once])).await.expect("succeeds in the end");
    assert!(said.contains("in 2 runs"), "{said}");
    let said = run(&hooks(&[&fails, "echo after"])).await.expect_err("fails");
    assert!(said.starts_with("1 of 2 hooks failed: "), "{said}");
    assert!(said.contains("in 3 runs ended with exit status: 5"), "{said}");
    assert!(
        said.contains("no such unit; by hand: INTERMISSION_NEW_PRIMARY=127.0.0.1:2 "),
        "{said}"
    );
    assert!(said.contains(": after"), "{said}");
    assert_eq!(std::fs::read_to_string(&runs).expect("written").lines().count(), 3);
}

#[tokio::test]
async fn f13_one_that_hangs_is_killed_with_its_children_and_is_not_run_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let pids = dir.path().join("pids");
    let script = format!("sleep 600 & echo $$ $! >>{}; echo waits; wait", pids.display());
    let hooks = CommandHooks::new(vec![hook(&script, Duration::from_millis(300))], Vec::new());
    let began = Instant::now();
    let said = run(&hooks).await.expect_err("hangs");
    assert!(began.elapsed() < PATIENCE, "waited for it");
    assert!(said.contains("was killed after 3") && said.contains(": waits"), "{said}");
    let pids = std::fs::read_to_string(&pids).expect("written");
    assert_eq!(pids.lines().count(), 1, "run twice: {pids}");
    for pid in pids.split_whitespace() {
        gone(pid).await;
    }
}

/// A killed child is its new parent's to reap; it does nothing any more.
async fn gone(pid: &str) {
    let deadline = Instant::now() + PATIENCE;
    let runs = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    };
    while runs() {
        assert!(Instant::now() < deadline, "{pid} still runs");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn f13_one_that_is_given_up_is_killed_with_its_children() {
    let dir = tempfile::tempdir().expect("a directory");
    let pids = dir.path().join("pids");
    let script = format!("sleep 600 & echo $$ $! >{0}.new; mv {0}.new {0}; wait", pids.display());
    let hooks = hooks(&[&script]);
    let deadline = Instant::now() + PATIENCE;
    let written = async {
        while !pids.exists() {
            assert!(Instant::now() < deadline, "it never ran");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        _ = run(&hooks) => panic!("it ended"),
        () = written => {}
    }
    for pid in std::fs::read_to_string(&pids).expect("written").split_whitespace() {
        gone(pid).await;
    }
}

#[tokio::test]
async fn a_daemon_it_leaves_behind_is_not_waited_for_and_lives() {
    let dir = tempfile::tempdir().expect("a directory");
    let (pid, end) = (dir.path().join("pid"), dir.path().join("end"));
    let script = format!(
        "(while [ ! -e {} ]; do sleep 0.01; done) & echo $! >{}; echo started",
        end.display(),
        pid.display()
    );
    let began = Instant::now();
    let said = run(&hooks(&[&script])).await.expect("runs");
    assert!(began.elapsed() < Duration::from_secs(5), "waited for the daemon");
    assert!(said.ends_with(": started"), "{said}");
    let pid = std::fs::read_to_string(&pid).expect("written").trim().to_owned();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "the daemon was killed");
    std::fs::File::create(&end).expect("made");
    gone(&pid).await;
}

#[tokio::test]
async fn the_last_lines_are_kept_and_no_terminal_obeys_them() {
    let script =
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; printf '\\033[2Jend\\n'";
    let said = run(&hooks(&[script])).await.expect("runs");
    assert!(said.contains("line 2999 | [2Jend"), "{said}");
    assert!(!said.contains("line 2900 ") && !said.contains('\u{1b}'), "{said}");
    assert!(said.len() < 2000, "{said}");
}

#[tokio::test]
async fn a_password_in_the_environment_is_not_the_hooks() {
    let (new, old) = servers();
    // Cargo sets it for every test.
    let variable = "CARGO_PKG_NAME";
    assert!(std::env::var(variable).is_ok());
    let hook = hook("env", PATIENCE);
    let hidden = CommandHooks::new(vec![hook.clone()], vec![variable.to_owned()]);
    let shown = CommandHooks::new(vec![hook], Vec::new());
    let script = |hooks: CommandHooks| {
        let mut hooks = hooks;
        hooks.hooks[0].args = vec!["-c".to_owned(), format!("echo [${variable}]")];
        hooks
    };
    let said = script(hidden).run(&new, &old).await.expect("runs");
    assert!(said.ends_with("[]"), "{said}");
    let said = script(shown).run(&new, &old).await.expect("runs");
    assert!(!said.ends_with("[]"), "{said}");
}

#[tokio::test]
async fn one_that_is_missing_is_found_before_the_swap() {
    let missing = Hook { program: "/nonexistent/hook".to_owned(), ..hook("", PATIENCE) };
    let hooks = CommandHooks::new(vec![missing], Vec::new());
    assert_eq!(hooks.refusals()[0].code, Code::HookMissing);
    let said = run(&hooks).await.expect_err("cannot be started");
    assert!(said.contains("/nonexistent/hook"), "{said}");
}
