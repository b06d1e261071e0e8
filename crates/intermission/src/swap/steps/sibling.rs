//! The siblings follow the new primary. Whatever becomes of one of them, the others and the swap go on.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::{StepError, Steps, channel::words_of};
use crate::swap::{
    machine::State,
    observation::{ReplicaView, ServerView, ThreadState},
    plan::Plan,
    position::{Barrier, Position, Tracking},
    record::Facts,
    refusal::{Code, Refusal},
    server::{Detail, Effect, Server, ServerError},
    sibling::{Family, Fate, Repoint, Report, Sibling, Standing, Threads, check_history},
};

/// How long leading one sibling may take, all tries together: to stop, an applier finishes the transaction it is in.
pub(crate) const LED_WITHIN: Duration = Duration::from_secs(30);
/// How long one that goes by coordinates may take to come to the barrier; it is as far behind as it was before the swap.
const STANDS_WITHIN: Duration = Duration::from_secs(10);
/// How often that is tried; what was refused is not tried again.
const LEAD_TRIES: u32 = 2;
const LEAD_PAUSE: Duration = Duration::from_millis(200);
/// How often the lock is given back. What is left of it ends with this process.
const UNLOCK_TRIES: u32 = 2;
/// How often the marker is looked for on a sibling, and after how many looks its threads are.
const MARKER_POLL: Duration = Duration::from_millis(20);
const LOOKS_PER_STATUS: u32 = 10;

/// What was done with a sibling that now has the new primary above it.
enum Led {
    /// It comes from there, by this channel or by way of another sibling.
    Watched {
        channel: Option<String>,
        said: String,
    },
    Unwatched(String),
    Left(Refusal),
}

impl Steps {
    /// Leads every sibling, each in its own time, and sees what is written on the new primary arrive on each. Fails only
    /// where the new primary itself does.
    pub(super) async fn follow(&self, state: &State) -> Result<Facts, StepError> {
        let siblings = &self.plan.siblings;
        let led = join_all(siblings.iter().map(|sibling| self.see_to(sibling, state))).await;
        // Only now: what was written earlier may have come by way of the old primary.
        self.new.write_marker(&self.marker_of_siblings()).await?;
        let all = siblings.iter().zip(led);
        let siblings =
            join_all(all.map(|(sibling, led)| self.report_on(sibling, led, state))).await;
        let told = |report: &Report| match report.standing {
            Standing::Follows | Standing::Unwatched => format!("{} {}", report.name, report.said),
            Standing::Failed => format!("{} FAILED: {}", report.name, report.said),
        };
        let said: Vec<String> = siblings.iter().map(told).collect();
        Ok(Facts { siblings, ..Facts::note(said.join("; ")) })
    }

    /// What leads each sibling by hand, once the new primary is writable.
    pub(super) fn commands_to_lead(&self, state: &State) -> impl Iterator<Item = String> {
        self.plan.siblings.iter().filter_map(|sibling| {
            let from = self.resume_from(sibling.tracking, state).ok()?;
            let to = self.repoint(sibling.channel.clone(), from, sibling.ran);
            let command = self.server_of(sibling)?.command_to_repoint(self.plan.flavor, &to);
            Some(format!("if finished by hand, then for {}: {command}", sibling.name))
        })
    }

    fn marker_of_siblings(&self) -> String {
        format!("siblings {}", self.plan.id)
    }

    fn server_of(&self, sibling: &Sibling) -> Option<&dyn Server> {
        let mut servers = self.siblings.iter().map(AsRef::as_ref);
        servers.find(|server: &&dyn Server| {
            server.name() == sibling.name && *server.address() == sibling.address
        })
    }

    async fn see_to(&self, sibling: &Sibling, state: &State) -> Result<Led, String> {
        let server = self.server_of(sibling).ok_or("it is not configured any more")?;
        let led = self.lead_in_time(server, sibling, state).await;
        self.let_go(server).await;
        led
    }

    async fn report_on(
        &self,
        sibling: &Sibling,
        led: Result<Led, String>,
        state: &State,
    ) -> Report {
        let report = |standing, said: String, mend: Vec<String>| {
            let (name, address) = (sibling.name.clone(), sibling.address.clone());
            Report { name, address, standing, said, mend }
        };
        let Some(server) = self.server_of(sibling) else {
            let mend = format!("lead it to {} by hand", self.new.address());
            return report(Standing::Failed, led.err().unwrap_or_default(), vec![mend]);
        };
        let by_hand = match self.resume_from(sibling.tracking, state) {
            Ok(from) => {
                let to = self.repoint(sibling.channel.clone(), from, sibling.ran);
                server.command_to_repoint(self.plan.flavor, &to)
            }
            Err(_) => format!("build it anew from {}", self.new.name()),
        };
        let then = || format!("when that is mended: {by_hand}");
        match led {
            Err(reason) => report(Standing::Failed, reason, vec![by_hand]),
            Ok(Led::Left(refusal)) => {
                let said = format!("{}; it was left alone", refusal.sentence);
                report(Standing::Failed, said, vec![refusal.mend, then()])
            }
            Ok(Led::Unwatched(said)) => match self.check_fenced(server).await {
                Ok(()) => report(Standing::Unwatched, said, Vec::new()),
                Err((said, mend)) => report(Standing::Failed, said, vec![mend]),
            },
            Ok(Led::Watched { channel, said }) => {
                match self.watch(server, channel.as_deref()).await {
                    Ok(ms) => {
                        let said = format!("{said}, the marker arrived after {ms} ms");
                        report(Standing::Follows, said, Vec::new())
                    }
                    Err((said, mend)) => report(Standing::Failed, said, vec![mend, then()]),
                }
            }
        }
    }

