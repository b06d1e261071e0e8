//! The cluster.yml of the older script, with its flags, on a floating IP between namespaces. Only ssh is replaced.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use lab::{
    cluster::{OPERATOR, REPLICATION},
    network::Network,
    server::Flavor,
    stage::{Endpoint, Stage, StageOptions},
};
use tokio::{
    process::Command,
    time::{Duration, Instant},
};

/// How long a pair may take after a swap until the next one is not refused.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Nobody else reads it meanwhile.
fn write(path: impl AsRef<Path>, text: impl AsRef<[u8]>) {
    File::create(path).unwrap().write_all(text.as_ref()).unwrap();
}

struct Script {
    stage: Stage,
    folder: tempfile::TempDir,
}

impl Script {
    async fn new(flavor: Flavor) -> Self {
        let options = StageOptions { floating_ip: true, ..StageOptions::new(flavor) };
        let stage = Stage::start(&options).await.expect("a stage");
        let script = Self { stage, folder: tempfile::tempdir().unwrap() };
        script.rename_replication_user().await;
        script.write();
        script
    }

    /// The script knew no other user than `slave`.
    async fn rename_replication_user(&self) {
        let rename = format!("CREATE USER slave@'%' IDENTIFIED BY '{}'", REPLICATION.password);
        let grant = "GRANT REPLICATION SLAVE ON *.* TO slave@'%'".to_owned();
        let show = format!("GRANT SHOW DATABASES ON *.* TO {}@'%'", OPERATOR.user);
        self.stage.pair.run(0, vec![rename, grant, show]).await.unwrap();
        self.stage.pair.wait_replicated().await.unwrap();
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("shop/config/cluster.yml")
    }

    fn hold_file(&self) -> PathBuf {
        self.folder.path().join("hold")
    }

    fn write(&self) {
        let Endpoint::FloatingIp(network) = &self.stage.endpoint else { panic!("no floating IP") };
        let prefix = Network::floating_prefix();
        let (ip, bits) = prefix.split_once('/').unwrap();
        let mut text = format!(
            "floating_ip: {ip}\nfloating_ip_cidr: /{bits}\nmaster_ipmi_address: 10.77.1.1\n\
             hold_file: {}\njournal_dir: {}\n",
            self.hold_file().display(),
            self.folder.path().join("journal").display(),
        );
        for (key, index) in [("database_one", 0), ("database_two", 1)] {
            let address = self.stage.pair.server(index).address();
            text.push_str(&format!(
                "\n{key}:\n  adapter: mysql\n  username: {}\n  password: {}\n  primary_database: ledger\n  \
                 host: {}\n  port: {}\n  slave_password: {}\n  floating_dev: eth0\n  exec: {:?}\n",
                OPERATOR.user,
                OPERATOR.password,
                address.ip(),
                address.port(),
                REPLICATION.password,
                network.hosts[index].exec_beside(),
            ));
        }
        std::fs::create_dir_all(self.path().parent().unwrap()).unwrap();
        write(self.path(), text);
    }

    /// On the clients' host.
    fn command(&self, program: &str) -> Command {
        let Endpoint::FloatingIp(network) = &self.stage.endpoint else { panic!("no floating IP") };
        let exec = network.hosts[2].exec();
        let mut command = Command::new(&exec[0]);
        command.args(&exec[1..]).arg(program).stdin(Stdio::null()).kill_on_drop(true);
        command.env("INTERMISSION_CLUSTERS", self.folder.path());
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_intermission")).args(arguments).output().await.unwrap()
    }

    /// A replica that has just begun tells its lag late: MySQL's applier at its checkpoints only.
    async fn wait_ready(&self, check: &[&str]) {
        let deadline = Instant::now() + READY_WITHIN;
        while self.run(check).await.status.code() != Some(0) {
            assert!(Instant::now() < deadline, "{check:?} refuses");
        }
    }

