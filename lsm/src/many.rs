//! Many keys read at once.
//!
//! What must stay true: the answer for each key is that of a single read
//! ([`Version::get`]): the newest set that has the key decides, a keyspace dropped in
//! a set hides all that is older. Keys are looked up in their order, whatever the
//! order they came in: neighbours share cache lines, pages and the way to them. What is
//! copied out of the value log into [`Values`] is bounded by what their reader says: how
//! long a record is is known before it is read.

use std::ops::Range;

use vlog::{Pointer, Reader};

use crate::runs::hash;
use crate::transaction::Own;
use crate::tree::Cell;
use crate::value::Value;
use crate::version::Version;
use crate::{Error, KeyspaceId, Lsn};

/// So many records before it is read one is brought near.
const AHEAD: usize = 8;

/// More memory than this is not kept from one reading to the next.
const KEEP: usize = 512 << 10;

/// Values read at once: see [`Snapshot::read_many`](crate::Snapshot::read_many).
#[derive(Default)]
pub struct Values {
    held: Vec<Option<Held>>,
    /// Records of the value log, one behind the other.
    records: Vec<u8>,
}

enum Held {
    /// Where it lies in memory.
    Shared(Value),
    /// A part of `records`.
    Record(Range<usize>),
}

impl Values {
    /// How many keys they are of: the first of those that were given.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The value of the key of that number; `None` if it has none.
    pub fn get(&self, number: usize) -> Option<&[u8]> {
        match self.held.get(number)?.as_ref()? {
            Held::Shared(value) => Some(value),
            Held::Record(at) => self.records.get(at.clone()),
        }
    }

    /// Lets go of all of them, and keeps the memory they were in if it is not much.
    pub fn clear(&mut self) {
        self.held.clear();
        self.records.clear();
        self.records.shrink_to(KEEP);
    }
}

/// What sets and trees say of keys, by their numbers.
struct Located {
    shared: Vec<Option<Value>>,
    /// The others that there are, in the order of keys: where their records lie.
    records: Vec<(usize, Pointer)>,
}

impl Version {
    /// The values of `keys` as of `lsn`, which this version shows.
    pub(crate) fn multi_get<K: AsRef<[u8]>>(
        &self,
        keyspace: KeyspaceId,
        keys: &[K],
        lsn: Lsn,
        own: Option<&Own>,
    ) -> Result<Vec<Option<Value>>, Error> {
        let Located { shared: mut out, records } = self.locate(keyspace, keys, lsn, own)?;
        self.records(&records, |reader, i, at| {
            let mut record = Vec::with_capacity(at.len as usize);
            let len = reader.append_of(at, keyspace.0, keys[i].as_ref(), &mut record)?;
            out[i] = Some(Value::from_record(record, len));
            Ok(())
        })?;
        Ok(out)
    }

