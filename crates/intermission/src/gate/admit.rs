//! Whether a request goes on at once or waits in line, for how long, and whether there is room for it.

use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use hold::{Entry, Excess, Ticket, TurnedAway, Wait};
use http::HeaderMap;
use tokio::time::sleep_until;

use super::arrival::Arrival;
use super::client::{Client, origin};
use super::live::{App, AppId};
use super::page::Page;
use super::share::Share;
use super::worker::Worker;

/// Between the answer to a held request and the time-out of what is in front of the gate.
const FRONT_MARGIN: Duration = Duration::from_millis(500);

/// Why a held request does not go on.
pub(super) enum Turned {
    Away(Page),
    Left,
}

/// One request in line.
struct Held<'a> {
    worker: &'a Worker,
    client: &'a Client,
    app: AppId,
    /// When it came, and when it came into line.
    at: Instant,
    since: Instant,
}

/// Lets a request go on, at once or when its turn has come.
pub(super) async fn admit(
    worker: &Worker,
    app: &App,
    client: &Client,
    headers: &HeaderMap,
    arrival: &mut Arrival,
) -> Result<Ticket, Turned> {
    match app.lane.enter() {
        Entry::Forward(ticket) => Ok(ticket),
        Entry::Wait(wait) => {
            let (wait, _share) = match ensure_room(worker, app, client, headers, wait) {
                Ok(waits) => waits,
                Err(Room::Unneeded(ticket)) => return Ok(ticket),
                Err(Room::None(page)) => return Err(Turned::Away(page)),
            };
            let since = Instant::now();
            let held = Held { worker, client, app: app.id, at: arrival.at, since };
            let granted = held.turn(wait).await;
            arrival.held = Some(arrival.held.unwrap_or_default() + since.elapsed());
            granted
        }
        Entry::Full => Err(Turned::Away(Page::LineFull)),
    }
}

/// Why a request does not stay in line that has come into it.
enum Room {
    /// Its turn has come meanwhile.
    Unneeded(Ticket),
    None(Page),
}

fn ensure_room(
    worker: &Worker,
    app: &App,
    client: &Client,
    headers: &HeaderMap,
    wait: Wait,
) -> Result<(Wait, Option<Share>), Room> {
    let refuse = |wait: Wait, page| match wait.refuse() {
        Ok(ticket) => Room::Unneeded(ticket),
        Err(Excess) => Room::None(page),
    };
    if !worker.has_room_to_hold() {
        return Err(refuse(wait, Page::FilesFull));
    }
    let shares = &app.control.held_shares;
    if !shares.has_limit() {
        return Ok((wait, None));
    }
    let Some(origin) = origin(client, headers, &worker.live().settings.trusted_proxies) else {
        return Ok((wait, None));
    };
    match shares.take(IpAddr::to_canonical(&origin)) {
        Some(share) => Ok((wait, Some(share))),
        None => Err(refuse(wait, Page::ShareFull)),
    }
}

impl Held<'_> {
    /// Waits in line. Its body stays in the socket: nobody polls it, so `100 Continue` is not sent.
    async fn turn(&self, wait: Wait) -> Result<Ticket, Turned> {
        let _held = self.client.holds();
        let settled = tokio::select! {
            biased;
            settled = self.until_settled(wait) => settled,
            () = self.worker.shutdown.ending() => return Err(Turned::Away(Page::Stopping)),
        };
        match settled {
            // Nobody has been told yet who left just now.
            Ok(ticket) if self.client.socket.is_gone() => {
                drop(ticket);
                Err(Turned::Left)
            }
            Ok(ticket) => Ok(ticket),
            Err(TurnedAway::TimedOut { .. }) => Err(Turned::Away(Page::HeldTooLong)),
            Err(TurnedAway::HoldExpired { .. }) => Err(Turned::Away(Page::HoldExpired)),
        }
    }

    /// A time to wait that was made longer meanwhile counts for it, too.
    async fn until_settled(&self, mut wait: Wait) -> Result<Ticket, TurnedAway> {
        let mut alarm = pin!(sleep_until(self.give_up_at().into()));
        loop {
            tokio::select! {
                biased;
                settled = &mut wait => return settled,
                () = &mut alarm => {}
            }
            let latest = self.give_up_at();
            if latest <= Instant::now() {
                return wait.give_up();
            }
            alarm.as_mut().reset(latest.into());
        }
    }

    /// Until when it may wait by what there is now: before what is in front of the gate gives it up, too. Its app is there as
    /// long as anybody is in its line.
    fn give_up_at(&self) -> Instant {
        let live = self.worker.live();
        let max_wait = live.app(self.app).map_or(Duration::ZERO, |app| app.settings.max_wait);
        let latest = self.since + max_wait;
        let front = live.settings.front_timeout;
        front.map_or(latest, |front| latest.min(self.at + front.saturating_sub(FRONT_MARGIN)))
    }
}
