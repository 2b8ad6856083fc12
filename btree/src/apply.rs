//! Sorted batches: one walk down the tree, one way back up.
//!
//! Must stay true:
//! * the tree handed in is left as it is: every page that changes is written
//!   to a new place, its ancestors with it;
//! * each touched page is copied once, a page whose entries stay the same not at all;
//! * memory does not grow with the batch, but by one reference per page made.
//!
//! Each inner page walked collects its children's replacement in a [`Level`];
//! what comes out is cut into pages for the level above.

use zerocopy::little_endian::{U32, U64};

use crate::error::Error;
use crate::format::{Child, MAX_KEY, MAX_VALUE, Owner, PAGE_BYTES, Root};
use crate::level::{Level, Pages};
use crate::node::Page;
use crate::run::Run;
use crate::write::Txn;

/// Entries of one leaf are cut into pages once they have so many bytes.
const CHUNK: usize = 64 * 1024;

/// What to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<V> {
    /// Set its value.
    Put(V),
    /// Remove it; nothing if it is not there.
    Delete,
}

/// What a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Keys that were not there before.
    pub inserted: u64,
    /// Keys whose value was replaced, be it by the same one.
    pub replaced: u64,
    /// Keys removed.
    pub deleted: u64,
    /// Deletes of keys that were not there.
    pub absent: u64,
}

/// Applies `ops` to the tree at `root`; returns its root after.
pub(crate) fn apply<K, V, I>(
    txn: &mut Txn<'_>,
    owner: Owner,
    root: Option<Root>,
    ops: I,
    replaced: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<(Option<Root>, Applied), Error>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
    I: Iterator<Item = (K, Op<V>)>,
{
    let mut walk = Walk {
        pages: Pages { txn, owner },
        ops: Ops { iter: ops, head: None, last: Vec::new(), any: false },
        replaced,
        applied: Applied::default(),
    };
    walk.ops.pull(&walk.pages)?;
    let mut level = match &root {
        Some(root) => walk.pages.txn.levels(owner.tree, root)? - 1,
        None => 0,
    };
    let mut top = Level::new(level);
    match &root {
        Some(root) => {
            let child = Child::new(root.at, root.entries.get());
            walk.node(child, Vec::new(), level, None, &mut top)?;
        }
        None => walk.leaf(None, Vec::new(), None, &mut top)?,
    }
    let Walk { mut pages, applied, .. } = walk;
    if !top.changed {
        return Ok((root, applied));
    }
    pages.finish(&mut top, true)?;
    // Up: as long as there are several pages, another level holds them.
    while top.done.len() > 1 {
        level += 1;
        let mut above = Level::new(level);
        pages.push_run(&mut above, &top.done, true)?;
        pages.finish(&mut above, true)?;
        top = above;
    }
    if top.done.is_empty() {
        return Ok((None, applied));
    }
    let top = top.child(0);
    let (at, level) = pages.lower(top.at, level)?;
    let before = root.map_or(0, |r| r.entries.get());
    let entries = (before + applied.inserted)
        .checked_sub(applied.deleted)
        // What the directory says of it, and what its pages say.
        .filter(|entries| *entries == top.keys())
        .ok_or_else(|| pages.txn.refuse(owner.tree, "its count of entries is wrong: run verify"))?;
    let root = Root {
        at,
        height: U32::new(u32::from(level) + 1),
        stamp: U32::new(owner.stamp),
        entries: U64::new(entries),
    };
    Ok((Some(root), applied))
}

/// The operations, one ahead.
struct Ops<I, K, V> {
    iter: I,
    head: Option<(K, Op<V>)>,
    /// The key before `head`.
    last: Vec<u8>,
    any: bool,
}

impl<I, K, V> Ops<I, K, V>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
    I: Iterator<Item = (K, Op<V>)>,
{
    /// The next key, if it is below `upper`.
    fn key_below(&self, upper: Option<&[u8]>) -> Option<&[u8]> {
        let key = self.head.as_ref()?.0.as_ref();
        upper.is_none_or(|upper| key < upper).then_some(key)
    }

    /// Takes the next operation and checks the one behind it.
    fn pull(&mut self, pages: &Pages<'_, '_>) -> Result<Option<(K, Op<V>)>, Error> {
        let taken = self.head.take();
        if let Some((key, _)) = &taken {
            self.last.clear();
            self.last.extend_from_slice(key.as_ref());
            self.any = true;
        }
        if let Some((key, op)) = self.iter.next() {
            let refuse = |what: String| Err(pages.txn.refuse(pages.owner.tree, what));
            let k = key.as_ref();
            if k.len() > MAX_KEY {
                return refuse(format!("a key has {} bytes, at most {MAX_KEY} fit", k.len()));
            }
            if let Op::Put(v) = &op
                && v.as_ref().len() > MAX_VALUE
            {
                let len = v.as_ref().len();
                return refuse(format!("a value has {len} bytes, at most {MAX_VALUE} fit"));
            }
            if self.any && self.last.as_slice() >= k {
                return refuse("keys of a batch must be strictly ascending".into());
            }
            self.head = Some((key, op));
        }
        Ok(taken)
    }
}

struct Walk<'a, 't, 'f, I, K, V> {
    pages: Pages<'t, 'f>,
    ops: Ops<I, K, V>,
    replaced: &'a mut dyn FnMut(&[u8], &[u8]),
    applied: Applied,
}

