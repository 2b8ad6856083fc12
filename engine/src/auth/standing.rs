//! What a session may still do: asked of the catalog at each of its requests.
//!
//! What must stay true: a session acts for a user that is there, with the role that it
//! has now, and by the key that it has now. One exception: the session that gave its
//! user another key goes on.

use std::borrow::Cow;

use proto::Status;

use super::{Principal, Role};
use crate::catalog::{Catalog, User};
use crate::error::shown;
use crate::{Engine, Refusal};

impl Principal {
    pub(super) fn with_key_since(self, change: u64) -> Self {
        Principal { key_since: Some(change), ..self }
    }

    /// Whether it has authenticated as the user of that name.
    pub(crate) fn is_user(&self, name: &str) -> bool {
        self.key_since.is_some() && *self.name == *name
    }

    /// The number of its session; 0 if it has none.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// The caller as it is by this catalog.
    ///
    /// # Errors
    /// Its user is gone, or has another key.
    pub(crate) fn as_of(&self, catalog: &Catalog) -> Result<Cow<'_, Self>, Refusal> {
        let Some(since) = self.key_since else { return Ok(Cow::Borrowed(self)) };
        let valid = |user: &&User| user.key_since == since || user.key_by == Some(self.session);
        let known = catalog.users.get(self.name());
        if let Some(user) = known.filter(valid) {
            return Ok(match user.role == self.role {
                true => Cow::Borrowed(self),
                false => Cow::Owned(self.with_role(user.role)),
            });
        }
        let name = shown(self.name());
        // A user of that name that was made since is another.
        let message = match known {
            Some(_) => {
                format!("the key of user {name} was changed: connect again with the new one")
            }
            None => format!("user {name} was dropped: connect as another user, or ask an admin"),
        };
        Err(Refusal::new(Status::NotAuthenticated, message))
    }

    fn with_role(&self, role: Role) -> Self {
        Principal { role, ..self.clone() }
    }
}

impl Engine {
    /// The caller as it is now.
    ///
    /// # Errors
    /// As [`Principal::as_of`]. Its cursors are let go of then.
    pub(crate) fn standing<'p>(&self, who: &'p Principal) -> Result<Cow<'p, Principal>, Refusal> {
        let standing = who.as_of(&self.catalogs.read());
        if standing.is_err() {
            self.queries.end_session(who);
        }
        standing
    }
}
