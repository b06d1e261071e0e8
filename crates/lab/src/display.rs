//! Tells a person where a trial is: a live line on a terminal, plain lines anywhere else. All of it on stderr.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::load::Watch;

/// How often the live line is drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// Where progress goes.
#[derive(Debug)]
pub struct Display {
    bar: Option<ProgressBar>,
    counting: Option<JoinHandle<()>>,
}

impl Display {
    /// Live when stderr is a terminal. `of` is how many steps of work there are.
    #[must_use]
    pub fn new(of: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(of);
            let style = "{spinner} {prefix:24} [{bar:24}] {pos}/{len}  {msg}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, counting: None }
    }

    /// What is being done now.
    pub fn now(&self, doing: &str) {
        match &self.bar {
            Some(bar) => bar.set_prefix(doing.to_owned()),
            None => say(doing),
        }
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say(text),
        }
    }

    /// One step of work is done.
    pub fn advance(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Shows the counts of a running load until [`Self::unfollow`]. Only on a terminal.
    pub fn follow(&mut self, watch: Watch) {
        self.unfollow();
        let Some(bar) = self.bar.clone() else { return };
        self.counting = Some(tokio::spawn(async move {
            loop {
                let progress = watch.progress();
                bar.set_message(format!(
                    "{} requests, {} failed",
                    progress.requests, progress.failed
                ));
                tokio::time::sleep(TICK).await;
            }
        }));
    }

    /// Stops showing counts.
    pub fn unfollow(&mut self) {
        if let Some(counting) = self.counting.take() {
            counting.abort();
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.unfollow();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A closed stderr leaves nobody to tell, and the work goes on.
fn say(text: &str) {
    writeln!(std::io::stderr(), "lab: {text}").ok();
}
