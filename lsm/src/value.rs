//! A value as a reader gets it: not copied from where it lies.
//!
//! What must stay true: it keeps the memory it lies in (its memtable, a page
//! frame, the record read for it) and nothing else.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::memtable::{Held, Memtable};
use crate::tree;

/// Memtable values up to this long are copied: cheaper than sharing them.
const SMALL: usize = 22;

/// A value's bytes. Cheap to clone but where it comes from the value log.
#[derive(Clone)]
pub struct Value(Repr);

#[derive(Clone)]
enum Repr {
    Small {
        len: u8,
        bytes: [u8; SMALL],
    },
    /// In a memtable.
    Memory(Held<Memtable>),
    /// A leaf's cell.
    Leaf(btree::Value),
    /// The value is the last `len` bytes.
    Record {
        bytes: Vec<u8>,
        len: usize,
    },
}

impl Value {
    /// What `find` finds in the memtable, if it does.
    #[inline]
    pub(crate) fn from_memory(
        table: &Arc<Memtable>,
        find: impl for<'a> FnOnce(&'a Memtable) -> Option<&'a [u8]>,
    ) -> Option<Value> {
        let mut small = None;
        let held = Held::find(table, |table| {
            let value = find(table)?;
            if value.len() > SMALL {
                return Some(value);
            }
            let mut bytes = [0; SMALL];
            bytes[..value.len()].copy_from_slice(value);
            small = Some(Repr::Small { len: value.len() as u8, bytes });
            None
        });
        small.or(held.map(Repr::Memory)).map(Value)
    }

    /// The value in a leaf's cell.
    pub(crate) fn from_cell(cell: btree::Value) -> Value {
        Value(Repr::Leaf(cell))
    }

    /// The last `len` bytes of a value log record.
    pub(crate) fn from_record(bytes: Vec<u8>, len: usize) -> Value {
        Value(Repr::Record { bytes, len })
    }

    /// The bytes as a vector; moved within it, not copied to a new one, if they
    /// came from the value log.
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Repr::Record { mut bytes, len } => {
                bytes.drain(..bytes.len() - len);
                bytes
            }
            other => Value(other).to_vec(),
        }
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Small { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Memory(bytes) => bytes,
            Repr::Leaf(cell) => tree::value_of(cell),
            Repr::Record { bytes, len } => &bytes[bytes.len() - len..],
        }
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Value {}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.escape_ascii().to_string())
    }
}
