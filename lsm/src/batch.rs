//! Atomic batches and their WAL payload.
//!
//! What must stay true: a batch *is* its payload, drawn once below; decoding
//! checks every length, tag and limit and never panics, whatever the bytes.
//! Operations take effect in the order they were added.
//!
//! ```text
//!  0         1         4        8
//! +---------+---------+--------+------+------+-----
//! | version | zero    | count  | op 1 | op 2 | ...      count operations, then
//! | u8      | 3 bytes | u32 LE |      |      |          nothing
//! +---------+---------+--------+------+------+-----
//!
//!  0      1       2         4          8           12
//! +------+-------+---------+----------+-----------+---------+-----------+
//! | kind | flags | key len | keyspace | value len | key ... | value ... |
//! | u8   | u8    | u16 LE  | u32 LE   | u32 LE    |         |           |
//! +------+-------+---------+----------+-----------+---------+-----------+
//!   kind 1: put.  2: delete (value len 0).  3: drop the keyspace (both 0).
//!   4: the value that the key of the next operation, a put or a delete, has before it;
//!   no operation: who applies a batch passes it over, who follows the log reads it.
//!   flag 1, moves: the writer says that the number of keys changes: the key of a put
//!   had no value, that of a delete had one. Without: it does not, or nobody knows.
//!   What it is for: `count.rs`, and who follows the log.
//!   flag 2, versioned, of a put: the LSN is kept beside the value wherever it comes to
//!   lie (`tree.rs`). The puts of a keyspace have it all, or none has.
//!   A drop and a value before have no flags.
//!   version 4: there is a value before, at least one.  3: there is none.
//! ```

use std::fmt;

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::expect::Require;

/// Keys are 1 to this many bytes.
pub const MAX_KEY: usize = 1024;
/// A batch's payload is at most this many bytes: what one WAL frame may hold.
pub const MAX_BATCH_BYTES: usize = 64 << 20;
/// Keyspaces are numbered below this; the rest is for the engine's own trees.
pub const MAX_KEYSPACE: u32 = 0xFFFF_0000;

const VERSION: u8 = 3;
/// Of a batch with values before.
const VERSION_BEFORE: u8 = 4;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const DROP: u8 = 3;
const BEFORE: u8 = 4;
const MOVES: u8 = 1;
const VERSIONED: u8 = 2;

/// A keyspace: an ordered map of its own. Numbers are the caller's; after a drop
/// the number starts again empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(pub u32);

impl fmt::Display for KeyspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keyspace {}", self.0)
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    version: u8,
    zero: [u8; 3],
    count: U32,
}
const _: () = assert!(size_of::<Head>() == 8);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct OpHead {
    kind: u8,
    flags: u8,
    key_len: U16,
    keyspace: U32,
    value_len: U32,
}
const _: () = assert!(size_of::<OpHead>() == 12);

/// One operation, borrowed from a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// The key has this value from now on.
    Put(KeyspaceId, &'a [u8], &'a [u8]),
    /// The key has no value from now on; fine if it had none.
    Delete(KeyspaceId, &'a [u8]),
    /// All keys of the keyspace are gone, those put earlier in this batch too.
    DropKeyspace(KeyspaceId),
}

impl Op<'_> {
    /// Where it happens.
    pub fn keyspace(&self) -> KeyspaceId {
        let (Op::Put(keyspace, ..) | Op::Delete(keyspace, _) | Op::DropKeyspace(keyspace)) = *self;
        keyspace
    }
}

/// What is wrong with a batch, or with the bytes of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A key's length is out of bounds.
    #[error("a key has 1 to {MAX_KEY} bytes, this one has {0}: shorten what is indexed")]
    Key(usize),
    /// The payload would be too large for a WAL frame.
    #[error("a batch has at most {MAX_BATCH_BYTES} bytes, this one would have {0}: split it")]
    TooLarge(usize),
    /// A transaction would drop a keyspace.
    #[error("keyspace {0} cannot be dropped within a transaction: do that apart")]
    Drop(u32),
    /// A keyspace number is reserved.
    #[error("keyspace numbers end below {MAX_KEYSPACE}, this one is {0}")]
    Keyspace(u32),
    /// A payload of another version.
    #[error(
        "the batch has format {}, this version reads {VERSION} and {VERSION_BEFORE}: {}",
        .0,
        platform::advice::other_format(u32::from(*.0), u32::from(VERSION_BEFORE))
    )]
    Version(u8),
    /// Bytes that are no batch.
    #[error("the batch's bytes make no sense at byte {at}: {what}")]
    Corrupt {
        /// Offset in the payload.
        at: usize,
        /// What was found.
        what: &'static str,
    },
}

