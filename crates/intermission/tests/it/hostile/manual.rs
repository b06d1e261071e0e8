//! docs/HOSTILE.md: its tables are what was measured.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

const VERSIONS: &str = "Measured beside ";
const HEAD: &str =
    "| case | bytes | gate | nginx | HAProxy | why the gate does so |\n|---|---|---|---|---|---|\n";

/// Several tests write it.
static FILE: Mutex<()> = Mutex::new(());

/// One line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) bytes: String,
    /// Of the gate, nginx and HAProxy.
    pub(crate) outcomes: [String; 3],
    pub(crate) why: String,
}

impl Row {
    fn line(&self) -> String {
        let Self { name, bytes, outcomes: [gate, nginx, haproxy], why } = self;
        format!("| {name} | {bytes} | {gate} | {nginx} | {haproxy} | {why} |\n")
    }

    /// The gate's part alone.
    fn of_gate(line: &str) -> Vec<&str> {
        let cells: Vec<&str> = line.split(" | ").collect();
        cells
            .iter()
            .enumerate()
            .filter(|(at, _)| !matches!(at, 3 | 4))
            .map(|(_, cell)| *cell)
            .collect()
    }
}

/// Compares the table of that name with what was measured, or writes it with `UPDATE_EXPECT=1`. What
/// other versions of nginx and HAProxy do is not compared.
pub(crate) fn check(table: &str, rows: &[Row], versions: &str) {
    let _one_at_a_time = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/HOSTILE.md");
    let manual = std::fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- {table} -->\n");
    let (before, rest) = manual.split_once(&begin).expect("a place for the table");
    let (written, after) = rest.split_once("<!-- end -->").expect("an end of the table");
    let measured: String = HEAD.to_owned() + &rows.iter().map(Row::line).collect::<String>();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let manual = format!("{before}{begin}{measured}<!-- end -->{after}");
        let (head, tail) = manual.split_once(VERSIONS).expect("the versions");
        let (_, tail) = tail.split_once(".\n").expect("an end of the versions");
        let manual = format!("{head}{VERSIONS}{versions}.\n{tail}");
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), manual.as_bytes())
            .unwrap();
        return;
    }
    let same_versions = manual.contains(&format!("{VERSIONS}{versions}."));
    let (written, measured): (Vec<&str>, Vec<&str>) =
        (written.lines().collect(), measured.lines().collect());
    let differ = |written: &&str, measured: &&str| {
        if same_versions {
            written != measured
        } else {
            Row::of_gate(written) != Row::of_gate(measured)
        }
    };
    let lines =
        measured.iter().enumerate().map(|(at, line)| (written.get(at).unwrap_or(&""), line));
    let different: Vec<String> = lines
        .filter(|(written, measured)| differ(written, measured))
        .map(|(written, measured)| format!("- {written}\n+ {measured}"))
        .collect();
    assert!(
        different.is_empty() && written.len() == measured.len(),
        "docs/HOSTILE.md says otherwise (UPDATE_EXPECT=1 cargo test -p intermission --test it -- hostile):\n{}",
        different.join("\n")
    );
}
