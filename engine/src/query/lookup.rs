//! Documents of another store put into those of this one.
//!
//! What must stay true: what is found is what `filter(foreign = value)` finds in the
//! other store, in key order, at the same snapshot. Rows come in the order in which they
//! came. What is held, rows that wait and the keys found for them too, counts against
//! the budget; what is found for one row does until the next row is asked for, and all
//! of it goes with the last row.
//!
//! By key and by an index, rows are taken some at a time, few at first: their values are
//! sorted and each is sought once, and if few documents are found all are read together.
//! Once more was sought than reading the whole store would have cost, that is done, if
//! the store fits into memory. Without an index it is done at once, and a store too large
//! for it is an error by name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use lsm::{KeyspaceId, Snapshot};
use proto::doc::{Arrays, Change, Doc, DocBuf, EMPTY, Value, ValueBuf};
use proto::{Key, Status, order};

use super::foreign::{Foreign, OVERHEAD, Table, Way, shown, values};
use super::rows::{KeyText, Rows, Source};
use super::work::Work;
use super::{QueryError, SelectPlan};
use crate::index::{Bounds, Index, Scan};
use crate::pql::ast;

/// Rows taken at first, and by how much more each time, up to so many.
const FIRST: usize = 8;
const GROWTH: usize = 4;
const MOST: usize = 256;
/// Documents read together for waiting rows, if they are no more than this.
const AHEAD: usize = 1024;
/// Documents read with one call.
const CHUNK: usize = 16;
/// A store of so few documents is read at once, index or not.
const SMALL: u64 = 256;
/// What seeking one document costs beside reading it in a scan.
const SEEK_COST: u64 = 4;
/// Bytes a key takes.
const KEY_BYTES: usize = 16;
/// What rows that wait may take of the budget, with what is found for them: one of so
/// many parts. The rest is for what is found for one row, and for others.
const SHARE: usize = 4;

/// The rows of another operator with what one lookup finds for each.
pub(super) struct Lookup {
    input: Source,
    plan: Arc<SelectPlan>,
    /// Which lookup of the plan.
    number: usize,
    snapshot: Snapshot,
    keyspace: KeyspaceId,
    way: Way,
    table: Option<Table>,
    sought: Sought,
    /// Rows that wait, the next one first.
    waiting: VecDeque<Waiting>,
    /// How many are taken next.
    take: usize,
    /// The row that the input stands on was not taken.
    standing: bool,
    /// The input has no more rows.
    ended: bool,
    /// Documents read for rows that wait, and the bytes they take.
    ahead: BTreeMap<Key, Option<lsm::Value>>,
    ahead_bytes: usize,
    /// Bytes that rows which wait take, with those.
    held: usize,
    key: Key,
    row: Vec<u8>,
    /// Bytes of the budget that the row stood on has taken, with what was found for it.
    taken: usize,
}

/// A row of the input.
struct Waiting {
    key: Key,
    row: Vec<u8>,
    /// The keys of the documents for it, in order; `None`: not sought yet.
    found: Option<Vec<Key>>,
    /// One of its values is longer than an entry: documents are tested.
    cut: bool,
    /// Bytes of the budget it takes.
    bytes: usize,
}

/// What seeking has cost.
#[derive(Default)]
struct Sought {
    /// Documents of the other store.
    of: u64,
    /// Entries and documents read one by one.
    cost: u64,
    /// Documents read, and their bytes.
    documents: u64,
    bytes: u64,
    /// The store does not fit into memory.
    too_large: bool,
}

impl Sought {
    /// Whether the whole store should be read instead.
    fn is_dear(&self, work: &Work) -> bool {
        let cheap = self.of > SMALL && self.cost.saturating_mul(SEEK_COST) < self.of;
        if self.too_large || cheap {
            return false;
        }
        // A document of the size of those met, and a value of it in the table.
        let each = self.bytes.checked_div(self.documents).unwrap_or(0) + 2 * OVERHEAD as u64;
        self.of.saturating_mul(each) <= work.left() as u64
    }
}