impl BatchError {
    /// Whether the bytes of a frame that checks are at fault, and not their version.
    pub(crate) fn is_damage(&self) -> bool {
        !matches!(self, BatchError::Version(_))
    }
}

/// Writes that happen all or not at all: one WAL frame; and what must hold for them
/// to happen ([`Batch::require`]).
///
/// A batch remembers its first fault (a key of 0 or more than [`MAX_KEY`] bytes,
/// too many bytes, a reserved keyspace); the faulty operation is left out and
/// the commit refuses the batch, so that adding needs no error handling.
#[derive(Clone, Debug)]
pub struct Batch {
    payload: Vec<u8>,
    count: u32,
    /// Of them, values before.
    images: u32,
    fault: Option<BatchError>,
    /// What must hold for it to be written: `expect.rs`. No part of the payload.
    pub(crate) requires: Vec<Require>,
    pub(crate) require_bytes: usize,
    /// Keys that are written whatever was there. No part of the payload.
    unread: Vec<(KeyspaceId, Box<[u8]>)>,
}

/// A place between two operations of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    bytes: usize,
    count: u32,
    images: u32,
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new()
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        let head = Head { version: VERSION, zero: [0; 3], count: U32::new(0) };
        let (payload, requires) = (head.as_bytes().to_vec(), Vec::new());
        let unread = Vec::new();
        let (count, images, fault) = (0, 0, None);
        Batch { payload, count, images, fault, requires, require_bytes: 0, unread }
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) {
        self.push(PUT, 0, keyspace, key, value);
    }

    /// As [`Batch::put`], of a key of which the caller knows that it has no value at
    /// that point: [`Lsm::count`](crate::Lsm::count) is exact if every new key of a
    /// keyspace is put this way.
    pub fn put_new(&mut self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) {
        self.push(PUT, MOVES, keyspace, key, value);
    }

    /// As [`Batch::put`], and as [`Batch::put_new`] if the key `is_new`, in a keyspace
    /// whose values keep the LSN that wrote them ([`Snapshot::get_versioned`](crate::Snapshot::get_versioned)):
    /// short ones take 8 bytes more in the tree. Its puts are all made this way.
    pub fn put_versioned(&mut self, keyspace: KeyspaceId, key: &[u8], value: &[u8], is_new: bool) {
        let moves = if is_new { MOVES } else { 0 };
        self.push(PUT, VERSIONED | moves, keyspace, key, value);
    }

    /// Removes `key`; fine if it is not there.
    pub fn delete(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        self.push(DELETE, 0, keyspace, key, &[]);
    }

    /// As [`Batch::delete`], of a key of which the caller knows that it has a value at
    /// that point; see [`Batch::put_new`].
    pub fn delete_present(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        self.push(DELETE, MOVES, keyspace, key, &[]);
    }

    /// Says that the key of the operation that is added next, a put or a delete, has this
    /// value before it: who follows the log finds it there ([`Told::before`]). It costs as
    /// many bytes of the log, and changes nothing.
    pub fn before(&mut self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) {
        self.push(BEFORE, 0, keyspace, key, value);
    }

    /// Empties the keyspace, of what this batch has put so far too.
    pub fn drop_keyspace(&mut self, keyspace: KeyspaceId) {
        self.push(DROP, 0, keyspace, &[], &[]);
    }

    /// Within a [`Transaction`](crate::Transaction): says that nothing of what this batch
    /// does rests on what was under `key` before, so that others may write it meanwhile.
    /// Elsewhere it means nothing.
    pub fn unread(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        self.unread.push((keyspace, key.into()));
    }

    /// What [`Batch::unread`] was said of.
    pub(crate) fn unread_keys(&self) -> impl Iterator<Item = (KeyspaceId, &[u8])> {
        self.unread.iter().map(|(keyspace, key)| (*keyspace, &**key))
    }

    /// A keyspace that it drops.
    pub(crate) fn drops(&self) -> Option<KeyspaceId> {
        self.ops().find_map(|op| if let Op::DropKeyspace(of) = op { Some(of) } else { None })
    }

    /// Adds the operations of another batch, all or none.
    pub(crate) fn append(&mut self, other: &Batch) -> Result<(), BatchError> {
        let ops = &other.payload[size_of::<Head>()..];
        let bytes = self.payload.len() + ops.len();
        if bytes > MAX_BATCH_BYTES {
            return Err(BatchError::TooLarge(bytes));
        }
        self.payload.extend_from_slice(ops);
        self.images += other.images;
        self.set_count(self.count + other.count);
        Ok(())
    }

    /// Takes in another batch whole: what it writes, what it requires, and what was said
    /// to be unread. A fault of either is one of both.
    pub fn absorb(&mut self, other: Batch) {
        if let Some(fault) = other.fault {
            return self.refuse(fault);
        }
        if let Err(fault) = self.append(&other) {
            return self.refuse(fault);
        }
        self.requires.extend(other.requires);
        self.require_bytes += other.require_bytes;
        self.unread.extend(other.unread);
        if self.require_bytes > MAX_BATCH_BYTES {
            self.refuse(BatchError::TooLarge(self.require_bytes));
        }
    }

    /// The end of it, as it is now.
    pub(crate) fn mark(&self) -> Mark {
        Mark { bytes: self.payload.len(), count: self.count, images: self.images }
    }

    /// The operations behind a place of this batch.
    pub(crate) fn ops_behind(&self, mark: Mark) -> Ops<'_> {
        let left = self.count.saturating_sub(mark.count);
        Ops { payload: &self.payload, at: mark.bytes, left }
    }

    /// Takes the operations behind a place of this batch away.
    pub(crate) fn truncate(&mut self, mark: Mark) {
        self.payload.truncate(mark.bytes);
        self.images = mark.images.min(self.images);
        self.set_count(mark.count.min(self.count));
    }

    /// Operations, and values before.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no operation (there may be requirements).
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of its payload.
    pub fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.payload.truncate(size_of::<Head>());
        self.fault = None;
        self.requires.clear();
        self.unread.clear();
        self.require_bytes = 0;
        self.images = 0;
        self.set_count(0);
    }

    /// The first fault, if any: what a commit would say.
    pub fn check(&self) -> Result<(), BatchError> {
        self.fault.map_or(Ok(()), Err)
    }

    /// The operations in order.
    pub fn ops(&self) -> Ops<'_> {
        Ops { payload: &self.payload, at: size_of::<Head>(), left: self.count }
    }

    /// The bytes a WAL frame carries.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn set_count(&mut self, count: u32) {
        self.count = count;
        let version = if self.images > 0 { VERSION_BEFORE } else { VERSION };
        let head = Head { version, zero: [0; 3], count: U32::new(count) };
        self.payload[..size_of::<Head>()].copy_from_slice(head.as_bytes());
    }

    /// Remembers the first fault.
    pub(crate) fn refuse(&mut self, fault: BatchError) {
        self.fault.get_or_insert(fault);
    }

    fn push(&mut self, kind: u8, flags: u8, keyspace: KeyspaceId, key: &[u8], value: &[u8]) {
        let bytes = self.payload.len() + size_of::<OpHead>() + key.len();
        let bytes = bytes.saturating_add(value.len());
        let fault = if kind != DROP && !(1..=MAX_KEY).contains(&key.len()) {
            Some(BatchError::Key(key.len()))
        } else if keyspace.0 >= MAX_KEYSPACE {
            Some(BatchError::Keyspace(keyspace.0))
        } else if bytes > MAX_BATCH_BYTES {
            Some(BatchError::TooLarge(bytes))
        } else {
            None
        };
        if let Some(fault) = fault {
            return self.refuse(fault);
        }
        let head = OpHead {
            kind,
            flags,
            key_len: U16::new(key.len() as u16),
            keyspace: U32::new(keyspace.0),
            value_len: U32::new(value.len() as u32),
        };
        self.payload.extend_from_slice(head.as_bytes());
        self.payload.extend_from_slice(key);
        self.payload.extend_from_slice(value);
        self.images += u32::from(kind == BEFORE);
        self.set_count(self.count + 1);
    }
}