    async fn expect(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments).await;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        for secret in [OPERATOR.password, REPLICATION.password] {
            assert!(!said.contains(secret), "{said}");
        }
        said
    }
}

async fn the_old_flags_swap_there_and_back(flavor: Flavor) {
    let script = Script::new(flavor).await;
    let file = script.path().display().to_string();
    let said = script.expect(&["check", "-c", &file], 0).await;
    assert!(said.contains("database_two") && said.contains("can take over"), "{said}");
    // -s changes nothing, -f asks nobody, -d names the cluster.
    script.expect(&["swap", "-c", &file, "-s"], 0).await;
    assert_eq!(script.stage.pair.primary_index().await.unwrap(), 0);
    let said = script.expect(&["swap", "-c", &file, "-f"], 0).await;
    assert!(said.contains("swapped: database_two (10.77.0.2:3306) is the primary"), "{said}");
    assert_eq!(script.stage.pair.primary_index().await.unwrap(), 1);
    assert!(!script.hold_file().exists());
    script.wait_ready(&["check", "-d", "Shop"]).await;
    let said = script.expect(&["swap", "-d", "Shop", "-f"], 0).await;
    assert!(said.contains("swapped: database_one (10.77.0.1:3306) is the primary"), "{said}");
    script.stage.pair.wait_replicated().await.unwrap();
    script.expect(&["recover", "-d", "shop"], 0).await;
}

/// Killed with the address on no host, and recovered by the same file; the words for the worst case name it.
#[cfg(feature = "fault-injection")]
async fn a_killed_swap_is_recovered_by_the_same_file(flavor: Flavor) {
    let script = Script::new(flavor).await;
    let file = script.path().canonicalize().unwrap().display().to_string();
    let mut killed = script.command(env!("CARGO_BIN_EXE_intermission-faults"));
    killed.env("INTERMISSION_FAULT", "lose:after:perform:withdraw");
    let killed = killed.args(["swap", "-c", &file, "-f"]).output().await.unwrap();
    assert_eq!(killed.status.code(), None);
    let said = String::from_utf8(killed.stderr).unwrap();
    assert!(said.contains(&format!("first try: intermission -c {file} recover")), "{said}");
    assert!(script.hold_file().exists());
    let said = script.expect(&["check", "-c", &file], 1).await;
    assert!(said.contains(&format!("mend: intermission -c {file} recover")), "{said}");
    script.expect(&["recover", "-c", &file], 1).await;
    assert!(!script.hold_file().exists());
    script.expect(&["check", "-c", &file], 0).await;
}

async fn what_the_old_script_checked_is_refused(flavor: Flavor) {
    let script = Script::new(flavor).await;
    let file = script.path().display().to_string();
    let text = std::fs::read_to_string(script.path()).unwrap();
    let missing = text.replacen("primary_database: ledger", "primary_database: nowhere", 1);
    write(script.path(), &missing);
    let said = script.expect(&["swap", "-c", &file, "-f"], 1).await;
    assert!(said.contains("[database-missing]") && said.contains("nowhere"), "{said}");
    write(script.path(), &text);
    write(script.hold_file(), "an operator");
    let said = script.expect(&["swap", "-c", &file, "-f"], 1).await;
    assert!(said.contains("[already-held]") && said.contains("an operator"), "{said}");
    assert!(script.hold_file().exists(), "it is somebody else's");
    write(script.path(), text.replacen("slave_password: repl", "slave_password: not", 1));
    std::fs::remove_file(script.hold_file()).unwrap();
    let said = script.expect(&["check", "-c", &file], 1).await;
    assert!(said.contains("[replication-login]"), "{said}");
}

#[cfg(feature = "fault-injection")]
mod killed {
    use super::a_killed_swap_is_recovered_by_the_same_file;

    lab::on_both!(a_killed_swap_is_recovered_by_the_same_file);
}

lab::on_both!(the_old_flags_swap_there_and_back, what_the_old_script_checked_is_refused);
