//! Steps 5 and 6: removing segments of which nothing is alive.
//!
//! What must stay true: a segment is removed only when the committed table counts
//! no living byte in it, the committed tail is behind it, no view older than that
//! commit is left, no flush in progress has written into it, and neither meta page
//! on the disk names it: there was another commit since.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::atomic::Ordering::Relaxed;

use crate::flush::Flusher;
use crate::{Error, Lsm, Step};

impl Lsm {
    /// Removes one segment of which nothing is alive, if there is one that
    /// nobody reads. Writes nothing.
    pub(crate) fn unlink(&self, flusher: &mut Flusher) -> Result<Option<Step>, Error> {
        // After a failed sync of the directory a file may be gone in the kernel only:
        // its row stays until the store is opened again, which makes that durable.
        if self.values.poisoned().is_some() {
            return Ok(None);
        }
        let (oldest, bound) = (self.pages.oldest_epoch(), flusher.bound());
        let now = self.version.load().view.epoch();
        let gc = &mut flusher.gc;
        let free = |(id, since): (&u32, &u64)| {
            (*since <= oldest && *since < now && *id < bound).then_some(*id)
        };
        // Behind the one that failed last, in a circle: it must not keep the others.
        let behind = gc.retired.range((Excluded(gc.stuck), Unbounded));
        let Some(id) = behind.chain(gc.retired.range(..=gc.stuck)).find_map(free) else {
            return Ok(None);
        };
        match self.values.remove(id) {
            Ok(()) | Err(vlog::Error::Missing { .. }) => {}
            Err(error) => {
                gc.stuck = id;
                return Err(error.into());
            }
        }
        gc.retired.remove(&id);
        gc.gone.insert(id);
        let bytes = gc.rows.remove(&id).map_or(0, |row| row.bytes);
        self.gc.count(gc);
        self.gc.segments.fetch_add(1, Relaxed);
        self.gc.freed.fetch_add(bytes, Relaxed);
        Ok(Some(Step::Collected { segment: id, moved_bytes: 0, freed_bytes: bytes }))
    }

    /// While nothing else is to do: the commit that retired segments wait for.
    pub(crate) fn pass_retired(&self, flusher: &mut Flusher) -> Result<Option<Step>, Error> {
        let view = self.version.load().view.clone();
        let waits = |(id, since): (&u32, &u64)| (*since == view.epoch()).then_some(*id);
        let Some(segment) = flusher.gc.retired.iter().find_map(waits) else { return Ok(None) };
        self.commit_again(flusher)?;
        Ok(Some(Step::Collected { segment, moved_bytes: 0, freed_bytes: 0 }))
    }
}
