//! The stores and users, in memory as in keyspace 0.
//!
//! What must stay true:
//! * every change is one commit like any other, and in memory only after it;
//! * a keyspace number is never given twice: the next one is stored with it;
//! * who reads or writes documents finds the store that its snapshot has, not
//!   the one of a moment before or after. [`Catalogs::resolve`] sees to that: a
//!   change counts `generation` up *before* it commits, so whoever's snapshot
//!   has the change also sees that the catalog it loaded earlier is older, and
//!   looks the name up in the snapshot itself.

mod name;
mod record;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use arc_swap::ArcSwap;
use lsm::{Batch, Direction, KeyspaceId, Lsm, Snapshot};
use parking_lot::Mutex;
use proto::Status;

use crate::auth::Role;
use crate::error::shown;
use crate::{OpenError, Refusal};
use record::Name;

/// Where the catalog itself lies.
const CATALOG: KeyspaceId = KeyspaceId(0);
/// Those below are kept for the engine.
pub(crate) const FIRST_STORE: u32 = 16;
/// Each store has memtables of its own: their number is bounded.
pub(crate) const MAX_STORES: usize = 4096;

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    pub(crate) keyspace: KeyspaceId,
    /// Milliseconds since 1970.
    pub(crate) created_at: i64,
}

/// A user. The key itself is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) role: Role,
    /// A PHC string of argon2id.
    pub(crate) key_hash: String,
    /// Milliseconds since 1970.
    pub(crate) created_at: i64,
}

/// All of it, as of one generation.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    pub(crate) stores: BTreeMap<String, Store>,
    pub(crate) users: BTreeMap<String, User>,
    next_keyspace: u32,
    generation: u64,
}

/// The catalog in use, and the way to another.
pub(crate) struct Catalogs {
    current: ArcSwap<Catalog>,
    generation: AtomicU64,
    /// One change at a time. Taken before the commit lock.
    changing: Mutex<()>,
}

/// A change being made: the catalog as it will be, and the batch that says so.
pub(crate) struct Draft {
    catalog: Catalog,
    batch: Batch,
}

impl Catalogs {
    /// Reads the catalog of a store that was just opened.
    pub(crate) fn load(lsm: &Lsm) -> Result<Self, OpenError> {
        let mut catalog = Catalog {
            stores: BTreeMap::new(),
            users: BTreeMap::new(),
            next_keyspace: FIRST_STORE,
            generation: 0,
        };
        let snapshot = lsm.snapshot()?;
        let all = Bound::Unbounded;
        let mut cursor = snapshot.range(CATALOG, all, all, Direction::Forward)?;
        let mut headless = true;
        while let Some((key, bytes)) = cursor.next()? {
            let damaged = || OpenError::Catalog(format!("its record {}", key.escape_ascii()));
            match record::name_of(key).ok_or_else(damaged)? {
                Name::Head => {
                    let (format, next) = record::decode_head(bytes).ok_or_else(damaged)?;
                    if format > record::FORMAT {
                        let known = record::FORMAT;
                        return Err(OpenError::NewerCatalog { found: format, known });
                    }
                    catalog.next_keyspace = next;
                    headless = false;
                }
                Name::Store(name) => {
                    let store = record::decode_store(bytes).ok_or_else(damaged)?;
                    catalog.stores.insert(name.to_owned(), store);
                }
                Name::User(name) => {
                    let user = record::decode_user(bytes).ok_or_else(damaged)?;
                    catalog.users.insert(name.to_owned(), user);
                }
            }
        }
        let last = catalog.stores.values().map(|store| store.keyspace.0).max();
        let full = !catalog.stores.is_empty() || !catalog.users.is_empty();
        if (headless && full) || last.is_some_and(|last| last >= catalog.next_keyspace) {
            let what = "the number of the next store is missing or too low".to_owned();
            return Err(OpenError::Catalog(what));
        }
        Ok(Catalogs {
            current: ArcSwap::from_pointee(catalog),
            generation: AtomicU64::new(0),
            changing: Mutex::new(()),
        })
    }