    /// As [`Version::multi_get`], into `values`: of all keys, or of the first whose
    /// records are not longer than `enough` together, and of one at least; and of none
    /// from one on whose record cannot be read.
    pub(crate) fn read_many<K: AsRef<[u8]>>(
        &self,
        keyspace: KeyspaceId,
        keys: &[K],
        lsn: Lsn,
        enough: usize,
        values: &mut Values,
        own: Option<&Own>,
    ) -> Result<(), Error> {
        values.clear();
        let Located { mut shared, mut records } = self.locate(keyspace, keys, lsn, own)?;
        let most = first_of(&records, keys.len(), enough);
        if most < keys.len() {
            shared.truncate(most);
            records.retain(|(i, _)| *i < most);
        }
        let Values { held, records: bytes } = values;
        held.extend(shared.into_iter().map(|value| value.map(Held::Shared)));
        bytes.reserve(records.iter().map(|(_, at)| at.len as usize).sum());
        // A record that cannot be read is told to who comes to it, not to who is content
        // with those before.
        let mut bad: Option<(usize, Error)> = None;
        self.records(&records, |reader, i, at| {
            if bad.as_ref().is_some_and(|(first, _)| i > *first) {
                return Ok(());
            }
            let start = bytes.len();
            match reader.append_of(at, keyspace.0, keys[i].as_ref(), bytes) {
                Ok(len) => held[i] = Some(Held::Record(bytes.len() - len..bytes.len())),
                Err(error) => {
                    bytes.truncate(start);
                    bad = Some((i, error.into()));
                }
            }
            Ok(())
        })?;
        match bad {
            Some((0, error)) => {
                values.clear();
                Err(error)
            }
            Some((first, _)) => {
                held.truncate(first);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn locate<K: AsRef<[u8]>>(
        &self,
        keyspace: KeyspaceId,
        keys: &[K],
        lsn: Lsn,
        own: Option<&Own>,
    ) -> Result<Located, Error> {
        let key = |i: usize| keys[i].as_ref();
        // Places of the keys that no set has decided yet.
        let mut left: Vec<usize> = (0..keys.len()).collect();
        left.sort_by(|a, b| key(*a).cmp(key(*b)));
        let mut out = vec![None; keys.len()];
        if let Some(own) = own {
            left.retain(|&i| match own.get(keyspace, key(i)) {
                Some(value) => {
                    out[i] = value;
                    false
                }
                None => true,
            });
        }
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
                return Ok(Located { shared: out, records: Vec::new() });
            }
        }
        let mut records = Vec::with_capacity(left.len());
        let mut bad = Ok(());
        let mut reader = self.values.reader();
        let mut found = |tree: u32, i: usize, cell: btree::Value| match Cell::decode_in(tree, &cell)
        {
            Ok(Cell::Tomb) => {}
            Ok(Cell::Inline(..)) => out[i] = Some(Value::from_cell(cell)),
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
        Ok(Located { shared: out, records })
    }

    /// Reads records, all in the order given: in key order they lie in the order a flush
    /// wrote them.
    fn records(
        &self,
        records: &[(usize, Pointer)],
        mut read: impl FnMut(&mut Reader<'_>, usize, Pointer) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut reader = self.values.reader();
        for n in 0..records.len() {
            if let Some((_, at)) = records.get(n + AHEAD) {
                reader.prefetch(*at);
            }
            let (i, at) = records[n];
            read(&mut reader, i, at)?;
        }
        Ok(())
    }
}

/// Of so many keys, how many of the first have records of `enough` bytes together: one
/// at least. `records` are numbers of keys, each once, and where their values lie.
fn first_of(records: &[(usize, Pointer)], keys: usize, enough: usize) -> usize {
    let bytes = |(_, at): &(usize, Pointer)| at.len as usize;
    // Mostly they are all short.
    if records.iter().map(bytes).sum::<usize>() <= enough {
        return keys;
    }
    let mut lengths = vec![0; keys];
    for record in records {
        lengths[record.0] = bytes(record);
    }
    let mut held = 0;
    let mut fits = |len: &usize| {
        held += len;
        held <= enough
    };
    lengths.iter().position(|len| !fits(len)).unwrap_or(keys).max(1)
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;
    use std::sync::Arc;

    use platform::sim::{SimClock, SimDisk};

    use super::*;
    use crate::{Batch, Direction, Lsm, Options};

    #[test]
    fn as_many_are_read_as_are_short_enough() {
        let at = |len: u32| Pointer { segment: 1, len, offset: 32 };
        // In the order of keys; the number says which was asked for first.
        let records = [(3, at(10)), (0, at(40)), (1, at(50))];
        for (enough, first) in [(0, 1), (39, 1), (40, 1), (89, 1), (90, 3), (99, 3), (100, 5)] {
            assert_eq!(first_of(&records, 5, enough), first, "{enough}");
        }
        assert_eq!(first_of(&[], 5, 0), 5, "what lies in memory takes none");
    }

    #[test]
    fn long_values_come_one_by_one_and_their_memory_goes() {
        const KS: KeyspaceId = KeyspaceId(3);
        let disk = SimDisk::new(1);
        let lsm = Lsm::open(disk.clone(), Arc::new(SimClock::new(0)), Options::default()).unwrap();
        assert!(lsm.snapshot().unwrap().is_vacant(KS).unwrap());
        let mut batch = Batch::new();
        for key in 0..4u8 {
            batch.put(KS, &[key], &vec![key; 1 << 20]);
        }
        lsm.commit(&batch).unwrap();
        assert!(!lsm.snapshot().unwrap().is_vacant(KS).unwrap(), "in a memtable");
        lsm.flush().unwrap();
        let snapshot = lsm.snapshot().unwrap();
        assert!(!snapshot.is_vacant(KS).unwrap(), "in the tree");
        let (mut values, keys) = (Values::default(), [[2u8], [9], [0], [3]]);
        snapshot.read_many(KS, &keys, (1 << 20) + 64, &mut values).unwrap();
        // The first, and behind it what is not there.
        assert_eq!(values.len(), 2);
        assert_eq!(values.get(0), Some(&vec![2u8; 1 << 20][..]));
        assert_eq!((values.get(1), values.get(2)), (None, None));
        values.clear();
        assert!(values.is_empty() && values.records.capacity() <= KEEP);
        // A record that is damaged keeps those before it from nobody.
        let file = disk.files().into_iter().find(|file| file.starts_with("vlog/")).unwrap();
        let bytes = disk.file_bytes(&file).unwrap();
        let at = bytes.windows(64).position(|w| w == [1u8; 64]).unwrap() as u64;
        disk.corrupt(&file, at + 7, 1).unwrap();
        let keys = [[3u8], [0], [1], [2]];
        snapshot.read_many(KS, &keys, usize::MAX, &mut values).unwrap();
        assert_eq!(values.len(), 2);
        assert_eq!(values.get(1), Some(&vec![0u8; 1 << 20][..]));
        let error = snapshot.read_many(KS, &keys[2..], usize::MAX, &mut values).unwrap_err();
        assert!(error.is_damage() && values.is_empty(), "{error}");
        disk.corrupt(&file, at + 7, 1).unwrap();
        // A cursor that is told how much is asked for gives no more and no less.
        for expected in [0, 1, 3, u64::MAX] {
            let all = Bound::Unbounded;
            let mut cursor = snapshot.range(KS, all, all, Direction::Forward).unwrap();
            cursor.expect(expected);
            for key in 0..4u8 {
                assert!(cursor.advance().unwrap());
                assert_eq!(cursor.key(), [key]);
            }
            assert!(!cursor.advance().unwrap());
        }
    }
}
