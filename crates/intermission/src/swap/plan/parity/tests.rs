use super::{is_compared, modes, names, table::SETTINGS};
use crate::swap::{
    observation::{Flavor, ServerView},
    plan::{
        Allowed, Planned, plan,
        tests::{healthy, observe, request},
    },
    refusal::{Code, Refusal},
};

/// The refusals, or the warnings where there are none, of a pair after `change`.
fn found(change: impl FnOnce(&mut [ServerView; 2])) -> Result<Vec<Refusal>, Vec<Refusal>> {
    found_with(&[], change)
}

fn found_with(
    differences: &[&str],
    change: impl FnOnce(&mut [ServerView; 2]),
) -> Result<Vec<Refusal>, Vec<Refusal>> {
    let mut views = healthy(Flavor::MySql);
    change(&mut views);
    let mut request = request(None);
    let differences = differences.iter().map(|name| (*name).to_owned()).collect();
    request.allowed = Allowed { differences, upgrade: false };
    match plan(&observe(views), &request)? {
        Planned::Swap(plan) => Ok(plan.warnings),
        Planned::AlreadyPrimary(name) => panic!("{name} is no target"),
    }
}

fn with(name: &str, was: &str, is: &str) -> impl FnOnce(&mut [ServerView; 2]) {
    let (name, values) = (name.to_owned(), [was.to_owned(), is.to_owned()]);
    move |views| {
        for (view, value) in views.iter_mut().zip(values) {
            view.condition.variables.insert(name.clone(), value);
        }
    }
}

fn refused(name: &str, was: &str, is: &str) -> bool {
    let found = found(with(name, was, is));
    for one in found.as_ref().unwrap_or_else(|refusals| refusals) {
        assert!(one.sentence.starts_with(&format!("{name} is ")), "{one}");
        assert!(one.mend.contains("swap.allow_differences") && one.mend.contains("db2"), "{one}");
    }
    match found {
        Err(refusals) => {
            assert_eq!(refusals.len(), 1, "{refusals:?}");
            assert_eq!(refusals[0].code, Code::IncompatibleSetting);
            true
        }
        Ok(warnings) => {
            assert!(warnings.is_empty(), "{warnings:?}");
            false
        }
    }
}

fn warned(name: &str, was: &str, is: &str) -> bool {
    let warnings = found(with(name, was, is)).expect("no refusal");
    assert!(warnings.iter().all(|one| one.code == Code::DifferentSetting), "{warnings:?}");
    !warnings.is_empty()
}

#[test]
fn what_would_break_writes_or_replication_is_refused() {
    for (name, was, is) in [
        ("lower_case_table_names", "0", "1"),
        ("max_allowed_packet", "67108864", "16777216"),
        ("sql_mode", "STRICT_TRANS_TABLES", ""),
        ("sql_mode", "ANSI_QUOTES", "ANSI_QUOTES,STRICT_TRANS_TABLES"),
        ("innodb_flush_log_at_trx_commit", "1", "2"),
        ("sync_binlog", "1", "0"),
        ("sync_binlog", "1", "1000"),
        ("binlog_format", "ROW", "STATEMENT"),
        ("binlog_format", "ROW", "mixed"),
        ("require_secure_transport", "OFF", "ON"),
        ("offline_mode", "OFF", "ON"),
        ("transaction_read_only", "OFF", "ON"),
        ("innodb_read_only", "OFF", "ON"),
    ] {
        assert!(refused(name, was, is), "{name}: {was} and {is}");
    }
    for (name, was, is) in [
        ("max_allowed_packet", "16777216", "67108864"),
        ("max_allowed_packet", "9", "10"),
        ("sql_mode", "ANSI_QUOTES,STRICT_TRANS_TABLES", "STRICT_TRANS_TABLES,ANSI_QUOTES"),
        ("innodb_flush_log_at_trx_commit", "2", "0"),
        ("sync_binlog", "0", "1"),
        ("binlog_format", "STATEMENT", "ROW"),
        ("require_secure_transport", "ON", "1"),
        ("require_secure_transport", "ON", "OFF"),
        ("autocommit", "ON", "1"),
        ("something_else", "1", "2"),
    ] {
        assert!(!refused(name, was, is), "{name}: {was} and {is}");
    }
}

#[test]
fn what_is_only_felt_is_a_warning() {
    for (name, was, is) in [
        ("innodb_buffer_pool_size", "137438953472", "1073741824"),
        ("transaction_isolation", "READ-COMMITTED", "REPEATABLE-READ"),
        ("collation_server", "utf8mb4_bin", "utf8mb4_general_ci"),
        ("wait_timeout", "28800", "60"),
        ("gtid_strict_mode", "ON", "OFF"),
        ("binlog_row_image", "FULL", "MINIMAL"),
        ("init_connect", "", "SET NAMES utf8mb4"),
    ] {
        assert!(warned(name, was, is), "{name}: {was} and {is}");
    }
    for (name, was, is) in [
        ("innodb_buffer_pool_size", "1", "2"),
        ("wait_timeout", "60", "28800"),
        ("gtid_strict_mode", "OFF", "ON"),
        ("max_connections", "100", "200"),
    ] {
        assert!(!warned(name, was, is), "{name}: {was} and {is}");
    }
}

