//! Who may replicate from whom: after a swap the old primary follows the new one.
//!
//! Both vendors support replication from an older series to a newer one, not the other way round (MySQL manual,
//! "Replication Compatibility Between MySQL Versions"; MariaDB manual, "Cross-Version Replication Compatibility").

use super::{Findings, Side};
use crate::swap::{refusal::Code, version::Version};

pub(super) fn examine(old: &Side<'_>, new: &Side<'_>, allow_upgrade: bool) -> Findings {
    let mut findings = Findings::default();
    // That they are of different kinds, or one version word for word, says enough.
    if old.view.flavor != new.view.flavor || old.view.version == new.view.version {
        return findings;
    }
    let said = |side: &Side<'_>| {
        format!("{} is {:?} {}", side.label(), side.view.flavor, side.view.version)
    };
    let versions = format!("{} and {}", said(old), said(new));
    let (Some(was), Some(is)) =
        (Version::parse(&old.view.version), Version::parse(&new.view.version))
    else {
        findings.refuse(
            Code::UnknownVersion,
            format!("{versions}: which of them may replicate from the other cannot be told"),
            "run the same version on both",
        );
        return findings;
    };
    if is.series() < was.series() {
        findings.refuse(
            Code::OlderCandidate,
            format!("{versions}: an older series must not take over from a newer one"),
            format!("upgrade {} first", new.seen.name),
        );
    } else if is.series() > was.series() {
        let sentence = format!(
            "{versions}: {} may not be able to follow a newer series, and then there is no replica to go back to",
            old.seen.name
        );
        if allow_upgrade {
            findings.warn(
                Code::NewerCandidate,
                sentence,
                format!(
                    "have a backup; should `rejoin` or `prove` fail, upgrade {} and rebuild it",
                    old.seen.name
                ),
            );
        } else {
            findings.refuse(
                Code::NewerCandidate,
                sentence,
                "if this is an upgrade and meant so: set swap.allow_upgrade = true; else run the same series on both",
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use crate::swap::{
        observation::Flavor,
        plan::{
            Planned, plan,
            tests::{healthy, observe, request},
        },
        refusal::Code,
    };

    /// Refusals as `Err`, warnings as `Ok`.
    fn outcome(flavor: Flavor, versions: [&str; 2], upgrade: bool) -> Result<Vec<Code>, Vec<Code>> {
        let mut views = healthy(flavor);
        for (view, version) in views.iter_mut().zip(versions) {
            version.clone_into(&mut view.version);
        }
        let mut request = request(None);
        request.allowed.upgrade = upgrade;
        match plan(&observe(views), &request) {
            Ok(Planned::Swap(plan)) => Ok(plan.warnings.iter().map(|one| one.code).collect()),
            Ok(Planned::AlreadyPrimary(name)) => panic!("{name} is no target"),
            Err(refusals) => Err(refusals.iter().map(|one| one.code).collect()),
        }
    }

    #[test]
    fn one_series_is_one_series_whatever_its_suffix() {
        for (flavor, versions) in [
            (Flavor::MySql, ["8.0.36", "8.0.40-31-log"]),
            (Flavor::MySql, ["8.4.5-log", "8.4.3"]),
            (Flavor::MySql, ["9.7.4", "9.7.4"]),
            (Flavor::MariaDb, ["10.11.19-MariaDB-0+deb12u1", "10.11.6-MariaDB-log"]),
            (Flavor::MariaDb, ["5.5.5-10.6.12-MariaDB", "10.6.18-MariaDB-log"]),
            (Flavor::MariaDb, ["11.8.6-MariaDB", "11.8.2-MariaDB-ubu2404"]),
        ] {
            assert_eq!(outcome(flavor, versions, false), Ok(Vec::new()), "{versions:?}");
        }
    }

    #[test]
    fn a_newer_candidate_is_refused_unless_allowed_and_an_older_one_always() {
        for (flavor, [older, newer]) in [
            (Flavor::MySql, ["8.0.40", "8.4.5"]),
            (Flavor::MySql, ["8.4.5-log", "9.7.4"]),
            (Flavor::MySql, ["8.0.40", "9.7.4"]),
            (Flavor::MariaDb, ["10.6.18-MariaDB-log", "10.11.19-MariaDB-0+deb12u1"]),
            (Flavor::MariaDb, ["10.11.19-MariaDB", "11.8.6-MariaDB"]),
        ] {
            assert_eq!(outcome(flavor, [older, newer], false), Err(vec![Code::NewerCandidate]));
            assert_eq!(outcome(flavor, [older, newer], true), Ok(vec![Code::NewerCandidate]));
            for upgrade in [false, true] {
                let there = outcome(flavor, [newer, older], upgrade);
                assert_eq!(there, Err(vec![Code::OlderCandidate]), "{newer} to {older}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_unless_it_is_the_same() {
        assert_eq!(
            outcome(Flavor::MySql, ["8.4.5", "garbage"], true),
            Err(vec![Code::UnknownVersion])
        );
        assert_eq!(outcome(Flavor::MySql, ["garbage", "garbage"], false), Ok(Vec::new()));
    }

    #[test]
    fn a_server_too_old_is_the_only_reason_told() {
        for (flavor, version) in [
            (Flavor::MySql, "5.7.44-log"),
            (Flavor::MySql, "8.0.25"),
            (Flavor::MariaDb, "10.5.27-MariaDB"),
        ] {
            let mut views = healthy(flavor);
            views[1] = crate::swap::observation::ServerView::too_old(flavor, version.to_owned());
            let refusals = plan(&observe(views), &request(None)).expect_err("refused");
            assert_eq!(refusals.len(), 1, "{refusals:?}");
            assert_eq!(refusals[0].code, Code::UnsupportedVersion);
            assert!(refusals[0].sentence.contains(version), "{}", refusals[0]);
        }
    }
}
