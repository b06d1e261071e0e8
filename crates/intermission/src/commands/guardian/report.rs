//! Where a guardian says what it did: on the terminal of the swap, which nobody may read, and in a file beside the journal.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, SyncSender},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::oneshot, time::timeout};

/// How many lines may wait for the terminal; more are dropped, the file has them.
const LINES_MAX: usize = 64;
/// How long the terminal may take for the last of them.
const LAST_BOUND: Duration = Duration::from_millis(500);
/// The file has the journal's name and this ending.
const SUFFIX: &str = "guardian";

#[derive(Debug, Clone)]
pub(super) struct Report {
    path: PathBuf,
    terminal: Arc<Mutex<Option<SyncSender<String>>>>,
    written: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
}

impl Report {
    pub(super) fn new(journals: &Path, id: &str) -> Self {
        let (terminal, lines) = mpsc::sync_channel::<String>(LINES_MAX);
        let (done, written) = oneshot::channel::<()>();
        // A thread that nobody waits for: a terminal may be stopped for ever.
        std::thread::spawn(move || {
            for line in lines {
                if writeln!(std::io::stderr(), "{line}").is_err() {
                    break;
                }
            }
            // The end of the thread says as much.
            drop(done);
        });
        Self {
            path: journals.join(id).with_extension(SUFFIX),
            terminal: Arc::new(Mutex::new(Some(terminal))),
            written: Arc::new(Mutex::new(Some(written))),
        }
    }

    pub(super) fn tell(&self, said: &str) {
        let file = OpenOptions::new().append(true).create(true).open(&self.path);
        let line = format!("{} {said}\n", Timestamp::now());
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            self.show(format!("guardian: cannot write {}: {error}", self.path.display()));
        }
        self.show(said.to_owned());
    }

    fn show(&self, line: String) {
        let terminal = self.terminal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(terminal) = terminal.as_ref() {
            drop(terminal.try_send(line));
        }
    }

    /// Lets the terminal have what waits for it.
    pub(super) async fn end(&self) {
        drop(self.terminal.lock().unwrap_or_else(PoisonError::into_inner).take());
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(written) = written {
            drop(timeout(LAST_BOUND, written).await);
        }
    }
}
