//! The guardian: a process of its own that takes a swap back if the process that swaps dies or stands still before the commit
//! point. Hidden: a swap starts it, nobody types it.
//!
//! It shares the journal's lock with the swap, has its own sessions on both servers and its own connections to the gates, and
//! does what `recover` would do, but only backwards. The sentinel is part of it.

mod report;
mod start;
mod talk;

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

pub(crate) use self::start::{Processes, SUBCOMMAND};
use self::{
    report::Report,
    talk::{BEAT_EVERY, HELLO_BOUND, Hello, Reader, Ready, Sessions, Word, write},
};
use super::parties::Assembly;
use crate::{
    cli::{Exit, block_on},
    config::Config,
    swap::{
        guard::{Ended, Told},
        journal::{self, JournalLock},
        plan::Plan,
        run::{self, Parties, TakenBack},
        sentinel::Sentinel,
    },
    take_over::wire::{hear, say, take_files},
};

/// How many lines of the other process may wait to be looked at.
const LINES_MAX: usize = 64;
/// How many alarms may wait to be told.
const ALARMS_MAX: usize = 16;
/// Into so many parts `guardian_after` is cut: a guardian that stood still itself counts one of them, and not its own absence.
const PARTS: u32 = 5;
/// How long it may live, beyond how long a swap may wait for a quiet moment.
const LIFE_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// How long a process that was taken over from may stand still before it is ended: until then no other swap begins.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);
/// The same where nobody can write: an operator waits to recover, and has to have the journal's lock.
const URGENT_STANDSTILL_MAX: Duration = Duration::from_secs(5);
/// How long it may take to be gone then.
const KILLED_BOUND: Duration = Duration::from_secs(5);

/// Why it has to see to the swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Over(Ended),
    /// The process that swaps is gone.
    Died,
    /// It says nothing.
    Silent,
    /// This one has lived long enough.
    TooOld,
}

pub(crate) fn run() -> anyhow::Result<Exit> {
    // Neither the terminal's signals nor its end are for this one.
    rustix::process::setsid().context("a swap starts its guardian; there is nothing to type")?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stream = UnixStream::from(stdin);
    let hello: Hello = hear(&stream, HELLO_BOUND)?;
    let lock = take_files(&stream, 1, HELLO_BOUND)?.pop().context("no lock came")?;
    let lock = JournalLock::shared(hello.journals.clone(), lock.into());
    block_on(async {
        let watch = match Watch::prepare(hello, lock).await {
            Ok(watch) => watch,
            Err(error) => {
                say(&stream, &Ready::No(format!("{error:#}")))?;
                return Ok(Exit::Usage);
            }
        };
        say(&stream, &Ready::Yes(watch.sessions().await))?;
        stream.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(stream)?;
        watch.keep(stream).await;
        Ok(Exit::Done)
    })
}

/// Everything that it needs, made ahead.
struct Watch {
    parties: Parties,
    eyes: Parties,
    lock: JournalLock,
    plan: Plan,
    program: String,
    after: Duration,
    sentinel_for: Duration,
    /// The process that swaps, whoever else gets its number.
    swap: Option<OwnedFd>,
    report: Report,
}

impl Watch {
    async fn prepare(hello: Hello, lock: JournalLock) -> anyhow::Result<Self> {
        let Hello { pid, path, text, named, journals, plan } = hello;
        let mut config = Config::parse(&path, &text)?;
        config.named = named;
        let Assembly { parties, program, swap, .. } = Assembly::of(&config)?;
        // Sessions of its own: the sentinel's may wait for a server that does not answer.
        let eyes = Assembly::of(&config)?.parties;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let swap_process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let steps = run::steps_of(&parties, plan.clone())
            .context("the servers of the plan are not those of the configuration")?;
        let (old, new) = tokio::join!(steps.old.stand_by(), steps.new.stand_by());
        old?;
        new?;
        steps.gates.prepare().await?;
        steps.endpoint.stand_by(steps.old.address(), steps.new.address()).await?;
        let watch = Self {
            report: Report::new(&journals, &plan.id),
            parties,
            eyes,
            lock,
            plan,
            program,
            after: swap.guardian_after,
            sentinel_for: swap.sentinel_for,
            swap: swap_process,
        };
        if let Some(sentinel) = watch.sentinel() {
            // Its logins too are over before the swap begins.
            sentinel.open().await;
        }
        Ok(watch)
    }

