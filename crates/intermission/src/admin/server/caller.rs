//! Who calls over TCP: a stranger until the first call with the token.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::admin::api::ErrorCode;
use crate::admin::error::ApiError;
use crate::config::secret::Secret;

/// Swaps, commands and dashboards that have shown the token and may stay connected at once.
const CLIENTS_MAX: usize = 256;
/// RFC 6750, 2.1; the scheme is the same in any case (RFC 9110, 11.1).
const SCHEME: &[u8] = b"Bearer ";

/// The token, and the places of those who have shown it.
#[derive(Debug)]
pub(super) struct Admission {
    token: Mutex<Secret>,
    clients: Arc<Semaphore>,
}

/// One connection. Strangers are few and soon sent away, so that they can never take the place of a swap that holds.
#[derive(Debug)]
pub(super) struct Caller {
    admission: Arc<Admission>,
    place: Mutex<Place>,
    admitted: Notify,
}

/// The permit it is connected by, given back with it.
#[derive(Debug)]
enum Place {
    Stranger(#[expect(dead_code, reason = "lives as long as the place")] OwnedSemaphorePermit),
    Client(#[expect(dead_code, reason = "lives as long as the place")] OwnedSemaphorePermit),
}

impl Admission {
    pub(super) fn new(token: Secret) -> Self {
        Self { token: Mutex::new(token), clients: Arc::new(Semaphore::new(CLIENTS_MAX)) }
    }

    /// From now on this token, also of those who have shown the former one.
    pub(super) fn expect(&self, token: Secret) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// In a time that does not depend on what is right of it; its length is no secret.
    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes);
        let given = given.and_then(|value| value.split_at_checked(SCHEME.len()));
        let wanted = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        given.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(SCHEME) && token.ct_eq(wanted.reveal().as_bytes()).into()
        })
    }
}

impl Caller {
    pub(super) fn new(admission: Arc<Admission>, stranger: OwnedSemaphorePermit) -> Self {
        let place = Mutex::new(Place::Stranger(stranger));
        Self { admission, place, admitted: Notify::new() }
    }

    /// Every call needs the token. The answer to one without does not say whether it was wrong or absent.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if !self.admission.is_shown(headers) {
            let message = "this call needs the gate's token: authorization: Bearer TOKEN";
            return Err(ApiError::new(ErrorCode::Unauthorized, message));
        }
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*place, Place::Client(_)) {
            return Ok(());
        }
        let clients = Arc::clone(&self.admission.clients);
        let permit = clients.try_acquire_owned().map_err(|_none_left| {
            let message = format!("{CLIENTS_MAX} clients are connected over TCP already");
            ApiError::new(ErrorCode::TooManyConnections, message)
        })?;
        *place = Place::Client(permit);
        self.admitted.notify_one();
        Ok(())
    }

    /// Returns once, when the first call with the token has come.
    pub(super) async fn admitted(&self) {
        self.admitted.notified().await;
    }
}
