//! CreateKey and RevokeKey: several keys of one user, so that one can be changed for
//! another without a moment in which none is good.
//!
//! What must stay true: as of users (`users.rs`). Everybody may make keys for themselves
//! and take them away, but none that outlasts the one they came with: neither make one nor
//! take one away. An admin decides that for everybody, so for themselves too.

use proto::Status;
use proto::doc::{Doc, DocBuf, Value};

use super::users::{bad, check_outlasts, key_until};
use crate::audit::Deed;
use crate::auth::{Action, KeyWish, Principal};
use crate::catalog::unknown_user;
use crate::error::shown;
use crate::{Engine, Refusal};

impl Engine {
    /// Makes a user one more key, `{name, expires?: datetime}`. Answers `{user, name, key,
    /// expires?}`.
    pub(crate) fn create_key(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        user: &str,
        definition: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let check = |who: &Principal| match who.is_user(user) {
            true => Ok(()),
            false => who.check(Action::Users, "a key for another user"),
        };
        check(who)?;
        let (name, expires) = read(definition)?;
        let now = self.now_millis();
        if expires.is_some_and(|end| end <= now) {
            return Err(bad("the key would have expired already: say a later date".to_owned()));
        }
        deed.tell_text("key", name);
        // Before a hash is computed for it, and again in the change.
        let catalog = self.catalogs.read();
        let known = catalog.users.get(user).ok_or_else(|| unknown_user(user))?;
        known.check_room(user, now)?;
        let mut key = self.hashed(who, KeyWish::Made)?;
        let made = key.made.take().unwrap_or_default();
        let mut ends = None;
        self.catalogs.change(&self.lsm, deed, |draft| {
            let who = who.as_of(&draft.catalog, &*self.clock)?;
            check(&who)?;
            let latest = key_until(&who, &draft.catalog).filter(|_| who.is_user(user));
            ends = [expires, latest].into_iter().flatten().min();
            deed.tell("expires", ends.and_then(proto::json::date_time_to_text));
            draft.create_key(user, name, key, ends, now)
        })?;
        self.sync()?;
        let mut reply = DocBuf::new();
        reply.push("user", user).push("name", name).push("key", made.as_str());
        reply.extend(ends.map(|end| ("expires", Value::DateTime(end))));
        Ok(super::finished(reply))
    }

    /// Takes a key from a user; with `if_exists` they need not have it. The sessions that
    /// it opened end.
    pub(crate) fn revoke_key(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        user: &str,
        key: &str,
        if_exists: bool,
    ) -> Result<(), Refusal> {
        let check = |who: &Principal| match who.is_user(user) {
            true => Ok(()),
            false => who.check(Action::Users, "to revoke a key of another user"),
        };
        check(who)?;
        self.catalogs.change(&self.lsm, deed, |draft| {
            let who = who.as_of(&draft.catalog, &*self.clock)?;
            check(&who)?;
            if let Some(of) = draft.catalog.users.get(user).filter(|_| who.is_user(user)) {
                let goes = of.keys.iter().filter(|other| other.name == key);
                check_outlasts(&who, &draft.catalog, goes)?;
            }
            // Only now: what is typed as the name of a key may be a key.
            if draft.revoke_key(user, key, if_exists)? {
                deed.tell_text("key", key);
            }
            Ok(())
        })?;
        // If it was gone already, that may not be durable yet.
        self.sync()?;
        self.end_what_is_over(user);
        Ok(())
    }
}

/// Reads `{name, expires?}`.
fn read(bytes: &[u8]) -> Result<(&str, Option<i64>), Refusal> {
    let doc = Doc::parse(bytes).map_err(|e| bad(format!("the key: {e}")))?;
    let (mut name, mut expires) = (None, None);
    for (field, value) in doc {
        match (field, value) {
            ("name", Value::String(text)) => name = Some(text),
            ("expires", Value::DateTime(millis)) => expires = Some(millis),
            ("expires", Value::Null) => expires = None,
            _ => {
                let (field, kind) = (shown(field), value.type_name());
                let message = format!(
                    "a key is {{name: \"ci\", expires: a date}}, the date or none; not {field} of \
                     type {kind}"
                );
                return Err(bad(message));
            }
        }
    }
    let none = || Refusal::new(Status::BadUser, "what is the key to be called? say name");
    Ok((name.ok_or_else(none)?, expires))
}
