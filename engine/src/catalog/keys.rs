//! The keys of users, in memory and in a change of the catalog being made.
//!
//! What must stay true: a user has at most [`MAX_KEYS`], each under a name; at most one
//! has no id, the one that was chosen and not made, and every key that is shown is
//! compared with one hash of theirs at most ([`User::key_for`]).

use platform::Clock;
use proto::Status;

use super::{Draft, User, UserKey, name};
use crate::Refusal;
use crate::auth::{HashedKey, KEY_ID};
use crate::error::shown;

/// Keys of one user at most.
pub(crate) const MAX_KEYS: usize = 8;
/// The name of the key that comes with a user, and of the one that takes the place of all
/// others.
pub(crate) const MAIN_KEY: &str = "main";

impl User {
    /// The key of theirs that a text may be: the one with the id that the text begins
    /// with, else the one that was chosen.
    pub(crate) fn key_for(&self, text: &str) -> Option<&UserKey> {
        let id = text.get(..KEY_ID);
        let named = self.keys.iter().find(|key| key.id.is_some() && key.id.as_deref() == id);
        named.or_else(|| self.keys.iter().find(|key| key.id.is_none()))
    }

    /// Refuses if there is no room for another key; those that have expired make room.
    pub(crate) fn check_room(&self, name: &str, now_millis: i64) -> Result<(), Refusal> {
        let over = |key: &UserKey| key.expires.is_some_and(|end| end <= now_millis);
        if self.keys.iter().filter(|key| !over(key)).count() < MAX_KEYS {
            return Ok(());
        }
        let message =
            format!("user {} has {MAX_KEYS} keys: revoke some that are not used", shown(name));
        Err(Refusal::new(Status::BadUser, message))
    }
}

impl UserKey {
    /// Whether it has expired.
    pub(crate) fn is_over(&self, clock: &dyn Clock) -> bool {
        self.expires.is_some_and(|end| crate::millis(clock.wall_micros()) >= end)
    }
}

impl Draft {
    /// Gives a user one more key. Those that have expired make room for it.
    pub(crate) fn create_key(
        &mut self,
        of: &str,
        key_name: &str,
        key: HashedKey,
        expires: Option<i64>,
        now_millis: i64,
    ) -> Result<(), Refusal> {
        name::check(key_name, "a key")?;
        let mut user = User::clone(&*self.user(of)?);
        user.keys.retain(|key| key.expires.is_none_or(|end| end > now_millis));
        if user.keys.iter().any(|key| key.name == key_name) {
            let message = format!(
                "user {} has a key named {} already: choose another name, or revoke it first",
                shown(of),
                shown(key_name)
            );
            return Err(Refusal::new(Status::UserKeyExists, message));
        }
        user.check_room(of, now_millis)?;
        let key = self.new_key(key_name, key, expires, now_millis, 0);
        let at = user.keys.partition_point(|other| *other.name < *key_name);
        user.keys.insert(at, key);
        self.put_user(of, user);
        Ok(())
    }

    /// Takes a key from a user; `false` if they have none of that name and that is fine.
    pub(crate) fn revoke_key(
        &mut self,
        of: &str,
        key_name: &str,
        if_exists: bool,
    ) -> Result<bool, Refusal> {
        let mut user = User::clone(&*self.user(of)?);
        let before = user.keys.len();
        user.keys.retain(|key| key.name != key_name);
        if user.keys.len() == before {
            if if_exists {
                return Ok(false);
            }
            let message = format!(
                "user {} has no key named {}: check the name against the list of users",
                shown(of),
                shown(key_name)
            );
            return Err(Refusal::new(Status::UnknownUserKey, message));
        }
        self.keep_an_admin(of, Some(&user), "left without one")?;
        self.put_user(of, user);
        Ok(true)
    }
}
