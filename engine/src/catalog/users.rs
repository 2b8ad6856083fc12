//! Users in a change of the catalog being made.
//!
//! What must stay true: once there is an admin there always is one; a user that is
//! dropped and made again is another, and so is nobody's session any more.

use proto::Status;

use super::{CATALOG, Draft, User, name, record};
use crate::error::shown;
use crate::{Refusal, Role};

/// Users at most: all are in memory.
pub(crate) const MAX_USERS: usize = 4096;

/// What is to be changed of a user.
pub(crate) struct UserChange {
    pub(crate) role: Option<Role>,
    pub(crate) key_hash: Option<String>,
    /// The session that asks; 0 if it is none.
    pub(crate) by: u64,
}

impl Draft {
    /// Whether there is any user.
    pub(crate) fn has_users(&self) -> bool {
        !self.catalog.users.is_empty()
    }

    /// Adds a user; `false` if there is one of that role and that is fine: its key stays.
    pub(crate) fn create_user(
        &mut self,
        name: &str,
        role: Role,
        key_hash: &str,
        if_not_exists: bool,
        now_millis: i64,
    ) -> Result<bool, Refusal> {
        name::check(name, "a user")?;
        if let Some(user) = self.catalog.users.get(name) {
            if if_not_exists && user.role == role {
                return Ok(false);
            }
            let message = format!(
                "there is a user named {} already, whose role is {}: choose another name{}",
                shown(name),
                user.role.name(),
                if if_not_exists {
                    ", or give that one another role"
                } else {
                    ", or say if_not_exists"
                }
            );
            return Err(Refusal::new(Status::UserExists, message));
        }
        if self.catalog.users.len() >= MAX_USERS {
            let message = format!("there are {MAX_USERS} users: drop some");
            return Err(Refusal::new(Status::Busy, message));
        }
        let user = User {
            role,
            key_hash: key_hash.to_owned(),
            created_at: now_millis,
            key_since: self.coming(),
            key_by: None,
        };
        self.put_user(name, user);
        Ok(true)
    }

    /// Gives a user another role, another key, or both.
    pub(crate) fn alter_user(&mut self, name: &str, change: UserChange) -> Result<(), Refusal> {
        let Some(mut user) = self.catalog.users.get(name).cloned() else {
            return Err(unknown_user(name));
        };
        if let Some(role) = change.role {
            if role != Role::Admin {
                self.keep_an_admin(name, "given another role")?;
            }
            user.role = role;
        }
        if let Some(key_hash) = change.key_hash {
            user.key_hash = key_hash;
            user.key_since = self.coming();
            user.key_by = Some(change.by).filter(|session| *session != 0);
        }
        if self.catalog.users.get(name) != Some(&user) {
            self.put_user(name, user);
        }
        Ok(())
    }

    /// Removes a user; `false` if there is none and that is fine.
    pub(crate) fn drop_user(&mut self, name: &str, if_exists: bool) -> Result<bool, Refusal> {
        if !self.catalog.users.contains_key(name) {
            return if if_exists { Ok(false) } else { Err(unknown_user(name)) };
        }
        self.keep_an_admin(name, "dropped")?;
        self.catalog.users.remove(name);
        self.batch.delete(CATALOG, &record::user_key(name));
        Ok(true)
    }

    /// Refuses if nobody but `name` is an admin.
    fn keep_an_admin(&self, name: &str, what: &str) -> Result<(), Refusal> {
        let admin = |(_, user): &(&String, &User)| user.role == Role::Admin;
        let mut admins = self.catalog.users.iter().filter(admin).map(|(name, _)| name.as_str());
        if admins.next() != Some(name) || admins.next().is_some() {
            return Ok(());
        }
        let message = format!(
            "{} is the last admin and cannot be {what}: make another user an admin first",
            shown(name)
        );
        Err(Refusal::new(Status::LastAdmin, message))
    }

    /// The generation that this change will be.
    fn coming(&self) -> u64 {
        self.catalog.generation + 1
    }

    fn put_user(&mut self, name: &str, user: User) {
        self.batch.put(CATALOG, &record::user_key(name), &record::encode_user(&user));
        self.catalog.users.insert(name.to_owned(), user);
    }
}

fn unknown_user(name: &str) -> Refusal {
    let name = shown(name);
    let message =
        format!("there is no user named {name}: check the name against the list of users");
    Refusal::new(Status::UnknownUser, message)
}
