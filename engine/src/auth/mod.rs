//! Who calls, and what they may do.
//!
//! What must stay true: a key is stored as its argon2id hash only; a wrong user
//! and a wrong key cannot be told apart, by words or by time; what a role may do
//! is [`allows`] and nothing else, whoever calls and whichever way it came. What a
//! change of a user says holds for every request that comes after it, those of open
//! sessions too (`standing.rs`).

mod login;
mod role;
mod standing;

pub use role::{Action, Role, allows};

pub(crate) use login::{KeyWish, Slots};

use std::cmp::Ordering;
use std::sync::Arc;

use proto::Status;

use crate::Refusal;

/// Who calls, and in which session: made by [`crate::Engine::authenticate`], or for a
/// guest by [`Principal::service`]. Cheap to clone.
///
/// Two are equal if they are the same user, or service, in the same session: a role may
/// change meanwhile.
#[derive(Clone, Debug)]
pub struct Principal {
    name: Arc<str>,
    role: Role,
    creates_stores: bool,
    session: u64,
    /// Of a user that has authenticated: the change of the catalog from which on the key
    /// it showed is theirs. `None`: somebody vouched, and no user need be there.
    key_since: Option<u64>,
}

impl Principal {
    /// A caller of that role, in session 0. Who makes one vouches for it.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        let name: String = name.into();
        Principal { name: name.into(), role, creates_stores: false, session: 0, key_since: None }
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
        match action {
            // A service has no key.
            Action::ChangeKey if self.creates_stores => false,
            Action::CreateStore | Action::Define if self.creates_stores => true,
            _ => allows(self.role, action),
        }
    }

    /// Whether both are the same user, or the same service.
    pub(crate) fn is_user_of(&self, other: &Principal) -> bool {
        (&self.name, self.creates_stores) == (&other.name, other.creates_stores)
    }

    /// What sorts before every caller of this name.
    pub(crate) fn first_of_name(&self) -> Principal {
        let name = Arc::clone(&self.name);
        Principal { name, role: Role::None, creates_stores: false, session: 0, key_since: None }
    }

    fn identity(&self) -> (&str, bool, u64) {
        (&self.name, self.creates_stores, self.session)
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

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Principal {}

impl PartialOrd for Principal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Principal {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}
