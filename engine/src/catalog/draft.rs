//! A change of the catalog being made: each is checked against the catalog as it will
//! be, and written to the batch that says so.
//!
//! What must stay true: catalog and batch say the same; a refused change leaves the
//! draft unused. What drops something drops its keyspaces in the same commit.

use std::sync::Arc;

use lsm::KeyspaceId;
use proto::Status;

use super::{CATALOG, COUNTERS, Draft, MAX_STORES, Schema, Sequence, Store, Ttl};
use super::{name, record, unknown_store};
use crate::Refusal;
use crate::error::shown;
use crate::index::{BUILDS, Definition, Field, Index, Phase, Progress};
use crate::jobs::{DEAD, DUE_INDEX, is_own};

/// Indexes of one store at most, that for expiry not counted: each write keeps all.
pub(crate) const MAX_INDEXES: usize = 64;
/// Sequences at most.
pub(crate) const MAX_SEQUENCES: usize = 4096;
/// The index by which documents expire; no other can have this name.
pub(crate) const TTL_INDEX: &str = "_ttl";

impl Draft {
    /// Adds a store; `false` if there is one and that is fine.
    pub(crate) fn create_store(
        &mut self,
        name: &str,
        if_not_exists: bool,
        now_millis: i64,
    ) -> Result<bool, Refusal> {
        name::check(name, "a store")?;
        if self.catalog.stores.contains_key(name) {
            return if if_not_exists {
                Ok(false)
            } else {
                Err(store_exists(name, ", or say if_not_exists"))
            };
        }
        let number = self.catalog.next_keyspace;
        if self.catalog.stores.len() >= MAX_STORES {
            let message = format!(
                "there are {} stores, and {number} were made so far: no more fit; drop some, or \
                 use one store with a field that tells kinds apart",
                self.catalog.stores.len()
            );
            return Err(Refusal::new(Status::LimitReached, message));
        }
        let keyspace = self.numbers(1)?;
        let store = Store {
            keyspace,
            created_at: now_millis,
            schema: None,
            ttl: None,
            before_images: false,
            indexes: Vec::new(),
        };
        self.put_store(name, store);
        Ok(true)
    }

    /// Adds a store of the system's own, with an index of one field if that is asked for, if
    /// it is not there.
    pub(crate) fn create_own_store(
        &mut self,
        name: &str,
        index: Option<(&str, &str)>,
        now_millis: i64,
    ) -> Result<(), Refusal> {
        if self.catalog.stores.contains_key(name) {
            return Ok(());
        }
        let (schema, ttl, indexes) = (None, None, Vec::new());
        let keyspace = self.numbers(1)?;
        let (created_at, before_images) = (now_millis, false);
        let mut store = Store { keyspace, created_at, schema, ttl, before_images, indexes };
        if let Some((index, field)) = index {
            let fields = vec![Field { path: field.to_owned(), descending: false }];
            let definition = Definition { fields, unique: false, sparse: false, filter: None };
            // Of a store that is made with it there is nothing to build.
            self.add_index_in(&mut store, index, definition, Phase::Ready, now_millis)?;
        }
        self.put_store(name, store);
        Ok(())
    }

    /// Removes a store and all that is in it; `false` if there is none and that
    /// is fine.
    pub(crate) fn drop_store(&mut self, name: &str, if_exists: bool) -> Result<bool, Refusal> {
        not_own(name)?;
        let Some(store) = self.catalog.stores.remove(name) else {
            return if if_exists { Ok(false) } else { Err(unknown_store(name, &self.catalog)) };
        };
        self.batch.delete(CATALOG, &record::store_key(name));
        self.batch.drop_keyspace(store.keyspace);
        for index in &store.indexes {
            self.forget_index(store.keyspace, index);
        }
        self.forget_grants(store.keyspace);
        Ok(true)
    }

