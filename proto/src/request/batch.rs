//! The documents of a batch: `count x (has_key:u8 key:16 document)`.
//!
//! Invariant: a batch that was decoded is framed well to its last byte.

use crate::Key;
use crate::codec::{DecodeError, Reader, Write};

/// The documents of a batch, checked to be framed well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch<'a> {
    pub(super) count: u32,
    pub(super) items: &'a [u8],
}

impl<'a> Batch<'a> {
    pub(super) fn decode(body: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = body.u32("batch count")?;
        let items = body.rest();
        let mut walk = Reader::new(items);
        for _ in 0..count {
            walk.optional_key("batch key")?;
            walk.document("batch document")?;
        }
        walk.done("batch")?;
        Ok(Batch { count, items })
    }

    /// How many documents.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of its documents and keys, as they are sent.
    pub fn bytes(&self) -> usize {
        self.items.len()
    }

    /// Each document with the key it asks for, if it does.
    pub fn iter(&self) -> impl Iterator<Item = (Option<Key>, &'a [u8])> + use<'a> {
        let mut walk = Reader::new(self.items);
        (0..self.count).map_while(move |_| {
            let key = walk.optional_key("batch key").ok()?;
            Some((key, walk.document("batch document").ok()?))
        })
    }
}

/// Collects the documents of a [`Request::BatchInsert`].
#[derive(Clone, Debug, Default)]
pub struct BatchBuf {
    count: u32,
    items: Vec<u8>,
}

impl BatchBuf {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a document (BSON bytes) under `key`, or under one the engine makes.
    pub fn push(&mut self, key: Option<Key>, document: &[u8]) {
        self.items.put_optional_key(key);
        self.items.extend_from_slice(document);
        self.count += 1;
    }

    /// Documents so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none so far.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.items.len()
    }

    /// Forgets all documents, keeps the memory.
    pub fn clear(&mut self) {
        self.count = 0;
        self.items.clear();
    }

    /// For a request.
    pub fn as_batch(&self) -> Batch<'_> {
        Batch { count: self.count, items: &self.items }
    }
}
