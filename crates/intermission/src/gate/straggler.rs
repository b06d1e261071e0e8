//! Requests in flight that a hold may cut off: those of one worker whose app says so (`app.stragglers`).

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use slab::Slab;

use super::live::AppId;
use super::passage::Passage;

#[derive(Debug, Default)]
pub(crate) struct Stragglers(RefCell<Slab<(AppId, Weak<Passage>)>>);

/// Off the list when the request is complete.
#[derive(Debug)]
pub(crate) struct Listed {
    list: Rc<Stragglers>,
    key: usize,
}

impl Stragglers {
    pub(super) fn enter(self: &Rc<Self>, app: AppId, passage: Weak<Passage>) -> Listed {
        let key = self.0.borrow_mut().insert((app, passage));
        Listed { list: Rc::clone(self), key }
    }

    /// Cuts off every one of the app that is there.
    pub(crate) fn kill(&self, app: AppId) {
        let list = self.0.borrow();
        let ours = list.iter().filter(|(_, (of, _))| *of == app);
        let ours: Vec<Rc<Passage>> = ours.filter_map(|(_, (_, it))| it.upgrade()).collect();
        drop(list);
        for passage in ours {
            passage.kill();
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.list.0.borrow_mut().try_remove(self.key);
    }
}
