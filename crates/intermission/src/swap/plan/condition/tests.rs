use std::collections::BTreeMap;

use crate::swap::{
    condition::{BinlogView, ChannelTls, Client, Condition, Disk, Link, Reader, Space, Unseen},
    observation::Flavor,
    plan::{
        Planned, plan,
        tests::{healthy, observe, request},
    },
    refusal::{Code, Refusal},
};

/// Refusals as `Err`, warnings as `Ok`, of a pair after `change` of the old primary's and the new primary's condition.
fn found(
    flavor: Flavor,
    change: impl FnOnce(&mut Condition, &mut Condition),
) -> Result<Vec<Refusal>, Vec<Refusal>> {
    let mut views = healthy(flavor);
    let [old, new] = &mut views;
    new.condition.links.push(Link { user: "repl".to_owned(), ..Link::default() });
    change(&mut old.condition, &mut new.condition);
    match plan(&observe(views), &request(None))? {
        Planned::Swap(plan) => Ok(plan.warnings),
        Planned::AlreadyPrimary(name) => panic!("{name} is no target"),
    }
}

fn warnings(
    flavor: Flavor,
    change: impl FnOnce(&mut Condition, &mut Condition),
) -> Vec<(Code, String)> {
    let warnings = found(flavor, change).expect("no refusal");
    warnings.into_iter().map(|one| (one.code, one.sentence)).collect()
}

fn codes(found: Result<Vec<Refusal>, Vec<Refusal>>) -> Result<Vec<Code>, Vec<Code>> {
    let codes = |all: Vec<Refusal>| all.iter().map(|one| one.code).collect();
    found.map(codes).map_err(codes)
}

#[test]
fn every_filter_is_refused_by_its_name() {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        let refusals = found(flavor, |old, new| {
            new.links[0].filters.push("Replicate_Ignore_DB = logs".to_owned());
            old.replica_filters.push("replicate_do_db = shop".to_owned());
            let filters = vec!["Binlog_Do_DB = shop".to_owned()];
            old.binlog = Some(BinlogView { filters: filters.clone(), ..BinlogView::default() });
            new.binlog = Some(BinlogView { filters, ..BinlogView::default() });
        })
        .expect_err("refused");
        let wanted = [
            (Code::ReplicationFilter, "db2", "Replicate_Ignore_DB = logs"),
            (Code::ReplicationFilter, "db1", "replicate_do_db = shop"),
            (Code::BinlogFilter, "db1", "Binlog_Do_DB = shop"),
            (Code::BinlogFilter, "db2", "Binlog_Do_DB = shop"),
        ];
        assert_eq!(refusals.len(), wanted.len());
        for (refusal, (code, server, filter)) in refusals.iter().zip(wanted) {
            assert_eq!(refusal.code, code);
            assert!(refusal.sentence.starts_with(server) && refusal.sentence.contains(filter));
        }
    }
}

fn reader(session: u64, user: &str, host: &str, uuid: Option<&str>) -> Reader {
    let (user, host) = (user.to_owned(), host.to_owned());
    Reader { session, user, host, uuid: uuid.map(str::to_owned) }
}

#[test]
fn f36_readers_of_the_binary_log_that_are_none_of_ours_are_named() {
    let said = |flavor, readers: Vec<Reader>| {
        let mut all = warnings(flavor, |old, _| old.readers = readers);
        assert!(all.len() <= 1 && all.iter().all(|one| one.0 == Code::BinlogReaders), "{all:?}");
        all.pop().map(|one| one.1)
    };
    let own = healthy(Flavor::MySql)[1].uuid.clone().expect("a uuid");
    let own = Some(own.as_str());
    let (here, there) = ("127.0.0.1", "10.0.0.9");
    // Told by uuid, whatever the account.
    assert_eq!(said(Flavor::MySql, vec![reader(1, "other", there, own)]), None);
    let maxwell = said(
        Flavor::MySql,
        vec![reader(1, "repl", here, own), reader(2, "repl", here, Some("0000"))],
    );
    assert!(maxwell.expect("a stranger").contains("repl@127.0.0.1 (session 2),"));
    let silent =
        said(Flavor::MySql, vec![reader(1, "cdc", there, None), reader(2, "repl", here, own)]);
    assert!(silent.expect("a stranger").contains("cdc@10.0.0.9 (session 1),"));
    // Told by account and host, one each.
    assert_eq!(said(Flavor::MariaDb, vec![reader(1, "repl", here, None)]), None);
    assert_eq!(said(Flavor::MariaDb, vec![reader(1, "repl", there, None)]), None);
    let two =
        said(Flavor::MariaDb, vec![reader(1, "repl", there, None), reader(2, "repl", here, None)]);
    assert!(two.expect("a stranger").contains("repl@10.0.0.9 (session 1),"));
    assert!(said(Flavor::MariaDb, vec![reader(1, "cdc", here, None)]).is_some());
    // Many are counted.
    let many = (0..30).map(|id| reader(id, "cdc", there, None)).collect();
    assert!(said(Flavor::MariaDb, many).expect("strangers").contains("and 10 more"));
}

