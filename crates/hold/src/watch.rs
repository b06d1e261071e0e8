//! Waiting for something to become true of a hold.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::inner::Inner;
use crate::outbox::{Outbox, note_waker};
use crate::shared::Shared;

/// Tasks to be woken when a drain or a hold ends: one or two per hold.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    next: u64,
    wakers: BTreeMap<u64, Option<Waker>>,
}

/// Ready as soon as `look` finds what it looks for, under the lock.
pub(crate) struct Watch<'a, L> {
    shared: &'a Shared,
    id: Option<u64>,
    look: L,
}

impl Watchers {
    fn note(&mut self, id: &mut Option<u64>, waker: &Waker, outbox: &mut Outbox) {
        let id = *id.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        note_waker(self.wakers.entry(id).or_default(), waker, outbox);
    }

    fn forget(&mut self, id: u64, outbox: &mut Outbox) {
        outbox.discard(self.wakers.remove(&id).flatten());
    }

    pub(crate) fn wake(&mut self, outbox: &mut Outbox) {
        outbox.wake(std::mem::take(&mut self.wakers).into_values().flatten());
    }
}

impl<'a, L> Watch<'a, L> {
    pub(crate) fn new(shared: &'a Shared, look: L) -> Self {
        Self { shared, id: None, look }
    }
}

impl<T, L: Fn(&Inner) -> Option<T> + Unpin> Future for Watch<'_, L> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Self { shared, id, look } = self.get_mut();
        shared.settle(|inner, outbox| match look(inner) {
            Some(found) => Poll::Ready(found),
            None => {
                inner.watchers.note(id, cx.waker(), outbox);
                Poll::Pending
            }
        })
    }
}

impl<L> Drop for Watch<'_, L> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.settle(|inner, outbox| inner.watchers.forget(id, outbox));
        }
    }
}
