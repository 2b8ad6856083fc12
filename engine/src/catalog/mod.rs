//! The stores, indexes, users and sequences, in memory as in keyspace 0.
//!
//! What must stay true:
//! * every change is one commit like any other, and in memory only after it;
//! * a keyspace number is never given twice: the next one is stored with it;
//! * who reads or writes documents finds the store that its snapshot has, not
//!   the one of a moment before or after. [`Catalogs::resolve`] sees to that: a
//!   change counts `generation` up *before* it commits, so whoever's snapshot
//!   has the change also sees that the catalog it loaded earlier is older, and
//!   looks the name up in the snapshot itself.

mod draft;
mod keys;
mod name;
mod record;
mod schema;
mod users;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use arc_swap::ArcSwap;
use lsm::{Batch, Direction, KeyspaceId, Lsm, Snapshot};
use parking_lot::Mutex;
use platform::advice::RESTORE;
use proto::Status;

use crate::audit::Deed;
use crate::auth::{Grants, Role, Wanted};
use crate::error::shown;
use crate::index::Index;
use crate::pql::did_you_mean;
use crate::{Engine, OpenError, Refusal};
#[cfg(test)]
pub(crate) use draft::MAX_SEQUENCES;
pub(crate) use draft::{TTL_INDEX, unknown_index, unknown_sequence};
use keys::MAIN_KEY;
#[cfg(test)]
pub(crate) use keys::MAX_KEYS;
pub(crate) use name::MAX_NAME;
use record::Name;
pub(crate) use schema::Schema;
pub(crate) use users::{GrantWish, UserChange, unknown_user};

/// Where the catalog itself lies.
pub(crate) const CATALOG: KeyspaceId = KeyspaceId(0);
/// The counters of sequences.
pub(crate) const COUNTERS: KeyspaceId = KeyspaceId(1);
/// Those below are kept for the engine.
pub(crate) const FIRST_STORE: u32 = 16;
/// Each store has memtables of its own: their number is bounded.
pub(crate) const MAX_STORES: usize = 4096;

/// A store. Never changed, only replaced.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) keyspace: KeyspaceId,
    /// Milliseconds since 1970.
    pub(crate) created_at: i64,
    /// What its documents must look like.
    pub(crate) schema: Option<Arc<Schema>>,
    /// When its documents expire.
    pub(crate) ttl: Option<Ttl>,
    /// Whether what a write replaces or removes goes to the log with it, for who watches.
    pub(crate) before_images: bool,
    /// By name.
    pub(crate) indexes: Vec<Arc<Index>>,
}

/// Documents expire so many seconds after the date in a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ttl {
    pub(crate) field: String,
    pub(crate) seconds: i64,
}

/// Numbers that are given out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// The key of its counter, big-endian, in [`COUNTERS`]. Given once, as numbers of
    /// keyspaces are: who still counts a dropped one disturbs no other.
    pub(crate) id: u32,
    /// Milliseconds since 1970.
    pub(crate) created_at: i64,
}

impl Store {
    /// The index of that name.
    pub(crate) fn index(&self, name: &str) -> Option<&Arc<Index>> {
        let at = self.indexes.binary_search_by(|index| index.name.as_str().cmp(name)).ok()?;
        Some(&self.indexes[at])
    }

    /// Whether a write of a document changes more than the document.
    pub(crate) fn is_indexed(&self) -> bool {
        self.indexes.iter().any(|index| index.is_kept())
    }

    /// Exactly how many documents it has, with every commit so far.
    pub(crate) fn documents_now(&self, engine: &Engine) -> u64 {
        engine.lsm.count(self.keyspace)
    }
}

/// A user. Never changed, only replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) role: Role,
    /// What they may do in single stores; `None`: no other than in all.
    pub(crate) grants: Option<Arc<Grants>>,
    /// By name.
    pub(crate) keys: Vec<UserKey>,
    /// Milliseconds since 1970.
    pub(crate) created_at: i64,
    /// The generation that made them; 0 if that was before this start, as no session was.
    /// Not stored.
    pub(crate) born: u64,
}

/// A key of a user. The key itself is nowhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UserKey {
    pub(crate) name: String,
    /// What the key begins with, if it was made; `None`: it was chosen.
    pub(crate) id: Option<String>,
    /// A PHC string of argon2id.
    pub(crate) hash: String,
    /// Milliseconds since 1970.
    pub(crate) created_at: i64,
    /// From when on it is none any more, in milliseconds since 1970.
    pub(crate) expires: Option<i64>,
    /// The generation that gave it to them; 0 if that was before this start. Not stored.
    pub(crate) since: u64,
    /// The session of theirs that goes on by it, since it put it in the place of its own.
    /// Not stored.
    pub(crate) by: Option<u64>,
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the hash: whatever is shown may be logged.
        f.debug_struct("UserKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All of it, as of one generation.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    pub(crate) stores: BTreeMap<String, Arc<Store>>,
    pub(crate) users: BTreeMap<String, Arc<User>>,
    pub(crate) sequences: BTreeMap<String, Sequence>,
    next_keyspace: u32,
    generation: u64,
}