    /// Gives a store another name; its documents and indexes stay where they are.
    pub(crate) fn rename_store(&mut self, from: &str, to: &str) -> Result<(), Refusal> {
        not_own(from)?;
        name::check(to, "a store")?;
        let store = self.store(from)?;
        if from == to {
            return Ok(());
        }
        if self.catalog.stores.contains_key(to) {
            return Err(store_exists(to, ""));
        }
        self.catalog.stores.remove(from);
        self.batch.delete(CATALOG, &record::store_key(from));
        self.batch.put(CATALOG, &record::store_key(to), &record::encode_store(&store));
        self.catalog.stores.insert(to.to_owned(), store);
        Ok(())
    }

    /// Lets documents of a store expire, or not any more. The index it needs comes and
    /// goes with it.
    pub(crate) fn set_ttl(
        &mut self,
        name: &str,
        ttl: Option<Ttl>,
        now_millis: i64,
    ) -> Result<(), Refusal> {
        // Those that were given up may expire; what waits, and what is noted, must not.
        if name != DEAD {
            not_own(name)?;
        }
        let mut store = Store::clone(&*self.store(name)?);
        // One that could not be built expires nothing: saying it again builds it anew.
        let failed = store.index(TTL_INDEX).is_some_and(|index| !index.is_kept());
        if store.ttl == ttl && !failed {
            return Ok(());
        }
        let field = |ttl: &Option<Ttl>| ttl.as_ref().map(|ttl| ttl.field.clone());
        if field(&store.ttl) != field(&ttl) || failed {
            if let Some(index) = store.index(TTL_INDEX).cloned() {
                store.indexes.retain(|index| index.name != TTL_INDEX);
                self.forget_index(store.keyspace, &index);
            }
            if let Some(Ttl { field, .. }) = &ttl {
                let fields = vec![Field { path: field.clone(), descending: false }];
                let definition = Definition { fields, unique: false, sparse: true, filter: None };
                self.add_index(&mut store, TTL_INDEX, definition, now_millis)?;
            }
        }
        store.ttl = ttl;
        self.put_store(name, store);
        Ok(())
    }

    /// Says what documents written from now on must look like, or nothing more.
    pub(crate) fn set_schema(&mut self, name: &str, schema: Option<Schema>) -> Result<(), Refusal> {
        not_own(name)?;
        let mut store = Store::clone(&*self.store(name)?);
        store.schema = schema.map(Arc::new);
        self.put_store(name, store);
        Ok(())
    }

    /// Says whether what is written from now on takes along what was there.
    pub(crate) fn set_before_images(&mut self, name: &str, kept: bool) -> Result<(), Refusal> {
        let mut store = Store::clone(&*self.store(name)?);
        if store.before_images != kept {
            store.before_images = kept;
            self.put_store(name, store);
        }
        Ok(())
    }

    /// Adds an index, to be built; `false` if there is one and that is fine. One that is
    /// the same and could not be built is none: where that were fine, it is built anew.
    pub(crate) fn create_index(
        &mut self,
        of: &str,
        name: &str,
        definition: Definition,
        if_not_exists: bool,
        now_millis: i64,
    ) -> Result<bool, Refusal> {
        let mut store = Store::clone(&*self.store(of)?);
        name::check(name, "an index")?;
        let other = store.index(name).cloned();
        let failed = |other: &Arc<Index>| {
            if_not_exists && other.definition == definition && !other.is_kept()
        };
        if let Some(other) = other.as_ref().filter(|other| failed(other)) {
            store.indexes.retain(|index| index.name != name);
            self.forget_index(store.keyspace, other);
        } else if let Some(other) = other {
            if if_not_exists && other.definition == definition {
                return Ok(false);
            }
            let message = format!(
                "store {} has an index named {} already{}: choose another name, or drop it first",
                shown(of),
                shown(name),
                if other.definition == definition { "" } else { ", of another kind" }
            );
            return Err(Refusal::new(Status::IndexExists, message));
        }
        // What documents expire by is not asked for, and not counted.
        let asked = store.indexes.iter().filter(|index| index.name != TTL_INDEX).count();
        if asked >= MAX_INDEXES {
            let message = format!(
                "store {} has {} indexes, and every write keeps them all: no more are allowed; \
                 drop some",
                shown(of),
                asked
            );
            return Err(Refusal::new(Status::BadIndex, message));
        }
        self.add_index(&mut store, name, definition, now_millis)?;
        self.put_store(of, store);
        Ok(true)
    }

