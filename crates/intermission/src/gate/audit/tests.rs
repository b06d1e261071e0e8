//! What is in the file, whatever happens to it.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::*;

const BOUND: Duration = Duration::from_secs(20);

fn note(audit: &Audit, app: &str) {
    let actor = Actor::Lease;
    let (action, outcome) = (Action::LeaseEnd, Outcome::Released);
    audit.note(&Entry {
        app,
        action,
        outcome,
        actor: &actor,
        generation: Some(7),
        holder: Some("ann"),
        reason: None,
        error: None,
    });
}

/// The apps that the file's lines are about.
fn apps(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let parse = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
    text.lines().map(|line| parse(line)["app"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lines_are_appended_in_order_and_only_the_owner_reads_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    for round in 0..2 {
        let audit = Audit::open(Some(&path)).unwrap();
        for number in 0..100 {
            note(&audit, &format!("{round}-{number}"));
        }
        audit.finish(BOUND);
        assert_eq!(audit.status().map(|status| (status.written, status.lost)), Some((100, 0)));
    }
    let wanted: Vec<_> =
        (0..2).flat_map(|round| (0..100).map(move |number| format!("{round}-{number}"))).collect();
    assert_eq!(apps(&path), wanted);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_was_moved_or_removed_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let [path, moved] = ["audit.log", "audit.log.1"].map(|name| directory.path().join(name));
    let audit = Audit::open(Some(&path)).unwrap();
    note(&audit, "first");
    audit.finish(BOUND);
    std::fs::rename(&path, &moved).unwrap();
    note(&audit, "second");
    audit.finish(BOUND);
    assert_eq!((apps(&moved), apps(&path)), (vec!["first".to_owned()], vec!["second".to_owned()]));
    std::fs::remove_file(&path).unwrap();
    note(&audit, "third");
    audit.finish(BOUND);
    assert_eq!(apps(&path), ["third"]);
}

#[test]
fn where_it_cannot_be_made_anew_the_former_file_goes_on_and_that_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let [path, moved] = ["audit.log", "audit.log.1"].map(|name| directory.path().join(name));
    let audit = Audit::open(Some(&path)).unwrap();
    std::fs::rename(&path, &moved).unwrap();
    std::fs::create_dir(&path).unwrap();
    note(&audit, "first");
    audit.finish(BOUND);
    assert_eq!(apps(&moved), ["first"]);
    let status = audit.status().unwrap();
    assert_eq!((status.written, status.lost), (1, 0));
    assert!(status.problem.is_some());
    std::fs::remove_dir(&path).unwrap();
    note(&audit, "second");
    audit.finish(BOUND);
    assert_eq!((apps(&path), audit.status().unwrap().problem), (vec!["second".to_owned()], None));
}

/// Linux has a disk that is always full.
#[test]
fn a_write_that_fails_is_counted_and_hinders_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let full = AuditFile::of(File::options().append(true).open("/dev/full").unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let counts = AuditLogStatus { written: 0, lost: 0, problem: None };
    let state = State { path: path.clone(), counts: Mutex::new(counts) };
    let mut file = full;
    for lost in 1..=3 {
        write_line(&mut file, b"{}\n", &state);
        let counts = state.counts();
        assert_eq!((counts.written, counts.lost), (0, lost));
        assert!(counts.problem.as_ref().unwrap().contains("No space left"), "{counts:?}");
    }
    std::fs::remove_file(&path).unwrap();
    write_line(&mut file, b"{\"app\":\"shop\"}\n", &state);
    assert_eq!(apps(&path), ["shop"]);
    assert_eq!(state.counts().problem, None);
}

/// The disk does not answer, and nobody takes a line.
#[test]
fn no_more_lines_wait_than_there_is_room_for_and_nobody_waits_for_them() {
    let counts = AuditLogStatus { written: 0, lost: 0, problem: None };
    let state = Arc::new(State { path: "audit.log".into(), counts: Mutex::new(counts) });
    let (wishes, untaken) = sync_channel(WAITING_MAX);
    let audit = Audit(Some(Arc::new(Writer { wishes, state })));
    for _ in 0..WAITING_MAX + 3 {
        note(&audit, "shop");
    }
    let status = audit.status().unwrap();
    assert_eq!((status.written, status.lost), (0, 3));
    assert!(status.problem.unwrap().contains("wait for the disk"));
    assert_eq!(untaken.try_iter().count(), WAITING_MAX);
    audit.finish(Duration::from_millis(1));
}

#[test]
fn what_is_no_file_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [directory.path(), &pipe, Path::new("/dev/null"), &directory.path().join("no/dir")]
    {
        let error = Audit::open(Some(path)).unwrap_err().to_string();
        assert!(error.contains("(gate.audit_log)") && error.contains(&*path.to_string_lossy()));
    }
}
