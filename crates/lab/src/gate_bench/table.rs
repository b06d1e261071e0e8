//! The tables of a page of the manual, between two marks: what is around them is a person's.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use super::{Figures, GateBenchResult, HeldFigures, Peer, Shape};

const BEGIN: &str = "<!-- make bench: begin -->\n";
const END: &str = "<!-- make bench: end -->\n";

/// What is in front of the tables of a page, and what is behind them, marks included; an error that names the file where they are
/// not there.
fn around(path: &Path) -> anyhow::Result<(String, String)> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parts = text.split_once(BEGIN).and_then(|(front, rest)| {
        let (_, behind) = rest.split_once(END)?;
        Some((format!("{front}{BEGIN}"), format!("{END}{behind}")))
    });
    parts.with_context(|| {
        let (begin, end) = (BEGIN.trim_end(), END.trim_end());
        format!(
            "{} has no place for the tables: put the lines {begin:?} and {end:?} there",
            path.display()
        )
    })
}

/// To be called before minutes are spent.
pub(super) fn ensure_place(path: &Path) -> anyhow::Result<()> {
    around(path).map(|_| ())
}

/// Replaces the tables of a page by those of `result`, measured on `day`.
pub(super) fn write(path: &Path, result: &GateBenchResult, day: &str) -> anyhow::Result<()> {
    let (front, behind) = around(path)?;
    let text = format!("{front}{}{behind}", render(result, day)?);
    let written = crate::report::write(path, &text);
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn render(result: &GateBenchResult, day: &str) -> anyhow::Result<String> {
    let GateBenchResult { processor, processors, rounds, seconds, .. } = result;
    let mut text = format!(
        "{day}, {processors} × {processor}, {rounds} rounds of {seconds} s for each load.\n\n\
         | | processor time per request, µs | gate ÷ this, median of rounds | requests/s | p50, ms | p99, ms |\n|---|---|---|---|---|---|\n"
    );
    for shape in Shape::ALL {
        let of = |peer: Peer| {
            let figures = result.peers.get(&peer).and_then(|shapes| shapes.get(&shape));
            figures.with_context(|| format!("{} was not measured", peer.name()))
        };
        text += &format!("| **{}** | | | | | |\n", shape.title());
        for peer in Peer::ALL {
            let Figures { cpu_us, rps, p50_ms, p99_ms } = *of(peer)?;
            let ratio = match peer {
                Peer::Gate => String::new(),
                Peer::Nginx | Peer::Haproxy => {
                    let ratio = result.ratios.get(&peer).and_then(|shapes| shapes.get(&shape));
                    format!("{:.2}", ratio.with_context(|| format!("no ratio to {}", peer.name()))?)
                }
            };
            let is_measured = [cpu_us, rps, p50_ms, p99_ms].into_iter().all(f64::is_finite);
            ensure!(is_measured, "{}: a figure is missing", peer.name());
            let name = peer.name();
            text += &format!(
                "| {name} | {cpu_us:.1} | {ratio} | {rps:.0} | {p50_ms:.2} | {p99_ms:.1} |\n"
            );
        }
    }
    text += "\n| | held in one process | KiB each | processor while held | all answered after | one by one | errors | out of order, one by one \
             | another app's p99 | memory left |\n|---|---|---|---|---|---|---|---|---|---|\n";
    let held = [
        ("HTTP/1.1, a connection each", result.held_http1),
        ("HTTP/2, 128 streams on each connection", result.held_http2),
    ];
    for (name, figures) in held {
        text += &held_line(name, &figures.with_context(|| format!("{name}: not measured"))?);
    }
    Ok(text)
}

fn held_line(name: &str, held: &HeldFigures) -> String {
    let cells = [
        name.to_owned(),
        held.count.to_string(),
        format!("{:.1}", held.kib_per_held),
        format!("{:.1} % of one", held.cpu_pct),
        format!("{:.2} s", held.release_s),
        format!("{:.2} s", held.release_k1_s),
        held.errors.to_string(),
        held.inversions_k1.to_string(),
        format!("{:+.1} ms", held.isolation_p99_ms),
        format!("{:.0} % after {}", held.left_pct, held.given_back()),
    ];
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const DAY: &str = "2026-01-02";

    /// No two figures are the same.
    fn result() -> GateBenchResult {
        let figures = |peer: f64, shape: f64| Figures {
            cpu_us: peer * 10.0 + shape,
            rps: peer * 10_000.0 + shape,
            p50_ms: peer + shape / 10.0,
            p99_ms: peer * 5.0 + shape / 10.0,
        };
        let numbered = || Shape::ALL.into_iter().zip([1.0, 2.0, 3.0]);
        let shapes = |peer| numbered().map(|(shape, n)| (shape, figures(peer, n))).collect();
        let ratios = |peer: f64| numbered().map(|(shape, n)| (shape, peer + n / 10.0)).collect();
        let held = HeldFigures {
            count: 9_900,
            kib_per_held: 6.54,
            cpu_pct: 0.1,
            release_s: 0.412,
            errors: 1,
            inversions_k1: 2,
            release_k1_s: 0.9,
            isolation_p99_ms: 3.04,
            given_back_s: Some(7.2),
            left_pct: 19.6,
        };
        GateBenchResult {
            processor: "Some processor".to_owned(),
            processors: 2,
            rounds: 5,
            seconds: 3,
            peers: Peer::ALL.into_iter().zip([1.0, 2.0, 3.0].map(shapes)).collect(),
            ratios: [(Peer::Nginx, ratios(4.0)), (Peer::Haproxy, ratios(5.0))].into(),
            held_http1: Some(held),
            held_http2: Some(HeldFigures { count: 50_000, given_back_s: None, ..held }),
        }
    }

    fn page(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced_and_as_often_as_one_likes() {
        let file = page(&format!("# Page\n\n{BEGIN}old figures\n{END}\nbehind\n"));
        ensure_place(file.path()).unwrap();
        write(file.path(), &result(), DAY).unwrap();
        let once = fs::read_to_string(file.path()).unwrap();
        write(file.path(), &result(), DAY).unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), once);
        assert!(once.starts_with(&format!("# Page\n\n{BEGIN}2026-01-02, ")), "{once}");
        assert!(once.ends_with(&format!("\n{END}\nbehind\n")), "{once}");
        assert!(!once.contains("old figures"), "{once}");
    }

    #[test]
    fn each_figure_has_its_place() {
        let text = render(&result(), DAY).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("|---")).collect();
        let wanted = [
            "2026-01-02, 2 × Some processor, 5 rounds of 3 s for each load.",
            "",
            "| | processor time per request, µs | gate ÷ this, median of rounds | requests/s | p50, ms | p99, ms |",
            "| **64 connections that are kept** | | | | | |",
            "| gate | 11.0 |  | 10001 | 1.10 | 5.1 |",
            "| nginx | 21.0 | 4.10 | 20001 | 2.10 | 10.1 |",
            "| HAProxy | 31.0 | 5.10 | 30001 | 3.10 | 15.1 |",
            "| **512 connections that are kept** | | | | | |",
            "| gate | 12.0 |  | 10002 | 1.20 | 5.2 |",
            "| nginx | 22.0 | 4.20 | 20002 | 2.20 | 10.2 |",
            "| HAProxy | 32.0 | 5.20 | 30002 | 3.20 | 15.2 |",
            "| **a new connection for each request, 64 at a time** | | | | | |",
            "| gate | 13.0 |  | 10003 | 1.30 | 5.3 |",
            "| nginx | 23.0 | 4.30 | 20003 | 2.30 | 10.3 |",
            "| HAProxy | 33.0 | 5.30 | 30003 | 3.30 | 15.3 |",
            "",
            "| | held in one process | KiB each | processor while held | all answered after | one by one | errors | out of order, one by one | another app's p99 | memory left |",
            "| HTTP/1.1, a connection each | 9900 | 6.5 | 0.1 % of one | 0.41 s | 0.90 s | 1 | 2 | +3.0 ms | 20 % after 7.2 s |",
            "| HTTP/2, 128 streams on each connection | 50000 | 6.5 | 0.1 % of one | 0.41 s | 0.90 s | 1 | 2 | +3.0 ms | 20 % after a minute |",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn what_was_not_measured_and_a_page_without_a_place_are_errors_and_change_nothing() {
        let file = page("# Page\n");
        let error = format!("{:#}", ensure_place(file.path()).unwrap_err());
        assert!(error.contains("make bench: begin"), "{error}");
        let file = page(&format!("{BEGIN}old\n{END}"));
        let half = GateBenchResult { held_http2: None, ..result() };
        let error = format!("{:#}", write(file.path(), &half, DAY).unwrap_err());
        assert!(error.contains("HTTP/2") && error.contains("not measured"), "{error}");
        assert_eq!(fs::read_to_string(file.path()).unwrap(), format!("{BEGIN}old\n{END}"));
        let nowhere = Path::new("/nowhere/PERFORMANCE.md");
        let error = format!("{:#}", ensure_place(nowhere).unwrap_err());
        assert!(error.contains("/nowhere/PERFORMANCE.md"), "{error}");
    }

    #[test]
    fn the_manual_has_a_place_for_them() {
        let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/PERFORMANCE.md");
        ensure_place(&manual).unwrap();
    }
}