    /// The swap that ends the application's sessions is to leave these alone.
    async fn sessions(&self) -> Sessions {
        let mut sessions = Sessions::new();
        for server in self.parties.servers.iter().chain(&self.eyes.servers) {
            let ids = server.sessions().await;
            sessions.entry(server.name().to_owned()).or_default().extend(ids);
        }
        sessions
    }

    /// Until the swap is over, in one way or another.
    async fn keep(self, stream: tokio::net::UnixStream) {
        let (reads, mut writes) = stream.into_split();
        let (lines, mut heard) = mpsc::channel(LINES_MAX);
        tokio::spawn(async move {
            let mut reader = Reader::new(reads);
            while let Some(told) = reader.next::<Told>().await {
                if lines.send(told).await.is_err() {
                    break;
                }
            }
        });
        let (alarms, mut seen) = mpsc::channel::<String>(ALARMS_MAX);
        let sentinel = self.sentinel().map(|sentinel| {
            let report = self.report.clone();
            tokio::spawn(sentinel.watch(move |alarm| {
                report.tell(&format!("ERROR sentinel: {alarm}"));
                drop(alarms.try_send(alarm));
            }))
        });
        let telling = tokio::spawn(async move {
            loop {
                let word = tokio::select! {
                    Some(alarm) = seen.recv() => Word::Alarm(alarm),
                    () = sleep(BEAT_EVERY) => Word::Beat,
                };
                if write(&mut writes, &word).await.is_err() {
                    break;
                }
            }
        });
        self.stay(&mut heard).await;
        if let Some(sentinel) = sentinel {
            sentinel.abort();
        }
        // Whatever was seen last is still told.
        sleep(BEAT_EVERY).await;
        telling.abort();
        self.report.end().await;
    }

    /// Listens and sees to what there is, as often as the process that swaps goes on by itself.
    async fn stay(&self, heard: &mut mpsc::Receiver<Told>) {
        let until = Instant::now() + self.plan.bounds.quiet + LIFE_MAX;
        let mut told = Told::default();
        loop {
            match self.listen(until, heard, &mut told).await {
                Call::Over(Ended::Watch) => return sleep(self.sentinel_for).await,
                Call::Over(Ended::Nothing) | Call::TooOld => return,
                call @ (Call::Died | Call::Silent) => {
                    if !self.see_to(call, &mut told, heard).await {
                        return;
                    }
                }
            }
        }
    }

    fn sentinel(&self) -> Option<Sentinel> {
        let find = |name: &str| {
            let mut servers = self.eyes.servers.iter();
            servers.find(|server| server.name() == name).cloned()
        };
        let (old, new) = (find(&self.plan.old.name)?, find(&self.plan.new.name)?);
        let budget = self.plan.longest_attempt().saturating_sub(self.plan.bounds.drain);
        Some(Sentinel::new(old, new, budget))
    }

    /// Returns when there is something to do. Behind the commit point silence is none: a process that goes on later may go on.
    async fn listen(
        &self,
        until: Instant,
        heard: &mut mpsc::Receiver<Told>,
        told: &mut Told,
    ) -> Call {
        let mut silent = 0;
        while Instant::now() < until {
            match timeout(self.after / PARTS, heard.recv()).await {
                Ok(Some(now)) => {
                    (*told, silent) = (now, 0);
                    if let Some(ended) = told.ended {
                        return Call::Over(ended);
                    }
                }
                Ok(None) => return Call::Died,
                Err(_) if told.committed => {}
                Err(_) => {
                    silent += 1;
                    if silent >= PARTS {
                        return Call::Silent;
                    }
                }
            }
        }
        Call::TooOld
    }

