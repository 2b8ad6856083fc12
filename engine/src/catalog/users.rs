//! Users in a change of the catalog being made: their roles and grants.
//!
//! What must stay true: once there is an admin there always is one, with a key that does
//! not expire; a user that is dropped and made again is another, and so is nobody's
//! session any more; a grant is of a store that is there, and goes with it.

use std::sync::Arc;

use lsm::KeyspaceId;
use proto::Status;

use super::{CATALOG, Draft, MAIN_KEY, User, UserKey, name, record};
use crate::auth::{Grants, HashedKey, MAX_GRANTS};
use crate::error::shown;
use crate::{Refusal, Role};

/// Users at most: all are in memory.
pub(crate) const MAX_USERS: usize = 4096;

/// A grant as it is asked for: a store's name, and the role in it; `None`: no longer.
pub(crate) type GrantWish<'a> = (&'a str, Option<Role>);

/// What is to be changed of a user.
pub(crate) struct UserChange<'a> {
    pub(crate) role: Option<Role>,
    pub(crate) grants: Vec<GrantWish<'a>>,
    /// From now on their only key, and when it expires.
    pub(crate) key: Option<(HashedKey, Option<i64>)>,
    /// The session that asks; 0 if it is none.
    pub(crate) by: u64,
}

impl Draft {
    /// Whether there is any admin.
    pub(crate) fn has_admin(&self) -> bool {
        self.catalog.users.values().any(|user| user.role == Role::Admin)
    }

