//! What a session may still do: asked of the catalog at each of its requests.
//!
//! What must stay true: a session acts for a user that is there, with the role and the
//! grants that it has now, and by a key that it has now and that has not expired. One
//! exception: the session that gave its user another key goes on, by that one.

use std::borrow::Cow;
use std::sync::Arc;

use lsm::KeyspaceId;
use platform::Clock;
use proto::{Opcode, Status};

use super::{Action, Entry, Grants, Principal};
use crate::catalog::{Catalog, User, UserKey};
use crate::error::shown;
use crate::patience::Patience;
use crate::query::Running;
use crate::{Engine, Refusal};

impl Principal {
    /// The user as it comes in by that key, in a session of its own.
    pub(super) fn entered(name: &str, user: &User, key: &UserKey, session: u64) -> Principal {
        let entry = Entry { born: user.born, key: key.name.clone(), since: key.since };
        Principal {
            session,
            entry: Some(Arc::new(entry)),
            grants: user.grants.clone(),
            ..Principal::new(name, user.role)
        }
    }

    pub(super) fn calling_from(self, address: Option<&str>) -> Principal {
        Principal { address: address.map(Arc::from), ..self }
    }

    /// Whether it has authenticated as the user of that name.
    pub(crate) fn is_user(&self, name: &str) -> bool {
        self.entry.is_some() && *self.name == *name
    }

    /// The key by which it is here, as the catalog has it; `None`: it has none any more,
    /// or nobody asked for one.
    pub(crate) fn key_in<'c>(&self, catalog: &'c Catalog) -> Option<&'c UserKey> {
        let entry = self.entry.as_ref()?;
        let user = catalog.users.get(self.name()).filter(|user| user.born == entry.born)?;
        let came_by = |key: &&UserKey| key.since == entry.since && key.name == entry.key;
        let gave_itself = |key: &&UserKey| key.by == Some(self.session);
        user.keys.iter().find(came_by).or_else(|| user.keys.iter().find(gave_itself))
    }

    /// The caller as it is by this catalog.
    ///
    /// # Errors
    /// Its user is gone, or its key, or the key has expired.
    pub(crate) fn as_of(
        &self,
        catalog: &Catalog,
        clock: &dyn Clock,
    ) -> Result<Cow<'_, Self>, Refusal> {
        let Some(entry) = &self.entry else { return Ok(Cow::Borrowed(self)) };
        let out = |message: String| Err(Refusal::new(Status::NotAuthenticated, message));
        let name = || shown(self.name());
        let Some(user) = catalog.users.get(self.name()) else {
            return out(format!(
                "user {} was dropped: connect as another user, or ask an admin",
                name()
            ));
        };
        if user.born != entry.born {
            return out(format!("user {} was dropped and made anew: connect again", name()));
        }
        match self.key_in(catalog) {
            None => {
                return out(format!(
                    "the key of user {} was changed or revoked: connect again with another one",
                    name()
                ));
            }
            Some(key) if key.is_over(clock) => {
                return out(format!(
                    "the key {} of user {} has expired: connect again with another one",
                    shown(&key.name),
                    name()
                ));
            }
            Some(_) => {}
        }
        let same = |a: &Option<Arc<Grants>>, b: &Option<Arc<Grants>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        Ok(match user.role == self.role && same(&user.grants, &self.grants) {
            true => Cow::Borrowed(self),
            false => {
                let grants = user.grants.clone();
                Cow::Owned(Principal { role: user.role, grants, ..self.clone() })
            }
        })
    }
}

impl Engine {
    /// The caller as it is now.
    ///
    /// # Errors
    /// As [`Principal::as_of`]. Its cursors and transactions are let go of then.
    pub(crate) fn standing<'p>(&self, who: &'p Principal) -> Result<Cow<'p, Principal>, Refusal> {
        let standing = who.as_of(&self.catalogs.read(), &*self.clock);
        if standing.is_err() {
            self.end_session(who);
        }
        standing
    }

    /// As at the door, once more: for what has waited since.
    ///
    /// # Errors
    /// The caller was shut out, or may not do that any more.
    pub(crate) fn still_may(&self, who: &Principal, what: Opcode) -> Result<(), Refusal> {
        let now = who.as_of(&self.catalogs.read(), &*self.clock)?.into_owned();
        now.check(Action::of(what), what.name())
    }

    /// Begins a query of somebody: see [`crate::query::Desk::begin`].
    ///
    /// # Errors
    /// The caller was shut out meanwhile. Who shuts somebody out ends their queries after
    /// the change: this asks after the query is listed, so none is missed by both.
    pub(crate) fn begin_query(
        &self,
        who: &Principal,
        text: &str,
        patience: &Patience,
    ) -> Result<Running<'_>, Refusal> {
        let running = self.queries.begin(who, text, self.query_limits(), patience);
        who.as_of(&self.catalogs.read(), &*self.clock)?;
        Ok(running)
    }

    /// Asks whether the caller may still read these stores, whose documents a query of
    /// theirs is about to show. Asked after the query is listed with them: who takes a
    /// right away ends what is listed, so that none is missed by both.
    ///
    /// # Errors
    /// The caller was shut out, or may not read one of them any more.
    pub(crate) fn still_reads(
        &self,
        who: &Principal,
        stores: &[KeyspaceId],
    ) -> Result<(), Refusal> {
        let now = who.as_of(&self.catalogs.read(), &*self.clock)?;
        let check = |store: &KeyspaceId| now.check_in(Action::Read, "this query", Some(*store));
        stores.iter().try_for_each(check)
    }
}