impl Lookup {
    pub(super) fn new(
        input: Source,
        plan: &Arc<SelectPlan>,
        number: usize,
        snapshot: Snapshot,
        foreign: &Foreign,
    ) -> Result<Lookup, QueryError> {
        let sought = Sought { of: snapshot.count(foreign.keyspace)?, ..Sought::default() };
        Ok(Lookup {
            input,
            plan: Arc::clone(plan),
            number,
            snapshot,
            keyspace: foreign.keyspace,
            way: foreign.way(&plan.lookups[number]),
            table: None,
            sought,
            waiting: VecDeque::new(),
            take: FIRST,
            standing: false,
            ended: false,
            ahead: BTreeMap::new(),
            ahead_bytes: 0,
            held: 0,
            key: Key::MIN,
            row: EMPTY.to_vec(),
            taken: 0,
        })
    }

    fn lookup(&self) -> &ast::Lookup {
        &self.plan.lookups[self.number]
    }

    /// Reads the whole store, where that is the way or has become the better one.
    fn may_read_table(&mut self, work: &Work) -> Result<(), QueryError> {
        let must = match &self.way {
            Way::Key => return Ok(()),
            Way::Index(_) => false,
            Way::Hash => true,
        };
        if self.table.is_some() || !(must || self.sought.is_dear(work)) {
            return Ok(());
        }
        self.table = Table::read(&self.snapshot, self.keyspace, &self.lookup().foreign, work)?;
        match self.table {
            None if must => Err(work.no_memory("look up")),
            None => {
                self.sought.too_large = true;
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    /// Takes bytes for rows that wait; `alone`: there is one only, which must go on.
    fn hold(&mut self, bytes: usize, alone: bool, work: &Work) -> bool {
        let within = alone || self.held + bytes <= work.limits().memory / SHARE;
        let taken = within && work.try_take(bytes);
        self.held += if taken { bytes } else { 0 };
        taken
    }

    fn let_go(&mut self, bytes: usize, work: &Work) {
        self.held -= bytes;
        work.give_back(bytes);
    }

    fn forget_ahead(&mut self, work: &Work) {
        let bytes = std::mem::take(&mut self.ahead_bytes);
        self.let_go(bytes, work);
        self.ahead.clear();
    }

    /// Takes rows of the input, as many as are due; none at its end.
    fn take_rows(&mut self, work: &Work) -> Result<(), QueryError> {
        // From a table each row is answered as it comes.
        let most = if self.table.is_some() { 1 } else { self.take };
        while self.waiting.len() < most && !self.ended {
            if !std::mem::replace(&mut self.standing, false) && !self.input.advance(work)? {
                self.ended = true;
                break;
            }
            let (key, doc) = self.input.row()?;
            let row = doc.as_bytes().to_vec();
            // With its values, as they are sought. One row is held in any case.
            let wanted = OVERHEAD + 3 * row.len();
            let bytes = if self.waiting.is_empty() { 0 } else { wanted };
            if !self.hold(bytes, false, work) {
                self.standing = true;
                break;
            }
            self.waiting.push_back(Waiting { key, row, found: None, cut: false, bytes });
        }
        self.take = (self.take * GROWTH).min(MOST);
        Ok(())
    }

    /// Finds the keys for waiting rows: for all, or if they do not fit into memory for
    /// fewer of them; for the first one at least.
    fn seek(&mut self, work: &Work) -> Result<(), QueryError> {
        self.forget_ahead(work);
        let mut rows = self.waiting.len();
        match self.way.clone() {
            Way::Hash => {}
            Way::Key => self.seek_keys(),
            Way::Index(index) => {
                while !self.seek_entries(&index, rows, work)? {
                    if rows == 1 {
                        return Err(work.no_memory("look up"));
                    }
                    rows /= 2;
                }
            }
        }
        self.read_ahead(rows, work)
    }

    fn seek_keys(&mut self) {
        let lookup = &self.plan.lookups[self.number];
        for row in &mut self.waiting {
            let text = KeyText::of(row.key, lookup.local.is_key());
            let values = local_values(lookup, &text, Doc::trusted(&row.row));
            let keys: BTreeSet<Key> = values.into_iter().filter_map(key_of).collect();
            row.found = Some(keys.into_iter().collect());
        }
    }

    /// `false`, and nothing is held, if the keys do not fit into memory.
    fn seek_entries(
        &mut self,
        index: &Index,
        rows: usize,
        work: &Work,
    ) -> Result<bool, QueryError> {
        let plan = Arc::clone(&self.plan);
        let (lookup, most) = (&plan.lookups[self.number], rows);
        // Sorted, each once: neighbours lie in the same pages.
        let mut wanted: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (number, row) in self.waiting.iter_mut().take(rows).enumerate() {
            let text = KeyText::of(row.key, lookup.local.is_key());
            for value in local_values(lookup, &text, Doc::trusted(&row.row)) {
                let prefix = index.prefix(&[Some(value)]);
                row.cut |= prefix.cut;
                wanted.entry(prefix.bytes).or_default().push(number);
            }
            row.found = Some(Vec::new());
        }
        let alone = lookup.one && index.definition.fields.len() == 1;
        let snapshot = self.snapshot.clone();
        let scan = Scan::open(&snapshot, index, &Bounds::ALL, false);
        let mut scan = scan.map_err(QueryError::from_refusal)?;
        let mut keys = Vec::new();
        let mut taken = 0;
        for (bytes, rows) in wanted {
            keys.clear();
            // Of one field, entries of a value stand in the order of their keys.
            let first = alone && rows.iter().all(|row| !self.waiting[*row].cut);
            scan.seek(&bytes).map_err(QueryError::from_refusal)?;
            self.sought.cost += 1;
            while scan.advance().map_err(QueryError::from_refusal)?
                && scan.bytes().starts_with(&bytes)
            {
                work.examined(0)?;
                self.sought.cost += 1;
                let more = KEY_BYTES * rows.len();
                if !self.hold(more, most == 1, work) {
                    self.let_go(taken, work);
                    self.waiting.iter_mut().for_each(|row| row.found = None);
                    return Ok(false);
                }
                taken += more;
                keys.push(scan.document().map_err(QueryError::from_refusal)?);
                if first {
                    break;
                }
            }
            for row in rows {
                if let Some(found) = &mut self.waiting[row].found {
                    found.extend_from_slice(&keys);
                }
            }
        }
        for row in self.waiting.iter_mut().take(most) {
            let Some(found) = &mut row.found else { continue };
            row.bytes += KEY_BYTES * found.len();
            found.sort_unstable();
            found.dedup();
            if lookup.one && !row.cut {
                found.truncate(1);
            }
        }
        Ok(true)
    }

    /// Reads the documents for the first rows together, if they are few and fit.
    fn read_ahead(&mut self, rows: usize, work: &Work) -> Result<(), QueryError> {
        let mut keys = BTreeSet::new();
        for row in self.waiting.iter().take(rows) {
            keys.extend(row.found.iter().flatten().copied());
            if keys.len() > AHEAD {
                return Ok(());
            }
        }
        let keys: Vec<Key> = keys.into_iter().collect();
        for chunk in keys.chunks(CHUNK) {
            for (key, document) in chunk.iter().zip(self.read(chunk)?) {
                let bytes = OVERHEAD + document.as_ref().map_or(0, |document| document.len());
                if !self.hold(bytes, false, work) {
                    return Ok(()); // What is missing is read when its row comes.
                }
                work.tick(bytes)?;
                self.ahead_bytes += bytes;
                self.ahead.insert(*key, document);
            }
        }
        Ok(())
    }

    fn read(&mut self, keys: &[Key]) -> Result<Vec<Option<lsm::Value>>, QueryError> {
        let bytes: Vec<[u8; KEY_BYTES]> = keys.iter().map(|key| key.to_bytes()).collect();
        let documents = self.snapshot.multi_get(self.keyspace, &bytes)?;
        let found = documents.iter().flatten();
        self.sought.cost += documents.len() as u64;
        self.sought.bytes += found.clone().map(|document| document.len() as u64).sum::<u64>();
        self.sought.documents += found.count() as u64;
        Ok(documents)
    }

    /// Hands on the documents that were found for a row.
    fn give(
        &mut self,
        row: &Waiting,
        wanted: &[Value<'_>],
        work: &Work,
        push: &mut dyn FnMut(&[u8]) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let plan = Arc::clone(&self.plan);
        let lookup = &plan.lookups[self.number];
        let order_keys: BTreeSet<Vec<u8>> =
            wanted.iter().filter(|_| row.cut).map(order_key).collect();
        for chunk in row.found.as_deref().unwrap_or_default().chunks(CHUNK) {
            let all_ahead = chunk.iter().all(|key| self.ahead.contains_key(key));
            let documents = match all_ahead {
                true => chunk.iter().map(|key| self.ahead[key].clone()).collect(),
                false => self.read(chunk)?,
            };
            for (key, document) in chunk.iter().zip(documents) {
                work.examined(document.as_ref().map_or(0, |document| document.len()))?;
                let Some(document) = document else {
                    if let Way::Key = self.way {
                        continue;
                    }
                    let message = format!(
                        "an index of store {} has an entry of document {key}, which is not \
                         there: run planck verify, then drop the index and create it again",
                        lookup.store
                    );
                    return Err(QueryError::Refused(Status::Corrupt, message));
                };
                let doc = Doc::trusted(&document);
                if row.cut && values(doc, &lookup.foreign).is_disjoint(&order_keys) {
                    continue;
                }
                push(&shown(*key, doc)?)?;
                if lookup.one {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The documents for a row, as an array or the first one.
    fn found(&mut self, row: &Waiting, work: &Work) -> Result<Option<ValueBuf>, QueryError> {
        match self.try_found(row, work) {
            // What was read for others leaves no room for it.
            Err(QueryError::Refused(Status::QueryMemory, _)) if self.ahead_bytes > 0 => {
                self.forget_ahead(work);
                self.try_found(row, work)
            }
            found => found,
        }
    }

    fn try_found(&mut self, row: &Waiting, work: &Work) -> Result<Option<ValueBuf>, QueryError> {
        let plan = Arc::clone(&self.plan);
        let lookup = &plan.lookups[self.number];
        let text = KeyText::of(row.key, lookup.local.is_key());
        let wanted = local_values(lookup, &text, Doc::trusted(&row.row));
        let mut taken = 0;
        let mut holder = DocBuf::new();
        holder.begin_array("");
        let mut first = None;
        let mut push = |document: &[u8]| -> Result<(), QueryError> {
            let bytes = OVERHEAD + document.len();
            work.take(bytes, "look up")?;
            taken += bytes;
            if lookup.one {
                first.get_or_insert_with(|| document.to_vec());
            } else {
                holder.item(Doc::trusted(document));
            }
            Ok(())
        };
        let given = match &self.table {
            Some(table) => table.find(&wanted, lookup.one, &mut push),
            None => self.give(row, &wanted, work, &mut push),
        };
        if let Err(error) = given {
            work.give_back(taken);
            return Err(error);
        }
        self.taken += taken;
        let too_much = |e| QueryError::bad(format!("lookup of {}: {e}", lookup.store));
        if lookup.one {
            return first
                .map(|document| ValueBuf::new(Doc::trusted(&document)))
                .transpose()
                .map_err(too_much);
        }
        holder.end();
        let bytes = holder.finish().map_err(too_much)?;
        let array = Doc::trusted(&bytes).get("").unwrap_or(Value::Null);
        ValueBuf::new(array).map(Some).map_err(too_much)
    }
}

/// What of a row is looked up.
fn local_values<'a>(lookup: &ast::Lookup, text: &'a KeyText, doc: Doc<'a>) -> Vec<Value<'a>> {
    match lookup.local.is_key() {
        true => vec![Value::String(text.get())],
        false => doc.path_all(&lookup.local.0, Arrays::Both),
    }
}

fn order_key(value: &Value<'_>) -> Vec<u8> {
    let mut order_key = Vec::new();
    order::order_key(Some(*value), &mut order_key);
    order_key
}

/// The key a value is the text of.
fn key_of(value: Value<'_>) -> Option<Key> {
    let text = value.as_str()?;
    let key: Key = text.parse().ok()?;
    // The texts of keys compare as strings do: upper-case digits are another text.
    (key.to_string() == text).then_some(key)
}

impl Rows for Lookup {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        work.give_back(std::mem::take(&mut self.taken));
        if self.waiting.is_empty() && !self.ended {
            self.may_read_table(work)?;
            self.take_rows(work)?;
        }
        let unsought = self.waiting.front().is_some_and(|row| row.found.is_none());
        if unsought && self.table.is_none() {
            self.seek(work)?;
        }
        let Some(row) = self.waiting.pop_front() else {
            // Nothing is held behind the last row.
            self.forget_ahead(work);
            work.give_back(self.table.take().map_or(0, |table| table.taken));
            return Ok(false);
        };
        self.held -= row.bytes;
        self.taken = row.bytes;
        let found = self.found(&row, work)?;
        let change = match &found {
            Some(found) => Change::Set(&self.lookup().name, found.get()),
            None => Change::Unset(&self.lookup().name),
        };
        let doc = Doc::trusted(&row.row).with(&[change]);
        self.row = doc.map_err(|e| QueryError::document(row.key, &e))?;
        self.key = row.key;
        work.tick(self.row.len())?;
        Ok(true)
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        Ok((self.key, Doc::trusted(&self.row)))
    }
}
