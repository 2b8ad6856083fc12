//! Removing the first leaves of a tree, so that a large one can be freed in
//! bounded steps.
//!
//! Must stay true:
//! * the tree handed in is left as it is, as in `apply`;
//! * every entry removed is given to the caller, in order, and only those;
//! * work is bounded by the leaves asked for and the height: nothing is read
//!   of what stays but the inner pages of its left edge.
//!
//! Inner pages of the left edge may be left with few children: the next trim
//! takes them, and `apply` merges those it meets.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::error::Error;
use crate::format::{Child, Ref, Root};
use crate::level::Pages;
use crate::run::Run;
use crate::write::Txn;

/// What [`Write::trim_tree`](crate::Write::trim_tree) removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Entries.
    pub entries: u64,
    /// Leaves and inner pages that hold nothing any more.
    pub pages: u64,
    /// Keys left in the tree; at 0 it is gone.
    pub left: u64,
}

/// Removes up to `leaves` leaves from the front; returns the root after.
pub(crate) fn trim(
    txn: &mut Txn<'_>,
    tree: u32,
    root: Root,
    leaves: u32,
    removed: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<(Option<Root>, Trimmed), Error> {
    let level = txn.levels(tree, &root)? - 1;
    let pages = Pages { txn, owner: root.owner(tree) };
    let mut cut = Cut { pages, leaves, removed, key: Vec::new(), trimmed: Trimmed::default() };
    let left = cut.page(Child::new(root.at, root.entries.get()), level)?;
    let Cut { mut pages, mut trimmed, .. } = cut;
    let refuse = |pages: &Pages<'_, '_>| {
        Err(pages.txn.refuse(tree, "its count of entries is wrong: run verify"))
    };
    trimmed.left = match root.entries.get().checked_sub(trimmed.entries) {
        Some(entries) if (entries == 0) == left.is_none() => entries,
        _ => return refuse(&pages),
    };
    let root = match left {
        None => None,
        Some(top) if top.at == root.at => Some(root),
        Some(top) => {
            debug_assert_eq!(top.keys(), trimmed.left, "its count and the sum of its pages");
            let (at, level) = pages.lower(top.at, level)?;
            let (height, entries) = (U32::new(u32::from(level) + 1), U64::new(trimmed.left));
            Some(Root { at, height, entries, ..root })
        }
    };
    Ok((root, trimmed))
}

struct Cut<'a, 't, 'f> {
    pages: Pages<'t, 'f>,
    /// How many more may go.
    leaves: u32,
    removed: &'a mut dyn FnMut(&[u8], &[u8]),
    key: Vec<u8>,
    trimmed: Trimmed,
}

impl Cut<'_, '_, '_> {
    /// What is left of the page `old`: itself, what replaces it, or nothing.
    fn page(&mut self, old: Child, level: u8) -> Result<Option<Child>, Error> {
        if self.leaves == 0 {
            return Ok(Some(old));
        }
        let at = old.at;
        let page = self.pages.load(at, level)?;
        let node = page.node();
        if level == 0 {
            for i in 0..node.len() {
                node.key_into(i, &mut self.key);
                (self.removed)(&self.key, node.value(i));
            }
            self.trimmed.entries += node.len() as u64;
            self.leaves -= 1;
            self.free(at, page.epoch());
            return Ok(None);
        }
        let mut gone = 0;
        let mut first = None;
        while gone < node.len() && first.is_none() {
            first = self.page(node.child(gone), level - 1)?;
            gone += usize::from(first.is_none());
        }
        let Some(first) = first else {
            self.free(at, page.epoch());
            return Ok(None);
        };
        if first == node.child(0) {
            return Ok(Some(old));
        }
        // Entry 0 loses its key: its child holds everything below key 1.
        let mut run = Run::default();
        run.push(&[], &[], first.as_bytes());
        run.extend_from_node(&node, gone + 1..node.len());
        self.pages.txn.free(at.page(), page.epoch());
        let range = 0..run.len();
        self.pages.txn.write_node(&run, range, self.pages.owner, level).map(Some)
    }

    fn free(&mut self, at: Ref, epoch: u64) {
        self.pages.txn.free(at.page(), epoch);
        self.trimmed.pages += 1;
    }
}
