//! What every case is measured by.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use intermission::swap::{
    record::{Ending, Outcome, Record},
    sibling::{Report, Standing},
    step::Step,
};
use tokio::time::sleep;

use crate::{
    db::{CHECKPOINT_MS, ROLE, What, fenced},
    stage::Stage,
    world::World,
};

/// Longer than a lease and than any late effect: what is wrong after this stays wrong.
const AFTERMATH: Duration = Duration::from_secs(120);

/// Checks the end of a case, now and when everything late has happened.
pub(crate) async fn check_end(stage: &Arc<Stage>, ending: Ending, case: &str) {
    let errors = stage.with(|world| {
        assert_legal(world, ending, case);
        world.user_errors
    });
    aftermath(stage).await;
    stage.with(|world| {
        assert_legal(world, ending, case);
        assert!(world.gate.held.is_none(), "{case}: users stay held");
        if ending != Ending::NeedsOperator {
            assert_eq!(world.user_errors, errors, "{case}: users see errors after the end");
            for db in &world.servers {
                assert_eq!(db.lock, None, "{case}: the lock of db{} stays", db.id);
            }
        }
    });
}

/// Lets everything that is under way come to its end, with users at work.
pub(crate) async fn aftermath(stage: &Stage) {
    for _ in 0..4 {
        sleep(AFTERMATH / 4).await;
        stage.with(|world| {
            world.tick();
            world.apply_all();
        });
    }
}

pub(crate) fn assert_legal(world: &mut World, ending: Ending, case: &str) {
    assert_safe(world, case);
    match ending {
        Ending::Swapped => assert_roles(world, 1, 0, case),
        Ending::RolledBack => assert_roles(world, 0, 1, case),
        Ending::NeedsOperator => {}
    }
}

/// Nothing written is lost or doubled, and there never were two writers.
pub(crate) fn assert_safe(world: &World, case: &str) {
    let first = world.violations.first();
    assert_eq!(first, None, "{case}: the first of {}", world.violations.len());
    let all = 0..world.servers.len();
    let is_writable = |index: &usize| world.servers[*index].access.is_writable();
    let writable: Vec<usize> = all.clone().filter(is_writable).collect();
    let counts: Vec<BTreeMap<u64, u32>> = all.map(|index| writes(world, index)).collect();
    for (index, counts) in counts.iter().enumerate() {
        let twice = counts.iter().find(|(_, count)| **count > 1);
        assert_eq!(twice, None, "{case}: a write is twice in server {index}");
    }
    let lacks = |index: usize| {
        world.acknowledged.iter().find(|write| !counts[index].contains_key(write)).copied()
    };
    match writable.as_slice() {
        [primary] => {
            assert_eq!(lacks(*primary), None, "{case}: lost on server {primary}, which is primary");
        }
        _ => assert!(
            (0..counts.len()).any(|index| lacks(index).is_none()),
            "{case}: no server has every acknowledged write"
        ),
    }
}

fn writes(world: &World, index: usize) -> BTreeMap<u64, u32> {
    let mut counts = BTreeMap::new();
    for transaction in &world.servers[index].log {
        if let What::Write(write) = transaction.what {
            *counts.entry(write).or_default() += 1;
        }
    }
    counts
}

fn assert_roles(world: &mut World, primary: usize, replica: usize, case: &str) {
    world.apply_all();
    let (p, r) = (&world.servers[primary], &world.servers[replica]);
    assert!(p.access.is_writable(), "{case}: db{} is not writable", p.id);
    assert_eq!(r.access, fenced(world.flavor), "{case}: db{}", r.id);
    assert!(!p.boots_read_only, "{case}: a restart makes the primary db{} read-only", p.id);
    assert!(r.boots_read_only, "{case}: a restart makes the replica db{} writable", r.id);
    assert_eq!(p.link, None, "{case}: the primary db{} replicates", p.id);
    for db in [p, r] {
        assert_eq!(db.role, ROLE, "{case}: the settings of db{}", db.id);
        assert_eq!(db.checkpoint_ms, CHECKPOINT_MS, "{case}: the applier of db{}", db.id);
    }
    let source = r.link.map(|link| link.source);
    assert_eq!(source, Some(primary), "{case}: the source of db{}", r.id);
    assert_eq!(world.endpoint, Some(primary), "{case}: the endpoint");
    assert!(world.gate.held.is_none(), "{case}: users are held");
    let (executed, expected) = (r.executed(world.flavor), p.executed(world.flavor));
    if !r.is_stuck {
        assert_eq!((p.events.len(), r.events.len()), (1, 0), "{case}: F33: where events run");
        assert_eq!(executed, expected, "{case}: db{} differs", r.id);
    }
    let name = |index: usize| format!("db{}", world.servers[index].id);
    for index in 2..world.servers.len() {
        assert_sibling(world, index, primary, report_of(world, &name(index)), case);
    }
}

/// F31: a sibling follows the primary as it did before, or the end of the swap names it with its mend.
fn assert_sibling(
    world: &World,
    index: usize,
    primary: usize,
    report: Option<&Report>,
    case: &str,
) {
    let (p, sibling) = (&world.servers[primary], &world.servers[index]);
    let id = sibling.id;
    assert_eq!(sibling.access, fenced(world.flavor), "{case}: the sibling db{id}");
    assert!(sibling.boots_read_only, "{case}: the sibling db{id}");
    if let Some(Report { standing: Standing::Failed, mend, .. }) = report {
        assert!(!mend.is_empty(), "{case}: {report:?}");
        return;
    }
    let source = sibling.link.map(|link| link.source);
    assert_eq!(source, Some(primary), "{case}: the source of the sibling db{id}");
    if !sibling.is_stuck && !sibling.is_stopped {
        let (has, wanted) = (sibling.executed(world.flavor), p.executed(world.flavor));
        assert_eq!(has, wanted, "{case}: the sibling db{id} differs");
    }
}

/// What the last journal says of a sibling, if it says something.
pub(crate) fn report_of<'a>(world: &'a World, name: &str) -> Option<&'a Report> {
    let told = world.journal.iter().rev().find_map(|(entry, _)| {
        let Record::Outcome { step: Step::Follow, outcome: Outcome::Done { facts }, .. } =
            &entry.record
        else {
            return None;
        };
        Some(&facts.siblings)
    });
    told?.iter().find(|report| report.name == name)
}
