//! What a session may still do: asked of the catalog at each of its requests.
//!
//! What must stay true: a session acts for a user that is there, with the role that it
//! has now, and by the key that it has now. One exception: the session that gave its
//! user another key goes on.

use std::borrow::Cow;

use proto::Status;

use super::{Principal, Role};
use crate::catalog::User;
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
    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    fn with_role(&self, role: Role) -> Self {
        Principal { role, ..self.clone() }
    }
}

impl Engine {
    /// The caller as it is now.
    ///
    /// # Errors
    /// Its user is gone, or has another key. Its cursors are let go of.
    pub(crate) fn standing<'p>(&self, who: &'p Principal) -> Result<Cow<'p, Principal>, Refusal> {
        let Some(since) = who.key_since else { return Ok(Cow::Borrowed(who)) };
        let catalog = self.catalogs.read();
        let valid = |user: &&User| user.key_since == since || user.key_by == Some(who.session);
        let known = catalog.users.get(who.name());
        if let Some(user) = known.filter(valid) {
            return Ok(match user.role == who.role {
                true => Cow::Borrowed(who),
                false => Cow::Owned(who.with_role(user.role)),
            });
        }
        self.queries.end_session(who);
        let name = shown(who.name());
        // A user of that name that was made since is another.
        let message = match known {
            Some(_) => {
                format!("the key of user {name} was changed: connect again with the new one")
            }
            None => format!("user {name} was dropped: connect as another user, or ask an admin"),
        };
        Err(Refusal::new(Status::NotAuthenticated, message))
    }
}
