//! The log as watchers read it.
//!
//! What must stay true:
//! * only commits that are settled (durable, and visible) are handed out, dense and in
//!   order, whole;
//! * it costs a writer nothing: frames are read from the log's files, when somebody asks;
//! * memory is bounded whoever reads: the newest commits are read once for all
//!   ([`TAIL_BYTES`]), and few places of those behind are kept ([`PLACES`]), so that the
//!   next page does not look for its beginning through a segment.

use std::collections::VecDeque;
use std::sync::Arc;

use lsm::{LogCursor, Lsm, Lsn};
use parking_lot::Mutex;

/// Bytes of the newest commits that are kept, beside the last one.
const TAIL_BYTES: usize = 4 << 20;
/// Places in the log that are kept.
const PLACES: usize = 8;

/// One commit, as the log has it. Its payload was checked.
pub(crate) struct Commit {
    pub(crate) lsn: Lsn,
    pub(crate) wall_micros: u64,
    pub(crate) payload: Box<[u8]>,
}

impl Commit {
    /// What it costs to hold it.
    pub(super) fn bytes(&self) -> usize {
        self.payload.len() + size_of::<Self>()
    }

    pub(super) fn ops(&self) -> Result<lsm::Ops<'_>, lsm::Error> {
        lsm::decode(&self.payload).map_err(|source| lsm::Error::Frame { lsn: self.lsn, source })
    }
}

#[derive(Default)]
struct Tail {
    /// Stands behind the last of them.
    cursor: Option<LogCursor>,
    commits: VecDeque<Arc<Commit>>,
    bytes: usize,
}

/// See the module.
#[derive(Default)]
pub(super) struct Log {
    tail: Mutex<Tail>,
    places: Mutex<VecDeque<LogCursor>>,
}

impl Log {
    /// Commits from `from` to `upto` on, at least one if there is one, and then until they
    /// take `most` bytes.
    pub(super) fn read(
        &self,
        lsm: &Lsm,
        from: Lsn,
        upto: Lsn,
        most: usize,
    ) -> Result<Vec<Arc<Commit>>, lsm::Error> {
        if from > upto {
            return Ok(Vec::new());
        }
        if let Some(commits) = self.tail.lock().read(lsm, from, upto, most)? {
            return Ok(commits);
        }
        let mut cursor = self.place(lsm, from)?;
        let (mut commits, mut bytes) = (Vec::new(), 0);
        while cursor.position() <= upto && bytes < most {
            let Some(commit) = next(&mut cursor)? else { break };
            if commit.lsn < from {
                continue;
            }
            bytes += commit.bytes();
            commits.push(Arc::new(commit));
        }
        let mut places = self.places.lock();
        places.push_back(cursor);
        let over = places.len() > PLACES;
        let oldest = if over { places.pop_front() } else { None };
        drop(places);
        drop(oldest);
        Ok(commits)
    }

    /// A cursor at `from`, or at a place before it in the same segment.
    fn place(&self, lsm: &Lsm, from: Lsn) -> Result<LogCursor, lsm::Error> {
        let kept = {
            let mut places = self.places.lock();
            let at = places.iter().position(|cursor| cursor.position() == from);
            at.and_then(|at| places.remove(at))
        };
        kept.map_or_else(|| lsm.frames(from), Ok)
    }

    /// Lets go of all that is kept: nobody has read for a while.
    pub(super) fn rest(&self) {
        let tail = std::mem::take(&mut *self.tail.lock());
        let places = std::mem::take(&mut *self.places.lock());
        drop((tail, places));
    }

    /// Bytes of memory that are held.
    pub(super) fn held(&self) -> usize {
        self.tail.lock().bytes
    }
}

impl Tail {
    /// `None`: `from` is before it.
    fn read(
        &mut self,
        lsm: &Lsm,
        from: Lsn,
        upto: Lsn,
        most: usize,
    ) -> Result<Option<Vec<Arc<Commit>>>, lsm::Error> {
        let position = self.cursor.as_ref().map_or(0, LogCursor::position);
        if from > position {
            // It begins here, or anew: what lies between nobody has asked for.
            *self = Tail { cursor: Some(lsm.frames(from)?), ..Tail::default() };
        } else if from < position && self.commits.front().is_none_or(|first| from < first.lsn) {
            return Ok(None);
        }
        let (mut commits, mut bytes) = (Vec::new(), 0);
        let there = self.commits.partition_point(|commit| commit.lsn < from);
        for commit in self.commits.range(there..) {
            if bytes >= most || commit.lsn > upto {
                return Ok(Some(commits));
            }
            bytes += commit.bytes();
            commits.push(Arc::clone(commit));
        }
        let Some(cursor) = &mut self.cursor else { return Ok(Some(commits)) };
        while bytes < most && cursor.position() <= upto {
            let commit = match next(cursor) {
                Ok(Some(commit)) => Arc::new(commit),
                Ok(None) => break,
                Err(error) => {
                    *self = Tail::default();
                    return Err(error);
                }
            };
            bytes += commit.bytes();
            self.bytes += commit.bytes();
            commits.push(Arc::clone(&commit));
            self.commits.push_back(commit);
            while self.bytes > TAIL_BYTES
                && let Some(oldest) = self.commits.pop_front()
            {
                self.bytes -= oldest.bytes();
            }
        }
        Ok(Some(commits))
    }
}

/// The next commit of a cursor, checked.
fn next(cursor: &mut LogCursor) -> Result<Option<Commit>, lsm::Error> {
    let Some(frame) = cursor.next()? else { return Ok(None) };
    let commit =
        Commit { lsn: frame.lsn, wall_micros: frame.wall_micros, payload: frame.payload.into() };
    commit.ops()?;
    Ok(Some(commit))
}