    /// Removes an index; `false` if there is none and that is fine.
    pub(crate) fn drop_index(
        &mut self,
        of: &str,
        name: &str,
        if_exists: bool,
    ) -> Result<bool, Refusal> {
        if name == DUE_INDEX {
            not_own(of)?;
        }
        let mut store = Store::clone(&*self.store(of)?);
        if name == TTL_INDEX && store.ttl.is_some() {
            let message = format!(
                "documents of store {} expire by this index: say that they are to be kept, and \
                 it goes with that",
                shown(of)
            );
            return Err(Refusal::new(Status::BadIndex, message));
        }
        let Some(index) = store.index(name).cloned() else {
            return if if_exists { Ok(false) } else { Err(unknown_index(of, name)) };
        };
        store.indexes.retain(|other| other.name != name);
        self.forget_index(store.keyspace, &index);
        self.put_store(of, store);
        Ok(true)
    }

    /// Ends the build of the index with that keyspace, if it is there and being built.
    pub(crate) fn end_build(&mut self, of: &str, keyspace: KeyspaceId, phase: Phase) {
        let Some(store) = self.catalog.stores.get(of) else { return };
        let mut store = Store::clone(store);
        let built =
            |index: &Arc<Index>| index.keyspace == keyspace && index.phase == Phase::Building;
        let Some(at) = store.indexes.iter().position(built) else { return };
        let index = Index { phase, ..Index::clone(&store.indexes[at]) };
        self.batch.delete(BUILDS, &Progress::key(keyspace));
        if let Phase::Failed(_) = index.phase {
            self.batch.drop_keyspace(index.keyspace);
            self.batch.drop_keyspace(index.arrays());
        }
        self.write_index(store.keyspace, &index);
        store.indexes[at] = Arc::new(index);
        self.put_store(of, store);
    }

    /// Adds a sequence; `false` if there is one and that is fine.
    pub(crate) fn create_sequence(
        &mut self,
        name: &str,
        if_not_exists: bool,
        now_millis: i64,
    ) -> Result<bool, Refusal> {
        name::check(name, "a sequence")?;
        if self.catalog.sequences.contains_key(name) {
            return match if_not_exists {
                true => Ok(false),
                false => Err(sequence_exists(name, ", or say if_not_exists")),
            };
        }
        if self.catalog.sequences.len() >= MAX_SEQUENCES {
            let message = format!("there are {MAX_SEQUENCES} sequences: drop some");
            return Err(Refusal::new(Status::LimitReached, message));
        }
        let sequence = Sequence { id: self.numbers(1)?.0, created_at: now_millis };
        let record = record::encode_sequence(&sequence);
        self.batch.put(CATALOG, &record::sequence_key(name), &record);
        self.catalog.sequences.insert(name.to_owned(), sequence);
        Ok(true)
    }

    /// Removes a sequence; `false` if there is none and that is fine. One made again
    /// under its name begins at 1.
    pub(crate) fn drop_sequence(&mut self, name: &str, if_exists: bool) -> Result<bool, Refusal> {
        let Some(sequence) = self.catalog.sequences.remove(name) else {
            return if if_exists { Ok(false) } else { Err(unknown_sequence(name)) };
        };
        self.batch.delete(CATALOG, &record::sequence_key(name));
        self.batch.delete(COUNTERS, &sequence.id.to_be_bytes());
        Ok(true)
    }

    /// Gives a sequence another name; its numbers go on.
    pub(crate) fn rename_sequence(&mut self, from: &str, to: &str) -> Result<(), Refusal> {
        name::check(to, "a sequence")?;
        let Some(sequence) = self.catalog.sequences.get(from).copied() else {
            return Err(unknown_sequence(from));
        };
        if from == to {
            return Ok(());
        }
        if self.catalog.sequences.contains_key(to) {
            return Err(sequence_exists(to, ""));
        }
        self.catalog.sequences.remove(from);
        self.batch.delete(CATALOG, &record::sequence_key(from));
        let record = record::encode_sequence(&sequence);
        self.batch.put(CATALOG, &record::sequence_key(to), &record);
        self.catalog.sequences.insert(to.to_owned(), sequence);
        Ok(())
    }