#[test]
fn f14_f24_programs_that_move_primaries_are_named_with_their_signs() {
    let client = |user: &str, program: Option<&str>| Client {
        user: user.to_owned(),
        host: "10.0.0.7".to_owned(),
        program: program.map(str::to_owned),
    };
    for (user, program, name) in [
        ("orchestrator", None, "orchestrator"),
        ("orc_client_user", None, "orchestrator"),
        ("MaxScale_Mon", None, "MaxScale"),
        ("repman", None, "replication-manager"),
        ("monitor", None, "ProxySQL"),
        ("x", Some("proxysql_monitor"), "ProxySQL"),
        ("mha", None, "MHA"),
        ("mysql_router1_abc", None, "InnoDB Cluster"),
    ] {
        let all = warnings(Flavor::MySql, |old, new| {
            old.clients.insert(client(user, program));
            new.clients.insert(client(user, program));
        });
        let [(code, sentence)] = all.as_slice() else { panic!("{user}: {all:?}") };
        assert_eq!(*code, Code::Automation);
        assert!(sentence.starts_with(name), "{user}: {sentence}");
        assert!(sentence.contains("on db1 and db2"), "{sentence}");
    }
    let all = warnings(Flavor::MySql, |old, _| {
        old.clients.insert(client("app", Some("mysql")));
        old.clients.insert(client("monitoring", None));
    });
    assert!(all.is_empty(), "{all:?}");
    let all = warnings(Flavor::MariaDb, |_, new| {
        new.schemas.push("replication_manager_schema".to_owned());
        new.maxscale_lock = Some(9);
    });
    assert!(all[0].1.contains("its monitor's lock, session 9 on db2"), "{all:?}");
    assert!(all[1].1.contains("schema replication_manager_schema on db2"), "{all:?}");
}

#[test]
fn servers_of_a_cluster_that_decides_by_itself_are_refused() {
    let set = |condition: &mut Condition, name: &str, value: &str| {
        condition.variables.insert(name.to_owned(), value.to_owned());
    };
    let galera = |provider: &'static str| {
        codes(found(Flavor::MariaDb, |_, new| {
            set(new, "wsrep_on", "ON");
            set(new, "wsrep_provider", provider);
        }))
    };
    assert_eq!(galera("/usr/lib/galera/libgalera_smm.so"), Err(vec![Code::ClusteredServer]));
    assert_eq!(galera("none"), Ok(Vec::new()));
    let group = found(Flavor::MySql, |old, _| old.group_members.push("ONLINE".to_owned()));
    assert_eq!(codes(group), Err(vec![Code::ClusteredServer]));
}

#[test]
fn binary_logs_that_are_soon_gone_are_a_warning() {
    let kept = |pairs: &[(&str, &str)]| {
        warnings(Flavor::MySql, |_, new| {
            new.variables.extend(
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
            );
        })
    };
    assert_eq!(kept(&[("binlog_expire_logs_seconds", "600")])[0].0, Code::BinlogRetention);
    for fine in [
        &[("binlog_expire_logs_seconds", "0")][..],
        &[("binlog_expire_logs_seconds", "3600")],
        &[("binlog_expire_logs_seconds", "600"), ("binlog_expire_logs_auto_purge", "OFF")],
        &[("binlog_expire_logs_seconds", "0"), ("expire_logs_days", "1.000000")],
        &[],
    ] {
        assert_eq!(kept(fine), [], "{fine:?}");
    }
}

