//! Who calls over TCP: a stranger until the first call with a token or by a certificate of the right kind.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::failures::{Denied, Failures};
use crate::admin::api::{ErrorCode, Role};
use crate::admin::error::ApiError;
use crate::admin::identified::Identified;
use crate::config::secret::Secret;
use crate::gate::Actor;

/// Swaps, commands and dashboards that are known and may stay connected at once.
const CLIENTS_MAX: usize = 256;
/// RFC 6750, 2.1; the scheme is the same in any case (RFC 9110, 11.1).
const SCHEME: &[u8] = b"Bearer ";

/// The tokens that are accepted.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    pub(super) operate: Option<Secret>,
    pub(super) read: Option<Secret>,
}

/// The tokens, the places of those who are known, and what those have done who are not.
#[derive(Debug)]
pub(super) struct Admission {
    tokens: Mutex<Tokens>,
    clients: Arc<Semaphore>,
    pub(super) failures: Failures,
}

/// One connection. Strangers are few and soon sent away, so that they can never take the place of a swap that holds.
#[derive(Debug)]
pub(super) struct Caller {
    admission: Arc<Admission>,
    peer: SocketAddr,
    /// By its certificate, if it showed one.
    certified: Option<Identified>,
    place: Mutex<Place>,
    admitted: Notify,
}

/// The permit it is connected by, given back with it.
#[derive(Debug)]
enum Place {
    Stranger(#[expect(dead_code, reason = "lives as long as the place")] OwnedSemaphorePermit),
    Client {
        /// Of the token it has shown.
        shown: Option<Role>,
        _permit: OwnedSemaphorePermit,
    },
}

impl Tokens {
    /// Whose token it is, in a time that does not depend on what is right of it; its length is no secret.
    fn role_of(&self, token: &[u8]) -> Option<Role> {
        let is = |wanted: &Option<Secret>| {
            wanted.as_ref().is_some_and(|wanted| token.ct_eq(wanted.reveal().as_bytes()).into())
        };
        let (operate, read) = (is(&self.operate), is(&self.read));
        if operate { Some(Role::Operate) } else { read.then_some(Role::Read) }
    }
}

impl Admission {
    pub(super) fn new(tokens: Tokens) -> Self {
        let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
        Self { tokens: Mutex::new(tokens), clients, failures: Failures::default() }
    }

    /// From now on these tokens, also of those who have shown the former ones.
    pub(super) fn expect(&self, tokens: Tokens) {
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    fn role_of(&self, token: &[u8]) -> Option<Role> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).role_of(token)
    }
}

impl Caller {
    pub(super) fn new(
        admission: Arc<Admission>,
        peer: SocketAddr,
        certified: Option<Identified>,
        stranger: OwnedSemaphorePermit,
    ) -> Self {
        let place = Mutex::new(Place::Stranger(stranger));
        Self { admission, peer, certified, place, admitted: Notify::new() }
    }

    /// Every call shows who it is from: by its token, or, if it has none, by the connection's certificate. The answer to a
    /// stranger does not say whether a token was wrong or absent.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<Identified, ApiError> {
        let authorization = headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes);
        let (identified, shown) = match (authorization, &self.certified) {
            (None, Some(certified)) => (certified.clone(), None),
            (authorization, _) => {
                let role = self.role_of(authorization.unwrap_or_default())?;
                let actor = Actor::Token { role, peer: self.peer };
                (Identified { actor, role: Some(role) }, Some(role))
            }
        };
        // A certificate that may do nothing has no place.
        if identified.role.is_some() {
            self.take_place(shown)?;
        }
        Ok(identified)
    }

    fn role_of(&self, authorization: &[u8]) -> Result<Role, ApiError> {
        let token = authorization
            .split_at_checked(SCHEME.len())
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME))
            .map(|(_, token)| token);
        let look = || token.and_then(|token| self.admission.role_of(token));
        let judged = self.admission.failures.judge(self.peer, Instant::now(), self.shown(), look);
        judged.map_err(|denied| match denied {
            Denied::Wrong => {
                let message =
                    "this call needs a token of the gate's (authorization: Bearer TOKEN) or a certificate";
                ApiError::new(ErrorCode::Unauthorized, message)
            }
            Denied::NotLookedAt(wait) => ApiError::too_many_failures(wait),
        })
    }

    fn shown(&self) -> Option<Role> {
        match *self.place.lock().unwrap_or_else(PoisonError::into_inner) {
            Place::Stranger(_) => None,
            Place::Client { shown, .. } => shown,
        }
    }

    fn take_place(&self, role: Option<Role>) -> Result<(), ApiError> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Place::Client { shown, .. } = &mut *place {
            *shown = role.or(*shown);
            return Ok(());
        }
        let clients = Arc::clone(&self.admission.clients);
        let permit = clients.try_acquire_owned().map_err(|_none_left| {
            let message = format!("{CLIENTS_MAX} clients are connected over TCP already");
            ApiError::new(ErrorCode::TooManyConnections, message)
        })?;
        *place = Place::Client { shown: role, _permit: permit };
        self.admitted.notify_one();
        Ok(())
    }

    /// Returns once, when the first call of a known caller has come.
    pub(super) async fn admitted(&self) {
        self.admitted.notified().await;
    }
}
