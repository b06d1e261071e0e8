//! Data directories initialised once per server version and copied for every server.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::config::tree_options;
use super::series::find_program;
use super::{Series, ServerError};

/// The template's folder. The first caller on this machine makes it (seconds), the others wait for the lock.
pub(super) fn ensure_template(
    series: Series,
    program: &Path,
    lab: &Path,
) -> Result<PathBuf, ServerError> {
    let templates = lab.join("templates");
    let name = format!("{series}-{}", series.version(program)?);
    let template = templates.join(&name);
    if template.is_dir() {
        return Ok(template);
    }
    let lock_path = templates.join(format!("{name}.lock"));
    let locking = |source| ServerError::io(format!("cannot lock {}", lock_path.display()), source);
    std::fs::create_dir_all(&templates).map_err(locking)?;
    let lock = File::create(&lock_path).map_err(locking)?;
    lock.lock().map_err(locking)?;
    if !template.is_dir() {
        make_template(series, program, lab, &template)?;
    }
    Ok(template)
}

/// Works beside the template and renames at the end: a template that exists is complete.
fn make_template(
    series: Series,
    program: &Path,
    lab: &Path,
    template: &Path,
) -> Result<(), ServerError> {
    let making = |source| ServerError::io(format!("cannot make {}", template.display()), source);
    let parent = template.parent().expect("a template lies in the templates' folder");
    let folder = tempfile::Builder::new().prefix("new-").tempdir_in(parent).map_err(making)?;
    let data = folder.path().join("data");
    let mut command = match series {
        Series::MariaDb => mariadb_install(lab)?,
        Series::MariaDb118 => mariadb_bootstrap(program, lab, &data).map_err(making)?,
        Series::MySql => mysql_initialize(program, lab),
    };
    command.arg(format!("--datadir={}", data.display()));
    // It clears the folder of temporary tables as a server does.
    command.env("TMPDIR", folder.path());
    if rustix::process::geteuid().is_root() {
        command.arg("--user=root");
    }
    let output = command.output().map_err(making)?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        return Err(ServerError::Template {
            series,
            output: super::last_lines(&String::from_utf8_lossy(&text)),
        });
    }
    // A copied server_uuid would make two servers one and the same to replication.
    match std::fs::remove_file(data.join("auto.cnf")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(making(error)),
        Ok(()) | Err(_) => {}
    }
    std::fs::rename(&data, template).map_err(making)
}

fn mariadb_install(lab: &Path) -> Result<Command, ServerError> {
    let program = find_program("mariadb-install-db").ok_or_else(|| ServerError::NotInstalled {
        series: Series::MariaDb,
        lab: lab.to_owned(),
    })?;
    let mut command = Command::new(program);
    command.args([
        "--no-defaults",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--innodb-log-file-size=32M",
        "--innodb-buffer-pool-size=16M",
    ]);
    Ok(command)
}

fn mysql_initialize(program: &Path, lab: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--no-defaults", "--initialize-insecure", "--innodb-redo-log-capacity=32M"]);
    command.args(tree_arguments(Series::MySql, lab));
    command
}

/// What `mariadb-install-db` does, which cannot start a server that needs a loader of its own: the scripts of an empty
/// data directory, without the anonymous accounts and the test schema.
fn mariadb_bootstrap(program: &Path, lab: &Path, data: &Path) -> io::Result<Command> {
    const SCRIPTS: [&str; 5] = [
        "mariadb_system_tables.sql",
        "mariadb_performance_tables.sql",
        "mariadb_system_tables_data.sql",
        "maria_add_gis_sp_bootstrap.sql",
        "mariadb_sys_schema.sql",
    ];
    /// A server that bootstraps reads one statement per line. `root` has no password and no socket authentication.
    const FIRST: &str = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n";
    let mut input = tempfile::tempfile()?;
    input.write_all(FIRST.as_bytes())?;
    let scripts = Series::MariaDb118.tree(lab).unwrap_or_default().join("usr/share/mariadb");
    for script in SCRIPTS {
        input.write_all(&std::fs::read(scripts.join(script))?)?;
    }
    input.rewind()?;
    std::fs::create_dir(data)?;
    let mut command = Command::new(program);
    command.args([
        "--no-defaults",
        "--bootstrap",
        "--innodb-log-file-size=32M",
        "--innodb-buffer-pool-size=16M",
    ]);
    command.args(tree_arguments(Series::MariaDb118, lab)).stdin(input);
    Ok(command)
}

fn tree_arguments(series: Series, lab: &Path) -> impl Iterator<Item = String> {
    tree_options(series, lab).into_iter().map(|(key, value)| format!("--{key}={value}"))
}

/// Copies with `cp`, which shares blocks where the file system can.
pub(super) fn copy_template(template: &Path, data: &Path) -> Result<(), ServerError> {
    let what = || format!("cannot copy {} to {}", template.display(), data.display());
    let status = Command::new("cp")
        .args(["-r", "--reflink=auto", "--"])
        .arg(template)
        .arg(data)
        .status()
        .map_err(|source| ServerError::io(what(), source))?;
    if status.success() {
        Ok(())
    } else {
        Err(ServerError::io(what(), io::Error::other(format!("cp ended with {status}"))))
    }
}
