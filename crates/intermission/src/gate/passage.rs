//! A request on its way through: in flight until its response is complete.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use hold::Ticket;

use super::flight::FlightGuard;

/// Kept by whoever waits for the response, then by the response's body. Those who write the request
/// only look.
#[derive(Debug)]
pub(crate) struct Passage {
    ticket: RefCell<Ticket>,
    _flight: FlightGuard,
}

impl Passage {
    pub(crate) fn new(ticket: Ticket, flight: FlightGuard) -> Rc<Self> {
        Rc::new(Self { ticket: RefCell::new(ticket), _flight: flight })
    }

    /// Whether somebody in line may be waiting for this request to be written.
    pub(crate) fn was_held(&self) -> bool {
        self.ticket.borrow().waited().is_some()
    }

    fn written(&self) {
        self.ticket.borrow_mut().written();
    }
}

/// Tells a held request that it is written: armed when hyper has taken its last byte, fired by the
/// next write to the socket. One per upstream connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct WrittenSlot(Rc<RefCell<Weak<Passage>>>);

impl WrittenSlot {
    pub(crate) fn arm(&self, passage: Weak<Passage>) {
        self.0.replace(passage);
    }

    pub(crate) fn fire(&self) {
        let passage = self.0.take();
        if let Some(passage) = passage.upgrade() {
            passage.written();
        }
    }
}
