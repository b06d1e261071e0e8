//! Finds held clients that have left although hyper cannot see it: hyper looks no further than
//! unread request bytes, the kernel does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;

use super::client_socket::ClientSocket;
use super::stream::Shared;

pub(crate) const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// Looked at in one sweep, which takes 2 ms then: the places of clients that have left are free again after one sweep for each
/// 2000 of them.
const SWEPT_MAX: usize = 2000;

/// The held sockets of one worker thread.
#[derive(Debug, Default)]
pub(crate) struct HeldSockets {
    all: RefCell<Slab<Held>>,
    /// The key with which the next sweep begins.
    next: Cell<usize>,
}

#[derive(Debug)]
struct Held {
    socket: Shared<ClientSocket>,
    /// Of its requests, up to the held one.
    count: u64,
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
    /// `count`: requests of HTTP/1 on it, up to this one.
    pub(crate) fn watch(self: &Rc<Self>, socket: Shared<ClientSocket>, count: u64) -> Watched {
        let gone = Rc::new(Notify::new());
        let key = self.all.borrow_mut().insert(Held { socket, count, gone: Rc::clone(&gone) });
        Watched { sockets: Rc::clone(self), key, gone }
    }

    /// Wakes the requests whose client has left.
    pub(crate) fn sweep(&self) {
        let next = self.next.get();
        let all = self.all.borrow();
        let sockets: Vec<_> = all
            .iter()
            .filter(|(key, held)| {
                *key >= next && !held.socket.with(|socket| socket.is_read_on(held.count))
            })
            .take(SWEPT_MAX)
            .map(|(key, held)| (key, held.socket.clone()))
            .collect();
        let last = sockets.last().filter(|_| sockets.len() == SWEPT_MAX);
        self.next.set(last.map_or(0, |(key, _)| key + 1));
        if sockets.is_empty() {
            return;
        }
        for key in Shared::gone(&sockets) {
            if let Some(held) = all.get(key) {
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
        self.sockets.all.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use futures_util::FutureExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::{HeldSockets, SWEPT_MAX};
    use crate::gate::client_socket::ClientSocket;
    use crate::gate::stream::Shared;

    #[tokio::test]
    async fn each_of_many_has_its_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = Shared::new(ClientSocket::plain(listener.accept().await.unwrap().0));
        let sockets = Rc::new(HeldSockets::default());
        // None of the request was read yet: nobody but the sweep sees its client leave.
        let mut watched: Vec<_> =
            (0..2 * SWEPT_MAX + 500).map(|_| sockets.watch(socket.clone(), 1)).collect();
        let first = watched.remove(0);
        sockets.sweep();
        assert_eq!(watched.iter().filter_map(|held| held.gone().now_or_never()).count(), 0);
        drop(client);
        drop(first);
        let mut gone = |_: usize| {
            sockets.sweep();
            watched.iter().filter_map(|held| held.gone().now_or_never()).count()
        };
        // The sweep goes on where the one before it ended.
        assert_eq!([0, 1, 2].map(&mut gone), [SWEPT_MAX, 500, SWEPT_MAX]);
        // hyper has read all there is of it: it is hyper's to see.
        let seen = sockets.watch(socket, 0);
        drop(watched);
        sockets.sweep();
        assert!(seen.gone().now_or_never().is_none());
    }
}
