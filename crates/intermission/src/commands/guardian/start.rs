//! The part of the process that swaps: it starts its guardian, tells it how far it is, and hears it.

use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    process::{Child, Command},
    sync::{Mutex, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::talk::{BEAT_EVERY, Hello, Reader, Ready, Sessions, Word, write};
use crate::{
    config::Config,
    swap::{
        guard::{Ended, Guard, Guardian, Guardians, Told},
        journal::JournalLock,
        plan::Plan,
        record::Entry,
    },
    take_over::wire::{give_files, hear, say},
};

/// This very program, also when its file was replaced since.
const PROGRAM: &str = "/proc/self/exe";
/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "guardian";
/// How long it may take to start and to log in everywhere. Nobody waits yet.
const READY_BOUND: Duration = Duration::from_secs(20);
/// A guardian that says nothing for this long counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long it may take to end, beyond what it was told to look: it may be taking something back.
const END_BOUND: Duration = Duration::from_secs(20);
/// How long its last words may take to be read once it has ended.
const LAST_WORDS_BOUND: Duration = Duration::from_secs(1);

/// Starts processes of this program as guardians.
#[derive(Debug)]
pub(crate) struct Processes {
    pub(crate) config: Arc<Config>,
    /// How long it looks on after a swap.
    pub(crate) sentinel_for: Duration,
}

#[async_trait]
impl Guardians for Processes {
    async fn start(&self, lock: &JournalLock, plan: &Plan) -> Result<Box<dyn Guardian>, String> {
        let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
        let mut child = spawn(theirs).map_err(|error| format!("cannot start it: {error}"))?;
        match self.greet(ours, lock, plan).await {
            Ok(greeted) => match Process::new(child, greeted, self.sentinel_for) {
                Ok(process) => Ok(Box::new(process)),
                Err(error) => Err(error.to_string()),
            },
            Err(why) => {
                drop(child.kill().await);
                Err(why)
            }
        }
    }
}

/// Without what a test asks of this process: `INTERMISSION_GUARDIAN_FAULT` asks it of the guardian.
fn spawn(stdin: UnixStream) -> std::io::Result<Child> {
    let mut command = Command::new(PROGRAM);
    command
        .arg0("intermission")
        .arg(SUBCOMMAND)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(stdin)));
    #[cfg(feature = "fault-injection")]
    match std::env::var_os("INTERMISSION_GUARDIAN_FAULT") {
        Some(fault) => command.env("INTERMISSION_FAULT", fault),
        None => command.env_remove("INTERMISSION_FAULT"),
    };
    command.stdout(Stdio::null()).spawn()
}

impl Processes {
    /// Hands over what it needs, and waits until it has logged in everywhere.
    async fn greet(
        &self,
        stream: UnixStream,
        lock: &JournalLock,
        plan: &Plan,
    ) -> Result<(UnixStream, Sessions), String> {
        let source = self.config.source.clone().ok_or("the configuration has no file")?;
        let hello = Hello {
            pid: std::process::id(),
            path: source.path,
            text: source.text.reveal().to_owned(),
            named: self.config.named.clone(),
            journals: lock.dir().to_owned(),
            plan: plan.clone(),
        };
        let lock = lock.file().try_clone().map_err(|error| error.to_string())?;
        let greeted = tokio::task::spawn_blocking(move || {
            say(&stream, &hello).map_err(|error| error.to_string())?;
            give_files(&stream, &[lock.as_fd()]).map_err(|error| error.to_string())?;
            match hear(&stream, READY_BOUND).map_err(|error| error.to_string())? {
                Ready::Yes(sessions) => Ok((stream, sessions)),
                Ready::No(why) => Err(why),
            }
        });
        greeted.await.map_err(|error| error.to_string())?
    }
}

/// A guardian that is a process.
#[derive(Debug)]
struct Process {
    guard: Guard,
    told: watch::Sender<Told>,
    child: Mutex<Child>,
    hearing: Mutex<JoinHandle<()>>,
    sentinel_for: Duration,
}

impl Process {
    fn new(
        child: Child,
        (stream, sessions): (UnixStream, Sessions),
        sentinel_for: Duration,
    ) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (reads, mut writes) = tokio::net::UnixStream::from_std(stream)?.into_split();
        let guard = child.id().map(|pid| Guard::of_process(pid, sessions)).unwrap_or_default();
        let (told, mut changes) = watch::channel(Told::default());
        // Ends with this process' part of the channel, or with the guardian.
        tokio::spawn(async move {
            loop {
                let told = *changes.borrow_and_update();
                if write(&mut writes, &told).await.is_err() {
                    break;
                }
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { break },
                    () = sleep(BEAT_EVERY) => {}
                }
            }
        });
        let hearing = tokio::spawn(hear_it(Reader::new(reads), guard.clone()));
        let (child, hearing) = (Mutex::new(child), Mutex::new(hearing));
        Ok(Self { guard, told, child, hearing, sentinel_for })
    }
}

async fn hear_it(mut reader: Reader, guard: Guard) {
    loop {
        match timeout(SILENCE_MAX, reader.next()).await {
            Ok(Some(Word::Beat)) => {}
            Ok(Some(Word::Alarm(alarm))) => guard.alarm(alarm),
            Ok(None) => return guard.lose("has ended"),
            Err(_) => return guard.lose(format!("said nothing for {SILENCE_MAX:?}")),
        }
    }
}

#[async_trait]
impl Guardian for Process {
    fn guard(&self) -> Guard {
        self.guard.clone()
    }

    fn tell(&self, entry: &Entry) {
        self.told.send_if_modified(|told| {
            let before = *told;
            told.learn(entry);
            // The next beat has the step: to send each at once costs the processors while users wait.
            Told { step: before.step, ..*told } != before
        });
    }

    async fn end(&self, ended: Ended) -> Vec<String> {
        let mut child = self.child.lock().await;
        let looks_on = match ended {
            Ended::Watch => self.sentinel_for,
            Ended::Nothing => Duration::ZERO,
        };
        self.told.send_modify(|told| told.ended = Some(ended));
        let bound = if self.guard.is_gone() { Duration::ZERO } else { looks_on + END_BOUND };
        if timeout(bound, child.wait()).await.is_err()
            && let Err(error) = child.kill().await
        {
            tracing::warn!(%error, "the guardian may still be there");
        }
        let mut hearing = self.hearing.lock().await;
        drop(timeout(LAST_WORDS_BOUND, &mut *hearing).await);
        self.guard.alarms()
    }
}