    /// Adds a user; `false` if there is one of that role and those grants, and that is
    /// fine: its keys stay.
    pub(crate) fn create_user(
        &mut self,
        name: &str,
        role: Role,
        grants: &[GrantWish<'_>],
        key: HashedKey,
        if_not_exists: bool,
        now_millis: i64,
    ) -> Result<bool, Refusal> {
        name::check(name, "a user")?;
        let wanted = self.granted(None, role, grants)?;
        if let Some(user) = self.catalog.users.get(name) {
            if if_not_exists && (user.role, &user.grants) == (role, &wanted) {
                return Ok(false);
            }
            let message = format!(
                "there is a user named {} already, whose role is {}{}: choose another name{}",
                shown(name),
                user.role.name(),
                if user.grants.is_some() { ", with grants" } else { "" },
                match if_not_exists {
                    true if user.role == role => ", or give that one the grants",
                    true => ", or give that one another role",
                    false => ", or say if_not_exists",
                }
            );
            return Err(Refusal::new(Status::UserExists, message));
        }
        if self.catalog.users.len() >= MAX_USERS {
            let message = format!("there are {MAX_USERS} users: drop some");
            return Err(Refusal::new(Status::LimitReached, message));
        }
        let born = self.coming();
        let keys = vec![self.new_key(MAIN_KEY, key, None, now_millis, 0)];
        let user = User { role, grants: wanted, keys, created_at: now_millis, born };
        self.put_user(name, user);
        Ok(true)
    }

    /// Makes a user an admin with that key alone, whoever was there of that name.
    pub(crate) fn make_admin(
        &mut self,
        name: &str,
        key: HashedKey,
        now_millis: i64,
    ) -> Result<(), Refusal> {
        if self.catalog.users.contains_key(name) {
            let change = UserChange {
                role: Some(Role::Admin),
                grants: vec![],
                key: Some((key, None)),
                by: 0,
            };
            return self.alter_user(name, change, now_millis);
        }
        self.create_user(name, Role::Admin, &[], key, false, now_millis).map(drop)
    }

    /// Gives a user another role, other grants, another key, or all of it. An admin has
    /// no grants: they go with the role before.
    pub(crate) fn alter_user(
        &mut self,
        name: &str,
        change: UserChange<'_>,
        now_millis: i64,
    ) -> Result<(), Refusal> {
        let before = self.user(name)?;
        let mut user = User::clone(&before);
        if let Some(role) = change.role {
            user.role = role;
            if role == Role::Admin {
                user.grants = None;
            }
        }
        if !change.grants.is_empty() {
            user.grants = self.granted(user.grants.as_deref(), user.role, &change.grants)?;
        }
        if let Some((key, expires)) = change.key {
            user.keys = vec![self.new_key(MAIN_KEY, key, expires, now_millis, change.by)];
        }
        if user == *before {
            return Ok(());
        }
        self.keep_an_admin(name, Some(&user), "given another role")?;
        self.put_user(name, user);
        Ok(())
    }

    /// Removes a user; `false` if there is none and that is fine.
    pub(crate) fn drop_user(&mut self, name: &str, if_exists: bool) -> Result<bool, Refusal> {
        if !self.catalog.users.contains_key(name) {
            return if if_exists { Ok(false) } else { Err(unknown_user(name)) };
        }
        self.keep_an_admin(name, None, "dropped")?;
        self.catalog.users.remove(name);
        self.batch.delete(CATALOG, &record::user_key(name));
        Ok(true)
    }

    /// Takes away what anybody was granted in a store that goes.
    pub(super) fn forget_grants(&mut self, store: KeyspaceId) {
        let granted = |user: &User| user.grants.as_ref().is_some_and(|g| g.get(store).is_some());
        let users = self.catalog.users.iter().filter(|(_, user)| granted(user));
        let users: Vec<(String, Arc<User>)> =
            users.map(|(name, user)| (name.clone(), Arc::clone(user))).collect();
        for (name, user) in users {
            let mut user = User::clone(&user);
            let mut grants = user.grants.as_deref().cloned().unwrap_or_default();
            grants.set(store, None);
            user.grants = Some(grants).filter(|grants| !grants.is_empty()).map(Arc::new);
            self.put_user(&name, user);
        }
    }

    /// The grants of a user of that role, with those wished for.
    fn granted(
        &self,
        has: Option<&Grants>,
        role: Role,
        wishes: &[GrantWish<'_>],
    ) -> Result<Option<Arc<Grants>>, Refusal> {
        let mut grants = has.cloned().unwrap_or_default();
        for (name, granted) in wishes {
            grants.set(self.store(name)?.keyspace, *granted);
        }
        let bad = |message: String| Err(Refusal::new(Status::BadUser, message));
        if grants.is_empty() {
            return Ok(None);
        }
        if role == Role::Admin {
            return bad(
                "an admin may do everything in every store: leave out the grants, or give \
                        another role"
                    .to_owned(),
            );
        }
        if grants.len() > MAX_GRANTS {
            return bad(format!(
                "a user has grants in {MAX_GRANTS} stores at most, not in {}: give a role that is \
                 right for most stores, and grants for the others",
                grants.len()
            ));
        }
        Ok(Some(Arc::new(grants)))
    }

    /// Refuses if nobody but `name` is an admin with a key that lasts, and they, as they
    /// are to become (`None`: gone), are none any more.
    pub(super) fn keep_an_admin(
        &self,
        name: &str,
        becomes: Option<&User>,
        what: &str,
    ) -> Result<(), Refusal> {
        let lasts = |user: &User| {
            user.role == Role::Admin && user.keys.iter().any(|key| key.expires.is_none())
        };
        let was = self.catalog.users.get(name).is_some_and(|user| lasts(user));
        let mut others = self.catalog.users.iter().filter(|(other, _)| *other != name);
        if !was || becomes.is_some_and(lasts) || others.any(|(_, user)| lasts(user)) {
            return Ok(());
        }
        let message = format!(
            "{} is the last admin whose key does not expire, and cannot be {what}: make another \
             user an admin first",
            shown(name)
        );
        Err(Refusal::new(Status::LastAdmin, message))
    }

    pub(super) fn user(&self, name: &str) -> Result<Arc<User>, Refusal> {
        self.catalog.users.get(name).cloned().ok_or_else(|| unknown_user(name))
    }

    /// The generation that this change will be.
    fn coming(&self) -> u64 {
        self.catalog.generation + 1
    }

    /// A key that this change gives to a user; `by` is the session that asks, 0 if it is
    /// none.
    pub(super) fn new_key(
        &self,
        name: &str,
        key: HashedKey,
        expires: Option<i64>,
        now_millis: i64,
        by: u64,
    ) -> UserKey {
        UserKey {
            name: name.to_owned(),
            id: key.id,
            hash: key.hash,
            created_at: now_millis,
            expires,
            since: self.coming(),
            by: Some(by).filter(|session| *session != 0),
        }
    }

    pub(super) fn put_user(&mut self, name: &str, user: User) {
        self.batch.put(CATALOG, &record::user_key(name), &record::encode_user(&user));
        self.catalog.users.insert(name.to_owned(), Arc::new(user));
    }
}

pub(crate) fn unknown_user(name: &str) -> Refusal {
    let name = shown(name);
    let message =
        format!("there is no user named {name}: check the name against the list of users");
    Refusal::new(Status::UnknownUser, message)
}
