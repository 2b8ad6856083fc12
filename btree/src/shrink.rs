//! Giving free space at the end of the file back to the file system.
//!
//! Must stay true:
//! * the file is never shorter than either meta page on the disk says, so that
//!   the version before the current one can be opened as well;
//! * no page that a live view can reach is cut: such a page is in use or waits in
//!   the free list, and commits lower the file's page count over pages that are
//!   free for good only (`Txn::cut_end`);
//! * a step is bounded: one commit without changes, or one cut of at most
//!   [`STEP`] pages.
//!
//! What stays free within the file (a flush writes most of a tree anew, so that
//! there are the places of up to three) gives its space back as holes.
//!
//! Pages are taken from the low end of the free list, so the high end empties by
//! itself as data is written anew or removed; the directory's few pages and the
//! free list are moved down here. Pages of other trees are not moved: one of them
//! at the end keeps what lies before it. A cut needs no sync: what it takes no
//! meta page names, before or after a crash.

use std::collections::BTreeSet;

use zerocopy::IntoBytes;

use crate::error::Error;
use crate::file::PageFile;
use crate::format::{Child, DIRECTORY, Owner, PAGE_BYTES, Ref};
use crate::free::Space;
use crate::run::Run;
use crate::view::View;
use crate::write::{Txn, Write};

/// Most pages cut in one step: 64 MiB.
const STEP: u64 = 16 << 10;
/// Fewer are not worth it: 1 MiB. Also an eighth of the file stays, so that a file
/// that breathes is not cut and grown by turns.
const WORTH: u64 = 256;
/// The shortest run of pages within the file to give back: 256 KiB.
const RUN: u64 = 64;
/// So many of the reusable pages keep their space: 1 MiB.
const RESERVE: usize = 256;
/// Commits in a row for the sake of shrinking. A page freed by commit n is free for
/// good two later: then the directory and the list can move down, their old places
/// are free another two later and leave the count of pages; one more makes the meta
/// page before agree.
const COMMITS: u32 = 6;

/// What a step of [`PageFile::shrink`] did.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// Bytes given back; 0 if it only prepared that.
    pub bytes: u64,
    /// The current version: who keeps a view of the one before keeps pages, and
    /// takes this one instead. It has the same contents.
    pub view: View,
}

impl PageFile {
    /// One bounded step towards a shorter file, if at least 1 MiB and an eighth of
    /// it at its end hold nothing; `None` if there is nothing to do for now. Waits while
    /// there is a write transaction.
    ///
    /// # Errors
    /// [`Error::Io`]: nothing was lost, try again later; else as
    /// [`Write::commit`](crate::Write::commit).
    pub fn shrink(&self) -> Result<Option<Shrunk>, Error> {
        if self.poisoned().is_some() {
            return Ok(None);
        }
        let mut write = self.begin();
        // No meta page is in doubt from here on.
        write.ready()?;
        let space = write.space();
        let shared = self.shared();
        // Both meta pages on the disk.
        let current = u64::from(self.view().file_pages());
        let named = current.max(space.older.map_or(0, |older| older.pages.get().into()));
        let bytes = shared.file.len().map_err(|e| shared.io("measure", e))?;
        let pages = bytes / PAGE_BYTES as u64;
        if pages.saturating_sub(named) >= worth(named) {
            let left = named.max(pages.saturating_sub(STEP));
            let length = left * PAGE_BYTES as u64;
            shared.file.set_len(length).map_err(|e| shared.io("cut", e))?;
            space.shrinking = 0;
            return Ok(Some(Shrunk { bytes: bytes - length, view: self.view() }));
        }
        let live = shared.live.lock().clone();
        let directory = directory(&write)?;
        let space = write.space();
        let used = u64::from(space.pages) - space.free_at_end(&live, &directory);
        if pages.saturating_sub(used) < worth(used) || space.shrinking >= COMMITS {
            let bytes = self.punch(space)?;
            return Ok((bytes > 0).then(|| Shrunk { bytes, view: self.view() }));
        }
        let commits = space.shrinking + 1;
        let view = write.commit_anyway(commits)?;
        Ok(Some(Shrunk { bytes: 0, view }))
    }
}

