//! Operations that take effect together, as if nobody else had been there, or not at all.
//!
//! ```text
//! mod.rs    one transaction, as operations find it    desk.rs   those of the wire
//! call.rs   one for all that a guest's call does      turn.rs   for calls that are disturbed
//! calls.rs  the calls that run, and what becomes of each
//! ops/transactions.rs   Begin, Commit, Abort, Savepoint, Rollback
//! ```
//!
//! Every operation on documents goes the same way as outside of one: where it would take a
//! snapshot it takes the transaction's view ([`Within::view`]), where it would commit it
//! adds to the transaction's writes ([`Within::write`]). Why the outcome is serializable:
//! `lsm/src/transaction`.
//!
//! What must stay true:
//! * the stores a transaction uses are those of its snapshot, and what the catalog says of
//!   them counts as read: an index that is made meanwhile, a store that is dropped, a
//!   schema that is set are conflicts;
//! * whether its user may still write is asked once more under the commit lock;
//! * one that is dropped has left no trace, but for numbers of sequences;
//! * used by one request at a time.

mod call;
mod calls;
mod desk;
mod turn;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lsm::{Batch, Footprint, KeyspaceId, Lsn, Savepoint, Snapshot};
use proto::{Key, Status};

use crate::auth::{Action, Principal, Wanted};
use crate::catalog::{Catalog, Store, rests_on};
use crate::error::shown;
use crate::index::Index;
use crate::jobs::{JOBS, JobOptions, action_in};
use crate::patience::Patience;
use crate::{Engine, Refusal};
use turn::Turn;

pub use call::CallTransaction;
#[cfg(test)]
pub(crate) use calls::{ATTEMPTS, IN_TURN};
pub use calls::{Calls, Concluded, JobEnded};
pub(crate) use desk::{Desk, DeskLimits};

/// Savepoints of one transaction at a time.
const MAX_SAVEPOINTS: usize = 256;

/// A transaction. See the module.
pub(crate) struct Within {
    /// Its number; 0: it has none, and no cursors.
    pub(crate) number: u64,
    /// As it was before its snapshot was taken.
    catalog: Arc<Catalog>,
    state: RefCell<State>,
    held: Held,
    /// Jobs that go with its commit, and leave their places to those it schedules.
    spare: u64,
}

struct State {
    kind: Kind,
    /// The stores that were used, by the name they were used by.
    stores: BTreeMap<String, Arc<Store>>,
    /// Those that were written.
    written: BTreeMap<KeyspaceId, String>,
    /// With the jobs it had scheduled. Numbers rise, and are not given again.
    savepoints: BTreeMap<u64, (Savepoint, u64)>,
    next: u64,
    /// Jobs that it has scheduled.
    jobs: u64,
}

enum Kind {
    Reads(Snapshot),
    Writes(Box<lsm::Transaction>),
}

/// What a transaction begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begins {
    /// With what is acknowledged; it writes nothing.
    ToRead,
    /// With what is acknowledged.
    ToWrite,
    /// With what is written, acknowledged or not: [`lsm::Lsm::begin_latest`].
    Latest,
}

/// Bytes that it holds, of all that transactions hold.
struct Held {
    all: Arc<AtomicU64>,
    own: Cell<u64>,
}

