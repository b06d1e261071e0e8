//! docs/PROOF.md: every failure of a hold has tests that carry its number, and the page names them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// H1 to this one.
const FAULTS: u32 = 43;
const BEGIN: &str = "<!-- faults -->\n";
const END: &str = "<!-- end -->";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust source below `folder`.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Names of functions that begin with numbers of failures, by each of those numbers.
fn tests() -> BTreeMap<u32, BTreeSet<String>> {
    let mut tests: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for name in ["hold", "intermission", "lab"] {
        let mut files = Vec::new();
        for part in ["src", "tests"] {
            sources(&root().join("crates").join(name).join(part), &mut files);
        }
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let names = text.lines().filter_map(|line| {
                let line = line.trim_start();
                let line = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
                line.split_once('(').map(|(name, _)| name)
            });
            for test in names {
                for number in numbers(test) {
                    tests.entry(number).or_default().insert(format!("`{test}` ({name})"));
                }
            }
        }
    }
    tests
}

/// `f49_h25_h7_some_text` is about 25 and 7.
fn numbers(test: &str) -> Vec<u32> {
    let numbered = test.split('_').map_while(|word| {
        let number = word.strip_prefix(['f', 'h'])?.parse::<u32>().ok()?;
        Some((word.starts_with('h'), number))
    });
    numbered.filter(|(is_hold, _)| *is_hold).map(|(_, number)| number).collect()
}

/// `UPDATE_EXPECT=1` writes the tests' names into the page.
#[test]
fn every_failure_of_a_hold_has_a_test_and_the_page_names_it() {
    let path = root().join("docs/PROOF.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("a place for the table");
    let (table, after) = rest.split_once(END).expect("an end of the table");
    let tests = tests();
    let mut lines = table.lines();
    let mut written = String::new();
    for line in lines.by_ref().take(2) {
        written += &format!("{line}\n");
    }
    for number in 1..=FAULTS {
        let line = lines.next().unwrap_or_else(|| panic!("no line for H{number}"));
        let cells: Vec<_> = line.split(" | ").collect();
        assert_eq!(cells[0], format!("| H{number}"), "{line}");
        let names = tests.get(&number);
        assert!(names.is_some(), "no test of H{number}");
        let names: Vec<_> = names.into_iter().flatten().map(String::as_str).collect();
        written += &format!("{} | {} | {} |\n", cells[0], cells[1], names.join(", "));
    }
    assert_eq!(lines.next(), None, "a line behind the last number");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let page = format!("{before}{BEGIN}{written}{END}{after}");
        let mut file = std::fs::File::create(&path).unwrap();
        return std::io::Write::write_all(&mut file, page.as_bytes()).unwrap();
    }
    assert_eq!(table, written, "UPDATE_EXPECT=1 cargo test -p intermission --test it -- proof");
}