impl Catalog {
    /// The one that is stored.
    fn stored(lsm: &Lsm) -> Result<Catalog, OpenError> {
        let mut catalog = Catalog {
            stores: BTreeMap::new(),
            users: BTreeMap::new(),
            sequences: BTreeMap::new(),
            next_keyspace: FIRST_STORE,
            generation: 0,
        };
        let snapshot = lsm.snapshot()?;
        let all = Bound::Unbounded;
        let mut cursor = snapshot.range(CATALOG, all, all, Direction::Forward)?;
        let (mut headless, mut last) = (true, 0);
        let mut stores: BTreeMap<u32, (String, Store)> = BTreeMap::new();
        while let Some((key, bytes)) = cursor.next()? {
            let damaged = || OpenError::Catalog(format!("its record {}", key.escape_ascii()));
            match record::name_of(key).ok_or_else(damaged)? {
                Name::Head => {
                    let (format, next) = record::decode_head(bytes).ok_or_else(damaged)?;
                    let known = record::FORMAT;
                    if format != known {
                        return Err(match format > known {
                            true => OpenError::NewerCatalog { found: format, known },
                            false => OpenError::OlderCatalog { found: format, known },
                        });
                    }
                    catalog.next_keyspace = next;
                    headless = false;
                }
                Name::Store(name) => {
                    let mut store = record::decode_store(bytes).ok_or_else(damaged)?;
                    store.schema = record::decode_schema(bytes).map_err(OpenError::Catalog)?;
                    last = last.max(store.keyspace.0);
                    stores.insert(store.keyspace.0, (name.to_owned(), store));
                }
                Name::Index(keyspace, name) => {
                    let index = record::decode_index(name, bytes).map_err(OpenError::Catalog)?;
                    last = last.max(index.arrays().0);
                    // In key order: behind all stores, and by name.
                    let (_, store) = stores.get_mut(&keyspace).ok_or_else(damaged)?;
                    store.indexes.push(Arc::new(index));
                }
                Name::Sequence(name) => {
                    let sequence = record::decode_sequence(bytes).ok_or_else(damaged)?;
                    last = last.max(sequence.id);
                    catalog.sequences.insert(name.to_owned(), sequence);
                }
                Name::User(name) => {
                    let user = record::decode_user(bytes).ok_or_else(damaged)?;
                    // In key order: behind all stores. What goes takes its grants along.
                    let granted = user.grants.iter().flat_map(|grants| grants.iter());
                    if granted.into_iter().any(|(store, _)| !stores.contains_key(&store.0)) {
                        return Err(damaged());
                    }
                    catalog.users.insert(name.to_owned(), Arc::new(user));
                }
            }
        }
        let full = last > 0 || !catalog.users.is_empty();
        let named = stores.into_values().map(|(name, store)| (name, Arc::new(store)));
        catalog.stores = named.collect();
        if (headless && full) || last >= catalog.next_keyspace {
            let what = "the number of the next store is missing or too low".to_owned();
            return Err(OpenError::Catalog(what));
        }
        Ok(catalog)
    }

    /// Takes over from the one before what is not stored: who of its users and keys are
    /// the same goes on with their sessions, the others are of this generation.
    fn goes_on(&mut self, before: &Catalog, generation: u64) {
        for (name, user) in &mut self.users {
            let was = before.users.get(name).filter(|was| was.created_at == user.created_at);
            let mut now = User::clone(user);
            now.born = was.map_or(generation, |was| was.born);
            for key in &mut now.keys {
                let same = |was: &&UserKey| {
                    (&was.name, &was.hash, was.created_at) == (&key.name, &key.hash, key.created_at)
                };
                let was = was.and_then(|was| was.keys.iter().find(same));
                (key.since, key.by) = was.map_or((generation, None), |was| (was.since, was.by));
            }
            *user = match was {
                Some(was) if **was == now => Arc::clone(was),
                _ => Arc::new(now),
            };
        }
    }
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
    pub(crate) catalog: Catalog,
    batch: Batch,
}

impl Catalogs {
    /// Reads the catalog of a store that was just opened.
    pub(crate) fn load(lsm: &Lsm) -> Result<Self, OpenError> {
        Ok(Catalogs {
            current: ArcSwap::from_pointee(Catalog::stored(lsm)?),
            generation: AtomicU64::new(0),
            changing: Mutex::new(()),
        })
    }