#[test]
fn a_setting_has_one_name_on_both() {
    let warnings = found(|views| {
        for (view, (name, value)) in views
            .iter_mut()
            .zip([("tx_isolation", "SERIALIZABLE"), ("transaction_isolation", "REPEATABLE-READ")])
        {
            view.condition.variables.insert(name.to_owned(), value.to_owned());
        }
    });
    assert!(warnings.expect("no refusal")[0].sentence.starts_with("transaction_isolation is"));
}

#[test]
fn fewer_connections_than_are_in_use_are_refused() {
    let with = |used: &'static str| {
        move |views: &mut [ServerView; 2]| {
            with("max_connections", "500", "100")(views);
            views[0].condition.status.insert("Threads_connected".to_owned(), used.to_owned());
        }
    };
    let refusals = found(with("101")).expect_err("refused");
    assert_eq!(refusals[0].code, Code::IncompatibleSetting);
    assert!(refusals[0].sentence.contains("500 (101 in use, ? at its peak)"), "{}", refusals[0]);
    assert_eq!(found(with("100")).expect("a warning")[0].code, Code::DifferentSetting);
}

#[test]
fn time_zones_are_compared_by_their_clocks() {
    let with = |zones: [Option<[i64; 2]>; 2], names: [&'static str; 2]| {
        move |views: &mut [ServerView; 2]| {
            for ((view, zone), name) in views.iter_mut().zip(zones).zip(names) {
                view.condition.zone = zone;
                let variables = &mut view.condition.variables;
                variables.insert("time_zone".to_owned(), "SYSTEM".to_owned());
                variables.insert("system_time_zone".to_owned(), name.to_owned());
            }
        }
    };
    let vienna = Some([60, 120]);
    // Started in summer and in winter.
    assert_eq!(found(with([vienna, vienna], ["CEST", "CET"])), Ok(Vec::new()));
    let refusals = found(with([vienna, Some([60, 60])], ["CET", "CET"])).expect_err("refused");
    assert!(refusals[0].sentence.contains("120 in July"), "{}", refusals[0]);
    // What cannot be computed is compared by name.
    assert_eq!(found(with([vienna, None], ["CET", "CET"])), Ok(Vec::new()));
    assert!(found(with([None, None], ["CET", "UTC"])).is_err());
}

#[test]
fn tls_that_is_offered_today_is_offered_after() {
    let with = |until: [&'static str; 2]| {
        move |views: &mut [ServerView; 2]| {
            for (view, until) in views.iter_mut().zip(until) {
                let name = "Ssl_server_not_after".to_owned();
                view.condition.status.insert(name, until.to_owned());
            }
        }
    };
    let day = "Nov 21 13:58:24 2036 GMT";
    assert!(found(with([day, ""])).is_err());
    assert!(found(self::with("have_ssl", "YES", "DISABLED")).is_err());
    assert!(found(self::with("have_ssl", "DISABLED", "YES")).is_ok());
    assert!(found(with(["", day])).is_ok() && found(with([day, day])).is_ok());
}

#[test]
fn a_named_difference_is_allowed_and_no_other() {
    let change = |views: &mut [ServerView; 2]| {
        with("sql_mode", "ANSI_QUOTES", "")(views);
        with("max_allowed_packet", "2", "1")(views);
    };
    let refusals = found_with(&["sql_mode"], change).expect_err("refused");
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].sentence.starts_with("max_allowed_packet"), "{refusals:?}");
    assert_eq!(found_with(&["sql_mode", "max_allowed_packet"], change), Ok(Vec::new()));
    assert!(is_compared("sql_mode") && !is_compared("sqlmode"));
}

#[test]
fn modes_are_a_set() {
    assert_eq!(modes(" a,B,,a"), modes("b,A"));
    assert!(modes("").is_empty());
}

#[test]
fn the_manual_has_every_setting_in_the_codes_words() {
    let manual = include_str!("../../../../../../docs/CHECK.md");
    let mut rows =
        vec!["| setting | | when | because |".to_owned(), "|---|---|---|---|".to_owned()];
    rows.extend(SETTINGS.iter().map(|setting| {
        let weight = match setting.weight {
            super::Weight::Refuse => "refused",
            super::Weight::Warn => "warning",
        };
        let name = match setting.alias {
            Some(alias) => format!("`{}` (`{alias}`)", setting.name),
            None => format!("`{}`", setting.name),
        };
        format!("| {name} | {weight} | {} | {} |", setting.rule.when(), setting.why)
    }));
    let table = rows.join("\n");
    assert!(manual.contains(&table), "docs/CHECK.md does not have this table:\n{table}");
    let mut sorted: Vec<&str> = names().collect();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), SETTINGS.len(), "a name is there twice");
}
