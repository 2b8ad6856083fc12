//! What replaces the children of one page: merging, borrowing, writing.
//!
//! Must stay true:
//! * separators never enter a leaf: leaves get entries of leaves and operations
//!   only, whatever is borrowed or merged;
//! * a page below a third full is merged with a sibling, or shares evenly with
//!   it. Exempt are a page without siblings, until its parent is merged
//!   (`combine` looks at the seam), and the tree's right edge, where appends
//!   fill up what they find.

use std::ops::Range;
use std::sync::Arc;

use zerocopy::IntoBytes;

use crate::error::Error;
use crate::format::{CAPACITY, Child, Owner, Ref};
use crate::node::Page;
use crate::run::{Run, separator};
use crate::write::Txn;

/// A page with fewer bytes in use is merged with a sibling.
const UNDERFULL: usize = CAPACITY / 3;
/// A merged page goes on merging below this, so that a thinned-out tree ends up
/// with pages half full and not just above the bound.
const MERGED: usize = CAPACITY / 2;

/// What replaces the children of one page (or the root), in order.
pub(crate) struct Level {
    level: u8,
    /// Separators and children: the finished pages.
    pub(crate) done: Run,
    /// An underfull page behind them, not written yet: it waits for its sibling.
    hold: Option<Draft>,
    pub(crate) changed: bool,
}

impl Level {
    pub(crate) fn new(level: u8) -> Level {
        Level { level, done: Run::default(), hold: None, changed: false }
    }

    pub(crate) fn child(&self, i: usize) -> Child {
        self.done.child(i)
    }
}

/// The entries of a page not yet written.
struct Draft {
    /// Not above its keys, above those of the page before. For inner pages the
    /// key of entry 0.
    separator: Vec<u8>,
    run: Run,
}

/// The transaction's pages of one tree.
pub(crate) struct Pages<'t, 'f> {
    pub(crate) txn: &'t mut Txn<'f>,
    pub(crate) owner: Owner,
}

impl Pages<'_, '_> {
    pub(crate) fn load(&self, at: Ref, level: u8) -> Result<Arc<Page>, Error> {
        self.txn.load(at, self.owner, level)
    }

    /// The root of the tree whose top page is `at`: a root with one child is no root.
    pub(crate) fn lower(&mut self, mut at: Ref, mut level: u8) -> Result<(Ref, u8), Error> {
        while level > 0 {
            let page = self.load(at, level)?;
            if page.node().len() > 1 {
                break;
            }
            self.txn.free(at.page(), page.epoch());
            at = page.node().child(0).at;
            level -= 1;
        }
        Ok((at, level))
    }

    /// Reads a page back into entries. The page stays.
    fn draft(&self, page: &Page, separator: &[u8]) -> Draft {
        let node = page.node();
        let mut run = Run::default();
        let inner = page.header().level > 0;
        if inner {
            run.push(&[], separator, node.value(0));
        }
        run.extend_from_node(&node, usize::from(inner)..node.len());
        Draft { separator: separator.to_vec(), run }
    }

    fn write(
        &mut self,
        done: &mut Run,
        level: u8,
        separator: &[u8],
        run: &Run,
        range: Range<usize>,
    ) -> Result<(), Error> {
        let child = self.txn.write_node(run, range, self.owner, level)?;
        done.push(&[], separator, child.as_bytes());
        Ok(())
    }

    /// A page that stays as it is.
    pub(crate) fn push_page(
        &mut self,
        out: &mut Level,
        separator: &[u8],
        child: Child,
    ) -> Result<(), Error> {
        if out.hold.is_none() {
            out.done.push(&[], separator, child.as_bytes());
            return Ok(());
        }
        let page = self.load(child.at, out.level)?;
        let draft = self.draft(&page, separator);
        self.txn.free(child.at.page(), page.epoch());
        self.push_draft(out, draft)
    }

    /// A page to be written, merged first if it or the one before is underfull.
    fn push_draft(&mut self, out: &mut Level, draft: Draft) -> Result<(), Error> {
        out.changed = true;
        let inner = out.level > 0;
        let (mut drafts, floor) = match out.hold.take() {
            Some(hold) => (self.combine(out.level, hold, draft)?, MERGED),
            None => (vec![draft], UNDERFULL),
        };
        let last = drafts.pop();
        for d in drafts {
            self.write(&mut out.done, out.level, &d.separator, &d.run, 0..d.run.len())?;
        }
        match last {
            Some(d) if d.run.size(0..d.run.len(), inner) < floor => out.hold = Some(d),
            Some(d) => {
                self.write(&mut out.done, out.level, &d.separator, &d.run, 0..d.run.len())?;
            }
            None => {}
        }
        Ok(())
    }

    /// One page of a longer run: written from where it lies if it can be.
    fn push_range(
        &mut self,
        out: &mut Level,
        separator: &[u8],
        run: &Run,
        range: Range<usize>,
    ) -> Result<(), Error> {
        out.changed = true;
        let full = run.size(range.clone(), out.level > 0) >= UNDERFULL;
        if out.hold.is_none() && full {
            return self.write(&mut out.done, out.level, separator, run, range);
        }
        let mut part = Run::default();
        part.extend(run, range);
        self.push_draft(out, Draft { separator: separator.to_vec(), run: part })
    }