/// Checks a payload whole and gives its operations.
///
/// # Errors
/// [`BatchError`] naming the first byte that makes no sense. A payload that
/// passes is decoded by [`Ops`] without any error.
pub fn decode(payload: &[u8]) -> Result<Ops<'_>, BatchError> {
    let corrupt = |at, what| Err(BatchError::Corrupt { at, what });
    if payload.len() > MAX_BATCH_BYTES {
        return Err(BatchError::TooLarge(payload.len()));
    }
    let Ok((head, _)) = Head::ref_from_prefix(payload) else {
        return corrupt(0, "it is shorter than its header");
    };
    if !(VERSION..=VERSION_BEFORE).contains(&head.version) {
        return Err(BatchError::Version(head.version));
    }
    if head.zero != [0; 3] {
        return corrupt(1, "reserved bytes are set");
    }
    let all = Ops { payload, at: size_of::<Head>(), left: head.count.get() };
    let (mut ops, mut images) = (all.clone(), false);
    while ops.left > 0 {
        let at = ops.at;
        match ops.advance() {
            Ok(told) => images |= told.before.is_some(),
            Err(what) => return corrupt(at, what),
        }
    }
    if images != (head.version == VERSION_BEFORE) {
        return corrupt(0, "its version does not say whether it has values before");
    }
    if ops.at != payload.len() {
        return corrupt(ops.at, "bytes follow the last operation");
    }
    Ok(all)
}

