//! Documents by their keys, which an index or the query itself gives.
//!
//! What must stay true: rows come in the order of their keys, either way, each once.
//! The keys that are held are of the query's budget. A key that an index gives leads to
//! a document, or the index is damaged; one that the query names may lead to none.

use std::collections::BTreeSet;

use lsm::{KeyspaceId, Snapshot};
use proto::Key;
use proto::doc::Doc;

use super::super::QueryError;
use super::super::range::KeyRange;
use super::super::rows::Rows;
use super::super::work::Work;
use super::Access;
use super::ranges::Ranges;
use super::ties::lost;
use crate::index::document_of;

/// Documents read at once.
pub(super) const CHUNK: usize = 16;
/// Bytes a chosen key takes.
const KEY_BYTES: usize = 16;

/// See the module.
pub(in super::super) struct Fetch {
    snapshot: Snapshot,
    keyspace: KeyspaceId,
    /// In the order in which they are given, each once.
    keys: std::vec::IntoIter<Key>,
    /// Whether the documents are not read: only their number matters.
    unread: bool,
    /// Whether a key may lead to nothing.
    named: bool,
    chunk: std::vec::IntoIter<(Key, lsm::Value)>,
    at: Option<(Key, Option<lsm::Value>)>,
}

impl Fetch {
    /// Reads the entries; `None` if they are more than `access` allows, or their keys do
    /// not fit the memory of the query.
    pub(in super::super) fn open(
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
        access: &Access,
        unread: bool,
        range: KeyRange,
        reverse: bool,
        work: &Work,
    ) -> Result<Option<Fetch>, QueryError> {
        let mut keys = Vec::new();
        let mut left = access.most;
        for part in &access.parts {
            let mut ranges = Ranges::open(snapshot, &part.index, &part.bounds, false)?;
            while ranges.advance()? {
                work.entry()?;
                let Some(cursor) = ranges.cursor() else { break };
                let key = document_of(&part.index, cursor.key());
                let key = key.map_err(QueryError::from_refusal)?;
                let within = left > 0;
                left = left.saturating_sub(1);
                if within && (key < range.low || range.high < key) {
                    continue;
                }
                if !within || !work.try_take(KEY_BYTES) {
                    work.give_back(keys.len() * KEY_BYTES);
                    return Ok(None);
                }
                keys.push(key);
            }
        }
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        work.give_back((all - keys.len()) * KEY_BYTES);
        Ok(Some(Fetch::of(snapshot, keyspace, keys, unread, false, reverse)))
    }

    /// The documents under keys that the query names; `None` if those do not fit its
    /// memory.
    pub(in super::super) fn named(
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
        keys: &BTreeSet<Key>,
        reverse: bool,
        work: &Work,
    ) -> Option<Fetch> {
        let fits = work.try_take(keys.len() * KEY_BYTES);
        let keys = keys.iter().copied().collect();
        fits.then(|| Fetch::of(snapshot, keyspace, keys, false, true, reverse))
    }

    fn of(
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
        mut keys: Vec<Key>,
        unread: bool,
        named: bool,
        reverse: bool,
    ) -> Fetch {
        if reverse {
            keys.reverse();
        }
        Fetch {
            snapshot: snapshot.clone(),
            keyspace,
            keys: keys.into_iter(),
            unread,
            named,
            chunk: Vec::new().into_iter(),
            at: None,
        }
    }

    fn read_chunk(&mut self, work: &Work) -> Result<(), QueryError> {
        while self.chunk.len() == 0 && self.keys.len() > 0 {
            let keys: Vec<Key> = self.keys.by_ref().take(CHUNK).collect();
            work.give_back(keys.len() * KEY_BYTES);
            let chunk = documents(&self.snapshot, self.keyspace, &keys, self.named)?;
            self.chunk = chunk.into_iter();
        }
        Ok(())
    }
}

/// The documents under these keys; those that are not there are passed over if they may
/// be missing.
pub(super) fn documents(
    snapshot: &Snapshot,
    keyspace: KeyspaceId,
    keys: &[Key],
    may_miss: bool,
) -> Result<Vec<(Key, lsm::Value)>, QueryError> {
    let bytes: Vec<[u8; 16]> = keys.iter().map(|key| key.to_bytes()).collect();
    let values = snapshot.multi_get(keyspace, &bytes)?;
    let mut found = Vec::with_capacity(keys.len());
    for (key, value) in keys.iter().zip(values) {
        match value {
            Some(value) => found.push((*key, value)),
            None if may_miss => {}
            None => return Err(lost(*key)),
        }
    }
    Ok(found)
}

impl Rows for Fetch {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        if self.unread {
            self.at = self.keys.next().map(|key| (key, None));
            if self.at.is_some() {
                work.give_back(KEY_BYTES);
                work.tick(0)?;
            }
            return Ok(self.at.is_some());
        }
        if self.chunk.len() == 0 {
            self.read_chunk(work)?;
        }
        let Some((key, document)) = self.chunk.next() else {
            self.at = None;
            return Ok(false);
        };
        work.examined(document.len())?;
        self.at = Some((key, Some(document)));
        Ok(true)
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        Ok(match &self.at {
            Some((key, Some(document))) => (*key, Doc::trusted(document)),
            Some((key, None)) => (*key, Doc::empty()),
            None => (Key::MIN, Doc::empty()),
        })
    }
}