#[test]
fn f37_a_cold_buffer_pool_is_a_warning() {
    let set = |condition: &mut Condition, name: &str, value: String| {
        condition.status.insert(name.to_owned(), value);
    };
    let pools = |was_mib: u64, is_mib: u64| {
        warnings(Flavor::MySql, |old, new| {
            for (condition, mib) in [(old, was_mib), (new, is_mib)] {
                let bytes = (mib * 1024 * 1024).to_string();
                set(condition, "Innodb_buffer_pool_bytes_data", bytes);
            }
        })
    };
    let all = pools(100_000, 1_000);
    assert_eq!(all[0].0, Code::ColdBufferPool);
    assert!(all[0].1.contains("97.6 GiB") && all[0].1.contains("1000.0 MiB"), "{all:?}");
    for (was, is) in [(100_000, 50_000), (40, 10), (10, 100)] {
        assert_eq!(pools(was, is), [], "{was} and {is}");
    }
    let loading = |words: &str| {
        let status = "Innodb_buffer_pool_load_status";
        warnings(Flavor::MySql, |_, new| set(new, status, words.to_owned()))
    };
    for words in ["Loaded 510/1024 pages", "Loading buffer pool(s) from /data/ib_buffer_pool"] {
        assert_eq!(loading(words)[0].0, Code::ColdBufferPool, "{words}");
    }
    assert_eq!(loading("Buffer pool(s) load completed at 261124 22:06:33"), []);
    assert_eq!(loading("Loading of buffer pool not started"), []);
}

#[test]
fn a_full_disk_is_refused_and_an_unknown_one_is_said() {
    const GIB: u64 = 1024 * 1024 * 1024;
    let disk = |space: Result<(u64, u64), &str>| {
        codes(found(Flavor::MySql, |_, new| {
            let space = space.map(|(size, free)| Space { size, free }).map_err(str::to_owned);
            new.disk = Some(Disk { datadir: "/var/lib/mysql".to_owned(), space });
        }))
    };
    assert_eq!(disk(Ok((500 * GIB, GIB - 1))), Err(vec![Code::DiskFull]));
    assert_eq!(disk(Ok((500 * GIB, 49 * GIB))), Ok(vec![Code::DiskLow]));
    assert_eq!(disk(Ok((500 * GIB, 50 * GIB))), Ok(Vec::new()));
    assert_eq!(disk(Err("no route to host")), Ok(vec![Code::DiskUnknown]));
}

#[test]
fn an_encrypted_channel_is_not_reversed_into_clear_text() {
    let channel = |tls: ChannelTls, is_offered: bool, own_ca: Option<&str>| {
        found(Flavor::MySql, |old, new| {
            new.links[0].tls = tls;
            let until = if is_offered { "Nov 21 13:58:24 2036 GMT" } else { "" };
            new.status.insert("Ssl_server_not_after".to_owned(), until.to_owned());
            old.variables.extend(own_ca.map(|ca| ("ssl_ca".to_owned(), ca.to_owned())));
        })
    };
    let plain = ChannelTls { on: true, ..ChannelTls::default() };
    assert_eq!(codes(channel(plain.clone(), false, None)), Err(vec![Code::ChannelTls]));
    assert_eq!(codes(channel(ChannelTls::default(), false, None)), Ok(Vec::new()));
    assert_eq!(codes(channel(plain.clone(), true, None)), Ok(Vec::new()));
    let options = BTreeMap::from([("CA".to_owned(), "/etc/ssl/db.pem".to_owned())]);
    let verified = ChannelTls { verify: true, options, ..plain };
    let warnings = channel(verified.clone(), true, None).expect("no refusal");
    assert_eq!(warnings[0].code, Code::ChannelTlsFiles);
    assert!(warnings[0].sentence.contains("CA /etc/ssl/db.pem"), "{}", warnings[0]);
    // Its own server uses the very file.
    assert_eq!(codes(channel(verified, true, Some("/etc/ssl/db.pem"))), Ok(Vec::new()));
}