/// An operation with what its writer said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// What was done.
    pub op: Op<'a>,
    /// By how much it moves the number of keys: 1 of a put of a new key, -1 of a delete of
    /// one that was there.
    pub moved: i64,
    /// Of a put: the LSN stays beside the value.
    pub versioned: bool,
    /// The value before, if the writer keeps it: [`Batch::before`].
    pub before: Option<&'a [u8]>,
}

/// The operations of a payload that was checked.
#[derive(Clone, Debug)]
pub struct Ops<'a> {
    payload: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Ops<'a> {
    /// The next operation, with the value before, if there is one; `left` says that there
    /// is another one.
    fn advance(&mut self) -> Result<Told<'a>, &'static str> {
        let (mut kind, mut told) = self.step()?;
        if kind == BEFORE {
            let Op::Put(keyspace, key, before) = told.op else { return Err("it has no value") };
            if self.left == 0 {
                return Err("a value before is the last");
            }
            (kind, told) = self.step()?;
            match told.op {
                Op::Put(of, its, _) | Op::Delete(of, its)
                    if kind != BEFORE && (of, its) == (keyspace, key) =>
                {
                    told.before = Some(before);
                }
                _ => return Err("a value before stands before another key's operation"),
            }
        }
        Ok(told)
    }

    /// The next entry, and its kind; that of a value before looks like a put.
    fn step(&mut self) -> Result<(u8, Told<'a>), &'static str> {
        let rest = self.payload.get(self.at..).unwrap_or_default();
        let Ok((head, rest)) = OpHead::ref_from_prefix(rest) else {
            return Err("an operation's header is cut off");
        };
        let (key_len, value_len) = (usize::from(head.key_len.get()), head.value_len.get() as usize);
        let Some((key, rest)) = rest.split_at_checked(key_len) else {
            return Err("a key is cut off");
        };
        let Some(value) = rest.get(..value_len) else {
            return Err("a value is cut off");
        };
        let known = match head.kind {
            PUT => MOVES | VERSIONED,
            DELETE => MOVES,
            _ => 0,
        };
        if head.flags & !known != 0 {
            return Err("a reserved bit is set");
        }
        if head.keyspace.get() >= MAX_KEYSPACE {
            return Err("a reserved keyspace is written");
        }
        let keyspace = KeyspaceId(head.keyspace.get());
        let sound_key = (1..=MAX_KEY).contains(&key_len);
        let op = match head.kind {
            PUT | BEFORE if sound_key => Op::Put(keyspace, key, value),
            DELETE if sound_key && value_len == 0 => Op::Delete(keyspace, key),
            DROP if key_len == 0 && value_len == 0 => Op::DropKeyspace(keyspace),
            PUT | DELETE | DROP | BEFORE => {
                return Err("lengths do not fit the kind of operation");
            }
            _ => return Err("an unknown kind of operation"),
        };
        self.at += size_of::<OpHead>() + key_len + value_len;
        self.left = self.left.saturating_sub(1);
        let moves = i64::from(head.flags & MOVES);
        let moved = if head.kind == DELETE { -moves } else { moves };
        let versioned = head.flags & VERSIONED != 0;
        Ok((head.kind, Told { op, moved, versioned, before: None }))
    }

    /// As the iterator, with what else the log says of each operation.
    pub fn told(mut self) -> impl Iterator<Item = Told<'a>> {
        std::iter::from_fn(move || self.go_on())
    }

    #[inline]
    fn go_on(&mut self) -> Option<Told<'a>> {
        if self.left == 0 { None } else { self.advance().ok() }
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Op<'a>;

    fn next(&mut self) -> Option<Op<'a>> {
        self.go_on().map(|told| told.op)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Each but the last may be a value before.
        ((self.left as usize).div_ceil(2), Some(self.left as usize))
    }
}

#[cfg(test)]
mod tests;
