//! A request on its way through: in flight until its response is complete.

use std::cell::RefCell;
use std::rc::Rc;

use hold::Ticket;
use http::HeaderValue;

use super::flight::FlightGuard;

/// Kept by whoever waits for the response, then by the response's body. Those who write the request
/// only look.
#[derive(Debug)]
pub(crate) struct Passage {
    ticket: RefCell<Option<Ticket>>,
    /// The request's, for what is logged about it.
    id: HeaderValue,
    _flight: FlightGuard,
}

impl Passage {
    pub(crate) fn new(ticket: Option<Ticket>, id: HeaderValue, flight: FlightGuard) -> Rc<Self> {
        Rc::new(Self { ticket: RefCell::new(ticket), id, _flight: flight })
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
}
