//! A request on its way through: in flight until its response is complete, or until a hold cuts it off.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use hold::Ticket;
use http::HeaderValue;

use super::dial::Socket;
use super::flight::FlightGuard;
use super::live::AppId;
use super::straggler::{Listed, Stragglers};
use super::stream::Shared;

/// Kept by whoever waits for the response, then by the response's body. Those who write the request
/// only look.
#[derive(Debug)]
pub(crate) struct Passage {
    ticket: RefCell<Option<Ticket>>,
    /// The request's, for what is logged about it.
    id: HeaderValue,
    _flight: FlightGuard,
    /// None: no hold cuts it off.
    killable: Option<Killable>,
}

#[derive(Debug)]
struct Killable {
    is_killed: Cell<bool>,
    /// Where it was sent.
    socket: RefCell<Option<Shared<Socket>>>,
    _listed: Listed,
}

impl Passage {
    pub(crate) fn new(ticket: Option<Ticket>, id: HeaderValue, flight: FlightGuard) -> Rc<Self> {
        Rc::new(Self { ticket: RefCell::new(ticket), id, _flight: flight, killable: None })
    }

    /// One that a hold of `app` may cut off.
    pub(crate) fn new_killable(
        ticket: Option<Ticket>,
        id: HeaderValue,
        flight: FlightGuard,
        app: AppId,
        list: &Rc<Stragglers>,
    ) -> Rc<Self> {
        Rc::new_cyclic(|passage| {
            let listed = list.enter(app, Weak::clone(passage));
            let (is_killed, socket) = (Cell::default(), RefCell::default());
            let killable = Some(Killable { is_killed, socket, _listed: listed });
            Self { ticket: RefCell::new(ticket), id, _flight: flight, killable }
        })
    }

    pub(crate) fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// Whether somebody in line may be waiting for this request to be written.
    pub(crate) fn was_held(&self) -> bool {
        self.ticket.borrow().as_ref().is_some_and(|ticket| ticket.waited().is_some())
    }

    /// The release that let it go on may stop for it.
    pub(crate) fn failed(&self) {
        if let Some(ticket) = &mut *self.ticket.borrow_mut() {
            ticket.failed();
        }
    }

    pub(crate) fn written(&self) {
        if let Some(ticket) = &mut *self.ticket.borrow_mut() {
            ticket.written();
        }
    }

    /// It is about to be sent there. False: it was cut off, and is not to be sent.
    pub(crate) fn goes_to(&self, socket: &Shared<Socket>) -> bool {
        let Some(killable) = &self.killable else { return true };
        killable.socket.replace(Some(socket.clone()));
        !killable.is_killed.get()
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killable.as_ref().is_some_and(|killable| killable.is_killed.get())
    }

    /// Counts it out and ends its connection to the upstream: whoever waits for that learns of it by reading.
    pub(super) fn kill(&self) {
        let Some(killable) = &self.killable else { return };
        killable.is_killed.set(true);
        if let Some(socket) = killable.socket.take() {
            socket.cut();
        }
        drop(self.ticket.take());
    }
}