impl PageFile {
    /// Gives back the space of long runs of reusable pages within the file, a bounded
    /// part of them at a time, once after each commit. No meta page and no view can
    /// reach them, and whoever uses one writes it whole. Returns how many bytes.
    fn punch(&self, space: &mut Space) -> Result<u64, Error> {
        let shared = self.shared();
        let epoch = self.view().epoch();
        if space.punched.0 != epoch {
            space.punched = (epoch, u32::MAX);
        }
        if (space.reusable.len() as u64) < worth(space.pages.into()) {
            return Ok(0);
        }
        let mut pages = 0;
        // Descending, as the list is.
        let below = space.reusable.partition_point(|page| *page >= space.punched.1);
        // Those taken first keep their space: what they are taken for may be what a full
        // disk waits for.
        let end = space.reusable.len().saturating_sub(RESERVE).max(below);
        for run in space.reusable[below..end].chunk_by(|a, b| *a == b + 1) {
            let (first, count) = (run[run.len() - 1], run.len() as u64);
            space.punched.1 = first;
            if count < RUN {
                continue;
            }
            let (at, len) = (u64::from(first) * PAGE_BYTES as u64, count * PAGE_BYTES as u64);
            if !shared.file.punch(at, len).map_err(|e| shared.io("punch a hole into", e))? {
                space.punched.1 = 0;
                break;
            }
            pages += count;
            if pages >= STEP {
                break;
            }
        }
        Ok(pages * PAGE_BYTES as u64)
    }
}

/// The pages of the directory.
fn directory(write: &Write<'_>) -> Result<Vec<u32>, Error> {
    let mut pages = Vec::new();
    if let Some((at, level)) = write.directory() {
        write.txn().pages_below(at, level, &mut pages)?;
    }
    Ok(pages)
}

impl Txn<'_> {
    fn pages_below(&self, at: Ref, level: u8, out: &mut Vec<u32>) -> Result<(), Error> {
        out.push(at.page());
        if level > 0 {
            let page = self.load(at, Owner::new(DIRECTORY), level)?;
            let node = page.node();
            for i in 0..node.len() {
                self.pages_below(node.child(i).at, level - 1, out)?;
            }
        }
        Ok(())
    }

    /// Writes a page of the directory, and all below it, to other places.
    pub(crate) fn moved(&mut self, at: Ref, level: u8) -> Result<Child, Error> {
        let owner = Owner::new(DIRECTORY);
        let page = self.load(at, owner, level)?;
        let node = page.node();
        let mut run = Run::default();
        for i in 0..node.len() {
            let entry = if level > 0 {
                self.moved(node.child(i).at, level - 1)?.as_bytes().to_vec()
            } else {
                node.value(i).to_vec()
            };
            run.push(node.prefix(), node.suffix(i), &entry);
        }
        self.free(at.page(), page.epoch());
        self.write_node(&run, 0..run.len(), owner, level)
    }
}

fn worth(pages: u64) -> u64 {
    WORTH.max(pages / 8)
}

impl Space {
    /// Pages at the end of the file that are free, or will be once the two
    /// versions before are gone, or can be moved; none that a live view needs.
    fn free_at_end(&self, live: &BTreeSet<u64>, directory: &[u32]) -> u64 {
        let waiting = self.waiting.iter().flat_map(|(&freed, pages)| {
            pages.iter().filter_map(move |&(page, born)| {
                // The current version's own, too: another commit comes before.
                let seen = live.range(born.min(freed)..freed).next().is_some();
                (!seen).then_some(page)
            })
        });
        let mut free: Vec<u32> = self.reusable.iter().copied().chain(waiting).collect();
        free.extend(self.chain.iter().chain(directory));
        free.sort_unstable_by(|a, b| b.cmp(a));
        let run = free.iter().zip(1..).take_while(|&(&page, n)| page == self.pages - n);
        run.count() as u64
    }
}
