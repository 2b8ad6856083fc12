//! A page of rows: as many as were asked for and as fit one reply.

use std::ops::Bound;

use lsm::{Cursor, Direction};
use platform::advice::RESTORE;
use proto::{Key, ReplyWriter, RowsWriter, Status};

use super::View;
use crate::query::Work;
use crate::{Limits, Refusal};

/// Rows of a reply under its two bounds.
pub(super) struct Page<'a> {
    rows: RowsWriter<'a>,
    last: Key,
    /// Rows to give at most.
    wanted: usize,
    /// Bytes of the reply at most.
    room: usize,
}

impl<'a> Page<'a> {
    /// A page of at most `limit` rows; 0 asks for as many as fit.
    pub(super) fn new(reply: ReplyWriter<'a>, limit: u32, limits: &Limits) -> Self {
        let wanted = if limit == 0 { usize::MAX } else { limit as usize };
        let room = limits.max_message_size;
        Page { rows: reply.rows(true), last: Key::MIN, wanted, room }
    }

    /// Adds a row; `false` if the page is full, and it was not added. A document
    /// that no reply can hold is refused: it was stored under higher limits.
    pub(super) fn push(&mut self, key: Key, document: &[u8]) -> Result<bool, Refusal> {
        if self.rows.len() == self.wanted {
            return Ok(false);
        }
        if self.rows.bytes() + 16 + document.len() > self.room {
            if !self.rows.is_empty() {
                return Ok(false);
            }
            return Err(too_large(key, document.len(), self.room));
        }
        self.rows.push(key, document);
        self.last = key;
        Ok(true)
    }

    /// Ends the reply; with `more`, it says after which key to go on.
    pub(super) fn finish(self, more: bool) {
        let next = (more && !self.rows.is_empty()).then_some(self.last);
        self.rows.finish(next);
    }

    /// Fills the page from the keys of `view` within the bounds. It ends before it is
    /// full if its time runs out.
    pub(super) fn fill(
        mut self,
        view: &View,
        low: Bound<Key>,
        high: Bound<Key>,
        reverse: bool,
        work: &Work,
    ) -> Result<(), Refusal> {
        let (low, high) = (low.map(Key::to_bytes), high.map(Key::to_bytes));
        let (low, high) = (low.as_ref().map(|k| &k[..]), high.as_ref().map(|k| &k[..]));
        let direction = if reverse { Direction::Reverse } else { Direction::Forward };
        let mut cursor = view.snapshot.range(view.keyspace, low, high, direction)?;
        while cursor.advance()? {
            let key = key_of(&cursor)?;
            let before = self.rows.bytes();
            let full = self.rows.len() == self.wanted || (work.is_late() && !self.rows.is_empty());
            if full || !self.push(key, cursor.value()?)? {
                self.finish(true);
                return Ok(());
            }
            work.examined(self.rows.bytes() - before)?;
        }
        self.finish(false);
        Ok(())
    }
}

/// A document of so many bytes fits no reply.
pub(super) fn too_large(key: Key, bytes: usize, room: usize) -> Refusal {
    let message = format!(
        "the document under key {key} has {bytes} bytes and does not fit a message of {room}: \
         raise limits.max_message_size in db.yaml, or pluck some of its fields"
    );
    Refusal::new(Status::ResultTooLarge, message)
}

fn key_of(cursor: &Cursor) -> Result<Key, Refusal> {
    let bytes = cursor.key();
    let bytes = bytes.try_into().map_err(|_| {
        let message = format!(
            "a key of {} bytes stands among documents, whose keys have 16; {RESTORE}",
            bytes.len()
        );
        Refusal::new(Status::Corrupt, message)
    })?;
    Ok(Key::from_bytes(bytes))
}
