//! Torn ends, damage, other versions, and two processes with one journal.

use jiff::Timestamp;

use super::{JournalError, JournalLock, decode, encode, is_finished, list, read};
use crate::swap::record::{Entry, Record};

fn entry(seq: u64) -> Entry {
    let reason = format!("reason {seq}");
    Entry { seq, at: Timestamp::UNIX_EPOCH, elapsed_us: 0, record: Record::Interrupted { reason } }
}

fn lines(count: u64) -> Vec<u8> {
    (0..count).flat_map(|seq| encode(&entry(seq)).expect("encodes")).collect()
}

#[test]
fn a_cut_anywhere_in_the_last_line_loses_that_line_only() {
    let bytes = lines(3);
    let two = lines(2).len();
    for cut in two..bytes.len() {
        let (entries, whole) = decode(&bytes[..cut]).expect("reads");
        assert_eq!((entries.len(), whole), (2, two), "cut at {cut}");
    }
}

#[test]
fn damage_before_the_end_is_refused_with_its_line() {
    let bytes = lines(3);
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x01;
        match decode(&damaged) {
            Err(line) => assert!((1..=3).contains(&line)),
            // Only the final newline's loss looks like a torn end.
            Ok((entries, _)) => {
                assert_eq!((entries.len(), position), (2, bytes.len() - 1));
            }
        }
    }
    let missing: Vec<u8> =
        [0, 2].iter().flat_map(|s| encode(&entry(*s)).expect("encodes")).collect();
    assert_eq!(decode(&missing), Err(2), "a gap in the numbers");
}

#[test]
fn what_was_appended_is_read_and_a_torn_end_is_cut_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let lock = JournalLock::acquire(dir.path()).expect("locks");
    let mut journal = lock.create("20261124T010203Z-1").expect("creates");
    journal.append(&entry(0), true).expect("appends");
    std::io::Write::write_all(&mut &journal.file, b"deadbeef {\"seq\":1,").expect("tears");
    assert_eq!(list(dir.path()).expect("lists"), ["20261124T010203Z-1"]);
    let (mut journal, entries) = lock.open("20261124T010203Z-1").expect("opens");
    assert_eq!(entries, [entry(0)]);
    journal.append(&entry(1), true).expect("appends");
    assert_eq!(read(dir.path(), "20261124T010203Z-1").expect("reads"), [entry(0), entry(1)]);
}

#[test]
fn a_second_process_is_told_who_is_in_the_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let lock = JournalLock::acquire(dir.path()).expect("locks");
    assert!(matches!(JournalLock::acquire(dir.path()), Err(JournalError::Locked { .. })));
    drop(lock);
    JournalLock::acquire(dir.path()).expect("locks again");
}

#[test]
fn an_id_never_leads_out_of_the_folder() {
    let dir = tempfile::tempdir().expect("a directory");
    for id in ["../x", "", "a/b", "a.b"] {
        assert!(matches!(read(dir.path(), id), Err(JournalError::Unknown { .. })), "{id}");
    }
}

#[test]
fn whoever_is_taken_over_from_writes_what_nobody_reads() {
    let dir = tempfile::tempdir().expect("a directory");
    let lock = JournalLock::acquire(dir.path()).expect("locks");
    let mut stopped = lock.create("20261124T010203Z-1").expect("creates");
    stopped.append(&entry(0), true).expect("appends");
    let claim = stopped.claim().expect("a claim");
    assert!(claim.stands());
    let (mut taken, _) = lock.open("20261124T010203Z-1").expect("opens");
    assert!(!claim.stands() && taken.claim().expect("a claim").stands());
    taken.append(&entry(1), true).expect("appends");
    stopped.append(&entry(1), false).expect("into memory");
    stopped.append(&entry(2), true).expect("where nobody reads");
    drop(stopped);
    assert_eq!(read(dir.path(), "20261124T010203Z-1").expect("reads"), [entry(0), entry(1)]);
    assert_eq!(list(dir.path()).expect("lists"), ["20261124T010203Z-1"]);
}

/// A swap that comes to itself and its guardian both take it over, again and again: whatever either had on disk while the journal was its own
/// is there at the end.
#[test]
fn two_who_take_it_over_at_once_come_one_after_the_other() {
    const TIMES: u64 = 50;
    let dir = tempfile::tempdir().expect("a directory");
    let lock = JournalLock::acquire(dir.path()).expect("locks");
    let id = "20261124T010203Z-1";
    lock.create(id).expect("creates").append(&entry(0), true).expect("appends");
    let take_over = || {
        let mut kept = 0;
        for _ in 0..TIMES {
            let (mut journal, entries) = lock.open(id).expect("takes it over");
            let claim = journal.claim().expect("a claim");
            let next = u64::try_from(entries.len()).expect("a few");
            journal.append(&entry(next), true).expect("appends");
            kept += u64::from(claim.stands());
        }
        kept
    };
    let kept = std::thread::scope(|scope| {
        let both = [scope.spawn(take_over), scope.spawn(take_over)];
        both.map(|one| one.join().expect("no panic")).iter().sum::<u64>()
    });
    let entries = read(dir.path(), id).expect("whole");
    let there = u64::try_from(entries.len()).expect("a few");
    assert!(there > kept && there <= 1 + 2 * TIMES, "{there} of {kept}");
}

#[test]
fn the_lock_is_there_until_the_last_process_that_has_it_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let lock = JournalLock::acquire(dir.path()).expect("locks");
    let other = lock.file().try_clone().expect("another file");
    let shared = JournalLock::shared(dir.path().to_owned(), other);
    drop(lock);
    assert!(matches!(JournalLock::acquire(dir.path()), Err(JournalError::Locked { .. })));
    drop(shared);
    JournalLock::acquire(dir.path()).expect("locks again");
}

#[test]
fn a_released_lock_is_not_kept_by_a_program_that_does_not_run_yet() {
    let dir = tempfile::tempdir().expect("a directory");
    let lock = JournalLock::acquire(dir.path()).expect("locks");
    // As between fork and exec, which closes it.
    let _copy = lock.file().try_clone().expect("another file");
    lock.release();
    JournalLock::acquire(dir.path()).expect("locks again");
}

/// A line of some version with all a later one may have that this program does not know.
fn foreign(json: &str) -> Vec<u8> {
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

#[test]
fn another_version_is_refused_by_name_and_known_to_be_finished_or_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened =
        r#"{"seq":0,"at":"2020-01-01T00:00:00Z","record":"opened","version":99,"plan":{"new":1}}"#;
    let strange = r#"{"seq":1,"at":"2020-01-01T00:00:00Z","record":"dreamt","of":"sheep"}"#;
    let closed =
        r#"{"seq":2,"at":"2020-01-01T00:00:00Z","record":"closed","ending":"swapped","more":[]}"#;
    for (id, lines, finished) in [
        ("20200101T000000Z-1", vec![opened, strange, closed], true),
        ("20200101T000000Z-2", vec![opened, strange], false),
    ] {
        let path = dir.path().join(id).with_extension("jsonl");
        let bytes: Vec<u8> = lines.into_iter().flat_map(foreign).collect();
        let mut file = std::fs::File::create(&path).expect("creates");
        std::io::Write::write_all(&mut file, &bytes).expect("writes");
        let refused = read(dir.path(), id).expect_err("another version");
        let said = refused.to_string();
        assert!(matches!(refused, JournalError::Version { found: 99, .. }), "{said}");
        assert!(said.contains(&path.display().to_string()) && said.contains("move the file away"));
        assert_eq!(is_finished(dir.path(), id).expect("reads"), finished, "{id}");
    }
}
