//! What a batch may require of the state it is written to.
//!
//! What must stay true: requirements are looked at under the commit lock, on the
//! state with every commit before this one, before the log takes the frame; they
//! are no part of the frame, so replay knows nothing of them. A batch that is
//! refused changed nothing. In sync mode the refusal waits until what it rests on
//! is durable: nobody is told of a state that a power cut undoes.

use crate::batch::{Batch, BatchError, MAX_BATCH_BYTES, MAX_KEY, MAX_KEYSPACE};
use crate::version::Version;
use crate::{Error, KeyspaceId, Lsn};

/// What [`Batch::require`] may ask of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect<'a> {
    /// It has no value.
    Absent,
    /// It has a value, any.
    Present,
    /// It has this value, byte for byte.
    Value(&'a [u8]),
}

/// One requirement, kept until the commit.
#[derive(Clone, Debug)]
pub(crate) struct Require {
    keyspace: KeyspaceId,
    key: Box<[u8]>,
    expect: Owned,
}

#[derive(Clone, Debug)]
enum Owned {
    Absent,
    Present,
    Value(Box<[u8]>),
}

/// What stood against a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// It should have had no value.
    IsPresent,
    /// It should have had a value.
    IsAbsent,
    /// It should have had another value.
    Differs,
}

impl std::fmt::Display for Unmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Unmet::IsPresent => "it has a value, and was to have none",
            Unmet::IsAbsent => "it has no value, and was to have one",
            Unmet::Differs => "it has another value than was expected",
        })
    }
}

impl Batch {
    /// Lets the commit happen only if `key` is as expected in the state it is
    /// written to, as no operation of this batch has changed it yet. Otherwise the
    /// commit fails with [`Error::Unmet`] and changes nothing. Costs a read of the
    /// key while other commits wait.
    pub fn require(&mut self, keyspace: KeyspaceId, key: &[u8], expect: Expect<'_>) {
        let value = if let Expect::Value(value) = expect { value.len() } else { 0 };
        let bytes = self.require_bytes.saturating_add(key.len()).saturating_add(value);
        if !(1..=MAX_KEY).contains(&key.len()) {
            return self.refuse(BatchError::Key(key.len()));
        } else if keyspace.0 >= MAX_KEYSPACE {
            return self.refuse(BatchError::Keyspace(keyspace.0));
        } else if bytes > MAX_BATCH_BYTES {
            return self.refuse(BatchError::TooLarge(bytes));
        }
        self.require_bytes = bytes;
        let expect = match expect {
            Expect::Absent => Owned::Absent,
            Expect::Present => Owned::Present,
            Expect::Value(value) => Owned::Value(value.into()),
        };
        self.requires.push(Require { keyspace, key: key.into(), expect });
    }

    /// Looks at the requirements in the state as of `lsn`.
    pub(crate) fn expectations(&self, version: &Version, lsn: Lsn) -> Result<(), Error> {
        for Require { keyspace, key, expect } in &self.requires {
            let found = version.get(*keyspace, key, lsn)?;
            let what = match (expect, found) {
                (Owned::Absent, None) | (Owned::Present, Some(_)) => continue,
                (Owned::Value(value), Some(found)) if **value == *found => continue,
                (Owned::Absent, Some(_)) => Unmet::IsPresent,
                (Owned::Present | Owned::Value(_), None) => Unmet::IsAbsent,
                (Owned::Value(_), Some(_)) => Unmet::Differs,
            };
            return Err(Error::Unmet { keyspace: *keyspace, key: key.clone(), what });
        }
        Ok(())
    }
}

/// A key as a message shows it: escaped, cut when it is long.
pub(crate) fn shown(key: &[u8]) -> String {
    let short = key.get(..64).unwrap_or(key);
    let more = if short.len() < key.len() { ".." } else { "" };
    format!("\"{}\"{more}", short.escape_ascii())
}