    async fn lead_in_time(
        &self,
        server: &dyn Server,
        sibling: &Sibling,
        state: &State,
    ) -> Result<Led, String> {
        let leading = async {
            let mut tries = 1;
            loop {
                match self.lead(server, sibling, state).await {
                    Err(error) if error.effect != Effect::Refused && tries < LEAD_TRIES => {
                        tries += 1;
                        sleep(LEAD_PAUSE).await;
                    }
                    led => return led,
                }
            }
        };
        match timeout(LED_WITHIN, leading).await {
            Ok(led) => led.map_err(|error| error.to_string()),
            Err(_) => Err(format!("was not led within {LED_WITHIN:?}")),
        }
    }

    /// The sibling is read before the new primary: what it has must be there by then.
    async fn lead(
        &self,
        server: &dyn Server,
        sibling: &Sibling,
        state: &State,
    ) -> Result<Led, ServerError> {
        let view = server.observe(Detail::Roles).await?;
        let plan = &self.plan;
        let mut position = Position::Gtid;
        let (channel, said) = match self.family().fate(&sibling.name, &view, plan.flavor) {
            Fate::Left(refusal) => return Ok(Led::Left(refusal)),
            Fate::Chained(source) => {
                return Ok(Led::Watched { channel: None, said: format!("follows {source}") });
            }
            Fate::There(channel) => (channel, format!("follows {}", self.new.name())),
            Fate::Led(channel, tracking) => {
                let new = self.new.observe(Detail::Roles).await?;
                let from = (self.new.name(), &new.purged);
                let history = check_history(&sibling.name, &view, &[&new.executed], from);
                if let Some(refusal) = history {
                    return Ok(Led::Left(refusal));
                }
                if tracking == Tracking::Coordinates {
                    position = match self.place_of(server, &channel, state).await? {
                        Ok(found) => found,
                        Err(refusal) => return Ok(Led::Left(refusal)),
                    };
                }
                (channel, format!("was led to {}", self.new.name()))
            }
        };
        // A dead process of ours may have left a session with the lock there.
        server.lock(state.is_interrupted()).await?;
        server.repoint(&self.repoint(channel.clone(), position, sibling.ran)).await?;
        let seen = view.channels.iter().find(|known| known.channel == channel);
        Ok(match seen.and_then(|seen| why_unwatched(seen, sibling.ran, plan.bounds.prove)) {
            Some(why) => Led::Unwatched(format!("{said}; {why}")),
            None => Led::Watched { channel: Some(channel), said },
        })
    }