impl Held {
    fn set(&self, bytes: u64) {
        let before = self.own.replace(bytes);
        self.all.fetch_add(bytes, Relaxed);
        self.all.fetch_sub(before, Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Why a commit was not made.
enum Failed {
    Storage(lsm::Error),
    Refused(Refusal),
}

impl From<lsm::Error> for Failed {
    fn from(error: lsm::Error) -> Self {
        Failed::Storage(error)
    }
}

impl Within {
    /// What the transaction sees now.
    pub(crate) fn view(&self) -> Snapshot {
        match &self.state.borrow().kind {
            Kind::Reads(snapshot) => snapshot.clone(),
            Kind::Writes(writes) => writes.view(),
        }
    }

    /// The last commit that it sees.
    pub(crate) fn lsn(&self) -> Lsn {
        match &self.state.borrow().kind {
            Kind::Reads(snapshot) => snapshot.lsn(),
            Kind::Writes(writes) => writes.lsn(),
        }
    }

    /// A store as the transaction has it, if it may be used so.
    pub(crate) fn store(&self, engine: &Engine, wanted: Wanted<'_>) -> Result<Arc<Store>, Refusal> {
        let mut state = self.state.borrow_mut();
        if let Some(store) = state.stores.get(wanted.name) {
            wanted.check(Some(store.keyspace))?;
            return Ok(Arc::clone(store));
        }
        let found = match &state.kind {
            Kind::Reads(snapshot) => engine.catalogs.resolve(&self.catalog, snapshot, wanted),
            Kind::Writes(writes) => {
                let found = engine.catalogs.resolve(&self.catalog, &writes.view(), wanted);
                if found.is_err() {
                    // Of those that are found it is said at the commit, if there is one.
                    rests_on(writes, wanted.name, None);
                }
                found
            }
        }?;
        state.stores.insert(wanted.name.to_owned(), Arc::clone(&found));
        Ok(found)
    }

    /// What it has read so far, and reads from here on; `None`: nobody can disturb it.
    fn footprint(&self) -> Option<Footprint> {
        match &self.state.borrow().kind {
            Kind::Writes(writes) => Some(writes.footprint()),
            Kind::Reads(_) => None,
        }
    }

    /// Whether it writes something that another one has read so far.
    fn would_disturb(&self, other: &Footprint) -> bool {
        match &self.state.borrow().kind {
            Kind::Writes(writes) => writes.would_disturb(other),
            Kind::Reads(_) => false,
        }
    }

    /// Whether there is anything that would take effect.
    pub(crate) fn has_written(&self) -> bool {
        match &self.state.borrow().kind {
            Kind::Writes(writes) => !writes.is_empty(),
            Kind::Reads(_) => false,
        }
    }

    /// Refuses if it cannot write.
    pub(crate) fn check_writes(&self) -> Result<(), Refusal> {
        match self.state.borrow().kind {
            Kind::Writes(_) => Ok(()),
            Kind::Reads(_) => {
                let message = "this transaction only reads: begin one that may write";
                Err(Refusal::new(Status::NotInTransaction, message))
            }
        }
    }

    /// Adds to its writes those of one operation on some stores, all or none.
    pub(crate) fn write(
        &self,
        engine: &Engine,
        stores: &[(&str, KeyspaceId)],
        batch: &Batch,
    ) -> Result<(), Refusal> {
        let mut state = self.state.borrow_mut();
        let State { kind: Kind::Writes(writes), written, .. } = &mut *state else { return Ok(()) };
        if batch.is_empty() {
            return Ok(());
        }
        let (bytes, limits) = (batch.bytes(), &engine.limits);
        let most = limits.max_transaction_size;
        if writes.written() + bytes > most {
            let message = format!(
                "with this the transaction would write {} bytes, and limits.max_transaction_size \
                 is {most}: nothing of this operation was done, commit what there is, or abort it \
                 and do it in smaller steps",
                writes.written() + bytes
            );
            return Err(Refusal::new(Status::TransactionTooLarge, message));
        }
        // As a batch, and in memory as documents are found.
        let all = self.held.all.load(Relaxed).saturating_add(2 * bytes as u64);
        if all > limits.transaction_memory {
            let message = format!(
                "open transactions would hold {all} bytes with this, more than the {} of \
                 limits.transaction_memory in db.yaml: nothing of this operation was done, try \
                 again when some have ended",
                limits.transaction_memory
            );
            return Err(Refusal::new(Status::Busy, message));
        }
        writes.write(batch)?;
        for (name, store) in stores {
            written.entry(*store).or_insert_with(|| (*name).to_owned());
        }
        Ok(())
    }

    /// A place to come back to; its number.
    pub(crate) fn savepoint(&self) -> Result<u64, Refusal> {
        self.check_writes()?;
        let mut state = self.state.borrow_mut();
        let State { kind: Kind::Writes(writes), savepoints, next, jobs, .. } = &mut *state else {
            return Ok(0);
        };
        if savepoints.len() == MAX_SAVEPOINTS {
            let message = format!(
                "this transaction has {MAX_SAVEPOINTS} savepoints, as many as there can be: go \
                 back to one of them, which lets go of those behind it"
            );
            return Err(Refusal::new(Status::LimitReached, message));
        }
        *next += 1;
        savepoints.insert(*next, (writes.savepoint(), *jobs));
        Ok(*next)
    }

    /// Undoes what was written since a savepoint, which stays; those behind it go.
    pub(crate) fn rollback(&self, number: u64) -> Result<(), Refusal> {
        let mut state = self.state.borrow_mut();
        let State { kind: Kind::Writes(writes), savepoints, jobs, .. } = &mut *state else {
            return Err(unknown_savepoint(number));
        };
        let (to, scheduled) = *savepoints.get(&number).ok_or_else(|| unknown_savepoint(number))?;
        writes.rollback(to);
        *jobs = scheduled;
        savepoints.split_off(&(number + 1));
        Ok(())
    }

    /// One job more is scheduled by it: refused if that is more than one may, or more than
    /// may wait.
    pub(crate) fn schedules(&self, engine: &Engine, options: &JobOptions) -> Result<(), Refusal> {
        let mut state = self.state.borrow_mut();
        if state.jobs >= options.max_per_call as u64 {
            let message = format!(
                "this call or transaction has scheduled {} jobs, as many as jobs.max_per_call \
                 allows: schedule one that schedules the rest in steps",
                state.jobs
            );
            return Err(Refusal::new(Status::LimitReached, message));
        }
        check_room(engine, options, (state.jobs + 1).saturating_sub(self.spare))?;
        state.jobs += 1;
        Ok(())
    }

    /// An operation has ended: what it holds now counts.
    pub(crate) fn settle(&self) {
        let bytes = match &self.state.borrow().kind {
            Kind::Reads(_) => 0,
            Kind::Writes(writes) => writes.bytes(),
        };
        self.held.set(bytes as u64);
    }

    /// What is told of a refusal within it: where its snapshot was let go of, that.
    pub(crate) fn told(&self, refusal: Refusal) -> Refusal {
        let expired = match &self.state.borrow().kind {
            Kind::Reads(snapshot) => snapshot.is_expired(),
            Kind::Writes(writes) => writes.is_expired(),
        };
        if !expired || refusal.status != Status::Busy {
            return refusal;
        }
        Refusal { status: Status::TransactionConflict, ..refusal }
    }
}

/// What a conflict is about, in words.
fn conflict(
    stores: &BTreeMap<String, Arc<Store>>,
    keyspace: KeyspaceId,
    key: &[u8],
    lsn: Lsn,
) -> Refusal {
    let document = match key.last_chunk::<16>() {
        Some(key) => format!("document {}", Key::from_bytes(*key)),
        None => "all".to_owned(),
    };
    let mut what = "what the catalog says of a store that it uses".to_owned();
    for (name, store) in stores {
        let of = |index: &&Arc<Index>| index.keyspace == keyspace || index.arrays() == keyspace;
        if store.keyspace == keyspace {
            what = format!("{document} of the store {}", shown(name));
        } else if let Some(index) = store.indexes.iter().find(of) {
            let (name, index) = (shown(name), shown(&index.name));
            what = format!("{document} of the store {name}, in a range read of its index {index},");
        }
    }
    let message = format!(
        "{what} was written by commit {lsn} after this transaction had begun, and the transaction \
         rests on what was there: nothing of it was written, begin it again"
    );
    Refusal::new(Status::TransactionConflict, message)
}

/// Refuses where so many jobs more would be more than may wait.
fn check_room(engine: &Engine, options: &JobOptions, more: u64) -> Result<(), Refusal> {
    let store = engine.catalogs.read().stores.get(JOBS).map(|store| store.keyspace);
    let waiting = store.map_or(0, |store| engine.lsm.count(store));
    if waiting.saturating_add(more) <= options.max_waiting {
        return Ok(());
    }
    let message = format!(
        "{waiting} jobs wait, and jobs.max_waiting is {}: nothing was scheduled, try again when \
         some are done, or look into the store {JOBS} for what keeps them",
        options.max_waiting
    );
    Err(Refusal::new(Status::LimitReached, message))
}

fn unknown_savepoint(number: u64) -> Refusal {
    let message = format!(
        "this transaction has no savepoint {number}: a way back to an earlier one lets go of \
         those behind it"
    );
    Refusal::new(Status::UnknownSavepoint, message)
}

impl Engine {
    /// Begins a transaction of no number.
    pub(crate) fn within(&self, begins: Begins) -> Result<Within, Refusal> {
        // In this order: `Catalogs::resolve` rests on it.
        let catalog = self.catalogs.read();
        let kind = match begins {
            Begins::ToRead => Kind::Reads(self.lsm.snapshot()?),
            Begins::ToWrite => Kind::Writes(Box::new(self.lsm.begin()?)),
            Begins::Latest => Kind::Writes(Box::new(self.lsm.begin_latest()?)),
        };
        let (stores, written) = (BTreeMap::new(), BTreeMap::new());
        let savepoints = BTreeMap::new();
        let state = State { kind, stores, written, savepoints, next: 0, jobs: 0 };
        let held = Held { all: Arc::clone(&self.transactions.held), own: Cell::new(0) };
        Ok(Within { number: 0, catalog, state: RefCell::new(state), held, spare: 0 })
    }

    /// Commits a transaction of somebody, whose turn ends with that: the commit that it is,
    /// or, if it wrote nothing, the last one it saw.
    pub(crate) fn commit_within(
        &self,
        who: &Principal,
        within: Within,
        turn: Option<Turn>,
        patience: &Patience,
    ) -> Result<Lsn, Refusal> {
        self.commit_as(Some(who), within, turn, patience)
    }

    /// As [`Engine::commit_within`], of the engine's own.
    pub(crate) fn commit_own(&self, within: Within) -> Result<Lsn, Refusal> {
        self.commit_as(None, within, None, Patience::ENDLESS)
    }

    fn commit_as(
        &self,
        who: Option<&Principal>,
        within: Within,
        turn: Option<Turn>,
        patience: &Patience,
    ) -> Result<Lsn, Refusal> {
        let Within { state, held, spare, .. } = within;
        let State { kind, stores, written, jobs, .. } = state.into_inner();
        let writes = match kind {
            Kind::Reads(snapshot) => return Ok(snapshot.lsn()),
            Kind::Writes(writes) => writes,
        };
        let wrote = !writes.is_empty();
        if wrote {
            stores.iter().for_each(|(name, store)| rests_on(&writes, name, Some(store.keyspace)));
        }
        let committed = self.lsm.commit_transaction(*writes, || {
            let still = || {
                patience.check(&*self.clock)?;
                if jobs > 0 {
                    check_room(self, self.jobs.options()?, jobs.saturating_sub(spare))?;
                }
                let Some(who) = who else { return Ok(()) };
                let now = who.as_of(&self.catalogs.read(), &*self.clock)?;
                written.iter().try_for_each(|(store, name)| {
                    let what = format_args!("the store {}", shown(name));
                    now.check_in(action_in(name, Action::Write), what, Some(*store))
                })
            };
            // The next one in turn begins with what this one wrote, and waits for no disk.
            still().map(|()| turn).map_err(Failed::Refused)
        });
        drop(held);
        let refusal = match committed {
            Ok(lsn) => {
                self.transactions.committed.fetch_add(u64::from(wrote), Relaxed);
                written.values().for_each(|name| self.jobs.touched(name));
                return Ok(lsn);
            }
            Err(Failed::Refused(refusal)) => refusal,
            Err(Failed::Storage(lsm::Error::Conflict { keyspace, key, lsn })) => {
                conflict(&stores, keyspace, &key, lsn)
            }
            Err(Failed::Storage(error)) => error.into(),
        };
        let conflict = refusal.status == Status::TransactionConflict;
        self.transactions.conflicts.fetch_add(u64::from(conflict), Relaxed);
        Err(self.unless_poisoned(refusal))
    }
}
