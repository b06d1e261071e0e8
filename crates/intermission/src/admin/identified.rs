//! Who makes a call, and what they may do: with every request, before it is routed.

use crate::admin::api::Role;
use crate::gate::Actor;

#[derive(Debug, Clone)]
pub(super) struct Identified {
    pub(super) actor: Actor,
    /// `None` for a certificate that is signed as it must be and made out to nobody who may do anything.
    pub(super) role: Option<Role>,
}