    /// Cuts entries of an inner level into pages.
    pub(crate) fn push_run(
        &mut self,
        out: &mut Level,
        run: &Run,
        append: bool,
    ) -> Result<(), Error> {
        out.changed = true;
        let mut start = 0;
        for end in run.paginate(true, append) {
            self.push_range(out, run.key(start), run, start..end)?;
            start = end;
        }
        Ok(())
    }

    /// Cuts entries of a leaf into pages.
    pub(crate) fn push_leaves(
        &mut self,
        out: &mut Level,
        mut first: Vec<u8>,
        run: &Run,
        append: bool,
    ) -> Result<(), Error> {
        let mut start = 0;
        for end in run.paginate(false, append) {
            self.push_range(out, &first, run, start..end)?;
            if end < run.len() {
                first = separator(run.key(end - 1), run.key(end)).to_vec();
            }
            start = end;
        }
        Ok(())
    }

    /// Cuts the front of a long run into full pages and leaves about two pages
    /// in it; returns the separator of what is left.
    pub(crate) fn push_front(
        &mut self,
        out: &mut Level,
        mut first: Vec<u8>,
        run: &mut Run,
    ) -> Result<Vec<u8>, Error> {
        let ends = run.paginate(false, true);
        let mut start = 0;
        for &end in &ends[..ends.len().saturating_sub(2)] {
            self.push_range(out, &first, run, start..end)?;
            first = separator(run.key(end - 1), run.key(end)).to_vec();
            start = end;
        }
        let mut rest = Run::default();
        rest.extend(run, start..run.len());
        *run = rest;
        Ok(first)
    }

    /// Writes what is held back. `edge`: the pages are the rightmost of the tree.
    pub(crate) fn finish(&mut self, out: &mut Level, edge: bool) -> Result<(), Error> {
        let Some(hold) = out.hold.take() else { return Ok(()) };
        let Some(last) = out.done.len().checked_sub(1) else {
            let Draft { separator, run } = hold;
            return self.write(&mut out.done, out.level, &separator, &run, 0..run.len());
        };
        let at = out.child(last).at;
        let page = self.load(at, out.level)?;
        let left = self.draft(&page, out.done.key(last));
        let mut drafts = if edge && !fits(&left, &hold, out.level) {
            vec![hold]
        } else {
            self.txn.free(at.page(), page.epoch());
            out.done.pop();
            self.combine(out.level, left, hold)?
        };
        for d in drafts.drain(..) {
            self.write(&mut out.done, out.level, &d.separator, &d.run, 0..d.run.len())?;
        }
        Ok(())
    }

    /// The entries of two neighbours, in as few pages as hold them, evenly.
    /// A child without siblings may be underfull; now it has one: if the seam
    /// between the two has such a child, it is combined as well.
    fn combine(&mut self, level: u8, mut left: Draft, right: Draft) -> Result<Vec<Draft>, Error> {
        let inner = level > 0;
        if inner && (left.run.len() == 1 || right.run.len() == 1) {
            self.combine_seam(level - 1, &mut left.run, &right.run)?;
        } else {
            left.run.extend(&right.run, 0..right.run.len());
        }
        let run = left.run;
        let mut drafts: Vec<Draft> = Vec::new();
        let mut start = 0;
        for end in run.paginate(inner, false) {
            let first = if start == 0 {
                std::mem::take(&mut left.separator)
            } else if inner {
                run.key(start).to_vec()
            } else {
                separator(run.key(start - 1), run.key(start)).to_vec()
            };
            let mut part = Run::default();
            part.extend(&run, start..end);
            drafts.push(Draft { separator: first, run: part });
            start = end;
        }
        Ok(drafts)
    }

    /// Appends `right` to `left`, both entries of inner pages above `level`.
    fn combine_seam(&mut self, level: u8, left: &mut Run, right: &Run) -> Result<(), Error> {
        let last = left.len() - 1;
        let (a, b) = (left.child(last).at, right.child(0).at);
        let (page_a, page_b) = (self.load(a, level)?, self.load(b, level)?);
        if page_a.used() >= UNDERFULL && page_b.used() >= UNDERFULL {
            left.extend(right, 0..right.len());
            return Ok(());
        }
        let (draft_a, draft_b) =
            (self.draft(&page_a, left.key(last)), self.draft(&page_b, right.key(0)));
        self.txn.free(a.page(), page_a.epoch());
        self.txn.free(b.page(), page_b.epoch());
        left.pop();
        for d in self.combine(level, draft_a, draft_b)? {
            self.write(left, level, &d.separator, &d.run, 0..d.run.len())?;
        }
        left.extend(right, 1..right.len());
        Ok(())
    }
}

/// Whether two neighbours fit into one page.
fn fits(left: &Draft, right: &Draft, level: u8) -> bool {
    let mut both = left.run.clone();
    both.extend(&right.run, 0..right.run.len());
    both.size(0..both.len(), level > 0) <= CAPACITY
}