    pub(super) fn store(&self, name: &str) -> Result<Arc<Store>, Refusal> {
        self.catalog.stores.get(name).cloned().ok_or_else(|| unknown_store(name, &self.catalog))
    }

    /// The next `n` numbers, never given again; the first of them.
    fn numbers(&mut self, n: u32) -> Result<KeyspaceId, Refusal> {
        let first = self.catalog.next_keyspace;
        match first.checked_add(n).filter(|next| *next <= lsm::MAX_KEYSPACE) {
            Some(next) => self.catalog.next_keyspace = next,
            None => {
                let message = "the numbers of stores and indexes have run out: export the data, \
                               and import it into a new service";
                return Err(Refusal::new(Status::LimitReached, message));
            }
        }
        Ok(KeyspaceId(first))
    }

    fn put_store(&mut self, name: &str, store: Store) {
        self.batch.put(CATALOG, &record::store_key(name), &record::encode_store(&store));
        self.catalog.stores.insert(name.to_owned(), Arc::new(store));
    }

    fn add_index(
        &mut self,
        store: &mut Store,
        name: &str,
        definition: Definition,
        now_millis: i64,
    ) -> Result<(), Refusal> {
        self.add_index_in(store, name, definition, Phase::Building, now_millis)
    }

    fn add_index_in(
        &mut self,
        store: &mut Store,
        name: &str,
        definition: Definition,
        phase: Phase,
        now_millis: i64,
    ) -> Result<(), Refusal> {
        let index = Index {
            name: name.to_owned(),
            keyspace: self.numbers(2)?,
            created_at: now_millis,
            definition,
            phase,
        };
        self.write_index(store.keyspace, &index);
        let at = store.indexes.partition_point(|other| *other.name < *name);
        store.indexes.insert(at, Arc::new(index));
        Ok(())
    }

    fn write_index(&mut self, store: KeyspaceId, index: &Index) {
        let key = record::index_key(store, &index.name);
        self.batch.put(CATALOG, &key, &record::encode_index(index));
    }

    fn forget_index(&mut self, store: KeyspaceId, index: &Index) {
        self.batch.delete(CATALOG, &record::index_key(store, &index.name));
        self.batch.delete(BUILDS, &Progress::key(index.keyspace));
        self.batch.drop_keyspace(index.keyspace);
        self.batch.drop_keyspace(index.arrays());
    }
}

/// Refuses to change what the system keeps for itself.
fn not_own(store: &str) -> Result<(), Refusal> {
    if !is_own(store) {
        return Ok(());
    }
    let message = format!(
        "the store {} is the system's own and stays as it is; its documents can be read, changed \
         and removed as any",
        shown(store)
    );
    Err(Refusal::new(Status::BadChange, message))
}

fn store_exists(name: &str, or: &str) -> Refusal {
    let name = shown(name);
    let message = format!("there is a store named {name} already: choose another name{or}");
    Refusal::new(Status::StoreExists, message)
}

fn sequence_exists(name: &str, or: &str) -> Refusal {
    let name = shown(name);
    let message = format!("there is a sequence named {name} already: choose another name{or}");
    Refusal::new(Status::SequenceExists, message)
}

pub(crate) fn unknown_index(of: &str, name: &str) -> Refusal {
    let message = format!(
        "store {} has no index named {}: check the name against its list of indexes",
        shown(of),
        shown(name)
    );
    Refusal::new(Status::UnknownIndex, message)
}

pub(crate) fn unknown_sequence(name: &str) -> Refusal {
    let message = format!("there is no sequence named {}: create it first", shown(name));
    Refusal::new(Status::UnknownSequence, message)
}
