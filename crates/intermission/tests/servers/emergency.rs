//! The commands of the emergency card, typed as they are printed.

use std::process::{Command, Output};

use intermission::swap::{
    observation,
    position::Position,
    server::{Detail, Server},
    sibling::{Repoint, Threads},
};
use lab::{
    cluster::{OPERATOR, PairOptions},
    server::{Flavor, lab_dir},
};

use crate::bench::Bench;

lab::on_both!(
    the_emergency_commands_work_as_they_are_printed,
    a_sibling_is_led_by_the_command_as_it_is_printed,
);

/// Runs a command of the card in a shell, with the client of the server's own kind.
pub(crate) fn typed(flavor: Flavor, command: &str) -> Output {
    let client = match flavor {
        Flavor::MariaDb => "mariadb".to_owned(),
        Flavor::MySql => lab_dir().join("bin/mysql").display().to_string(),
    };
    let rest = command.strip_prefix("mysql ").expect("a client's command");
    // The card asks for the password at the terminal.
    assert!(rest.contains(" -p -e "), "{command}");
    let rest = rest.replacen(" -p -e ", " -e ", 1);
    Command::new("sh")
        .args(["-c", &format!("exec {client} {rest}")])
        .env("MYSQL_PWD", OPERATOR.password)
        .output()
        .unwrap()
}

async fn the_emergency_commands_work_as_they_are_printed(flavor: Flavor) {
    let bench = Bench::new(flavor).await;
    let servers = [bench.server(0), bench.server(1)];
    for server in &servers {
        server.observe(Detail::Roles).await.unwrap();
    }
    let [primary, replica] = &servers;
    let run = |command: String| {
        let output = typed(flavor, &command);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!command.contains(OPERATOR.password), "{command}");
        said
    };
    run(primary.command_to_fence());
    assert!(!primary.access().await.unwrap().is_writable());
    assert!(run(primary.command_to_look()).contains("read_only"));
    run(replica.command_to_open());
    assert!(replica.access().await.unwrap().is_writable());
    let said = run(replica.command_to_look());
    assert!(said.contains(&bench.access(0).address.port.to_string()), "{said}");
    run(replica.command_to_fence());
    run(primary.command_to_open());
    bench.expect_codes(&[]).await;
}

/// By one that never answered: the words are those of the cluster.
async fn a_sibling_is_led_by_the_command_as_it_is_printed(flavor: Flavor) {
    let bench = Bench::with(flavor, &PairOptions::default().with_siblings(1)).await;
    let source = bench.access(1).address;
    let to = Repoint {
        channel: String::new(),
        source: source.clone(),
        position: Position::Gtid,
        run: Threads::BOTH,
    };
    let of = bench.either(observation::Flavor::MariaDb, observation::Flavor::MySql);
    let command = bench.server(2).command_to_repoint(of, &to);
    let output = typed(flavor, &command);
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let channels = bench.server(2).channels().await.unwrap();
    assert_eq!(channels[0].source, source);
    bench.write(0, "by way of db2").await.unwrap();
    bench.assert_same_rows().await;
}
