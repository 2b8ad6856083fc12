//! Who calls, and what they may do.
//!
//! What must stay true: a key is stored as its argon2id hash only; a wrong user
//! and a wrong key cannot be told apart, by words or by time; what a role may do
//! is [`allows`] and nothing else, whoever calls and whichever way it came.

mod login;
mod role;

pub use role::{Action, Role, allows};

pub(crate) use login::Slots;

use proto::Status;

use crate::Refusal;

/// Who calls: made by [`crate::Engine::authenticate`], or for a guest by
/// [`Principal::service`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    name: String,
    role: Role,
    creates_stores: bool,
}

impl Principal {
    /// A caller of that role. Who makes one vouches for it.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        Principal { name: name.into(), role, creates_stores: false }
    }

    /// The guest code of a service: role read_write, and it may create stores, indexes
    /// and sequences, so that a service makes those it needs when it starts. It may not
    /// drop them.
    pub fn service(name: impl Into<String>) -> Self {
        Principal { name: name.into(), role: Role::ReadWrite, creates_stores: true }
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
