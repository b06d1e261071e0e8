//! The requests in flight of one worker thread, so that a drain that fails can name the stragglers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Uri};
use slab::Slab;

use super::live::AppId;

/// Only the lister ever competes for the lock.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<Slab<Flight>>);

#[derive(Debug)]
struct Flight {
    app: AppId,
    method: Method,
    /// The whole URI shares the request's memory; only its path is ever shown.
    uri: Uri,
    since: Instant,
    /// A hold waits for it.
    is_counted: bool,
}

/// A request in flight as it is shown: without its query, which may hold what nobody should read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub age: Duration,
}

/// Takes the entry off the list when the request is complete.
#[derive(Debug)]
pub(crate) struct FlightGuard {
    flights: Arc<Flights>,
    key: usize,
}

impl Flights {
    /// `since`: when it came, or else was let go on.
    pub(crate) fn enter(
        self: &Arc<Self>,
        app: AppId,
        (method, uri): (Method, Uri),
        since: Instant,
        is_counted: bool,
    ) -> FlightGuard {
        let flight = Flight { app, method, uri, since, is_counted };
        let key = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(flight);
        FlightGuard { flights: Arc::clone(self), key }
    }

    /// Those of `app` that were in flight at `at` already, and that a hold waits for.
    pub(crate) fn list(&self, app: AppId, at: Instant) -> Vec<Seen> {
        let now = Instant::now();
        let flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = flights.iter().map(|(_, flight)| flight);
        ours.filter(|flight| flight.app == app && flight.is_counted && flight.since <= at)
            .map(|flight| Seen {
                method: flight.method.clone(),
                path: flight.uri.path().to_owned(),
                age: now.saturating_duration_since(flight.since),
            })
            .collect()
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.try_remove(self.key);
    }
}
