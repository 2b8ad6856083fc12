//! Many records read in a row: what one read looks up is kept for the next.
//!
//! Must stay true: a reader reads what [`Vlog::read_of`] would have read at the
//! moment it was made; it holds the files it has used, so it is short-lived.

use arc_swap::Guard;
use std::sync::Arc;

use crate::error::Error;
use crate::log::Vlog;
use crate::record::{self, Pointer};
use crate::table::{Opened, Segment, find};

/// Segments kept at hand. One flush is one run of segments, and neighbours in a
/// tree come from a few flushes.
const KEPT: usize = 4;

/// See the module. Made by [`Vlog::reader`].
pub struct Reader<'v> {
    log: &'v Vlog,
    table: Guard<Arc<Vec<Arc<Segment>>>>,
    kept: [Option<Kept>; KEPT],
}

struct Kept {
    id: u32,
    /// Bytes that may be read.
    len: u64,
    opened: Guard<Option<Arc<Opened>>>,
}

impl Vlog {
    /// For a row of reads.
    pub fn reader(&self) -> Reader<'_> {
        Reader { log: self, table: self.segments.now(), kept: [const { None }; KEPT] }
    }
}

impl Reader<'_> {
    /// A segment whose file is open.
    fn kept(&mut self, id: u32) -> Option<(&Opened, u64)> {
        let kept = &mut self.kept[id as usize % KEPT];
        if kept.as_ref().is_none_or(|kept| kept.id != id) {
            let segment = find(&self.table, id)?;
            let (len, opened) = (segment.len(), segment.opened());
            if opened.is_none() {
                return None;
            }
            *kept = Some(Kept { id, len, opened });
        }
        let kept = kept.as_ref()?;
        Some((kept.opened.as_deref()?, kept.len))
    }

    /// This record will be read soon: a hint, that never waits or fails.
    pub fn prefetch(&mut self, at: Pointer) {
        if let Some((opened, _)) = self.kept(at.segment)
            && let Some(map) = &opened.map
        {
            map.prefetch(at.offset, at.len as usize);
        }
    }

    /// As [`Vlog::read_of`], appended to `buf`: its last bytes are the value, as many
    /// as are returned. After an error `buf` is as it was.
    ///
    /// # Errors
    /// As [`Vlog::read_of`].
    pub fn append_of(
        &mut self,
        at: Pointer,
        keyspace: u32,
        key: &[u8],
        buf: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let start = buf.len();
        let log = self.log;
        let read = match self.kept(at.segment) {
            Some((opened, len)) => log.append_record(opened, len, at, buf),
            None => log.with(at.segment, |opened, len| log.append_record(opened, len, at, buf)),
        };
        let read = read.and_then(|()| {
            let record = record::split(&buf[start..]).map_err(|flaw| log.flawed(at, flaw))?;
            log.check_owner(at, &record, keyspace, key)?;
            Ok(record.value.len())
        });
        if read.is_err() {
            buf.truncate(start);
        }
        read
    }
}
