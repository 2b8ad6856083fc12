//! Who calls, and what they may do.
//!
//! What must stay true: a key is stored as its argon2id hash only; a wrong user
//! and a wrong key cannot be told apart, by words or by time; what a role may do
//! is [`allows`] and nothing else, whoever calls and whichever way it came, and what a
//! grant changes of that is `grants.rs`. What a change of a user says holds for every
//! request that comes after it, those of open sessions too (`standing.rs`).

mod grants;
mod login;
mod pace;
mod role;
mod standing;

pub use role::{Action, Role, allows};

pub(crate) use grants::{Grants, MAX_GRANTS, Wanted};
pub(crate) use login::{HashedKey, KEY_ID, KeyWish, Slots};
pub(crate) use pace::Pace;

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use proto::Status;

use crate::Refusal;
use crate::error::shown;

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
    /// Of a user that has authenticated. `None`: somebody vouched, and no user need be
    /// there.
    entry: Option<Arc<Entry>>,
    /// What they may do in single stores; `None`: no other than in all.
    grants: Option<Arc<Grants>>,
    /// Where they call from, for the audit log.
    address: Option<Arc<str>>,
}

/// How a user came in.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The change of the catalog that made the user.
    pub(crate) born: u64,
    /// The name of the key that was shown.
    pub(crate) key: String,
    /// The change of the catalog that made the key.
    pub(crate) since: u64,
}

impl Principal {
    /// A caller of that role, in session 0. Who makes one vouches for it.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        let name: String = name.into();
        Principal {
            name: name.into(),
            role,
            creates_stores: false,
            session: 0,
            entry: None,
            grants: None,
            address: None,
        }
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

    /// The number of its session; 0 if it has none.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// Whether it may do that: in every store, where the action is one on documents.
    pub fn may(&self, action: Action) -> bool {
        match action {
            // A service has no key.
            Action::ChangeKey if self.creates_stores => false,
            Action::CreateStore | Action::Define | Action::Schedule if self.creates_stores => true,
            Action::Look if self.grants.as_ref().is_some_and(|grants| grants.reads_any()) => true,
            _ => allows(self.role, action),
        }
    }

    /// Whether it is the guest code of a service.
    pub(crate) fn is_service(&self) -> bool {
        self.creates_stores
    }

    /// Where it calls from, if that is known.
    pub(crate) fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Whether both are the same user, or the same service. Who was made anew under a
    /// name is another.
    pub(crate) fn is_user_of(&self, other: &Principal) -> bool {
        let born = |who: &Principal| who.entry.as_ref().map(|entry| entry.born);
        (&self.name, self.creates_stores, born(self))
            == (&other.name, other.creates_stores, born(other))
    }

    /// What sorts before every caller of this name.
    pub(crate) fn first_of_name(&self) -> Principal {
        Principal { name: Arc::clone(&self.name), ..Principal::new("", Role::None) }
    }

    fn identity(&self) -> (&str, bool, u64) {
        (&self.name, self.creates_stores, self.session)
    }

    pub(crate) fn check(&self, action: Action, what: impl fmt::Display) -> Result<(), Refusal> {
        if self.may(action) {
            return Ok(());
        }
        Err(forbidden(action, what, &self.name, self.role.name()))
    }
}

/// `what` was to be done, by `who`, who `has` that role.
fn forbidden(action: Action, what: impl fmt::Display, who: &str, has: &str) -> Refusal {
    let message = format!(
        "{what} needs a role that may {}, and the role of {} is {has}: use another user, or ask an \
         admin",
        action.name(),
        shown(who),
    );
    Refusal::new(Status::Forbidden, message)
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
