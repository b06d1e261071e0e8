//! A real journal file, cut around every record, then recovered from.

use std::{
    fs::OpenOptions,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use intermission::swap::{
    claim::Claim,
    executor::{FileLog, Flush, Log},
    journal::{self, JournalError, JournalLock},
    machine::State,
    observation::Flavor,
    record::{Ending, Entry},
    run::{self, Report, RunError, TakenBack},
};

use crate::{
    fault::{Blow, Point, Reached, Strike},
    harness::{
        End, FLAVORS, ID, begin, folder, fresh_token, listener, on_paused_clock, parties, plan,
        stage,
    },
    log::append,
    oracle::{assert_safe, check_end},
    stage::Stage,
};

/// A file of production in a world that can kill its writer.
struct WatchedLog(FileLog, Arc<Stage>);

#[async_trait]
impl Log for WatchedLog {
    async fn append(&mut self, entry: &Entry, flush: Flush) -> Result<(), JournalError> {
        append(&self.1).await;
        self.0.append(entry, flush).await
    }

    async fn flushed(&mut self) -> Result<(), JournalError> {
        self.0.flushed().await
    }

    fn claim(&self) -> Claim {
        self.0.claim()
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join(ID).with_extension("jsonl")
}

fn read(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::fs::File::open(file(dir)).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

async fn swap_in(dir: &Path, stage: &Arc<Stage>) -> End {
    let flavor = stage.with(|world| world.flavor);
    let lock = JournalLock::acquire(dir).unwrap();
    let log = FileLog::new(lock.create(ID).unwrap());
    begin(stage, plan(flavor), WatchedLog(log, Arc::clone(stage))).await
}

async fn recover_in(dir: &Path, stage: &Arc<Stage>) -> Result<Option<Report>, RunError> {
    let mut foretold = None;
    let foretell = |way: &str| foretold = Some(way.to_owned());
    let (token, listener) = (fresh_token(stage), listener(stage));
    let report = run::recover(&parties(stage), dir, foretell, token, listener).await?;
    let Some(Report::Ended { ending, .. }) = &report else {
        assert_eq!(foretold, None, "{report:?}");
        return Ok(report);
    };
    let way = foretold.expect("nothing was said before it acted");
    let expected = match ending {
        Ending::Swapped => "db2 is writable: the swap is finished",
        Ending::RolledBack => "db1 is made writable again and users are released",
        Ending::NeedsOperator => "whether db2 was promoted cannot be told",
    };
    assert!(way.contains(expected), "{ending:?}: {way}");
    Ok(report)
}

/// The lines of a whole run.
fn lines(flavor: Flavor) -> Vec<Vec<u8>> {
    on_paused_clock(async {
        let (dir, stage) = (folder(), stage(flavor, []));
        assert_eq!(swap_in(dir.path(), &stage).await.ending(), Some(Ending::Swapped));
        read(dir.path()).split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    })
}

#[test]
fn f16_a_journal_cut_around_any_record_is_recovered_from() {
    for flavor in FLAVORS {
        let lines = lines(flavor);
        assert!(lines.len() > 30, "{} records", lines.len());
        for (record, line) in lines.iter().enumerate() {
            // Nothing, a part, all but the newline, and the whole line.
            for cut in [0, 5, line.len() / 2, line.len() - 1, line.len()] {
                let case = format!("{flavor:?} record {record} cut at byte {cut}");
                on_paused_clock(async {
                    let (dir, stage) = (folder(), stage(flavor, []));
                    let killed = Strike::new(Blow::Kill, Point::Append(record), Reached::NotLanded);
                    stage.with(|world| world.strike = Some(killed));
                    assert!(matches!(swap_in(dir.path(), &stage).await, End::Killed), "{case}");
                    stage.with(|world| world.process_ends(true));
                    // Records that waited in memory for a durable one are written with it, and torn with it.
                    let written = read(dir.path()).split_inclusive(|byte| *byte == b'\n').count();
                    let mut torn = OpenOptions::new().append(true).open(file(dir.path())).unwrap();
                    for waited in &lines[written..record] {
                        torn.write_all(waited).unwrap();
                    }
                    torn.write_all(&line[..cut]).unwrap();
                    recover_and_check(dir.path(), &stage, &case).await;
                });
            }
        }
    }
}

/// The file of a process that stands still is taken over; what it writes when it goes on is nowhere.
#[test]
fn f16_a_journal_taken_over_while_its_writer_stands_still_stays_whole() {
    let flavor = Flavor::MySql;
    let (mut back, records) = (0, lines(flavor).len());
    for append in 1..records - 1 {
        let case = format!("stands still at record {append}");
        on_paused_clock(async {
            let (dir, stage) = (folder(), stage(flavor, []));
            let at = Point::Append(append);
            let strike = Strike::new(Blow::StandStill, at, Reached::NotLanded);
            stage.with(|world| world.strike = Some(strike));
            let lock = JournalLock::acquire(dir.path()).unwrap();
            let log = WatchedLog(FileLog::new(lock.create(ID).unwrap()), Arc::clone(&stage));
            let guardian = async {
                stage.stood_still.notified().await;
                let committed = stage.with(|world| world.told.committed);
                let (reason, parties, listener) =
                    ("silence".to_owned(), parties(&stage), listener(&stage));
                let taken = match committed {
                    true => TakenBack::Nothing,
                    false => run::take_back(&parties, &lock, ID, reason, listener).await.unwrap(),
                };
                stage.go_on();
                taken
            };
            let (end, taken) = tokio::join!(begin(&stage, plan(flavor), log), guardian);
            drop(lock);
            stage.with(|world| world.process_ends(false));
            let state = State::fold(
                journal::read(dir.path(), ID).unwrap().iter().map(|entry| &entry.record),
            );
            let closed = state.unwrap().closed();
            match (taken, end) {
                (TakenBack::Nothing, End::Closed(Ending::Swapped, _)) => {
                    assert_eq!(closed, Some(Ending::Swapped), "{case}");
                    check_end(&stage, Ending::Swapped, &case).await;
                }
                (TakenBack::Back, End::Superseded) => {
                    assert_eq!(closed, Some(Ending::RolledBack), "{case}");
                    run::heal(&parties(&stage), plan(flavor)).await;
                    check_end(&stage, Ending::RolledBack, &case).await;
                    back += 1;
                }
                (TakenBack::Committed, End::Superseded) => {
                    assert_eq!(closed, None, "{case}");
                    recover_and_check(dir.path(), &stage, &case).await;
                }
                other => panic!("{case}: {other:?}"),
            }
        });
    }
    assert!(back > 10, "only {back} of {records} were taken back");
}

/// The guardian's disk is full: the site is made writable again all the same, and a recovery closes the journal later.
#[test]
fn f16_what_cannot_be_recorded_is_taken_back_all_the_same() {
    for flavor in FLAVORS {
        for (append, line) in lines(flavor).iter().enumerate().skip(2) {
            let case = format!("{flavor:?} killed at record {append}");
            let is_promoting = String::from_utf8_lossy(line).contains("\"promote\"");
            let committed = on_paused_clock(async {
                let (dir, stage) = (folder(), stage(flavor, []));
                let at = Point::Append(append);
                let strike = Strike::new(Blow::Kill, at, Reached::NotLanded);
                stage.with(|world| world.strike = Some(strike));
                assert!(matches!(swap_in(dir.path(), &stage).await, End::Killed), "{case}");
                stage.with(|world| world.process_ends(true));
                let before = read(dir.path());
                let lock = JournalLock::acquire(dir.path()).unwrap();
                let (parties, listener) = (parties(&stage), listener(&stage));
                run::take_back_unwritten(&parties, &lock, ID, listener).await.unwrap();
                drop(lock);
                assert_eq!(read(dir.path()), before, "{case}: it was written");
                let committed = stage.with(|world| {
                    assert_safe(world, &case);
                    let [old, new] = [0, 1].map(|db: usize| world.servers[db].access.is_writable());
                    assert!(old != new, "{case}");
                    assert!(new || world.gate.held.is_none(), "{case}: users stay held");
                    new
                });
                stage.with(|world| world.process_ends(false));
                recover_and_check(dir.path(), &stage, &case).await;
                committed
            });
            if committed || is_promoting {
                break;
            }
        }
    }
}

async fn recover_and_check(dir: &Path, stage: &Arc<Stage>, case: &str) {
    let is_promoted = stage.with(|world| world.servers[1].access.is_writable());
    let expected = if is_promoted { Ending::Swapped } else { Ending::RolledBack };
    match recover_in(dir, stage).await {
        Ok(Some(Report::Ended { ending, .. })) => assert_eq!(ending, expected, "{case}"),
        // Nothing was begun, or everything was finished.
        Ok(None) => {}
        other => panic!("{case}: {other:?}"),
    }
    stage.with(|world| world.process_ends(false));
    check_end(stage, expected, case).await;
    let again = recover_in(dir, stage).await;
    assert!(matches!(again, Ok(None)), "{case}: recovered twice: {again:?}");
}

#[test]
fn a_journal_damaged_before_its_end_is_refused_and_nothing_is_done() {
    let lines = lines(Flavor::MySql);
    for damaged in 0..lines.len() - 1 {
        on_paused_clock(async {
            let (dir, stage) = (folder(), stage(Flavor::MySql, []));
            let mut bytes = lines.clone();
            let middle = bytes[damaged].len() / 2;
            bytes[damaged][middle] ^= 1;
            let mut file = std::fs::File::create(file(dir.path())).unwrap();
            file.write_all(&bytes.concat()).unwrap();
            let refused = recover_in(dir.path(), &stage).await;
            let Err(RunError::Journal(JournalError::Damaged { line, .. })) = refused else {
                panic!("line {damaged}: {refused:?}");
            };
            assert_eq!(line, damaged + 1);
            assert_eq!(stage.with(|world| world.trace.len()), 0, "the servers were asked");
            assert_eq!(read(dir.path()), bytes.concat(), "the file was changed");
        });
    }
}
