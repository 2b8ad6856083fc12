//! What a user may do in single stores, whatever their role says.
//!
//! What must stay true: a grant is of a store, not of a name: it is kept by the number of
//! the store's keyspace, so that a rename keeps it and a store made anew has none. It
//! speaks of the documents of that store and of nothing else, and not to admins.

use std::collections::BTreeMap;
use std::fmt;

use lsm::KeyspaceId;
use platform::Clock;

use super::{Action, Principal, Role, allows};
use crate::Refusal;
use crate::catalog::Catalog;
use crate::error::shown;
use crate::jobs::action_in;
use crate::transaction::Within;

/// Grants of one user at most: all are in memory, and in the user's record.
pub(crate) const MAX_GRANTS: usize = 256;

/// The grants of one user, by store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants(BTreeMap<u32, Role>);

impl Grants {
    /// The role granted in a store.
    pub(crate) fn get(&self, store: KeyspaceId) -> Option<Role> {
        self.0.get(&store.0).copied()
    }

    /// Grants a role in a store, or takes the grant away.
    pub(crate) fn set(&mut self, store: KeyspaceId, role: Option<Role>) {
        match role {
            Some(role) => self.0.insert(store.0, role),
            None => self.0.remove(&store.0),
        };
    }

    /// All of them, by the number of the store.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (KeyspaceId, Role)> {
        self.0.iter().map(|(store, role)| (KeyspaceId(*store), *role))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is a store that may be read by them.
    pub(super) fn reads_any(&self) -> bool {
        self.0.values().any(|role| allows(*role, Action::Read))
    }
}

/// A store as it is wanted: by whom, and for what. It is asked when the store has been
/// found, so that it is the very store that is read or written.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The name it goes by.
    pub(crate) name: &'a str,
    /// `None`: the engine itself.
    who: Option<&'a Principal>,
    action: Action,
    /// The transaction that the operation is part of.
    within: Option<&'a Within>,
}

impl<'a> Wanted<'a> {
    /// By the engine itself: for builds, expiry, proofs.
    pub(crate) fn own(name: &'a str) -> Wanted<'a> {
        Wanted { name, who: None, action: Action::Maintain, within: None }
    }

    /// Another store, by the same caller, to be looked into.
    pub(crate) fn looks_into<'b>(&self, name: &'b str) -> Wanted<'b>
    where
        'a: 'b,
    {
        Wanted { name, who: self.who, action: Action::Read, within: self.within }
    }

    /// The same, as part of a transaction, if there is one.
    pub(crate) fn part_of(self, within: Option<&'a Within>) -> Wanted<'a> {
        Wanted { within, ..self }
    }

    /// The transaction that it is part of.
    pub(crate) fn within(&self) -> Option<&'a Within> {
        self.within
    }

    /// Refuses what may not be done in the store that was found; `None`: there is no
    /// store of that name.
    pub(crate) fn check(&self, store: Option<KeyspaceId>) -> Result<(), Refusal> {
        let Some(who) = self.who else { return Ok(()) };
        who.check_in(self.action, self.called(), store)
    }

    /// As [`Wanted::check`] of a store that was found, by what the caller may do by this
    /// catalog: the right may have been taken away since the request came.
    pub(crate) fn stands(
        &self,
        catalog: &Catalog,
        clock: &dyn Clock,
        store: KeyspaceId,
    ) -> Result<(), Refusal> {
        let Some(who) = self.who else { return Ok(()) };
        let now = who.as_of(catalog, clock)?;
        now.check_in(self.action, self.called(), Some(store))
    }

    /// What a refusal calls it: written only if there is one.
    fn called(&self) -> impl fmt::Display {
        let name = self.name;
        fmt::from_fn(move |f| write!(f, "the store {}", shown(name)))
    }

    /// Whether a store may be named to who asks.
    pub(crate) fn may_see(&self, store: KeyspaceId) -> bool {
        self.who.is_none_or(|who| who.may_see(store))
    }
}

impl Principal {
    /// A store, for that.
    pub(crate) fn wants<'a>(&'a self, action: Action, name: &'a str) -> Wanted<'a> {
        let action = action_in(name, action);
        Wanted { name, who: Some(self), action, within: None }
    }

    /// Whether its rights are not the same in all stores.
    pub(crate) fn has_grants(&self) -> bool {
        self.grants.is_some()
    }

    /// Whether it may read the documents of a store, and so know of it.
    pub(crate) fn may_see(&self, store: KeyspaceId) -> bool {
        self.may_in(Action::Read, Some(store))
    }

    /// Whether it may do that in a store; `None`: in one that is not there, which is in
    /// all of them.
    pub(crate) fn may_in(&self, action: Action, store: Option<KeyspaceId>) -> bool {
        match action {
            Action::Read | Action::Write => allows(self.role_in(store), action),
            // A role for all stores does not speak of the system's own.
            Action::Schedule => match (&self.grants, store) {
                (Some(grants), Some(store)) if grants.get(store).is_some() => {
                    allows(self.role_in(Some(store)), Action::Write)
                }
                _ => self.may(action),
            },
            _ => self.may(action),
        }
    }

    /// Its role for the documents of a store.
    fn role_in(&self, store: Option<KeyspaceId>) -> Role {
        match (&self.grants, store) {
            (Some(grants), Some(store)) if self.role != Role::Admin => {
                grants.get(store).unwrap_or(self.role)
            }
            _ => self.role,
        }
    }

    /// As [`Principal::check`], in a store.
    pub(crate) fn check_in(
        &self,
        action: Action,
        what: impl fmt::Display,
        store: Option<KeyspaceId>,
    ) -> Result<(), Refusal> {
        if self.may_in(action, store) {
            return Ok(());
        }
        let documents = matches!(action, Action::Read | Action::Write | Action::Schedule);
        match (&self.grants, store) {
            (Some(grants), Some(store)) if documents && grants.get(store).is_some() => {
                let role = self.role_in(Some(store)).name();
                Err(super::forbidden(action, what, &self.name, &format!("{role} there")))
            }
            _ => self.check(action, what),
        }
    }
}
