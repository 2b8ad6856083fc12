//! Documents of another store put into those of this one.
//!
//! What must stay true: what is found is what `filter(foreign = value)` finds in the
//! other store, in key order, at the same snapshot. By key it is read directly; else
//! the other store is read once into a table that counts against the budget, and a
//! store too large for that is an error by name; it goes with the last row. What is
//! found for one row counts against the budget until the next row is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use lsm::{Direction, KeyspaceId, Snapshot};
use proto::doc::{Arrays, Change, Doc, DocBuf, EMPTY, Value, ValueBuf};
use proto::{Key, order};

use super::range::KeyRange;
use super::rows::{KeyText, Rows, Scan, Source};
use super::work::Work;
use super::{QueryError, SelectPlan};

/// Bytes an entry of the table takes beside what it holds.
const OVERHEAD: usize = 64;

/// The rows of another operator with what one lookup finds for each.
pub(super) struct Lookup {
    input: Source,
    plan: Arc<SelectPlan>,
    /// Which lookup of the plan.
    number: usize,
    snapshot: Snapshot,
    keyspace: KeyspaceId,
    table: Option<Table>,
    key: Key,
    row: Vec<u8>,
    /// Bytes of the budget that what was found for the row has taken.
    taken: usize,
}

/// A store, by the values of one field.
#[derive(Default)]
struct Table {
    /// As shown: with their keys in a field `key`. In key order.
    documents: Vec<Vec<u8>>,
    /// Numbers of documents, rising, by the order key of a value.
    by_value: BTreeMap<Vec<u8>, Vec<u32>>,
    /// Bytes of the budget that it has taken.
    taken: usize,
}

impl Lookup {
    pub(super) fn new(
        input: Source,
        plan: &Arc<SelectPlan>,
        number: usize,
        snapshot: Snapshot,
        keyspace: KeyspaceId,
    ) -> Lookup {
        let plan = Arc::clone(plan);
        let row = EMPTY.to_vec();
        Lookup {
            input,
            plan,
            number,
            snapshot,
            keyspace,
            table: None,
            key: Key::MIN,
            row,
            taken: 0,
        }
    }

    fn read_table(&self, work: &Work) -> Result<Table, QueryError> {
        let path = &self.plan.lookups[self.number].foreign.0;
        let mut scan =
            Scan::open(&self.snapshot, self.keyspace, KeyRange::ALL, Direction::Forward, false)?;
        let mut table = Table::default();
        let mut order_key = Vec::new();
        while scan.advance(work)? {
            let (key, doc) = scan.row()?;
            let mut values = BTreeSet::new();
            let all = doc.visit(path, Arrays::Both, &mut |value| {
                order_key.clear();
                order::order_key(Some(value), &mut order_key);
                values.insert(order_key.clone());
                ControlFlow::Continue(())
            });
            debug_assert!(all.is_continue(), "every value is seen");
            if values.is_empty() {
                continue;
            }
            let Ok(number) = u32::try_from(table.documents.len()) else {
                return Err(work.no_memory("look up"));
            };
            let document = shown(key, doc)?;
            let bytes = values.iter().map(|value| OVERHEAD + value.len()).sum::<usize>();
            let bytes = OVERHEAD + document.len() + bytes;
            work.take(bytes, "look up")?;
            table.taken += bytes;
            table.documents.push(document);
            for value in values {
                table.by_value.entry(value).or_default().push(number);
            }
        }
        Ok(table)
    }

    /// The documents for the values of a row, as an array or the first one.
    fn found(&mut self, values: &[Value<'_>], work: &Work) -> Result<Option<ValueBuf>, QueryError> {
        let plan = Arc::clone(&self.plan);
        let lookup = &plan.lookups[self.number];
        let taken = &mut self.taken;
        let mut holder = DocBuf::new();
        holder.begin_array("");
        let mut first = None;
        let mut push = |document: &[u8]| -> Result<(), QueryError> {
            let bytes = OVERHEAD + document.len();
            work.take(bytes, "look up")?;
            *taken += bytes;
            if lookup.one {
                first.get_or_insert_with(|| document.to_vec());
            } else {
                holder.item(Doc::trusted(document));
            }
            Ok(())
        };
        if lookup.foreign.is_key() {
            let keys: BTreeSet<Key> = values.iter().filter_map(|v| key_of(*v)).collect();
            for key in keys {
                work.examined(0)?;
                if let Some(document) = self.snapshot.get(self.keyspace, &key.to_bytes())? {
                    push(&shown(key, Doc::trusted(&document))?)?;
                    if lookup.one {
                        break;
                    }
                }
            }
        } else if let Some(table) = &self.table {
            let mut numbers: BTreeSet<u32> = BTreeSet::new();
            let mut order_key = Vec::new();
            for value in values {
                order_key.clear();
                order::order_key(Some(*value), &mut order_key);
                let found = table.by_value.get(&order_key).map_or(&[][..], Vec::as_slice);
                let wanted = if lookup.one { found.len().min(1) } else { found.len() };
                numbers.extend(&found[..wanted]);
            }
            for number in numbers {
                push(&table.documents[number as usize])?;
            }
        }
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

/// A document with its key in front, as rows are shown.
fn shown(key: Key, doc: Doc<'_>) -> Result<Vec<u8>, QueryError> {
    let mut row = DocBuf::with_capacity(doc.as_bytes().len() + 48);
    row.push("key", key.to_string().as_str());
    for (name, value) in doc.iter() {
        row.push(name, value);
    }
    row.finish().map_err(|e| QueryError::document(key, &e))
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
        let plan = Arc::clone(&self.plan);
        let lookup = &plan.lookups[self.number];
        if self.table.is_none() && !lookup.foreign.is_key() {
            self.table = Some(self.read_table(work)?);
        }
        work.give_back(std::mem::take(&mut self.taken));
        if !self.input.advance(work)? {
            // Asked once more, it stays at its end: an empty table serves it.
            let table = self.table.as_mut().map(std::mem::take);
            work.give_back(table.map_or(0, |table| table.taken));
            return Ok(false);
        }
        let (key, doc) = self.input.row()?;
        let text = KeyText::of(key, lookup.local.is_key());
        // The values are copied: the row is lent by the input, the table by this.
        let doc = doc.as_bytes().to_vec();
        let doc = Doc::trusted(&doc);
        let values = if lookup.local.is_key() {
            vec![Value::String(text.get())]
        } else {
            doc.path_all(&lookup.local.0, Arrays::Both)
        };
        let found = self.found(&values, work)?;
        let change = match &found {
            Some(found) => Change::Set(&lookup.name, found.get()),
            None => Change::Unset(&lookup.name),
        };
        self.row = doc.with(&[change]).map_err(|e| QueryError::document(key, &e))?;
        self.key = key;
        work.tick(self.row.len())?;
        Ok(true)
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        Ok((self.key, Doc::trusted(&self.row)))
    }
}
