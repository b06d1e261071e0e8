//! `intermission status`

use std::time::Duration;

use crate::admin::api::{AppStatus, AuditLogStatus, Status, UpstreamHealth};
use crate::admin::client::Client;
use crate::cli::{Exit, Printer};

const WATCH_EVERY: Duration = Duration::from_millis(500);
/// Clears the screen and goes to its top left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Args {
    /// Print again twice a second, until interrupted
    #[arg(long)]
    watch: bool,
    /// Print JSON, one object on a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args, client: &Client, printer: &Printer) -> anyhow::Result<Exit> {
    let clear = if args.watch && !args.json && printer.stdout_is_terminal() { CLEAR } else { "" };
    loop {
        let status = client.status().await?;
        if args.json {
            printer.data(serde_json::to_string(&status)?);
        } else {
            printer.data(format_args!("{clear}{}", table(&status)));
        }
        if !args.watch {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

fn table(status: &Status) -> String {
    let header = ["APP", "STATE", "HELD", "IN FLIGHT", "OLDEST", "LEASE", "HOLDER"];
    let header = header.map(str::to_owned);
    let rows: Vec<[String; 7]> = [header].into_iter().chain(status.apps.iter().map(row)).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let stopping = if status.stopping { ", stopping" } else { "" };
    let predecessor = status.predecessor_pid.map(|pid| format!(", with what is left of pid {pid}"));
    let predecessor = predecessor.unwrap_or_default();
    let listen: Vec<_> = status.listen.iter().chain(&status.listen_tls).cloned().collect();
    let listen = listen.join(", ");
    let first = format!(
        "gate {} (pid {}) on {listen}{stopping}{predecessor}\n",
        status.version, status.pid
    );
    let unwell = status.apps.iter().flat_map(unwell);
    let stopped = status.apps.iter().filter(|app| app.release_stopped).map(|app| {
        format!(
            "{}: released requests fail, so the others wait and one may try at a time",
            app.name
        )
    });
    let lines = [first].into_iter().chain(rows.iter().map(line)).chain(stopped).chain(unwell);
    let lines = lines.chain(audit_problem(status));
    lines.collect::<Vec<_>>().join("\n")
}

/// A line for each upstream that is given no requests.
fn unwell(app: &AppStatus) -> impl Iterator<Item = String> {
    let unwell = app.upstreams.iter().filter(|upstream| upstream.health != UpstreamHealth::Up);
    unwell.map(|upstream| {
        let left = upstream.left_out_for_ms.map(|ms| format!(" for {} yet", seconds(ms)));
        format!(
            "{}: {} is {}{}: {}",
            app.name,
            upstream.upstream,
            upstream.health.name(),
            left.unwrap_or_default(),
            upstream.problem.as_deref().unwrap_or("why is not known")
        )
    })
}

fn audit_problem(status: &Status) -> Option<String> {
    let audit = status.audit_log.as_ref()?;
    let problem = audit.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
    let AuditLogStatus { lost, .. } = audit;
    (audit.problem.is_some() || *lost > 0).then(|| {
        format!("\nwarning: the audit log is not written as it should be, {lost} lines are lost{problem}")
    })
}

fn row(app: &AppStatus) -> [String; 7] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let hold = app.hold.as_ref();
    [
        app.name.clone(),
        app.state.name().to_owned(),
        app.held.to_string(),
        app.in_flight.to_string(),
        or_dash(app.oldest_ms.map(seconds)),
        or_dash(hold.map(|hold| seconds(hold.lease_left_ms))),
        or_dash(hold.map(|hold| match hold.reason.as_str() {
            "" => hold.holder.clone(),
            reason => format!("{} ({reason})", hold.holder),
        })),
    ]
}

fn seconds(ms: u64) -> String {
    format!("{:.1?}", Duration::from_millis(ms))
}