    /// The catalog as it is now.
    pub(crate) fn read(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// The store of that name in `snapshot`, which was taken after `catalog` was
    /// read.
    pub(crate) fn resolve(
        &self,
        catalog: &Catalog,
        snapshot: &Snapshot,
        name: &str,
    ) -> Result<KeyspaceId, Refusal> {
        let store = if self.generation.load(SeqCst) == catalog.generation {
            catalog.stores.get(name).copied()
        } else {
            find(snapshot, name)?
        };
        store.map(|store| store.keyspace).ok_or_else(|| unknown_store(name))
    }

    /// Makes a change: whole, in one commit, or not at all.
    pub(crate) fn change<T>(
        &self,
        lsm: &Lsm,
        f: impl FnOnce(&mut Draft) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let _one = self.changing.lock();
        let current = self.read();
        let mut draft = Draft { catalog: Catalog::clone(&current), batch: Batch::new() };
        let out = f(&mut draft)?;
        if draft.batch.is_empty() {
            return Ok(out);
        }
        let next = draft.catalog.next_keyspace;
        draft.batch.put(CATALOG, &record::head_key(), &record::encode_head(next));
        let generation = self.generation.fetch_add(1, SeqCst) + 1;
        let committed = lsm.commit(&draft.batch);
        // A failed change leaves the catalog as it was, under its new number.
        let mut catalog = match committed {
            Ok(_) => draft.catalog,
            Err(_) => Catalog::clone(&current),
        };
        catalog.generation = generation;
        self.current.store(Arc::new(catalog));
        committed?;
        Ok(out)
    }
}

/// A store by the records in a snapshot.
fn find(snapshot: &Snapshot, name: &str) -> Result<Option<Store>, Refusal> {
    if name.len() > name::MAX_NAME {
        return Ok(None);
    }
    let Some(bytes) = snapshot.get(CATALOG, &record::store_key(name))? else { return Ok(None) };
    let damaged = || {
        let message = format!(
            "the catalog's record of store {} cannot be read; stop planck and put \
             back a copy of the data directory",
            shown(name)
        );
        Refusal::new(Status::Corrupt, message)
    };
    record::decode_store(&bytes).map(Some).ok_or_else(damaged)
}

fn unknown_store(name: &str) -> Refusal {
    let message = format!(
        "there is no store named {}: check the name against the list of stores, or create it \
         first",
        shown(name)
    );
    Refusal::new(Status::UnknownStore, message)
}

impl Draft {
    /// Adds a store; `false` if there is one and that is fine.
    pub(crate) fn create_store(
        &mut self,
        name: &str,
        if_not_exists: bool,
        now_millis: i64,
    ) -> Result<bool, Refusal> {
        name::check(name)?;
        if self.catalog.stores.contains_key(name) {
            if if_not_exists {
                return Ok(false);
            }
            let message = format!(
                "there is a store named {} already: choose another name, or say if_not_exists",
                shown(name)
            );
            return Err(Refusal::new(Status::StoreExists, message));
        }
        let number = self.catalog.next_keyspace;
        if self.catalog.stores.len() >= MAX_STORES || number >= lsm::MAX_KEYSPACE {
            let message = format!(
                "there are {} stores, and {number} were made so far: no more fit; drop some, or \
                 use one store with a field that tells kinds apart",
                self.catalog.stores.len()
            );
            return Err(Refusal::new(Status::Busy, message));
        }
        let store = Store { keyspace: KeyspaceId(number), created_at: now_millis };
        self.catalog.next_keyspace += 1;
        self.batch.put(CATALOG, &record::store_key(name), &record::encode_store(&store));
        self.catalog.stores.insert(name.to_owned(), store);
        Ok(true)
    }

    /// Removes a store and all that is in it; `false` if there is none and that
    /// is fine.
    pub(crate) fn drop_store(&mut self, name: &str, if_exists: bool) -> Result<bool, Refusal> {
        let Some(store) = self.catalog.stores.remove(name) else {
            return if if_exists { Ok(false) } else { Err(unknown_store(name)) };
        };
        self.batch.delete(CATALOG, &record::store_key(name));
        self.batch.drop_keyspace(store.keyspace);
        Ok(true)
    }

    /// Whether there is any user.
    pub(crate) fn has_users(&self) -> bool {
        !self.catalog.users.is_empty()
    }

    /// Adds a user, or replaces the one of that name.
    pub(crate) fn put_user(&mut self, name: &str, user: User) {
        self.batch.put(CATALOG, &record::user_key(name), &record::encode_user(&user));
        self.catalog.users.insert(name.to_owned(), user);
    }
}
