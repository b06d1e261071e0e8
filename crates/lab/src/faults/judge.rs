//! What must be so after every case, whatever was broken in it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::bench::{Before, Bench, LEASE};
use super::command::read_words;
use super::request::parse_status;
use crate::cluster::{APP, OPERATOR, REPLICATION};
use crate::load::Recording;
use crate::oracle::{self, Write};

/// How long the gate may take from the end of a command until nobody is held.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
const OPEN_POLL: Duration = Duration::from_millis(20);
/// What a request may take beyond the lease: the answer itself, and a busy machine.
pub(super) const SLACK: Duration = Duration::from_secs(6);
/// How many defects an error shows.
const SHOWN_MAX: usize = 3;

/// How a case is expected to have ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) outcome: &'static str,
    /// Whether the other server is the primary now.
    pub(super) moved: bool,
    /// The outcome in the newest journal; `None`: no swap was begun.
    pub(super) journal: Option<&'static str>,
    /// Whether requests may have failed: only where users were really cut off, by a server or the gate that died.
    pub(super) may_fail: bool,
    /// Longest time any request may have taken.
    pub(super) longest: Duration,
}

impl End {
    const fn new(outcome: &'static str, moved: bool, journal: Option<&'static str>) -> Self {
        Self { outcome, moved, journal, may_fail: false, longest: LEASE.saturating_add(SLACK) }
    }

    /// Nothing was begun.
    pub(super) const fn refused() -> Self {
        Self::new("refused", false, None)
    }

    pub(super) const fn nothing(outcome: &'static str) -> Self {
        Self::new(outcome, false, None)
    }

    pub(super) const fn rolled_back() -> Self {
        Self::new("rolled_back", false, Some("rolled_back"))
    }

    pub(super) const fn swapped() -> Self {
        Self::new("swapped", true, Some("swapped"))
    }

    pub(super) const fn as_outcome(self, outcome: &'static str) -> Self {
        Self { outcome, ..self }
    }

    pub(super) const fn moved(self, moved: bool) -> Self {
        Self { moved, ..self }
    }

    pub(super) const fn may_fail(self) -> Self {
        Self { may_fail: true, ..self }
    }

    pub(super) const fn longest(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }
}

impl Bench {
    /// Everything wrong after a case; nothing is what there should be. The load ends here.
    pub(super) async fn judge(&mut self, before: Before, end: &End) -> Vec<String> {
        let mut flaws = Vec::new();
        let mut note = |what: &str, checked: anyhow::Result<()>| {
            flaws.extend(checked.err().map(|error| format!("{what}: {error:#}")));
        };
        note("status", self.expect_open().await);
        note("fresh requests", self.write_and_read().await);
        note("roles", self.expect_roles(before, end).await);
        note("replication", self.wait_healthy().await);
        match self.stop_load().await {
            Ok(recording) => {
                note("users", expect_users(&recording, end));
                note("writes", self.expect_writes(&recording).await);
            }
            Err(error) => note("load", Err(error)),
        }
        note("journal", self.expect_journal(before, end).await);
        note("passwords", self.expect_no_password());
        note("servers", self.expect_running());
        flaws
    }

    /// No server has ended by itself.
    fn expect_running(&self) -> anyhow::Result<()> {
        for server in &self.stage.pair.servers {
            anyhow::ensure!(
                server.is_running(),
                "{} has ended: {}",
                server.address(),
                server.log()
            );
        }
        Ok(())
    }

    /// `intermission status` shows the app open and nobody held.
    pub(super) async fn expect_open(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + OPEN_DEADLINE;
        loop {
            let ran = self.run(&["status", "--json"]).await?;
            let app = parse_status(&ran.expect(0)?.out)?;
            if app.state == "open" && app.hold.is_none() && app.held == 0 {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "the app is not open: {app:?}");
            tokio::time::sleep(OPEN_POLL).await;
        }
    }

    async fn expect_roles(&self, before: Before, end: &End) -> anyhow::Result<()> {
        let primary = self.stage.pair.primary_index().await?;
        let wanted = if end.moved { 1 - before.primary } else { before.primary };
        anyhow::ensure!(primary == wanted, "server {primary} is the primary, not {wanted}");
        Ok(())
    }

    async fn stop_load(&mut self) -> anyhow::Result<Recording> {
        let load = self.load.take().context("there was no load")?;
        Ok(tokio::task::spawn_blocking(|| load.stop()).await??)
    }

    /// Nothing lost, doubled or out of order, and the servers equal.
    async fn expect_writes(&mut self, recording: &Recording) -> anyhow::Result<()> {
        let mut acknowledged: Vec<Write> = recording
            .acknowledged()
            .map(|sample| Write {
                client: sample.client,
                seq: sample.seq,
                token: sample.token_text(),
            })
            .collect();
        anyhow::ensure!(!acknowledged.is_empty(), "the load wrote nothing");
        acknowledged.append(&mut self.acknowledged);
        let verdict = oracle::examine(&self.stage.pair, &acknowledged).await?;
        let lost: Vec<_> = verdict.lost.iter().take(SHOWN_MAX).collect();
        anyhow::ensure!(verdict.is_clean(), "{verdict}; lost: {lost:?}");
        Ok(())
    }

    async fn expect_journal(&self, before: Before, end: &End) -> anyhow::Result<()> {
        let records = self.stage.records().await?;
        let new = records.get(before.journals..).unwrap_or_default();
        let outcome = new.last().map(|record| record.outcome.as_str());
        anyhow::ensure!(outcome == end.journal, "outcome {outcome:?} instead of {:?}", end.journal);
        Ok(())
    }

    /// No password in anything that was printed or written.
    pub(super) fn expect_no_password(&self) -> anyhow::Result<()> {
        let mut places = vec![
            ("what was said".to_owned(), read_words(&self.said)),
            ("the gate's log".to_owned(), self.stage.gate.output()),
            ("the app's log".to_owned(), self.stage.app.output()),
        ];
        read_all(self.stage.gate.folder(), &mut places)?;
        for account in [OPERATOR, REPLICATION, APP] {
            for (place, text) in &places {
                let user = account.user;
                anyhow::ensure!(
                    !text.contains(account.password),
                    "the password of {user} is in {place}"
                );
            }
        }
        Ok(())
    }
}

fn expect_users(recording: &Recording, end: &End) -> anyhow::Result<()> {
    let failed = recording.failed();
    let notes: Vec<_> = recording.notes.iter().take(SHOWN_MAX).collect();
    anyhow::ensure!(end.may_fail || failed == 0, "{failed} requests failed: {notes:?}");
    let answered = recording.samples.iter().filter(|sample| !sample.failed());
    let longest = answered.map(crate::load::Sample::latency).max().unwrap_or_default();
    let most = end.longest;
    anyhow::ensure!(longest <= most, "a request took {longest:?}, more than {most:?}");
    Ok(())
}

/// Journals and state files, which are few and small.
fn read_all(folder: &Path, places: &mut Vec<(String, String)>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path, places)?;
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            places.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(())
}
