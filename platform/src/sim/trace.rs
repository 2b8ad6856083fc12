//! What was asked of the disk: a hash of every call, and the last calls in words.
//!
//! Invariants: the hash covers every call with its arguments, bytes written and
//! outcome, in order, over all restarts, so that two equal hashes are two equal
//! runs; it uses no address and no hasher of the library.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::rng::mix;

/// What a call was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verb {
    /// Opening a file (making it, perhaps).
    Open,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Listing a directory.
    List,
    /// Making a directory.
    CreateDir,
    /// Making a directory's names durable.
    SyncDir,
    /// Taking a lock.
    Lock,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making bytes durable.
    Sync,
    /// Giving the space of a part of a file back.
    Punch,
    /// Cutting or growing a file.
    SetLen,
    /// Giving a file room.
    Allocate,
    /// Asking a file's length.
    Len,
}

/// A call that was made. See [`SimDisk::record`](super::SimDisk::record).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What.
    pub verb: Verb,
    /// On which file or directory.
    pub path: Arc<str>,
    /// Where in the file, or the new length; 0 if neither.
    pub offset: u64,
    /// Bytes asked for; 0 if none.
    pub len: u64,
    /// Whether it succeeded.
    pub ok: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    keep: usize,
    last: VecDeque<Call>,
}

impl Trace {
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// From now on so many calls are kept.
    pub(crate) fn record(&mut self, keep: usize) {
        self.keep = keep;
        while self.last.len() > keep {
            self.last.pop_front();
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Call> {
        self.last.drain(..).collect()
    }

    /// `data` is what was written, `value` what came back.
    pub(crate) fn note<T>(
        &mut self,
        verb: Verb,
        path: &str,
        (offset, len): (u64, usize),
        data: &[u8],
        outcome: &io::Result<T>,
        value: impl FnOnce(&T) -> u64,
    ) {
        let outcome_bits = match outcome {
            Ok(value_of) => value(value_of) << 1,
            Err(error) => 1 | bytes(format!("{:?}", error.kind()).as_bytes()) << 1,
        };
        let mut hash = self.hash;
        for part in [verb as u64, bytes(path.as_bytes()), offset, len as u64, bytes(data)] {
            hash = mix(hash ^ part).rotate_left(23);
        }
        self.hash = mix(hash ^ outcome_bits);
        if self.keep > 0 {
            if self.last.len() == self.keep {
                self.last.pop_front();
            }
            let ok = outcome.is_ok();
            self.last.push_back(Call { verb, path: path.into(), offset, len: len as u64, ok });
        }
    }
}

/// A quick hash, eight bytes at a time.
fn bytes(data: &[u8]) -> u64 {
    let (words, rest) = data.as_chunks::<8>();
    let mut hash = data.len() as u64;
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash ^= hash >> 29;
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(hash ^ u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_call_changes_the_hash() {
        let hash = |verb, path: &str, at, data: &[u8], outcome: io::Result<u64>| {
            let mut trace = Trace::default();
            trace.note(verb, path, (at, data.len()), data, &outcome, |n| *n);
            trace.hash()
        };
        let base = hash(Verb::Write, "a", 0, b"12345678x", Ok(0));
        assert_eq!(base, hash(Verb::Write, "a", 0, b"12345678x", Ok(0)));
        let others = [
            hash(Verb::Sync, "a", 0, b"12345678x", Ok(0)),
            hash(Verb::Write, "b", 0, b"12345678x", Ok(0)),
            hash(Verb::Write, "a", 1, b"12345678x", Ok(0)),
            hash(Verb::Write, "a", 0, b"12345678y", Ok(0)),
            hash(Verb::Write, "a", 0, b"02345678x", Ok(0)),
            hash(Verb::Write, "a", 0, b"12345678x\0", Ok(0)),
            hash(Verb::Write, "a", 0, b"12345678x", Ok(1)),
            hash(Verb::Write, "a", 0, b"12345678x", Err(io::ErrorKind::StorageFull.into())),
        ];
        assert!(others.iter().all(|other| *other != base));
    }
}
