//! Replication as it was found: by GTID, or by file and position.

use super::{Findings, Side};
use crate::swap::{
    observation::Flavor,
    position::{Channel, Tracking},
    refusal::Code,
};

/// MariaDB's transactions have GTIDs whatever a channel uses of them.
pub(super) fn of_barrier(old: &Side<'_>, new: &Side<'_>) -> Tracking {
    if old.view.gtid_on && new.view.gtid_on { Tracking::Gtid } else { Tracking::Coordinates }
}

/// The new primary's channel; it has one only, or is refused.
pub(super) fn channel(new: &Side<'_>) -> Channel {
    let seen = new.view.channels.first();
    Channel {
        name: seen.map(|seen| seen.channel.clone()).unwrap_or_default(),
        tracking: seen.map(|seen| seen.tracking).unwrap_or_default(),
        tls: new.view.condition.channel_tls(),
    }
}

pub(super) fn examine(old: &Side<'_>, new: &Side<'_>) -> Findings {
    let mut findings = Findings::default();
    let on = "SET GLOBAL gtid_mode=ON there, by its stages (gtid_mode, enforce_gtid_consistency), and in its option file";
    match [old, new].map(|side| side.view.gtid_on) {
        [true, true] => {}
        [false, false] => findings.warn(
            Code::GtidOff,
            format!(
                "neither {} nor {} uses GTIDs: whether {} has transactions of its own cannot be seen",
                old.label(),
                new.label(),
                new.seen.name
            ),
            format!("compare the data of both if you doubt it; to be sure in future: {on}"),
        ),
        [with_old, _] => {
            let (with, without) = if with_old { (old, new) } else { (new, old) };
            findings.refuse(
                Code::GtidOff,
                format!("{} does not use GTIDs, and {} does", without.label(), with.label()),
                on,
            );
        }
    }
    if channel(new).tracking == Tracking::Gtid {
        return findings;
    }
    findings.warn(
        Code::ReplicationWithoutGtid,
        format!(
            "{} replicates by file and position, and so will {}: from where the binary log of {} ends before it is promoted",
            new.label(),
            old.seen.name,
            new.seen.name
        ),
        match new.view.flavor {
            Flavor::MariaDb => {
                "nothing to do; GTIDs find their place by themselves: STOP SLAVE; CHANGE MASTER TO \
                 MASTER_USE_GTID=slave_pos; START SLAVE"
            }
            Flavor::MySql => {
                "nothing to do; GTIDs find their place by themselves: STOP REPLICA; CHANGE REPLICATION SOURCE TO \
                 SOURCE_AUTO_POSITION=1; START REPLICA"
            }
        },
    );
    if new.view.condition.binlog.is_none() {
        findings.refuse(
            Code::MissingPrivilege,
            format!("{}: where its binary log ends could not be read", new.label()),
            match new.view.flavor {
                Flavor::MariaDb => "GRANT BINLOG MONITOR ON *.* TO our account there",
                Flavor::MySql => "GRANT REPLICATION CLIENT ON *.* TO our account there",
            },
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use crate::swap::{
        condition::BinlogView,
        observation::{Flavor, ServerView},
        plan::{
            Plan, Planned, plan,
            tests::{healthy, observe, request},
        },
        position::Tracking,
        refusal::Code,
        role::CHECKPOINT_MS,
        step::Step,
    };

    fn planned(
        flavor: Flavor,
        change: impl FnOnce(&mut [ServerView; 2]),
    ) -> Result<Box<Plan>, Vec<Code>> {
        let mut views = healthy(flavor);
        views[1].condition.binlog = Some(BinlogView::default());
        change(&mut views);
        match plan(&observe(views), &request(None)) {
            Ok(Planned::Swap(plan)) => Ok(plan),
            Ok(Planned::AlreadyPrimary(name)) => panic!("{name} is no target"),
            Err(refusals) => Err(refusals.iter().map(|refusal| refusal.code).collect()),
        }
    }

    fn warned(plan: &Plan) -> Vec<Code> {
        plan.warnings.iter().map(|warning| warning.code).collect()
    }

    fn by_coordinates(views: &mut [ServerView; 2]) {
        views[1].channels[0].tracking = Tracking::Coordinates;
    }

    #[test]
    fn a_channel_by_coordinates_is_reversed_as_one_and_gtids_still_tell_the_barrier() {
        for flavor in [Flavor::MySql, Flavor::MariaDb] {
            let plan = planned(flavor, by_coordinates).expect("a plan");
            assert_eq!(
                (plan.barrier, plan.channel.tracking),
                (Tracking::Gtid, Tracking::Coordinates)
            );
            assert!(plan.needs_resume_at() && plan.handover.checkpoint_ms.is_none());
            assert_eq!(warned(&plan), [Code::ReplicationWithoutGtid]);
            let usual = planned(flavor, |_| {}).expect("a plan");
            assert!(!usual.needs_resume_at() && usual.warnings.is_empty());
        }
    }

    #[test]
    fn without_gtids_coordinates_tell_the_barrier_and_the_applier_tells_at_once() {
        let off = |views: &mut [ServerView; 2]| {
            by_coordinates(views);
            for view in views {
                view.gtid_on = false;
            }
        };
        let plan = planned(Flavor::MySql, off).expect("a plan");
        assert_eq!(plan.barrier, Tracking::Coordinates);
        assert_eq!(warned(&plan), [Code::GtidOff, Code::ReplicationWithoutGtid]);
        assert_eq!(plan.handover.checkpoint_ms, Some(300));
        assert!(plan.has(Step::Ready) && plan.has(Step::Settings));
        let plan = planned(Flavor::MySql, |views| {
            off(views);
            views[1].checkpoint_ms = Some(CHECKPOINT_MS);
        });
        assert_eq!(plan.expect("a plan").handover.checkpoint_ms, None);
    }

    #[test]
    fn one_without_gtids_beside_one_with_them_is_refused() {
        for index in [0, 1] {
            let refused = planned(Flavor::MySql, |views| views[index].gtid_on = false);
            assert_eq!(refused, Err(vec![Code::GtidOff]));
        }
    }

    #[test]
    fn by_coordinates_the_end_of_the_new_primarys_log_has_to_be_readable() {
        let blind = planned(Flavor::MariaDb, |views| {
            by_coordinates(views);
            views[1].condition.binlog = None;
        });
        assert_eq!(blind, Err(vec![Code::MissingPrivilege]));
    }

    #[test]
    fn siblings_by_coordinates_are_led_before_the_old_primary_goes_on() {
        let mut plan = crate::swap::plan::example();
        let order = |plan: &Plan| {
            plan.steps()
                .filter(|step| [Step::Rejoin, Step::Follow].contains(step))
                .collect::<Vec<_>>()
        };
        assert_eq!(order(&plan), [Step::Rejoin, Step::Follow]);
        plan.siblings[0].tracking = Tracking::Coordinates;
        assert_eq!(order(&plan), [Step::Follow, Step::Rejoin]);
        assert!(plan.needs_resume_at());
    }
}
