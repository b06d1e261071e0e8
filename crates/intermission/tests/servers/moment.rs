//! Something done at an exact moment of a swap: the executor waits for it.

use std::{
    future::Future,
    sync::{Arc, LazyLock, Mutex, mpsc},
    time::Duration,
};

use intermission::swap::{
    executor::Listener,
    record::{Action, Entry, Record},
    step::Step,
};
use mysql_async::{Conn, OptsBuilder};
use tokio::runtime::Runtime;

/// How long the swap is stopped at most.
const BOUND: Duration = Duration::from_secs(10);

/// What is done at a moment runs here, with its sessions, because the executor's own runtime waits for it meanwhile.
static ASIDE: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
});

#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment {
    /// Its intent is journaled, nothing of it is done.
    Before(Step),
    /// It was performed, the next is not begun.
    After(Step),
}

impl Moment {
    fn is_now(self, entry: &Entry) -> bool {
        match (self, &entry.record) {
            (Self::Before(wanted), Record::Intent { action: Action::Perform, step, .. })
            | (Self::After(wanted), Record::Outcome { action: Action::Perform, step, .. }) => {
                *step == wanted
            }
            _ => false,
        }
    }
}

/// A session that can be used at a moment.
pub(crate) async fn connect(options: OptsBuilder) -> Result<Conn, mysql_async::Error> {
    ASIDE.spawn(Conn::new(options)).await.unwrap()
}

/// A listener that does `what` once, at the moment.
pub(crate) fn at<F>(moment: Moment, what: F) -> Listener
where
    F: Future<Output = ()> + Send + 'static,
{
    let what = Mutex::new(Some(what));
    Arc::new(move |entry: &Entry| {
        if !moment.is_now(entry) {
            return;
        }
        let Some(what) = what.lock().unwrap().take() else { return };
        let (done, wait) = mpsc::channel();
        ASIDE.spawn(async move {
            what.await;
            done.send(()).expect("the executor waits");
        });
        wait.recv_timeout(BOUND).expect("what a test does at a moment ends");
    })
}
