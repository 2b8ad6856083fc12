//! The log's old end: segments are cut off, oldest first, and kept as spares.
//!
//! Must stay true:
//! * one truncation at a time (`trim`); a segment leaves the list before its file can
//!   be used again;
//! * what stays outlives a power cut: the second segment's header and name are durable
//!   before the first goes;
//! * a directory that could not be synced poisons the log: what was told of its names
//!   may not be so.

use super::Inner;
use crate::error::Error;
use crate::segment::Kind;
use crate::{Lsn, files};

impl Inner {
    /// Cuts off segments whose every frame is below `lsn`, oldest first; how many.
    /// Fewer than could be if one of them, or what follows it, is not durable yet.
    pub(crate) fn truncate_below(&self, lsn: Lsn) -> Result<u64, Error> {
        let _one = self.trim.lock();
        let mut removed = 0;
        // Once the directory could not be synced, nobody knows which names are gone: a
        // later sync that succeeds proves nothing, and the next to go could leave a hole.
        while !self.turn.is_poisoned() {
            let victim = {
                let now = self.now.lock();
                match &now.segments[..] {
                    // Every frame of the first is below where the second starts; and
                    // the second, the log's oldest then, will outlive a power cut.
                    [first, second, ..]
                        if second.first_lsn <= lsn
                            && first.last_lsn <= self.durable_lsn()
                            && now.segments.len() - now.loose >= 2 =>
                    {
                        first.number
                    }
                    _ => return Ok(removed),
                }
            };
            let room = self.spares.lock().len() < self.opts.spare_segments;
            self.retire(victim, room)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Takes the oldest segment's name away, durably. One at a time and oldest
    /// first: a power cut can bring back the oldest name, but never leave a hole.
    fn retire(&self, number: u64, keep: bool) -> Result<(), Error> {
        let kept = files::retire(&*self.disk, &self.dir, number, keep, self.opts.segment_bytes)?;
        // Before the file can be used again: a cursor that reads nonsense in it
        // must find that it is gone.
        self.now.lock().segments.retain(|s| s.number != number);
        if let Err(e) = self.disk.sync_dir(&self.dir) {
            let what = format!("the directory {} could not be synced: {e}", self.dir);
            return Err(self.poison(true, &what));
        }
        if kept {
            self.spares.lock().push(number);
        }
        Ok(())
    }

    /// Removes all spares but `most`; how many those were.
    pub(crate) fn keep_spares(&self, most: usize) -> Result<usize, Error> {
        let _one = self.trim.lock();
        let mut removed = 0;
        loop {
            let victim = {
                let mut spares = self.spares.lock();
                if spares.len() <= most { None } else { spares.pop() }
            };
            let Some(number) = victim else { return Ok(removed) };
            let path = Kind::Spare.path(&self.dir, number);
            match self.disk.remove(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    // It is there or not: no longer to be relied on. The next open
                    // removes it.
                    return Err(Error::io("remove", &path)(e));
                }
                _ => removed += 1,
            }
        }
    }

    /// Drops a segment of an earlier life that holds no frame.
    pub(crate) fn retire_empty(&self, number: u64) -> Result<(), Error> {
        let _one = self.trim.lock();
        self.retire(number, false)
    }
}
