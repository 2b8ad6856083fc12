//! Documents by their keys, which an index or the query itself gives.
//!
//! What must stay true: rows come in the order of their keys, either way, each once.
//! The keys that are held are of the query's budget. A key that an index gives leads to
//! a document, or the index is damaged; one that the query names may lead to none. What
//! is read ahead is bounded in documents and in bytes.

use std::collections::BTreeSet;

use lsm::{KeyspaceId, Snapshot, Values};
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
pub(super) const CHUNK: usize = 32;
/// About how many bytes of them.
const CHUNK_BYTES: usize = 256 << 10;
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
    ahead: Ahead,
    at: Option<Key>,
}

/// Documents read ahead, and the keys of those to be read next.
#[derive(Default)]
pub(super) struct Ahead {
    /// Those read first, then those to be read.
    keys: Vec<[u8; KEY_BYTES]>,
    values: Values,
    /// Which of those read comes next.
    next: usize,
}

impl Ahead {
    /// Whether all that were read have been given.
    pub(super) fn is_spent(&self) -> bool {
        self.next >= self.values.len()
    }

    /// How many keys there are to be read. When all that were read have been given.
    pub(super) fn waiting(&mut self) -> usize {
        self.keys.drain(..self.values.len());
        self.values.clear();
        self.next = 0;
        self.keys.len()
    }

    pub(super) fn push(&mut self, key: Key) {
        self.keys.push(key.to_bytes());
    }

    /// Reads the documents under the first keys that wait, as many as fit.
    pub(super) fn read(
        &mut self,
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
    ) -> Result<(), QueryError> {
        Ok(snapshot.read_many(keyspace, &self.keys, CHUNK_BYTES, &mut self.values)?)
    }

    /// Moves to the next of those that were read: its key, and how long it is. Those that
    /// are not there are passed over if they may be missing.
    pub(super) fn advance(&mut self, may_miss: bool) -> Result<Option<(Key, usize)>, QueryError> {
        while self.next < self.values.len() {
            let key = Key::from_bytes(self.keys[self.next]);
            self.next += 1;
            match self.values.get(self.next - 1) {
                Some(document) => return Ok(Some((key, document.len()))),
                None if may_miss => {}
                None => return Err(lost(key)),
            }
        }
        Ok(None)
    }

    /// The document moved to.
    pub(super) fn document(&self) -> Doc<'_> {
        let at = self.next.checked_sub(1);
        at.and_then(|at| self.values.get(at)).map_or(Doc::empty(), Doc::trusted)
    }
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
            let mut ranges =
                Ranges::open(snapshot, &part.index, &part.bounds, false, part.entries)?;
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
            ahead: Ahead::default(),
            at: None,
        }
    }

    /// Moves to the next document.
    fn next_document(&mut self, work: &Work) -> Result<Option<(Key, usize)>, QueryError> {
        loop {
            if self.ahead.is_spent() {
                let waiting = self.ahead.waiting();
                let keys = self.keys.by_ref().take(CHUNK.saturating_sub(waiting));
                keys.for_each(|key| self.ahead.push(key));
                if self.ahead.waiting() == 0 {
                    return Ok(None);
                }
                work.give_back((self.ahead.waiting() - waiting) * KEY_BYTES);
                self.ahead.read(&self.snapshot, self.keyspace)?;
            }
            // Of those that a query names, none of a chunk may be there.
            let found = self.ahead.advance(self.named)?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }
}

impl Rows for Fetch {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        if self.unread {
            self.at = self.keys.next();
            if self.at.is_some() {
                work.give_back(KEY_BYTES);
                work.tick(0)?;
            }
            return Ok(self.at.is_some());
        }
        let found = self.next_document(work)?;
        self.at = found.map(|(key, _)| key);
        if let Some((_, bytes)) = found {
            work.examined(bytes)?;
        }
        Ok(self.at.is_some())
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        Ok(match self.at {
            Some(key) if !self.unread => (key, self.ahead.document()),
            Some(key) => (key, Doc::empty()),
            None => (Key::MIN, Doc::empty()),
        })
    }
}