    /// The catalog as it is now.
    pub(crate) fn read(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// Has commits applied that another server made, and that change the catalog; then it
    /// is in memory as they leave it, whether all were applied or some.
    ///
    /// # Errors
    /// `apply`'s; or the catalog cannot be read: then each is found in its snapshot.
    pub(crate) fn applied(
        &self,
        lsm: &Lsm,
        apply: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let _one = self.changing.lock();
        let generation = self.generation.fetch_add(1, SeqCst) + 1;
        let applied = apply();
        let mut catalog = Catalog::stored(lsm).map_err(|error| match error {
            OpenError::Storage(error) => error.into(),
            other => Refusal::new(Status::Corrupt, other.to_string()),
        })?;
        catalog.generation = generation;
        catalog.goes_on(&self.read(), generation);
        self.current.store(Arc::new(catalog));
        applied
    }

    /// The store of that name in `snapshot`, which was taken after `catalog` was
    /// read; if it may be used so.
    pub(crate) fn resolve(
        &self,
        catalog: &Catalog,
        snapshot: &Snapshot,
        wanted: Wanted<'_>,
    ) -> Result<Arc<Store>, Refusal> {
        let name = wanted.name;
        let store = if self.generation.load(SeqCst) == catalog.generation {
            catalog.stores.get(name).cloned()
        } else {
            find(snapshot, name)?.map(Arc::new)
        };
        wanted.check(store.as_ref().map(|store| store.keyspace))?;
        store.ok_or_else(|| unknown_wanted(wanted, catalog))
    }

    /// Makes a change: whole, in one commit, or not at all; and none that the audit log
    /// could not take.
    pub(crate) fn change<T>(
        &self,
        lsm: &Lsm,
        deed: &Deed<'_>,
        f: impl FnOnce(&mut Draft) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let _one = self.changing.lock();
        let current = self.read();
        let mut draft = Draft { catalog: Catalog::clone(&current), batch: Batch::new() };
        let out = f(&mut draft)?;
        if draft.batch.is_empty() {
            return Ok(out);
        }
        // Before the audit log says that it begins.
        lsm.check_leads()?;
        deed.begin()?;
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

/// What the catalog says of a store of that name counts as read by a transaction: that it
/// is there under that number, or is not, its schema, its indexes.
pub(crate) fn rests_on(transaction: &lsm::Transaction, name: &str, keyspace: Option<KeyspaceId>) {
    if name.len() <= MAX_NAME {
        transaction.reads(CATALOG, &record::store_key(name));
    }
    if let Some(keyspace) = keyspace {
        transaction.reads_prefix(CATALOG, &record::indexes_of(keyspace));
    }
}

/// A store by the records in a snapshot.
fn find(snapshot: &Snapshot, name: &str) -> Result<Option<Store>, Refusal> {
    if name.len() > MAX_NAME {
        return Ok(None);
    }
    let Some(bytes) = snapshot.get(CATALOG, &record::store_key(name))? else { return Ok(None) };
    let damaged = |what: String| {
        let message = format!("{what} cannot be read; {RESTORE}");
        Refusal::new(Status::Corrupt, message)
    };
    let store = record::decode_store(&bytes);
    let mut store =
        store.ok_or_else(|| damaged(format!("the catalog's record of store {}", shown(name))))?;
    store.schema = record::decode_schema(&bytes).map_err(damaged)?;
    let prefix = record::indexes_of(store.keyspace);
    let mut cursor = snapshot.prefix(CATALOG, &prefix, Direction::Forward)?;
    while let Some((key, bytes)) = cursor.next()? {
        let Some(Name::Index(_, name)) = record::name_of(key) else {
            return Err(damaged(format!("the catalog's record {}", key.escape_ascii())));
        };
        let index = record::decode_index(name, bytes).map_err(damaged)?;
        store.indexes.push(Arc::new(index));
    }
    Ok(Some(store))
}

pub(crate) fn unknown_store(name: &str, catalog: &Catalog) -> Refusal {
    unknown_wanted(Wanted::own(name), catalog)
}

/// What is said of a store that is not there, naming none that may not be seen.
pub(crate) fn unknown_wanted(wanted: Wanted<'_>, catalog: &Catalog) -> Refusal {
    let name = wanted.name;
    let seen = catalog.stores.iter().filter(|(_, store)| wanted.may_see(store.keyspace));
    let known: Vec<&str> = seen.map(|(name, _)| name.as_str()).collect();
    let near = did_you_mean(name, &known);
    let message = match near.is_empty() {
        true => format!(
            "there is no store named {}: check the name against the list of stores, or create it \
             first",
            shown(name)
        ),
        false => format!("there is no store named {}{near} If not, create it first", shown(name)),
    };
    Refusal::new(Status::UnknownStore, message)
}