    /// Whether the process goes on with the swap, and is to be listened to as before.
    async fn see_to(&self, call: Call, told: &mut Told, heard: &mut mpsc::Receiver<Told>) -> bool {
        let began = Instant::now();
        let id = &self.plan.id;
        let at = told.last_step(&journal::read(self.lock.dir(), id).unwrap_or_default());
        let why = match call {
            Call::Silent => format!("its process said nothing for {:?}, {at}", self.after),
            Call::Died | Call::Over(_) | Call::TooOld => format!("its process is gone, {at}"),
        };
        if told.committed {
            self.report.tell(&self.said_of_committed(&why));
            return false;
        }
        let reason = format!("guardian: {why}");
        let taken = run::take_back(&self.parties, &self.lock, id, reason, Arc::new(|_| {})).await;
        let took = began.elapsed();
        match taken {
            Ok(TakenBack::Nothing) => false,
            Ok(TakenBack::GoesOn) => true,
            Ok(TakenBack::Back) => {
                let old = &self.plan.old.name;
                self.report.tell(&format!(
                    "guardian: swap {id} is taken back after {took:.1?}, {old} is the primary as before, nobody is held: {why}"
                ));
                if call == Call::Silent {
                    self.outlive(STANDSTILL_MAX, told, heard).await;
                    run::heal(&self.parties, self.plan.clone()).await;
                }
                false
            }
            Ok(TakenBack::Committed) => {
                self.report.tell(&self.said_of_committed(&why));
                if call != Call::Silent {
                    return false;
                }
                let goes_on = self.outlive(URGENT_STANDSTILL_MAX, told, heard).await;
                if goes_on {
                    self.report
                        .tell(&format!("guardian: the process of swap {id} goes on with it"));
                }
                goes_on
            }
            Ok(TakenBack::NeedsOperator { cause }) => {
                let cause = cause.unwrap_or_default();
                self.report.tell(&self.said_of_operator(&why, &cause));
                if call != Call::Silent {
                    return false;
                }
                let goes_on = self.outlive(URGENT_STANDSTILL_MAX, told, heard).await;
                if !goes_on {
                    run::heal(&self.parties, self.plan.clone()).await;
                }
                goes_on
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                self.take_back_unwritten(call, heard, &why, &error).await;
                false
            }
        }
    }

    /// A journal that cannot be taken over: its process has to be gone for sure, or it would go on.
    async fn take_back_unwritten(
        &self,
        call: Call,
        heard: &mut mpsc::Receiver<Told>,
        why: &str,
        error: &str,
    ) {
        if call == Call::Silent {
            self.end_swap(heard).await;
        }
        let id = &self.plan.id;
        let taken = run::take_back_unwritten(&self.parties, &self.lock, id, Arc::new(|_| {})).await;
        let cause = match taken {
            Ok(state) => state.unwrap_or_default(),
            Err(error) => format!("{:#}", anyhow::Error::from(error)),
        };
        self.report.tell(&self.said_of_operator(why, &format!("{error}; {cause}")));
    }

    /// Waits until the process that was taken over from is gone, or ends it: what it was about to do when it stood still it may
    /// do yet, as far as no server keeps it from it. One that took its swap over again, as after a panic, goes on: then this returns true.
    async fn outlive(
        &self,
        bound: Duration,
        told: &mut Told,
        heard: &mut mpsc::Receiver<Told>,
    ) -> bool {
        let before = told.resumed;
        let goes_on = async {
            while let Some(now) = heard.recv().await {
                *told = now;
                if now.ended.is_some() {
                    return false;
                }
                if now.resumed != before {
                    return true;
                }
            }
            false
        };
        match timeout(bound, goes_on).await {
            Ok(goes_on) => goes_on,
            Err(_) => {
                self.end_swap(heard).await;
                false
            }
        }
    }

    async fn end_swap(&self, heard: &mut mpsc::Receiver<Told>) {
        let Some(swap) = &self.swap else {
            return self.report.tell("guardian: the process that stands still cannot be ended");
        };
        match pidfd_send_signal(swap, Signal::KILL) {
            Ok(()) => {
                self.report.tell("guardian: ended the process that stood still");
                let gone = async { while heard.recv().await.is_some() {} };
                if timeout(KILLED_BOUND, gone).await.is_err() {
                    self.report.tell("guardian: it is still there");
                }
            }
            Err(error) => {
                self.report
                    .tell(&format!("guardian: cannot end the process that stands still: {error}"));
            }
        }
    }

    fn said_of_committed(&self, why: &str) -> String {
        let Plan { id, old, new, .. } = &self.plan;
        format!(
            "guardian: {new} is promoted and {old} stays read-only: {why}\n  finish swap {id}: {program} recover",
            new = new.name,
            old = old.name,
            program = self.program
        )
    }

    fn said_of_operator(&self, why: &str, cause: &str) -> String {
        let (id, program) = (&self.plan.id, &self.program);
        format!(
            "guardian: swap {id} needs an operator: {why}; {cause}\n  see what happened: {program} journal {id}\n  then: {program} recover"
        )
    }
}