#[test]
fn a_certificate_that_the_old_primary_would_not_trust_is_refused() {
    let channel = |verify: bool, ca: Option<&str>, old_version: &str, certificate: &str| {
        let mut views = healthy(Flavor::MariaDb);
        let options = ca.map(|ca| ("CA".to_owned(), ca.to_owned())).into_iter().collect();
        let tls = ChannelTls { on: true, verify, options };
        let [old, new] = &mut views;
        new.condition.links.push(Link { user: "repl".to_owned(), tls, ..Link::default() });
        new.condition.variables.insert("have_ssl".to_owned(), "YES".to_owned());
        new.condition.variables.insert("ssl_cert".to_owned(), certificate.to_owned());
        old.condition.variables.insert("ssl_ca".to_owned(), "/ca.pem".to_owned());
        old_version.clone_into(&mut old.version);
        "11.8.9-MariaDB".clone_into(&mut new.version);
        let mut request = request(None);
        request.allowed.upgrade = true;
        match plan(&observe(views), &request) {
            Ok(_) => Vec::new(),
            Err(refusals) => refusals,
        }
    };
    let (old, new) = ("10.11.19-MariaDB", "11.8.9-MariaDB");
    let refusals = channel(true, None, old, "");
    let [refusal] = refusals.as_slice() else { panic!("{refusals:?}") };
    assert_eq!(refusal.code, Code::ChannelTls);
    assert!(refusal.sentence.contains("MariaDB 10.11.19-MariaDB trusts none"), "{refusal}");
    let refusals = channel(false, Some("/ca.pem"), new, "");
    let [refusal] = refusals.as_slice() else { panic!("{refusals:?}") };
    assert!(refusal.sentence.ends_with("the channel wants one signed by /ca.pem"), "{refusal}");
    assert_eq!(channel(true, None, new, ""), []);
    assert_eq!(channel(false, None, old, ""), []);
    assert_eq!(channel(true, Some("/ca.pem"), old, "/cert.pem"), []);
}

#[test]
fn what_was_not_seen_is_said() {
    let unseen = Unseen { what: "its settings".to_owned(), reason: "error 1142".to_owned() };
    let all = warnings(Flavor::MySql, |old, _| old.unseen.push(unseen));
    let [(Code::NotSeen, sentence)] = all.as_slice() else { panic!("{all:?}") };
    assert!(sentence.contains("db1") && sentence.contains("its settings"), "{sentence}");
}

#[test]
fn clear_text_is_warned_of_where_it_leaves_this_machine() {
    let clear = |address: &str| {
        let mut views = healthy(Flavor::MariaDb);
        views[1].condition.clear_text = true;
        let mut observation = observe(views);
        address.clone_into(&mut observation.servers[1].address.host);
        match plan(&observation, &request(None)) {
            Ok(Planned::Swap(plan)) => plan.warnings,
            other => panic!("{other:?}"),
        }
    };
    for here in ["127.0.0.1", "127.1.2.3", "::1", "localhost"] {
        assert_eq!(clear(here), [], "{here}");
    }
    for there in ["10.0.0.2", "db2.internal", "fd00::2"] {
        let warnings = clear(there);
        let [warning] = warnings.as_slice() else { panic!("{there}: {warnings:?}") };
        assert_eq!(warning.code, Code::ClearText);
        assert!(warning.sentence.starts_with("db2 ("), "{warning}");
        assert!(warning.mend.contains("ssl_cert"), "{warning}");
    }
}

#[test]
fn a_new_primary_that_would_not_be_believed_is_refused() {
    let believed = |old: bool| {
        codes(found(Flavor::MySql, |a, b| {
            let side = if old { a } else { b };
            side.disbelief = Some("certificate not valid for name \"db.internal\"".to_owned());
        }))
    };
    assert_eq!(believed(false), Err(vec![Code::ClientAddressCertificate]));
    assert_eq!(believed(true), Ok(vec![]), "it is asked at the clients' address itself");
}

#[test]
fn f8_accounts_that_write_whatever_read_only_says_are_named() {
    let found = warnings(Flavor::MariaDb, |old, new| {
        old.read_only_admins = (0..200).map(|n| format!("'boss{n}'@'%'")).collect();
        new.read_only_admins.clone_from(&old.read_only_admins);
    });
    let [(Code::ReadOnlyAdmins, sentence)] = found.as_slice() else { panic!("{found:?}") };
    assert!(sentence.contains("'boss0'@'%', 'boss1'@'%'"), "{sentence}");
    assert!(sentence.contains(" more may write to db1"), "{sentence}");
    assert_eq!(warnings(Flavor::MariaDb, |_, _| {}), []);
}
