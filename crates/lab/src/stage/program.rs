//! Finds the programs of the stage beside the running one, and builds them when that is possible.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::StageError;

/// The product that can be told to die: never taken for the one that is measured or shown.
const FAULTS_PROGRAM: &str = "intermission-faults";
/// The feature that lets a test end the product at a chosen step.
const FAULTS_FEATURE: &str = "intermission/fault-injection";
/// Marks a folder as cargo's target directory.
const TARGET_MARK: &str = "CACHEDIR.TAG";

/// Paths of the programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `lab` itself, for the forwarder and the app.
    pub lab: PathBuf,
    /// The endpoint hook.
    pub repoint: PathBuf,
    /// The product.
    pub intermission: PathBuf,
}

impl Programs {
    /// The programs beside the running executable, built first if that lies in cargo's target directory: `cargo run -p
    /// lab` does not build `intermission`, and measuring yesterday's program would be worse than waiting for cargo.
    ///
    /// A test executable never builds: its programs were built by who runs the tests, perhaps with other features.
    pub async fn find_or_build() -> Result<Self, StageError> {
        let here = std::env::current_exe()
            .map_err(|source| StageError::io("cannot tell where this program is", source))?;
        let folder = here.parent().unwrap_or(Path::new("."));
        if folder.ends_with("deps") {
            return Self::in_folder(folder.parent().unwrap_or(folder));
        }
        if let Some(target) = folder.parent().filter(|target| target.join(TARGET_MARK).is_file()) {
            build(folder, target, &["--bins"]).await?;
        }
        Self::in_folder(folder)
    }

    /// As [`Programs::find_or_build`], with a product that can be told to die at a chosen step.
    pub async fn find_or_build_for_faults() -> Result<Self, StageError> {
        let usual = Self::find_or_build().await?;
        let folder = usual.lab.parent().unwrap_or(Path::new("."));
        if let Some(target) = folder.parent().filter(|target| target.join(TARGET_MARK).is_file()) {
            build(folder, target, &["--bin", FAULTS_PROGRAM, "--features", FAULTS_FEATURE]).await?;
        }
        let intermission = folder.join(FAULTS_PROGRAM);
        if intermission.is_file() {
            return Ok(Self { intermission, ..usual });
        }
        Err(StageError::NoProgram { path: intermission })
    }

    fn in_folder(folder: &Path) -> Result<Self, StageError> {
        let find = |name: &str| {
            let path = folder.join(name);
            if path.is_file() { Ok(path) } else { Err(StageError::NoProgram { path }) }
        };
        Ok(Self {
            lab: find("lab")?,
            repoint: find("lab-repoint")?,
            intermission: find("intermission")?,
        })
    }
}

/// `cargo build` in the profile of `folder`; nothing happens when everything is fresh. Without cargo or the sources the
/// programs are taken as they are.
async fn build(folder: &Path, target: &Path, what: &[&str]) -> Result<(), StageError> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    if !manifest.is_file() {
        return Ok(());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    // The whole workspace, as `make demo` builds it: another selection would unify other features and compile
    // dependencies anew.
    command.args(["build", "--quiet", "--workspace", "--manifest-path"]).arg(&manifest);
    command.arg("--target-dir").arg(target).args(what);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    match command.kill_on_drop(true).status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(StageError::Build { command: "cargo build --bins".to_owned(), status }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StageError::io("cannot start cargo", source)),
    }
}
