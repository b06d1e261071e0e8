//! A real journal file, cut around every record, then recovered from.

use std::{
    fs::OpenOptions,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use intermission::swap::{
    executor::{FileLog, Log},
    journal::{JournalError, JournalLock},
    observation::Flavor,
    record::{Ending, Entry},
    run::{self, Report, RunError},
};

use crate::{
    fault::{Blow, Point, Reached, Strike},
    harness::{
        End, FLAVORS, ID, begin, folder, fresh_token, listener, on_paused_clock, parties, plan,
        stage,
    },
    oracle::check_end,
    stage::{Stage, append},
};

/// A file of production in a world that can kill its writer.
struct WatchedLog(FileLog, Arc<Stage>);

#[async_trait]
impl Log for WatchedLog {
    async fn append(&mut self, entry: &Entry, durable: bool) -> Result<(), JournalError> {
        append(&self.1).await;
        self.0.append(entry, durable).await
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
    run::recover(&parties(stage), dir, fresh_token(stage), listener(stage)).await
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
