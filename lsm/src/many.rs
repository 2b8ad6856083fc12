//! Many keys read at once.
//!
//! What must stay true: the answer for each key is that of a single read
//! ([`Version::get`]): the newest set that has the key decides, a keyspace dropped in
//! a set hides all that is older. Keys are looked up in their order, whatever the
//! order they came in: neighbours share cache lines, pages and the way to them.

use crate::runs::hash;
use crate::tree::Cell;
use crate::value::Value;
use crate::version::Version;
use crate::{Error, KeyspaceId, Lsn};

/// So many records before it is read one is brought near.
const AHEAD: usize = 8;

impl Version {
    /// The values of `keys` as of `lsn`, which this version shows.
    pub(crate) fn multi_get<K: AsRef<[u8]>>(
        &self,
        keyspace: KeyspaceId,
        keys: &[K],
        lsn: Lsn,
    ) -> Result<Vec<Option<Value>>, Error> {
        let key = |i: usize| keys[i].as_ref();
        // Places of the keys that no set has decided yet.
        let mut left: Vec<usize> = (0..keys.len()).collect();
        left.sort_by(|a, b| key(*a).cmp(key(*b)));
        let mut out = vec![None; keys.len()];
        for set in self.sets() {
            set.with(keyspace.0, |table| {
                let floor = table.floor(lsn);
                left.retain(|&i| match table.entries.read(key(i), lsn) {
                    Some((at, value)) if at >= floor => {
                        out[i] = value;
                        false
                    }
                    // Dropped here: whatever is older is gone.
                    _ => floor == 0,
                });
            });
            if left.is_empty() {
                return Ok(out);
            }
        }
        let mut records = Vec::with_capacity(left.len());
        let mut bad = Ok(());
        let mut reader = self.values.reader();
        let mut found = |tree: u32, i: usize, cell: btree::Value| match Cell::decode_in(tree, &cell)
        {
            Ok(Cell::Tomb) => {}
            Ok(Cell::Inline(_)) => out[i] = Some(Value::from_cell(cell)),
            Ok(Cell::Pointer(at)) => {
                if records.len() < AHEAD {
                    reader.prefetch(at);
                }
                records.push((i, at));
            }
            Err(error) => bad = Err(error),
        };
        let runs = self.runs.of(keyspace.0);
        for run in runs {
            let mut ask = left.clone();
            ask.retain(|&i| run.may_have(hash(key(i))));
            let mut decided = Vec::new();
            self.view.get_many(run.tree, ask.iter().map(|&i| key(i)), &mut |at, cell| {
                if let Some(cell) = cell {
                    decided.push(ask[at]);
                    found(run.tree, ask[at], cell);
                }
            })?;
            // Both are in the order of keys.
            let mut decided = decided.into_iter().peekable();
            left.retain(|i| decided.next_if_eq(i).is_none());
        }
        let sorted = left.iter().map(|&i| key(i));
        self.view.get_many(keyspace.0, sorted, &mut |at, cell| {
            if let Some(cell) = cell {
                found(keyspace.0, left[at], cell);
            }
        })?;
        bad?;
        if !runs.is_empty() {
            records.sort_by(|a, b| key(a.0).cmp(key(b.0)));
        }
        // In key order values lie in the order a flush wrote them.
        for n in 0..records.len() {
            if let Some((_, at)) = records.get(n + AHEAD) {
                reader.prefetch(*at);
            }
            let (i, at) = records[n];
            let mut record = Vec::with_capacity(at.len as usize);
            let len = reader.append_of(at, keyspace.0, key(i), &mut record)?;
            out[i] = Some(Value::from_record(record, len));
        }
        Ok(out)
    }
}
