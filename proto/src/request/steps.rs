//! The steps of an Apply: `count x (kind:u8 store:str16 condition:u8 version:u64 has_key:u8
//! key:16 [document])`.
//!
//! ```text
//! kind       0 insert, 1 put, 2 replace: with a document   3 delete, 4 check: without
//! condition  0 none   1 absent   2 present   3 version, which is 0 elsewhere and not 0 here
//! ```
//!
//! Invariant: steps that were decoded are framed well to the last byte; all but an insert
//! have a key, and a check has a condition. Of a key that is made nothing is asked but that
//! it is free.

use crate::Key;
use crate::codec::{DecodeError, Reader, Write};

/// What one step does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act<'a> {
    /// Adds a document, under a key that has none, or one that is made.
    Insert(Option<Key>, &'a [u8]),
    /// Writes a document, whatever is under the key.
    Put(Key, &'a [u8]),
    /// Writes a document in the place of one.
    Replace(Key, &'a [u8]),
    /// Removes a document.
    Delete(Key),
    /// Writes nothing: it is there for its condition.
    Check(Key),
}

/// What must hold of a document before anything of an Apply is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is none.
    Absent,
    /// There is one.
    Present,
    /// There is one, of this version.
    Version(u64),
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step<'a> {
    /// The store it is about.
    pub store: &'a str,
    /// What it does.
    pub act: Act<'a>,
    /// What must hold first.
    pub condition: Option<Condition>,
}

impl<'a> Act<'a> {
    /// The key of its document, if it is known.
    pub fn key(&self) -> Option<Key> {
        match *self {
            Act::Insert(key, _) => key,
            Act::Put(key, _) | Act::Replace(key, _) | Act::Delete(key) | Act::Check(key) => {
                Some(key)
            }
        }
    }

    /// The document that it writes.
    pub fn document(&self) -> Option<&'a [u8]> {
        match *self {
            Act::Insert(_, document) | Act::Put(_, document) | Act::Replace(_, document) => {
                Some(document)
            }
            Act::Delete(_) | Act::Check(_) => None,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Act::Insert(..) => 0,
            Act::Put(..) => 1,
            Act::Replace(..) => 2,
            Act::Delete(_) => 3,
            Act::Check(_) => 4,
        }
    }
}

impl<'a> Step<'a> {
    fn decode(body: &mut Reader<'a>) -> Result<Step<'a>, DecodeError> {
        let kind = body.u8("kind of a step")?;
        let store = body.str16("store name")?;
        let condition = match (body.u8("condition of a step")?, body.u64("version of a step")?) {
            (0, 0) => None,
            (1, 0) => Some(Condition::Absent),
            (2, 0) => Some(Condition::Present),
            (3, version) if version > 0 => Some(Condition::Version(version)),
            _ => return Err(DecodeError::new("condition of a step", "is none")),
        };
        let key = body.optional_key("key of a step")?;
        let act = match (kind, key) {
            (0, None) if !matches!(condition, None | Some(Condition::Absent)) => {
                return Err(DecodeError::new(
                    "condition of an insert without a key",
                    "cannot hold",
                ));
            }
            (0, key) => Act::Insert(key, body.document("document of a step")?),
            (1, Some(key)) => Act::Put(key, body.document("document of a step")?),
            (2, Some(key)) => Act::Replace(key, body.document("document of a step")?),
            (3, Some(key)) => Act::Delete(key),
            (4, Some(key)) if condition.is_some() => Act::Check(key),
            (1..=4, None) => return Err(DecodeError::new("key of a step", "is missing")),
            (4, _) => return Err(DecodeError::new("condition of a check", "is missing")),
            _ => return Err(DecodeError::new("kind of a step", "is none")),
        };
        Ok(Step { store, act, condition })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.act.kind());
        out.put_str16(self.store);
        let (condition, version) = match self.condition {
            None => (0, 0),
            Some(Condition::Absent) => (1, 0),
            Some(Condition::Present) => (2, 0),
            Some(Condition::Version(version)) => (3, version),
        };
        out.push(condition);
        out.extend_from_slice(&version.to_le_bytes());
        out.put_optional_key(self.act.key());
        out.extend_from_slice(self.act.document().unwrap_or_default());
    }
}

/// The steps of a [`Request::Apply`](super::Request::Apply), checked to be framed well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steps<'a> {
    pub(super) count: u32,
    pub(super) items: &'a [u8],
}

impl<'a> Steps<'a> {
    pub(super) fn decode(body: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = body.u32("count of steps")?;
        let items = body.rest();
        let mut walk = Reader::new(items);
        for _ in 0..count {
            Step::decode(&mut walk)?;
        }
        walk.done("steps")?;
        Ok(Steps { count, items })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each step, in order.
    pub fn iter(&self) -> impl Iterator<Item = Step<'a>> + use<'a> {
        let mut walk = Reader::new(self.items);
        (0..self.count).map_while(move |_| Step::decode(&mut walk).ok())
    }
}

/// Collects the steps of a [`Request::Apply`](super::Request::Apply).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepsBuf {
    count: u32,
    items: Vec<u8>,
}

impl StepsBuf {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step. What no Apply can have (a version of 0, a check without a condition) is
    /// refused by who reads it. Store names longer than 65,535 bytes are cut.
    pub fn push(&mut self, step: Step<'_>) {
        step.encode(&mut self.items);
        self.count += 1;
    }

    /// Steps so far.
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

    /// For a request.
    pub fn as_steps(&self) -> Steps<'_> {
        Steps { count: self.count, items: &self.items }
    }
}
