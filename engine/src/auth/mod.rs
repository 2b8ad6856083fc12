//! Who calls, and what they may do.
//!
//! What must stay true: a key is stored as its argon2id hash only; a wrong user
//! and a wrong key cannot be told apart, by words or by time; what a role may do
//! is [`allows`] and nothing else, whoever calls and whichever way it came.

mod login;
mod role;

pub use role::{Action, Role, allows};

pub(crate) use login::Slots;

use std::sync::Arc;

use proto::Status;

use crate::Refusal;

/// Who calls, and in which session: made by [`crate::Engine::authenticate`], or for a
/// guest by [`Principal::service`]. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Principal {
    name: Arc<str>,
    role: Role,
    creates_stores: bool,
    session: u64,
}

impl Principal {
    /// A caller of that role, in session 0. Who makes one vouches for it.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        let name: String = name.into();
        Principal { name: name.into(), role, creates_stores: false, session: 0 }
    }

    /// The guest code of a service: role read_write, and it may create stores, indexes
    /// and sequences, so that a service makes those it needs when it starts. It may not
    /// drop them.
    pub fn service(name: impl Into<String>) -> Self {
        Principal { creates_stores: true, ..Principal::new(name, Role::ReadWrite) }
    }

    /// The same caller in a session of [`crate::Engine::begin_session`]: cursors belong
    /// to it, and go with it.
    #[must_use]
    pub fn in_session(&self, session: u64) -> Self {
        Principal { session, ..self.clone() }
    }

    /// The user's or service's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether it may do that.
    pub fn may(&self, action: Action) -> bool {
        allows(self.role, action)
            || (self.creates_stores && matches!(action, Action::CreateStore | Action::Define))
    }

    /// Whether both are the same user, or the same service.
    pub(crate) fn is_user_of(&self, other: &Principal) -> bool {
        (&self.name, self.creates_stores) == (&other.name, other.creates_stores)
    }

    /// What sorts before every caller of this name.
    pub(crate) fn first_of_name(&self) -> Principal {
        let name = Arc::clone(&self.name);
        Principal { name, role: Role::None, creates_stores: false, session: 0 }
    }

    pub(crate) fn check(&self, action: Action, operation: &str) -> Result<(), Refusal> {
        if self.may(action) {
            return Ok(());
        }
        let message = format!(
            "{operation} needs a role that may {}, and the role of {} is {}: use another user, or \
             ask an admin",
            action.name(),
            crate::error::shown(&self.name),
            self.role.name()
        );
        Err(Refusal::new(Status::Forbidden, message))
    }
}
