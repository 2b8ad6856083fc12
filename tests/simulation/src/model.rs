//! The oracle: every keyspace at every LSN.
//!
//! Invariant: a plain ordered map of version chains; it knows nothing of sets,
//! trees or files, so it cannot share a fault with the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use lsm::Lsn;

/// A value's bytes.
pub type Bytes = Arc<[u8]>;

/// One write, as the model knows it.
#[derive(Clone, Debug)]
pub enum Write {
    /// Key and value.
    Put(u32, Vec<u8>, Bytes),
    /// Key.
    Delete(u32, Vec<u8>),
    /// The whole keyspace.
    Drop(u32),
}

/// A value, or its absence, from an LSN on.
type Chain = Vec<(Lsn, Option<Bytes>)>;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Model {
    keyspaces: BTreeMap<u32, BTreeMap<Vec<u8>, Chain>>,
    last: Lsn,
    /// Each commit with its wall time, in microseconds; LSN 1 is at 0.
    commits: Vec<(u64, Vec<Write>)>,
}

impl Model {
    /// The last commit it knows.
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// When a commit was made, in microseconds since 1970.
    pub fn wall(&self, lsn: Lsn) -> Option<u64> {
        Some(self.commits.get(usize::try_from(lsn.checked_sub(1)?).ok()?)?.0)
    }

    /// The latest time of any commit up to this one: clocks are set back.
    pub fn highest_wall(&self, lsn: Lsn) -> Option<u64> {
        let upto = usize::try_from(lsn).unwrap_or(usize::MAX).min(self.commits.len());
        self.commits[..upto].iter().map(|(wall, _)| *wall).max()
    }

    /// What a commit wrote; nothing if it is not known.
    pub fn writes(&self, lsn: Lsn) -> &[Write] {
        let at = lsn.checked_sub(1).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.commits.get(at)).map_or(&[], |(_, writes)| writes)
    }

    /// The next commit.
    pub fn commit(&mut self, writes: &[Write], wall_micros: u64) {
        self.last += 1;
        self.commits.push((wall_micros, writes.to_vec()));
        let lsn = self.last;
        for write in writes {
            match write {
                Write::Put(keyspace, key, value) => {
                    let keys = self.keyspaces.entry(*keyspace).or_default();
                    set(keys.entry(key.clone()).or_default(), lsn, Some(Arc::clone(value)));
                }
                Write::Delete(keyspace, key) => {
                    let keys = self.keyspaces.entry(*keyspace).or_default();
                    set(keys.entry(key.clone()).or_default(), lsn, None);
                }
                Write::Drop(keyspace) => {
                    for chain in self.keyspaces.entry(*keyspace).or_default().values_mut() {
                        set(chain, lsn, None);
                    }
                }
            }
        }
    }

    /// Forgets every commit behind `lsn`.
    pub fn cut(&mut self, lsn: Lsn) {
        self.last = self.last.min(lsn);
        self.commits.truncate(usize::try_from(lsn).unwrap_or(usize::MAX));
        for keys in self.keyspaces.values_mut() {
            keys.retain(|_, chain| {
                while chain.last().is_some_and(|(at, _)| *at > lsn) {
                    chain.pop();
                }
                !chain.is_empty()
            });
        }
    }

    /// What a key has at an LSN.
    pub fn get(&self, keyspace: u32, key: &[u8], lsn: Lsn) -> Option<&Bytes> {
        at(self.keyspaces.get(&keyspace)?.get(key)?, lsn)
    }

    /// What a key has at an LSN, and which commit wrote it.
    pub fn get_versioned(&self, keyspace: u32, key: &[u8], lsn: Lsn) -> Option<(&Bytes, Lsn)> {
        let chain = self.keyspaces.get(&keyspace)?.get(key)?;
        let below = chain.partition_point(|(at, _)| *at <= lsn);
        let (written, value) = chain[..below].last()?;
        Some((value.as_ref()?, *written))
    }

    /// All of a keyspace at an LSN, in key order.
    pub fn all(&self, keyspace: u32, lsn: Lsn) -> impl DoubleEndedIterator<Item = (&[u8], &Bytes)> {
        let keys = self.keyspaces.get(&keyspace).into_iter().flatten();
        keys.filter_map(move |(key, chain)| Some((key.as_slice(), at(chain, lsn)?)))
    }

    /// Every value a key ever had, or none.
    pub fn ever(&self, keyspace: u32, key: &[u8]) -> impl Iterator<Item = &Bytes> {
        let chain = self.keyspaces.get(&keyspace).and_then(|keys| keys.get(key));
        chain.into_iter().flatten().filter_map(|(_, value)| value.as_ref())
    }
}

fn set(chain: &mut Chain, lsn: Lsn, value: Option<Bytes>) {
    match chain.last_mut() {
        Some((at, last)) if *at == lsn => *last = value,
        Some((_, None)) if value.is_none() => {}
        None if value.is_none() => {}
        _ => chain.push((lsn, value)),
    }
}

fn at(chain: &Chain, lsn: Lsn) -> Option<&Bytes> {
    let below = chain.partition_point(|(at, _)| *at <= lsn);
    chain[..below].last()?.1.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lsn_keeps_its_own_answer_and_a_cut_forgets_the_later_ones() {
        let put = |key: &[u8], value: &[u8]| Write::Put(1, key.to_vec(), value.into());
        let mut model = Model::default();
        model.commit(&[put(b"a", b"1"), put(b"b", b"1")], 10);
        model.commit(&[Write::Delete(1, b"a".to_vec())], 20);
        model.commit(&[put(b"c", b"x"), Write::Drop(1), put(b"a", b"3")], 30);
        let state = |model: &Model, lsn| {
            model
                .all(1, lsn)
                .map(|(k, v)| format!("{}{}", k.escape_ascii(), v.escape_ascii()))
                .collect::<Vec<_>>()
        };
        assert_eq!(state(&model, 0), [""; 0]);
        assert_eq!(state(&model, 1), ["a1", "b1"]);
        assert_eq!(state(&model, 2), ["b1"]);
        assert_eq!(state(&model, 3), ["a3"]);
        assert_eq!(model.wall(3), Some(30));
        model.cut(1);
        assert_eq!((state(&model, 9), model.last(), model.wall(2)), (state(&model, 1), 1, None));
    }
}
