//! CreateUser, AlterUser, DropUser, ListUsers.
//!
//! What must stay true: no reply and no message has a key in it, but the reply that
//! gives out one that was made; none has a hash. A change is durable when it is
//! answered, in async mode too: who was shut out stays shut out, and their queries end
//! with it. So the caller is asked about once more in the change itself: hashing a key
//! takes long, and who was shut out meanwhile must not undo that.

use std::ops::Bound;

use proto::doc::{Doc, DocBuf, Value};
use proto::{Key, ReplyWriter, Status};
use serde_json::{Map, Value as Told};

use crate::audit::Deed;
use crate::auth::{Action, KeyWish, Principal};
use crate::catalog::{Catalog, GrantWish, MAX_STORES, User, UserChange, UserKey};
use crate::error::shown;
use crate::{Engine, Refusal, Role};

/// Grants that a line of the audit log names; a change of more has several lines.
const TOLD_GRANTS: usize = 32;

/// What a request says of a user.
#[derive(Default)]
struct Said<'a> {
    role: Option<Role>,
    grants: Vec<GrantWish<'a>>,
    key: Option<KeyWish<'a>>,
}

impl Said<'_> {
    /// For the audit log. Of a key only that there is one.
    fn tell(&self, deed: &Deed<'_>) {
        if let Some(role) = self.role {
            deed.tell("role", role.name());
        }
        if !self.grants.is_empty() {
            let grant = |(store, role): &GrantWish<'_>| {
                ((*store).to_owned(), Told::from(role.map(Role::name)))
            };
            let told = |grants: &[GrantWish<'_>]| {
                Told::Object(grants.iter().map(grant).collect::<Map<_, _>>())
            };
            let (first, rest) = self.grants.split_at(self.grants.len().min(TOLD_GRANTS));
            deed.tell("grants", told(first));
            if !rest.is_empty() {
                deed.tell("all_grants", self.grants.len());
            }
            // Of more than there can be stores none is granted.
            if self.grants.len() <= MAX_STORES {
                rest.chunks(TOLD_GRANTS).for_each(|part| deed.tell_besides("grants", told(part)));
            }
        }
        if self.key.is_some() {
            deed.tell("key", true);
        }
    }
}

impl Engine {
    /// Makes a user; with `if_not_exists` one of that role and those grants may be there.
    /// Answers `{name, created, key?}`, the key only if it was made here.
    pub(crate) fn create_user(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        name: &str,
        if_not_exists: bool,
        definition: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let wanted = "{role: \"read_only\", key: \"text\", grants: {store: \"read_write\"}}, the \
                      key and grants or none";
        let said = read(definition, wanted)?;
        let Some(role) = said.role else {
            let message = format!("which role is user {} to have? {}", shown(name), roles());
            return Err(bad(message));
        };
        said.tell(deed);
        let mut key = self.hashed(who, said.key.unwrap_or(KeyWish::Made))?;
        let made = key.made.take();
        let now = self.now_millis();
        let created = self.catalogs.change(&self.lsm, deed, |draft| {
            who.as_of(&draft.catalog, &*self.clock)?.check(Action::Users, "a new user")?;
            draft.create_user(name, role, &said.grants, key, if_not_exists, now)
        })?;
        self.sync()?;
        let mut reply = DocBuf::new();
        reply.push("name", name).push("created", created);
        if created {
            reply.extend(made.as_deref().map(|key| ("key", Value::String(key))));
        }
        Ok(super::finished(reply))
    }

    /// Gives a user another role, other grants, or a key in the place of all theirs.
    /// Answers `{name, key?}`, the key only if it was made here.
    pub(crate) fn alter_user(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        name: &str,
        change: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let wanted = "{role: \"read_only\", key: \"text\" or null, grants: {store: \"read_write\" \
                      or null}}, one or more";
        let said = read(change, wanted)?;
        let rights = said.role.is_some() || !said.grants.is_empty();
        let check = |who: &Principal| match rights || !who.is_user(name) {
            true => who.check(Action::Users, "a change of a role, of grants, or of another user,"),
            false => Ok(()),
        };
        check(who)?;
        if !rights && said.key.is_none() {
            return Err(bad("the change is empty: say role, grants or key".to_owned()));
        }
        said.tell(deed);
        let mut key = said.key.map(|wish| self.hashed(who, wish)).transpose()?;
        let made = key.as_mut().and_then(|key| key.made.take());
        let now = self.now_millis();
        self.catalogs.change(&self.lsm, deed, |draft| {
            let who = who.as_of(&draft.catalog, &*self.clock)?;
            check(&who)?;
            // It takes the place of all there are.
            if key.is_some()
                && let Some(user) = draft.catalog.users.get(name).filter(|_| who.is_user(name))
            {
                check_outlasts(&who, &draft.catalog, &user.keys)?;
            }
            let key = key.map(|key| (key, key_until(&who, &draft.catalog)));
            let grants = said.grants;
            let change = UserChange { role: said.role, grants, key, by: who.session() };
            draft.alter_user(name, change, now)
        })?;
        self.sync()?;
        self.end_what_is_over(name);
        let mut reply = DocBuf::new();
        reply.push("name", name);
        reply.extend(made.as_deref().map(|key| ("key", Value::String(key))));
        Ok(super::finished(reply))
    }

    /// Removes a user; with `if_exists` it need not be there.
    pub(crate) fn drop_user(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        name: &str,
        if_exists: bool,
    ) -> Result<(), Refusal> {
        self.catalogs.change(&self.lsm, deed, |draft| {
            who.as_of(&draft.catalog, &*self.clock)?.check(Action::Users, "to drop a user")?;
            draft.drop_user(name, if_exists)
        })?;
        // If it was gone already, that may not be durable yet.
        self.sync()?;
        self.end_what_is_over(name);
        Ok(())
    }

