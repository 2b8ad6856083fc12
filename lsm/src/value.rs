//! A value as a reader gets it: shared with the memtable where it lies there.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::memtable::{SMALL_VALUE, Stored};

/// A value's bytes. Cheap to clone where it comes from a memtable.
#[derive(Clone)]
pub struct Value(Repr);

#[derive(Clone)]
enum Repr {
    Small { len: u8, bytes: [u8; SMALL_VALUE] },
    Shared(Arc<[u8]>),
    Owned(Vec<u8>),
}

impl Value {
    /// What a memtable entry holds, or `None` for a delete.
    pub(crate) fn from_stored(stored: &Stored) -> Option<Value> {
        match stored {
            Stored::Delete => None,
            Stored::Small { len, bytes } => Some(Value(Repr::Small { len: *len, bytes: *bytes })),
            Stored::Shared(bytes) => Some(Value(Repr::Shared(Arc::clone(bytes)))),
        }
    }

    /// The bytes as a vector, copied only if they are shared.
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Repr::Owned(bytes) => bytes,
            other => Value(other).to_vec(),
        }
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value(Repr::Owned(bytes))
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Small { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
            Repr::Owned(bytes) => bytes,
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
