//! CreateUser, AlterUser, DropUser, ListUsers.
//!
//! What must stay true: no reply and no message has a key in it, but the reply that
//! gives out one that was made; none has a hash. A change is durable when it is
//! answered, in async mode too: who was shut out stays shut out. So the caller is asked
//! about once more in the change itself: hashing a key takes long, and who was shut out
//! meanwhile must not undo that.

use proto::doc::{Doc, DocBuf, Value};
use proto::{Key, ReplyWriter, Status};

use crate::auth::{Action, KeyWish, Principal};
use crate::catalog::UserChange;
use crate::error::shown;
use crate::{Engine, Refusal, Role};

/// What a request says of a user.
struct Said<'a> {
    role: Option<Role>,
    key: Option<KeyWish<'a>>,
}

impl Engine {
    /// Makes a user; with `if_not_exists` one of that role may be there. Answers `{name,
    /// created, key?}`, the key only if it was made here.
    pub(crate) fn create_user(
        &self,
        who: &Principal,
        name: &str,
        if_not_exists: bool,
        definition: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let said = read(definition, "{role: \"read_only\", key: \"text\"}, the key or none")?;
        let Some(role) = said.role else {
            let message = format!("which role is user {} to have? {}", shown(name), roles());
            return Err(bad(message));
        };
        let (key_hash, made) = self.hashed(said.key.unwrap_or(KeyWish::Made))?;
        let now = self.now_millis();
        let created = self.catalogs.change(&self.lsm, |draft| {
            who.as_of(&draft.catalog)?.check(Action::Users, "a new user")?;
            draft.create_user(name, role, &key_hash, if_not_exists, now)
        })?;
        self.sync()?;
        let mut reply = DocBuf::new();
        reply.push("name", name).push("created", created);
        if created {
            reply.extend(made.as_deref().map(|key| ("key", Value::String(key))));
        }
        Ok(super::finished(reply))
    }

    /// Gives a user another role or key. Answers `{name, key?}`, the key only if it was
    /// made here.
    pub(crate) fn alter_user(
        &self,
        who: &Principal,
        name: &str,
        change: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let said = read(change, "{role: \"read_only\", key: \"text\" or null}, one or both")?;
        let check = |who: &Principal| match said.role.is_some() || !who.is_user(name) {
            true => who.check(Action::Users, "a change of a role, or of another user,"),
            false => Ok(()),
        };
        check(who)?;
        if said.role.is_none() && said.key.is_none() {
            return Err(bad("the change is empty: say role or key".to_owned()));
        }
        let (key_hash, made) = match said.key.map(|wish| self.hashed(wish)).transpose()? {
            Some((hash, made)) => (Some(hash), made),
            None => (None, None),
        };
        let change = UserChange { role: said.role, key_hash, by: who.session() };
        self.catalogs.change(&self.lsm, |draft| {
            who.as_of(&draft.catalog).and_then(|who| check(&who))?;
            draft.alter_user(name, change)
        })?;
        self.sync()?;
        let mut reply = DocBuf::new();
        reply.push("name", name);
        reply.extend(made.as_deref().map(|key| ("key", Value::String(key))));
        Ok(super::finished(reply))
    }

    /// Removes a user; with `if_exists` it need not be there.
    pub(crate) fn drop_user(
        &self,
        who: &Principal,
        name: &str,
        if_exists: bool,
    ) -> Result<(), Refusal> {
        self.catalogs.change(&self.lsm, |draft| {
            who.as_of(&draft.catalog)?.check(Action::Users, "to drop a user")?;
            draft.drop_user(name, if_exists)
        })?;
        // If it was gone already, that may not be durable yet.
        self.sync()?;
        Ok(())
    }

    /// Answers with a row `{name, role, created_at}` for each user.
    pub(crate) fn list_users(&self, reply: ReplyWriter<'_>) -> Result<(), Refusal> {
        let catalog = self.catalogs.read();
        let mut rows = reply.rows(false);
        for (name, user) in &catalog.users {
            let mut doc = DocBuf::new();
            doc.push("name", name).push("role", user.role.name());
            doc.push("created_at", Value::DateTime(user.created_at));
            let doc = super::finished(doc);
            super::list::fits(&rows, &doc, &self.limits)?;
            rows.push(Key::MIN, &doc);
        }
        rows.finish(None);
        Ok(())
    }
}

/// Reads `{role?, key?}`. Of what is wrong with a key its type is told, no more.
fn read<'a>(bytes: &'a [u8], wanted: &str) -> Result<Said<'a>, Refusal> {
    let doc = Doc::parse(bytes).map_err(|e| bad(format!("the user: {e}")))?;
    let mut said = Said { role: None, key: None };
    for (name, value) in doc {
        match (name, value) {
            ("role", Value::String(role)) => {
                let known = Role::from_name(role);
                let unknown = || bad(format!("there is no role {}: {}", shown(role), roles()));
                said.role = Some(known.ok_or_else(unknown)?);
            }
            ("key", Value::Null) => said.key = Some(KeyWish::Made),
            ("key", Value::String(key)) => said.key = Some(KeyWish::Given(key)),
            _ => {
                let (name, kind) = (shown(name), value.type_name());
                return Err(bad(format!("a user is {wanted}; not {name} of type {kind}")));
            }
        }
    }
    Ok(said)
}

fn roles() -> String {
    let names = Role::ALL.map(Role::name).join(", ");
    format!("say one of {names}")
}

fn bad(message: String) -> Refusal {
    Refusal::new(Status::BadUser, message)
}