impl<I, K, V> Walk<'_, '_, '_, I, K, V>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
    I: Iterator<Item = (K, Op<V>)>,
{
    /// Applies the operations below `upper` to the page `old`, whose keys are at
    /// `separator` or above, and pushes what replaces it.
    fn node(
        &mut self,
        old: Child,
        separator: Vec<u8>,
        level: u8,
        upper: Option<&[u8]>,
        out: &mut Level,
    ) -> Result<(), Error> {
        let page = self.pages.load(old.at, level)?;
        if level == 0 {
            return self.leaf(Some((old, &page)), separator, upper, out);
        }
        let node = page.node();
        let mut children = Level::new(level - 1);
        let mut own = separator.clone();
        let mut next = Vec::new();
        for i in 0..node.len() {
            let above = if i + 1 < node.len() {
                node.key_into(i + 1, &mut next);
                Some(next.as_slice())
            } else {
                upper
            };
            if self.ops.key_below(above).is_some() {
                self.node(node.child(i), own.clone(), level - 1, above, &mut children)?;
            } else {
                self.pages.push_page(&mut children, &own, node.child(i))?;
            }
            std::mem::swap(&mut own, &mut next);
        }
        if !children.changed {
            return self.pages.push_page(out, &separator, old);
        }
        self.pages.txn.free(old.at.page(), page.epoch());
        self.pages.finish(&mut children, upper.is_none())?;
        self.pages.push_run(out, &children.done, upper.is_none())
    }

    fn leaf(
        &mut self,
        old: Option<(Child, &Page)>,
        mut separator: Vec<u8>,
        upper: Option<&[u8]>,
        out: &mut Level,
    ) -> Result<(), Error> {
        let node = old.map(|(_, page)| page.node());
        let old_len = node.map_or(0, |n| n.len());
        // A page's entries with their prefixes, and some more.
        let mut run = Run::with_room(old_len + 64, 3 * PAGE_BYTES);
        let mut changed = false;
        let mut i = 0;
        while let Some(key) = self.ops.key_below(upper) {
            let (at, found) = match node.map_or(Err(0), |n| n.search(key)) {
                Ok(at) => (at, true),
                Err(at) => (at, false),
            };
            if let Some(node) = &node {
                run.extend_from_node(node, i..at);
                i = at;
            }
            let Some((key, op)) = self.ops.pull(&self.pages)? else { break };
            let old_value = node.filter(|_| found).map(|n| n.value(at));
            if let Some(value) = old_value {
                (self.replaced)(key.as_ref(), value);
                i += 1;
            }
            match op {
                Op::Put(value) => {
                    run.push(&[], key.as_ref(), value.as_ref());
                    changed |= old_value != Some(value.as_ref());
                    match found {
                        true => self.applied.replaced += 1,
                        false => self.applied.inserted += 1,
                    }
                }
                Op::Delete if found => {
                    changed = true;
                    self.applied.deleted += 1;
                }
                Op::Delete => self.applied.absent += 1,
            }
            if changed && run.bytes() > CHUNK {
                separator = self.pages.push_front(out, separator, &mut run)?;
            }
        }
        match (old, changed) {
            (Some((old, _)), false) => return self.pages.push_page(out, &separator, old),
            (None, false) => return Ok(()),
            (Some((old, page)), true) => {
                run.extend_from_node(&page.node(), i..old_len);
                self.pages.txn.free(old.at.page(), page.epoch());
            }
            (None, true) => {}
        }
        out.changed = true;
        self.pages.push_leaves(out, separator, &run, upper.is_none())
    }
}
