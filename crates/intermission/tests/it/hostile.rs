//! Hostile and ambiguous requests: what the gate does, and nginx and HAProxy with the same bytes. What is
//! measured is the tables of docs/HOSTILE.md; what the gate must do in any case are the cases' rules.

mod ask;
mod case;
mod client;
mod field;
mod flow;
pub(crate) mod frame;
mod framing;
mod manual;
mod recorder;
mod seen;
mod server;
mod stream;
mod target;
mod torrent;

use std::net::SocketAddr;

use self::case::{Case, Outcome};
use self::manual::Row;
use self::recorder::Recorder;
use super::gate::{Gate, Setup};
use super::wire::get;

/// Of all that waits for a client.
const PATIENCE: &str = "2s";
/// Requests by these markers are no case's: what is never one, and what may be served of a flood.
const NEVER: &str = "~never~";
const FLOOD: &str = "~flood~";

/// What the cases of one table are sent by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Http1,
    Http2,
    /// One after the other, so that no flood takes the time of another's answer.
    Http2Alone,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_request_ends() {
    compare("ends", &framing::cases(), By::Http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_lines_and_hosts() {
    compare("targets", &target::cases(), By::Http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_and_fields() {
    compare("fields", &field::cases(), By::Http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_of_http2() {
    compare("heads", &stream::cases(), By::Http2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_frames_of_http2() {
    compare("frames", &flow::cases(), By::Http2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_http2() {
    compare("floods", &torrent::cases(), By::Http2Alone).await;
}

async fn compare(table: &str, cases: &[Case], by: By) {
    let http2 = by != By::Http1;
    let recorders = [Recorder::start().await, Recorder::start().await, Recorder::start().await];
    let gate = gate(&recorders[0]).await;
    let nginx = server::nginx(recorders[1].address, http2).await;
    let haproxy = server::haproxy(recorders[2].address, http2).await;
    let (gates, nginxs, haproxys) = tokio::join!(
        outcomes(cases, gate.address, &recorders[0], by),
        outcomes(cases, nginx.address, &recorders[1], by),
        outcomes(cases, haproxy.address, &recorders[2], by),
    );
    assert_rules(cases, &gates, &recorders[0]);
    assert_eq!(get(gate.address, "/after").await.status, 200);
    let app = gate.shop().await;
    assert_eq!((app.held, app.in_flight), (0, 0));
    let rows = cases.iter().zip(gates).zip(nginxs).zip(haproxys);
    let rows = rows.map(|(((case, gate), nginx), haproxy)| Row {
        name: case.name.to_owned(),
        bytes: case.abbreviated(),
        outcomes: [gate, nginx, haproxy].map(|outcome| outcome.cell(case)),
        why: case.why.to_owned(),
    });
    manual::check(table, &rows.collect::<Vec<_>>(), &server::versions());
}

async fn gate(upstream: &Recorder) -> Gate {
    let timeouts = ["client_head_timeout", "client_body_timeout", "client_write_timeout"];
    let setup = Setup::shop(upstream.address);
    timeouts
        .iter()
        .fold(setup, |setup, key| setup.gate(&format!("{key} = {PATIENCE:?}")))
        .start()
        .await
}

async fn outcomes(
    cases: &[Case],
    address: SocketAddr,
    recorder: &Recorder,
    by: By,
) -> Vec<Outcome> {
    let send = |case: &Case| {
        let case = case.clone();
        tokio::spawn(async move {
            match by {
                By::Http1 => client::http1(address, &case).await,
                By::Http2 | By::Http2Alone => client::http2(address, &case).await,
            }
        })
    };
    let mut answers = Vec::new();
    if by == By::Http2Alone {
        for case in cases {
            answers.push(send(case).await.unwrap());
        }
    } else {
        let sent: Vec<_> = cases.iter().map(send).collect();
        for answer in sent {
            answers.push(answer.await.unwrap());
        }
    }
    let outcome = |(case, answer): (&Case, String)| Outcome {
        answer,
        seen: recorder.seen_of(&case.marker()),
    };
    cases.iter().zip(answers).map(outcome).collect()
}

fn assert_rules(cases: &[Case], outcomes: &[Outcome], recorder: &Recorder) {
    let faults = cases.iter().zip(outcomes).filter_map(|(case, outcome)| {
        let fault = outcome.fault(case)?;
        Some(format!("{} ({:?}): {fault}: {}", case.name, case.rule, outcome.cell(case)))
    });
    let mut faults: Vec<String> = faults.collect();
    let markers: Vec<String> = cases.iter().map(Case::marker).chain([FLOOD.to_owned()]).collect();
    for seen in recorder.seen() {
        if seen.has(NEVER) || !markers.iter().any(|marker| seen.has(marker)) {
            faults.push(format!("nobody's request: {}", seen.raw.escape_ascii()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Longer ones are long only to be over a bound.
const SEED_BYTES_MAX: usize = 2048;

/// `UPDATE_EXPECT=1` writes them.
#[test]
fn the_fuzzer_begins_with_the_cases_of_the_tables() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join("../../fuzz/corpus/request_path");
    let tables =
        [framing::cases(), target::cases(), field::cases(), stream::cases(), flow::cases()];
    let cases = tables.iter().flatten().filter(|case| case.bytes.len() <= SEED_BYTES_MAX);
    let mut wanted: Vec<_> =
        cases.map(|case| (case.marker().replace('~', ""), case.bytes.clone())).collect();
    wanted.sort();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        for (name, bytes) in &wanted {
            let mut file = std::fs::File::create(folder.join(name)).unwrap();
            std::io::Write::write_all(&mut file, bytes).unwrap();
        }
    }
    let seeds = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
    let mut seeds: Vec<_> = seeds
        .map(|seed| (seed.file_name().into_string().unwrap(), std::fs::read(seed.path()).unwrap()))
        .collect();
    seeds.sort();
    let names = |files: &[(String, Vec<u8>)]| -> Vec<String> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&seeds), names(&wanted), "UPDATE_EXPECT=1 cargo test -- the_fuzzer_begins");
    assert!(seeds == wanted, "other bytes: UPDATE_EXPECT=1 cargo test -- the_fuzzer_begins");
}
