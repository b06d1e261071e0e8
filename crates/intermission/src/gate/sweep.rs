//! Finds held clients that have left although hyper cannot see it: hyper looks no further than
//! unread request bytes, the kernel does.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;

use super::client_socket::ClientSocket;
use super::stream::Shared;

/// How long a place in line may be kept for a client that has left.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// The held sockets of one worker thread.
#[derive(Debug, Default)]
pub(crate) struct HeldSockets(RefCell<Slab<Held>>);

#[derive(Debug)]
struct Held {
    socket: Shared<ClientSocket>,
    gone: Rc<Notify>,
}

/// One held socket, watched until this is dropped.
#[derive(Debug)]
pub(crate) struct Watched {
    sockets: Rc<HeldSockets>,
    key: usize,
    gone: Rc<Notify>,
}

impl HeldSockets {
    pub(crate) fn watch(self: &Rc<Self>, socket: Shared<ClientSocket>) -> Watched {
        let gone = Rc::new(Notify::new());
        let key = self.0.borrow_mut().insert(Held { socket, gone: Rc::clone(&gone) });
        Watched { sockets: Rc::clone(self), key, gone }
    }

    /// Wakes the requests whose client has left.
    pub(crate) fn sweep(&self) {
        let sockets: Vec<_> =
            self.0.borrow().iter().map(|(key, held)| (key, held.socket.clone())).collect();
        if sockets.is_empty() {
            return;
        }
        for key in Shared::gone(&sockets) {
            if let Some(held) = self.0.borrow().get(key) {
                held.gone.notify_one();
            }
        }
    }
}

impl Watched {
    pub(crate) async fn gone(&self) {
        self.gone.notified().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.sockets.0.borrow_mut().try_remove(self.key);
    }
}
