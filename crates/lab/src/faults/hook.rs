//! What is done before users are released fails or hangs: they are released all the same, and a person is told.

use anyhow::ensure;
use futures_util::future::BoxFuture;
use rustix::process::Signal;
use tokio::time::Instant;

use super::bench::Bench;
use super::command::Ran;
use super::judge::{End, SLACK};

/// The campaign's own hook.
const USUAL: &str = r#"{ command = ["true"], timeout = "1s" }"#;

impl Bench {
    /// Swaps with a script in the hook's place.
    async fn swap_with_hook(&self, name: &str, script: &str, timeout: &str) -> anyhow::Result<Ran> {
        let command = serde_json::to_string(&["/bin/sh", "-c", script])?;
        let hook = format!("{{ command = {command}, timeout = \"{timeout}\" }}");
        let configuration = self.configure(name, &[(USUAL, &hook)])?;
        self.start_with(&configuration, &["swap", "--yes"], None)?.end().await
    }

    /// It is told, users are released, and a recovery does what is left.
    async fn expect_told(&mut self, ran: &Ran, step: &str, reasons: &[&str]) -> anyhow::Result<()> {
        ran.expect(3)?.expect_failed_at(step)?;
        let said = format!("{}{}", ran.talk, ran.out);
        for reason in reasons {
            ensure!(said.contains(reason), "{reason:?} is not said: {said}");
        }
        ensure!(ran.out.contains(" recover"), "no next command: {}", ran.out);
        self.expect_open().await?;
        self.write_and_read().await?;
        self.recover().await?.expect(0)?;
        self.expect_nothing_to_recover().await
    }
}

/// A hook that fails the first time is run again, and what it says is told.
pub(super) fn fails_once(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let mark = tempfile::tempdir()?;
        let mark = mark.path().join("failed").display().to_string();
        let script = format!(
            "[ -e {mark} ] || {{ touch {mark}; exit 1; }}; echo restarted for $INTERMISSION_NEW_PRIMARY; env | grep PASSWORD"
        );
        let script = format!("{script}; true");
        let plan = bench.run(&["swap", "--dry-run"]).await?;
        for words in [
            "before_release, one after the other:\n  INTERMISSION_NEW_PRIMARY=",
            " true  (1s at most)\nwarm_up, all at once:\n  shop: GET /entries/latest (Host: shop.example.com) of ",
            "users wait 2s at most for that; over it they are released",
            ". before_release run the hooks",
            ". warm_up       ask every upstream",
        ] {
            ensure!(plan.expect(0)?.out.contains(words), "{words:?} is not in {}", plan.out);
        }
        let ran = bench.swap_with_hook("hook-once", &script, "1s").await?;
        let new = bench.stage.pair.server(bench.stage.pair.primary_index().await?).address();
        let told = ran.expect(0)?.step("before_release").unwrap_or_default();
        ensure!(told.contains("in 2 runs ended with exit status: 0 after "), "{told}");
        ensure!(told.ends_with(&format!(": restarted for {new}")), "{told}");
        let record = bench.stage.records().await?.pop();
        let note = record.as_ref().and_then(|record| record.note("before_release"));
        ensure!(note.is_some_and(|note| told.ends_with(note)), "the journal has {note:?}");
        Ok(End::swapped())
    })
}

/// A hook that never works does not keep the next step from being done, nor users from being released.
pub(super) fn always_fails(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let script = "echo no such unit >&2; exit 5";
        let ran = bench.swap_with_hook("hook-always", script, "1s").await?;
        ensure!(ran.step("warm_up").is_some_and(|told| told.contains("requests)")), "{}", ran.talk);
        let reasons = ["in 3 runs ended with exit status: 5", "no such unit", "; by hand: INTER"];
        bench.expect_told(&ran, "before_release", &reasons).await?;
        Ok(End::swapped().as_outcome("needs_operator, then swapped"))
    })
}

/// A hook that hangs is killed with its children at its timeout.
pub(super) fn hangs(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let folder = tempfile::tempdir()?;
        let pid = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! >{}; echo waiting; wait", pid.display());
        let began = Instant::now();
        let ran = bench.swap_with_hook("hook-hangs", &script, "400ms").await?;
        let took = began.elapsed();
        bench.expect_told(&ran, "before_release", &["was killed after 4", ": waiting"]).await?;
        let pid = std::fs::read_to_string(&pid)?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
        let lives = status.is_ok_and(|status| !status.contains("State:\tZ"));
        ensure!(!lives, "its child {pid} lives");
        ensure!(took < SLACK, "the swap took {took:?}");
        Ok(End::swapped().as_outcome("needs_operator, then swapped").longest(SLACK))
    })
}

/// The application stops answering while users are held: they are released when the time of the warm-up is over.
pub(super) fn app_stops_answering(bench: &mut Bench) -> BoxFuture<'_, anyhow::Result<End>> {
    Box::pin(async move {
        let app = bench.stage.app.pid();
        let script = format!("kill -STOP {app}");
        let ran = bench.swap_with_hook("warm-up", &script, "1s").await;
        bench.stage.app.signal(Signal::CONT)?;
        let ran = ran?;
        let reasons = [
            "1 of 1 upstreams did not answer 2xx 1 times in a row to GET /entries/latest within 1s",
            "by hand: intermission",
            "warm-up shop",
        ];
        // Who was released waits for the app, which goes on where it stood.
        bench.expect_told(&ran, "warm_up", &reasons).await?;
        Ok(End::swapped().as_outcome("needs_operator, then swapped"))
    })
}