    /// Ends the queries that a user, as they are now, could not go on with.
    pub(crate) fn end_what_is_over(&self, name: &str) {
        let catalog = self.catalogs.read();
        self.queries.end_where(|who, stores| {
            who.is_user(name)
                && match who.as_of(&catalog, &*self.clock) {
                    Ok(who) => stores.iter().any(|store| !who.may_see(*store)),
                    Err(_) => true,
                }
        });
    }

    /// Answers with a row `{name, role, created_at, grants?: {store: role}, keys: [{name,
    /// created_at, expires?, id?}]}` for each user behind that name, as many as fit the
    /// reply: the largest there can be fits every one.
    pub(crate) fn list_users(&self, after: Option<&str>, reply: ReplyWriter<'_>) {
        let catalog = self.catalogs.read();
        let mut rows = reply.rows(false);
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (name, user) in catalog.users.range::<str, _>((behind, Bound::Unbounded)) {
            let doc = described(name, user, &catalog);
            if rows.bytes() + doc.len() > self.limits.max_message_size {
                // Behind which one is said by the last row: a name is no key.
                return rows.finish(Some(Key::MIN));
            }
            rows.push(Key::MIN, &doc);
        }
        rows.finish(None);
    }
}

fn described(name: &str, user: &User, catalog: &Catalog) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("name", name).push("role", user.role.name());
    doc.push("created_at", Value::DateTime(user.created_at));
    if let Some(grants) = &user.grants {
        doc.doc("grants", |doc| {
            for (name, store) in &catalog.stores {
                if let Some(role) = grants.get(store.keyspace) {
                    doc.push(name, role.name());
                }
            }
        });
    }
    doc.array("keys", |list| {
        for key in &user.keys {
            list.item_doc(|doc| {
                doc.push("name", &key.name);
                doc.push("created_at", Value::DateTime(key.created_at));
                doc.extend(key.expires.map(|end| ("expires", Value::DateTime(end))));
                doc.extend(key.id.as_deref().map(|id| ("id", Value::String(id))));
            });
        }
    });
    super::finished(doc)
}

/// Refuses what would take a key from a user, if somebody does that to themselves who came
/// by a key that expires before it: who has found a key for a day must not shut its owner
/// out. An admin decides that for everybody.
pub(super) fn check_outlasts<'k>(
    who: &Principal,
    catalog: &Catalog,
    goes: impl IntoIterator<Item = &'k UserKey>,
) -> Result<(), Refusal> {
    let theirs = who.key_in(catalog).filter(|_| who.role() != Role::Admin);
    let Some((came_by, end)) = theirs.and_then(|key| Some((key, key.expires?))) else {
        return Ok(());
    };
    let outlasts = |key: &&UserKey| key.expires.is_none_or(|other| other > end);
    let Some(longer) = goes.into_iter().find(outlasts) else { return Ok(()) };
    let message = format!(
        "this session came by the key {}, which expires before the key {} does, and cannot take that \
         away: come by a key that lasts as long, or ask an admin",
        shown(&came_by.name),
        shown(&longer.name)
    );
    Err(Refusal::new(Status::Forbidden, message))
}

/// When a key that somebody gives to themselves expires at the latest: when their own
/// does, so that one that was meant for a while does not last by another.
pub(super) fn key_until(who: &Principal, catalog: &Catalog) -> Option<i64> {
    let theirs = who.key_in(catalog).filter(|_| who.role() != Role::Admin);
    theirs.and_then(|key| key.expires)
}

/// Reads `{role?, key?, grants?}`. Of what is wrong with a key its type is told, no more.
fn read<'a>(bytes: &'a [u8], wanted: &str) -> Result<Said<'a>, Refusal> {
    let doc = Doc::parse(bytes).map_err(|e| bad(format!("the user: {e}")))?;
    let mut said = Said::default();
    for (name, value) in doc {
        match (name, value) {
            ("role", Value::String(role)) => said.role = Some(role_of(role)?),
            ("key", Value::Null) => said.key = Some(KeyWish::Made),
            ("key", Value::String(key)) => said.key = Some(KeyWish::Given(key)),
            ("grants", Value::Doc(grants)) => {
                for (store, role) in grants {
                    said.grants.push((store, read_grant(store, role)?));
                }
            }
            _ => {
                let (name, kind) = (shown(name), value.type_name());
                return Err(bad(format!("a user is {wanted}; not {name} of type {kind}")));
            }
        }
    }
    Ok(said)
}

fn read_grant(store: &str, role: Value<'_>) -> Result<Option<Role>, Refusal> {
    let role = match role {
        Value::Null => return Ok(None),
        Value::String(role) => role_of(role)?,
        other => {
            return Err(bad(format!(
                "the grant for store {} is a role or null, not {}",
                shown(store),
                other.type_name()
            )));
        }
    };
    if matches!(role, Role::Admin | Role::Replica) {
        let message = format!(
            "nobody can be {} of store {} alone: grant none, read_only or read_write",
            role.name(),
            shown(store)
        );
        return Err(bad(message));
    }
    Ok(Some(role))
}

fn role_of(name: &str) -> Result<Role, Refusal> {
    let unknown = || bad(format!("there is no role {}: {}", shown(name), roles()));
    Role::from_name(name).ok_or_else(unknown)
}

fn roles() -> String {
    let names = Role::ALL.map(Role::name).join(", ");
    format!("say one of {names}")
}

pub(super) fn bad(message: String) -> Refusal {
    Refusal::new(Status::BadUser, message)
}