    fn family(&self) -> Family<'_> {
        let Plan { old, new, siblings, .. } = &*self.plan;
        Family { old, new, siblings }
    }

    fn repoint(&self, channel: String, position: Position, run: Threads) -> Repoint {
        Repoint { channel, source: self.new.address().clone(), position, run }
    }

    /// Where a sibling that goes by coordinates goes on: it has to have applied the barrier and nothing after it, as the
    /// place in the new primary's log was read at the barrier.
    async fn place_of(
        &self,
        server: &dyn Server,
        channel: &str,
        state: &State,
    ) -> Result<Result<Position, Refusal>, ServerError> {
        let (Ok(barrier), Ok(from)) =
            (self.barrier_of(state), self.resume_from(Tracking::Coordinates, state))
        else {
            return Ok(Err(self.not_at(server, "the barrier", "where that was is not known")));
        };
        // Without the lock's session it would not be waited on.
        server.lock(state.is_interrupted()).await?;
        server.wait_applied(barrier, channel, self.plan.bounds.prove.min(STANDS_WITHIN)).await?;
        let view = server.observe(Detail::Roles).await?;
        Ok(match stands(&view, channel, barrier) {
            Ok(()) => Ok(from),
            Err(elsewhere) => Err(self.not_at(server, &barrier.to_string(), &elsewhere)),
        })
    }

    fn not_at(&self, server: &dyn Server, barrier: &str, stands: &str) -> Refusal {
        let (name, old, new) = (server.name(), self.old.name(), self.new.name());
        Refusal::new(
            Code::ReplicationWithoutGtid,
            format!(
                "{name} replicates by file and position and does not stand at {barrier}: {stands}; it still follows {old}"
            ),
            format!(
                "while {old} is there nothing is lost; before it goes, build {name} anew from {new}"
            ),
        )
    }

    /// Nothing that was asked of it may happen later, and whoever comes next finds no lock.
    async fn let_go(&self, server: &dyn Server) {
        let bound = self.plan.bounds.statement + self.plan.bounds.connect;
        for _ in 0..UNLOCK_TRIES {
            match timeout(bound, server.unlock()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    tracing::warn!(error = %error, "cannot give a sibling's lock back");
                }
                Err(_) => {
                    tracing::warn!(server = server.name(), "no answer to giving the lock back");
                }
            }
        }
    }

    /// How many milliseconds the marker took, or what is wrong and its mend.
    async fn watch(
        &self,
        server: &dyn Server,
        channel: Option<&str>,
    ) -> Result<u128, (String, String)> {
        let (began, bound, marker) =
            (Instant::now(), self.plan.bounds.prove, self.marker_of_siblings());
        let mut looks = 0;
        loop {
            if self.in_time(server.has_marker(&marker)).await == Some(true) {
                self.check_fenced(server).await?;
                if channel.is_some() {
                    self.check_led(server).await?;
                }
                return Ok(began.elapsed().as_millis());
            }
            looks += 1;
            let is_late = began.elapsed() >= bound;
            if is_late || looks % LOOKS_PER_STATUS == 0 {
                let channels = self.in_time(server.channels()).await.unwrap_or_default();
                let is_it = |seen: &&ReplicaView| channel.is_none_or(|name| seen.channel == name);
                let status = channels.iter().find(is_it);
                if is_late || status.is_some_and(is_broken) {
                    let unread = || "its replication cannot be read".to_owned();
                    let words = status.map_or_else(unread, words_of);
                    let said = format!("was led, and what is written does not arrive: {words}");
                    return Err((said, server.command_to_look()));
                }
            }
            sleep(MARKER_POLL).await;
        }
    }

    /// What was written on the new primary may have come by way of the old one, which follows by now.
    async fn check_led(&self, server: &dyn Server) -> Result<(), (String, String)> {
        let mut view = None;
        for _ in 0..LEAD_TRIES {
            if view.is_none() {
                view = self.in_time(server.observe(Detail::Roles)).await;
            }
        }
        let Some(view) = view else {
            let said = "does not answer whom it follows".to_owned();
            return Err((said, server.command_to_look()));
        };
        match self.family().fate(server.name(), &view, self.plan.flavor) {
            Fate::There(_) => Ok(()),
            Fate::Led(..) => {
                let said = format!("was led, and follows {} still", self.old.name());
                Err((said, server.command_to_look()))
            }
            Fate::Chained(source) => {
                let said = format!("was led, and follows {source}");
                Err((said, server.command_to_look()))
            }
            Fate::Left(refusal) => Err((refusal.sentence, refusal.mend)),
        }
    }

    async fn check_fenced(&self, server: &dyn Server) -> Result<(), (String, String)> {
        match self.in_time(server.access()).await {
            Some(access) if access.is_writable() => {
                Err(("is writable".to_owned(), server.command_to_fence()))
            }
            Some(_) => Ok(()),
            None => {
                let said = "does not answer whether it is read-only".to_owned();
                Err((said, server.command_to_look()))
            }
        }
    }

    /// The answer to one question, if there is one.
    async fn in_time<T>(&self, asked: impl Future<Output = Result<T, ServerError>>) -> Option<T> {
        let bound = self.plan.bounds.statement + self.plan.bounds.connect;
        timeout(bound, asked).await.ok()?.ok()
    }
}

/// Whether exactly the barrier is applied; else what is.
fn stands(view: &ServerView, channel: &str, barrier: &Barrier) -> Result<(), String> {
    let applied = match barrier {
        Barrier::Gtid(_) => Some(Barrier::Gtid(view.applied.clone())),
        Barrier::At(_) => {
            let seen = view.channels.iter().find(|seen| seen.channel == channel);
            seen.and_then(|seen| seen.applied_to.clone()).map(Barrier::At)
        }
    };
    match applied {
        Some(applied) if applied == *barrier => Ok(()),
        Some(applied) => Err(format!("it has applied {applied}")),
        None => Err("what it has applied cannot be read".to_owned()),
    }
}

/// Why nothing can be expected to arrive soon.
fn why_unwatched(seen: &ReplicaView, run: Threads, prove: Duration) -> Option<String> {
    if run != Threads::BOTH {
        return Some("a thread that was stopped before the swap stays stopped".to_owned());
    }
    if seen.delay_s > 0 {
        return Some(format!("it stays {} s behind, as it is told", seen.delay_s));
    }
    let behind = seen.lag_s.filter(|lag| Duration::from_secs(*lag) > prove)?;
    Some(format!("it is {behind} s behind and catches up"))
}

/// A thread that an error has stopped does not go on by itself.
fn is_broken(channel: &ReplicaView) -> bool {
    (channel.io == ThreadState::No && channel.io_error.is_some())
        || (channel.sql == ThreadState::No && channel.sql_error.is_some())
}
