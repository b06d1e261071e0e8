//! Data directories initialised once per server version and copied for every server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::config::tree_options;
use super::flavor::find_program;
use super::{Flavor, ServerError};

/// The template's folder. The first caller on this machine makes it (seconds), the others wait for the lock.
pub(super) fn ensure_template(
    flavor: Flavor,
    program: &Path,
    lab: &Path,
) -> Result<PathBuf, ServerError> {
    let templates = lab.join("templates");
    let name = format!("{flavor}-{}", flavor.version(program)?);
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
        make_template(flavor, program, lab, &template)?;
    }
    Ok(template)
}

/// Works beside the template and renames at the end: a template that exists is complete.
fn make_template(
    flavor: Flavor,
    program: &Path,
    lab: &Path,
    template: &Path,
) -> Result<(), ServerError> {
    let making = |source| ServerError::io(format!("cannot make {}", template.display()), source);
    let parent = template.parent().expect("a template lies in the templates' folder");
    let folder = tempfile::Builder::new().prefix("new-").tempdir_in(parent).map_err(making)?;
    let data = folder.path().join("data");
    let mut command = match flavor {
        Flavor::MariaDb => mariadb_install(lab)?,
        Flavor::MySql => mysql_initialize(program, lab),
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
            flavor,
            output: super::last_lines(&String::from_utf8_lossy(&text)),
        });
    }
    // A copied server_uuid would make two servers one and the same to replication.
    match std::fs::remove_file(data.join("auto.cnf")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(making(error)),
        Ok(()) | Err(_) => {}
    }
    std::fs::rename(&data, template).map_err(making)
}

fn mariadb_install(lab: &Path) -> Result<Command, ServerError> {
    let program = find_program("mariadb-install-db").ok_or_else(|| ServerError::NotInstalled {
        flavor: Flavor::MariaDb,
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
    for (key, value) in tree_options(Flavor::MySql, lab) {
        command.arg(format!("--{key}={value}"));
    }
    command
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
        Err(ServerError::io(what(), std::io::Error::other(format!("cp ended with {status}"))))
    }
}
