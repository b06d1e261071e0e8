//! Gates that answer in an order of the test's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::{ACKNOWLEDGE, AllGates, GateError, Gates, Users};
use crate::swap::refusal::Refusal;

const DRAIN: Duration = Duration::from_secs(15);

fn refused() -> GateError {
    let text = str::to_owned;
    GateError { gate: text("gate"), doing: text("hold shop"), reason: text("no") }
}

/// One that drains until it is released, or says no at once.
#[derive(Debug)]
struct Gate {
    /// How many releases overtake the hold and do nothing; none refuses to hold.
    early: Option<u32>,
    releases: AtomicU32,
}

impl Gate {
    fn new(early: Option<u32>) -> Arc<Self> {
        Arc::new(Self { early, releases: AtomicU32::new(0) })
    }
}

#[async_trait]
impl Gates for Gate {
    async fn preflight(&self) -> Vec<Refusal> {
        Vec::new()
    }

    async fn hold(&self, _: &str, _: Duration, drain: Duration) -> Result<(), GateError> {
        let deadline = Instant::now() + drain;
        let drains = || self.early.is_some_and(|n| self.releases.load(Ordering::SeqCst) <= n);
        while drains() && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        Err(refused())
    }

    async fn renew(&self, _: &str, _: Duration) -> Result<(), GateError> {
        Ok(())
    }

    async fn release(&self, _: &str) -> Result<(), GateError> {
        self.releases.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn answered(&self, _: &str) -> Result<bool, GateError> {
        Ok(true)
    }

    async fn users(&self, _: &str) -> Result<Users, GateError> {
        Ok(Users::default())
    }

    fn commands_to_release(&self) -> Vec<String> {
        Vec::new()
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_overtakes_the_hold_is_said_again() {
    for early in [0, 1, 5] {
        let draining = Gate::new(Some(early));
        let all = AllGates::new(vec![Arc::<Gate>::clone(&draining), Gate::new(None)]);
        let began = Instant::now();
        all.hold("swap", DRAIN + ACKNOWLEDGE, DRAIN).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(1), "{early}: {:?}", began.elapsed());
        assert_eq!(draining.releases.load(Ordering::SeqCst), early + 1);
    }
}
