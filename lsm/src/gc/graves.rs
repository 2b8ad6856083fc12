//! The graveyard: dropped keyspaces, freed a bounded piece at a time.
//!
//! The flush of a drop gives the keyspace's tree a number of its own, whatever the
//! tree's size: from that commit on the keyspace is empty, and may fill again under
//! its old number. (Until then the drop hides it in memory.) Steps then take the
//! tree away from its front, each in one commit: leaves freed, values counted dead.
//!
//! What must stay true: records that such a tree still names count as alive, since
//! they are counted dead when it stops naming them, once. They are never moved:
//! nobody reads them. A crash at any point leaves the tree as the last commit had
//! it; its number says what it is.

use btree::{View, Write};

use crate::flush::Flusher;
use crate::meta::Meta;
use crate::segments::Changes;
use crate::tree::GRAVES;
use crate::{Error, KeyspaceId, Lsm, PAGES, Step};

/// Leaves freed by one step: 1 MiB of pages.
const LEAVES: u32 = 256;

/// Bytes of a page.
const PAGE_BYTES: u64 = btree::PAGE_BYTES as u64;

/// In the commit of a flush: takes the tree of a dropped keyspace, or a run of it, out
/// of the way.
pub(crate) fn bury(
    view: &View,
    write: &mut Write<'_>,
    changes: &mut Changes,
    keyspace: u32,
) -> Result<(), Error> {
    let last = view.trees().last().map_or(0, |info| info.tree);
    let mut free = (last.saturating_add(1).max(GRAVES.start)..GRAVES.end).chain(GRAVES);
    match free.find(|grave| write.is_empty(*grave)) {
        Some(grave) => drop(write.rename_tree(keyspace, grave)?),
        None => {
            // Tens of thousands of dropped keyspaces wait: this one goes at once.
            changes.tree(view, KeyspaceId(keyspace))?;
            write.drop_tree(keyspace)?;
        }
    }
    Ok(())
}

impl Lsm {
    /// The tree to take a piece of, if there is one.
    fn grave(&self, flusher: &Flusher, view: &View) -> Option<u32> {
        let graves = view.trees().map(|info| info.tree).filter(|tree| GRAVES.contains(tree));
        graves.filter(|tree| !flusher.gc.sealed_graves.contains(tree)).last()
    }

    /// Whether a dropped keyspace waits.
    pub(super) fn has_grave(&self, flusher: &Flusher) -> bool {
        self.grave(flusher, &self.version.load().view).is_some()
    }

    /// Frees a piece of a dropped keyspace, if there is one.
    pub(crate) fn clear_grave(&self, flusher: &mut Flusher) -> Result<Option<Step>, Error> {
        let view = self.version.load().view.clone();
        let Some(tree) = self.grave(flusher, &view) else { return Ok(None) };
        let mut changes = Changes::default();
        let mut write = self.pages.begin();
        let trimmed = write.trim_tree(tree, LEAVES, &mut |_, cell| changes.cell(tree, cell));
        let dead = changes.dead_bytes();
        let outcome = trimmed.map_err(Error::from).and_then(|trimmed| {
            // The tail stays: what a flush in progress has written is behind it.
            let meta = Meta::decode(view.user(), PAGES)?;
            Ok((trimmed, self.switch(flusher, &view, write, changes, meta)?))
        });
        let (trimmed, view) = match outcome {
            Ok(done) => done,
            // Nothing of it was changed, and the next try would meet the same: it must
            // not keep what else there is from being collected. (A want of space ends;
            // a poisoned page file is no fault of this tree's.)
            Err(error) if error.shortage().is_none() && self.pages.poisoned().is_none() => {
                // What it names stays, until the store is opened again or mended.
                self.health.met(&error);
                flusher.gc.sealed_graves.insert(tree);
                return Ok(Some(Step::Cleared { entries: 0, pages: 0 }));
            }
            Err(error) => return Err(error),
        };
        self.publish_view(view);
        // Pages that can be written again pay too: values held in the tree itself are
        // no garbage of the value log, and flushes must not wait for all of them.
        let paid = dead.max(trimmed.pages.saturating_mul(PAGE_BYTES)).max(1);
        flusher.gc.debt = flusher.gc.debt.saturating_sub(paid);
        Ok(Some(Step::Cleared { entries: trimmed.entries, pages: trimmed.pages }))
    }
}
