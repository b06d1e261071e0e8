//! The oracle must be able to fail: one test per defect.

use super::*;

fn write(client: u32, seq: u64) -> Write {
    Write { client, seq, token: format!("{client}-{seq}") }
}

fn entry(id: u64, write: Write) -> Entry {
    Entry { id, write, created: "2026-01-01 00:00:00.000000".to_owned() }
}

/// Two clients, two writes each, in order, the same on both servers.
fn ledger() -> Vec<Entry> {
    let writes = [write(1, 1), write(2, 1), write(1, 2), write(2, 2)];
    writes.into_iter().zip(1..).map(|(write, id)| entry(id, write)).collect()
}

fn writes(entries: &[Entry]) -> Vec<Write> {
    entries.iter().map(|entry| entry.write.clone()).collect()
}

#[test]
fn equal_ledgers_with_every_acknowledged_write_are_clean() {
    let ledger = ledger();
    let verdict = compare(&writes(&ledger), &[&ledger, &ledger]);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!((verdict.acknowledged, verdict.rows.clone(), verdict.unknown), (4, vec![4, 4], 0));
}

#[test]
fn a_write_absent_on_both_servers_is_lost_twice() {
    let ledger = ledger();
    let verdict = compare(&writes(&ledger), &[&ledger[..3], &ledger[..3]]);
    let defect = |server| Defect { server, write: write(2, 2) };
    assert_eq!(verdict.lost, [defect(0), defect(1)]);
    assert_eq!(verdict.differing, []);
    assert!(!verdict.is_clean());
}

#[test]
fn a_write_absent_on_one_server_is_lost_there_and_differs() {
    let ledger = ledger();
    let verdict = compare(&writes(&ledger), &[&ledger, &ledger[1..]]);
    assert_eq!(verdict.lost, [Defect { server: 1, write: write(1, 1) }]);
    assert_eq!(
        verdict.differing,
        [Difference { id: 1, rows: vec![Some(ledger[0].clone()), None] }]
    );
    assert!(!verdict.is_clean());
}

#[test]
fn a_token_that_is_there_with_other_contents_does_not_save_the_write() {
    let mut wrong = ledger();
    wrong[0].write.seq = 9;
    let verdict = compare(&writes(&ledger()), &[&wrong, &wrong]);
    assert_eq!(verdict.lost.len(), 2);
}

#[test]
fn the_same_token_twice_is_a_duplicate() {
    let mut twice = ledger();
    twice.push(entry(5, write(1, 1)));
    let verdict = compare(&writes(&ledger()), &[&twice, &twice]);
    let defect = |server| Defect { server, write: write(1, 1) };
    assert_eq!(verdict.duplicated, [defect(0), defect(1)]);
    assert!(!verdict.is_clean());
}

#[test]
fn the_same_counter_under_another_token_is_a_duplicate() {
    let mut twice = ledger();
    let again = Write { token: "other".to_owned(), ..write(2, 2) };
    twice.push(entry(5, again.clone()));
    let verdict = compare(&writes(&ledger()), &[&twice, &twice]);
    assert_eq!(verdict.duplicated[0], Defect { server: 0, write: again });
    assert!(!verdict.is_clean());
}

#[test]
fn a_write_inserted_after_a_later_one_is_out_of_order() {
    let mut swapped = ledger();
    swapped[0].id = 3;
    swapped[2].id = 1;
    swapped.sort_by_key(|entry| entry.id);
    let verdict = compare(&writes(&swapped), &[&swapped, &swapped]);
    let defect = |server| Defect { server, write: write(1, 1) };
    assert_eq!(verdict.out_of_order, [defect(0), defect(1)]);
    assert!(!verdict.is_clean());
}

#[test]
fn a_late_row_nobody_got_an_answer_for_is_unknown_and_allowed() {
    let ledger = ledger();
    let mut acknowledged = writes(&ledger);
    let mut late = ledger;
    late.push(entry(5, write(1, 0)));
    let verdict = compare(&acknowledged, &[&late, &late]);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.unknown, 1);
    // Had it been acknowledged, it would be out of order.
    acknowledged.push(write(1, 0));
    assert_eq!(compare(&acknowledged, &[&late, &late]).out_of_order.len(), 2);
}

#[test]
fn a_row_with_another_time_differs() {
    let ledger = ledger();
    let mut other = ledger.clone();
    other[3].created.push('1');
    let verdict = compare(&writes(&ledger), &[&ledger, &other]);
    assert_eq!(verdict.differing.len(), 1);
    assert_eq!(verdict.differing[0].id, 4);
    assert!(!verdict.is_clean());
}

#[test]
fn a_write_absent_on_the_third_of_three_servers_is_lost_there() {
    let ledger = ledger();
    let verdict = compare(&writes(&ledger), &[&ledger, &ledger, &ledger[1..]]);
    assert_eq!(verdict.lost, [Defect { server: 2, write: write(1, 1) }]);
    assert_eq!((verdict.rows.as_slice(), verdict.differing.len()), ([4, 4, 3].as_slice(), 1));
}
