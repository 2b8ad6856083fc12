//! Ranges over a tree, in both directions.
//!
//! Must stay true:
//! * a cursor gives exactly the keys of its view between its bounds, each once,
//!   whatever is committed meanwhile;
//! * after an error it stands where it stood: the next call tries again and
//!   never skips what could not be read.

use std::ops::{Bound, Range};
use std::sync::Arc;

use crate::cache::Hint;
use crate::error::Error;
use crate::format::{Owner, Ref};
use crate::node::{Node, Page};
use crate::view::View;

/// Which way a cursor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From low keys to high keys.
    Forward,
    /// From high keys to low keys.
    Reverse,
}

/// Key and value.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// A position in a range of a tree. Holds the pages on its path, and its view.
pub struct Cursor {
    view: View,
    owner: Owner,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
    direction: Direction,
    /// Inner pages from the root down, and the child taken in each.
    path: Vec<(Arc<Page>, usize)>,
    /// The leaf, and its entries still to come.
    leaf: Option<(Arc<Page>, Range<usize>)>,
    /// The leaf holds the range's last entry (in this direction).
    last_leaf: bool,
    /// Where to start: consumed when the first entry is asked for.
    start: Option<Start>,
    key: Vec<u8>,
    /// `key` is that of the entry that comes next.
    settled: bool,
}

enum Start {
    /// At the range's end that the direction starts from.
    Bound,
    /// At this key, or the next one in the direction.
    Key(Vec<u8>),
}

fn owned(bound: Bound<&[u8]>) -> Bound<Vec<u8>> {
    bound.map(<[u8]>::to_vec)
}

impl Cursor {
    pub(crate) fn new(
        view: View,
        tree: u32,
        low: Bound<&[u8]>,
        high: Bound<&[u8]>,
        direction: Direction,
    ) -> Cursor {
        Cursor {
            view,
            owner: Owner::new(tree),
            low: owned(low),
            high: owned(high),
            direction,
            path: Vec::new(),
            leaf: None,
            last_leaf: false,
            start: Some(Start::Bound),
            key: Vec::new(),
            settled: false,
        }
    }

    /// The next entry, or `None` at the end of the range. The slices are valid
    /// until the next call.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`]; the cursor stays where it is.
    #[expect(clippy::should_implement_trait, reason = "it lends: an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, Error> {
        self.settled = false;
        if !self.advance()? {
            return Ok(None);
        }
        let Some((page, rest)) = &mut self.leaf else { return Ok(None) };
        let i = match self.direction {
            Direction::Forward => {
                rest.start += 1;
                rest.start - 1
            }
            Direction::Reverse => {
                rest.end -= 1;
                rest.end
            }
        };
        let node = page.node();
        node.key_into(i, &mut self.key);
        Ok(Some((&self.key, node.value(i))))
    }

    /// Makes sure that the next entry can be looked at ([`Cursor::peek`]) and taken
    /// ([`Cursor::run`]); `false` at the end of the range.
    ///
    /// # Errors
    /// As [`Cursor::next`].
    pub fn settle(&mut self) -> Result<bool, Error> {
        if self.settled {
            return Ok(true);
        }
        if !self.advance()? {
            return Ok(false);
        }
        let Some((page, rest)) = &self.leaf else { return Ok(false) };
        let i = match self.direction {
            Direction::Forward => rest.start,
            Direction::Reverse => rest.end - 1,
        };
        page.node().key_into(i, &mut self.key);
        self.settled = true;
        Ok(true)
    }

    /// The key of the next entry; `None` if [`Cursor::settle`] did not just say that
    /// there is one.
    pub fn peek(&self) -> Option<&[u8]> {
        self.settled.then_some(&self.key)
    }

    /// Hands on entries as long as `take` takes them, to the end of this leaf at most:
    /// a key in two parts, which follow each other, and a value. The one that it does
    /// not take comes next. Reads nothing: [`Cursor::settle`] comes before.
    pub fn run(&mut self, mut take: impl FnMut(&[u8], &[u8], &[u8]) -> bool) {
        self.settled = false;
        // A seek that was not carried out: this leaf is behind us.
        if self.start.is_some() {
            return;
        }
        let Some((page, rest)) = &mut self.leaf else { return };
        let node = page.node();
        while rest.start < rest.end {
            let (i, left) = match self.direction {
                Direction::Forward => (rest.start, rest.start + 1..rest.end),
                Direction::Reverse => (rest.end - 1, rest.start..rest.end - 1),
            };
            let (suffix, value) = node.split(i);
            if !take(node.prefix(), suffix, value) {
                return;
            }
            *rest = left;
        }
    }

    /// The value of the entry that `n` more calls of [`Cursor::next`] will pass
    /// before they give it, if it lies in this leaf: to see what will be needed.
    pub fn ahead(&self, n: usize) -> Option<&[u8]> {
        let (page, rest) = self.leaf.as_ref()?;
        let i = match self.direction {
            Direction::Forward => rest.start.checked_add(n).filter(|i| *i < rest.end)?,
            Direction::Reverse => {
                rest.end.checked_sub(n.checked_add(1)?).filter(|i| *i >= rest.start)?
            }
        };
        Some(page.node().value(i))
    }

    /// Moves to `key`, or if it is not there to the next key in the cursor's
    /// direction; `next` gives it. Stays within the range. Reads nothing yet.
    pub fn seek(&mut self, key: &[u8]) {
        self.settled = false;
        self.start = Some(Start::Key(key.to_vec()));
    }

    /// Moves to the start of the range. Reads nothing yet.
    pub fn rewind(&mut self) {
        self.settled = false;
        self.start = Some(Start::Bound);
    }

    /// Makes sure the leaf has an entry to give, or that there is none.
    fn advance(&mut self) -> Result<bool, Error> {
        if let Some(start) = self.start.take()
            && let Err(e) = self.position(&start)
        {
            (self.start, self.leaf) = (Some(start), None);
            return Err(e);
        }
        loop {
            match &self.leaf {
                None => return Ok(false),
                Some((_, rest)) if !rest.is_empty() => return Ok(true),
                Some(_) if self.last_leaf => return Ok(false),
                Some(_) => self.step()?,
            }
        }
    }

    /// Walks from the root to the leaf where `start` is.
    fn position(&mut self, start: &Start) -> Result<(), Error> {
        self.path.clear();
        self.leaf = None;
        let view = self.view.clone();
        let Some(root) = view.0.root(self.owner.tree) else { return Ok(()) };
        let level = view.0.shared.levels(self.owner.tree, root)? - 1;
        // A seek outside the range starts at its edge, not with a walk up to it.
        let bound = match (self.direction, start) {
            (Direction::Forward, Start::Bound) => key_of(&self.low).cloned(),
            (Direction::Reverse, Start::Bound) => key_of(&self.high).cloned(),
            (Direction::Forward, Start::Key(key)) => key_of(&self.low).max(Some(key)).cloned(),
            (Direction::Reverse, Start::Key(key)) => {
                Some(key_of(&self.high).map_or(key, |high| high.min(key)).clone())
            }
        };
        let mut path = Vec::new();
        self.owner = root.owner(self.owner.tree);
        let leaf = self.descend(root.at, level, bound.as_deref(), &mut path)?;
        self.path = path;
        self.enter(leaf);
        if let (Start::Key(key), Some((page, rest))) = (start, &mut self.leaf) {
            let node = page.node();
            match self.direction {
                Direction::Forward => {
                    rest.start = rest.start.max(at_or_above(&node, key)).min(rest.end);
                }
                Direction::Reverse => {
                    rest.end = rest.end.min(above(&node, key)).max(rest.start);
                }
            }
        }
        Ok(())
    }

    /// From `at` down to a leaf: the one for `key`, or the first or last one.
    fn descend(
        &self,
        mut at: Ref,
        mut level: u8,
        key: Option<&[u8]>,
        path: &mut Vec<(Arc<Page>, usize)>,
    ) -> Result<Arc<Page>, Error> {
        let shared = &self.view.0.shared;
        while level > 0 {
            let page = shared.load(at, self.owner, level, Hint::Point)?;
            let node = page.node();
            let i = match (key, self.direction) {
                (Some(key), _) => node.child_index(key),
                (None, Direction::Forward) => 0,
                (None, Direction::Reverse) => node.len() - 1,
            };
            at = node.child(i).at;
            path.push((page, i));
            level -= 1;
        }
        shared.load(at, self.owner, 0, Hint::Scan)
    }

    /// Goes to the next leaf in the direction. Changes nothing if it cannot be read.
    fn step(&mut self) -> Result<(), Error> {
        let mut depth = self.path.len();
        while depth > 0 {
            let (page, i) = &self.path[depth - 1];
            let next = match self.direction {
                Direction::Forward if i + 1 < page.node().len() => i + 1,
                Direction::Reverse if *i > 0 => i - 1,
                _ => {
                    depth -= 1;
                    continue;
                }
            };
            let level = page.header().level - 1;
            let mut below = Vec::new();
            let leaf = self.descend(page.node().child(next).at, level, None, &mut below)?;
            self.path.truncate(depth);
            self.path[depth - 1].1 = next;
            self.path.append(&mut below);
            self.enter(leaf);
            self.hint();
            return Ok(());
        }
        self.last_leaf = true;
        Ok(())
    }

    /// Has the next leaf brought near, if it has the same parent: who came to a second
    /// leaf mostly goes on.
    fn hint(&self) {
        let Some((page, i)) = self.path.last() else { return };
        let next = match self.direction {
            Direction::Forward => i.checked_add(1).filter(|i| *i < page.node().len()),
            Direction::Reverse => i.checked_sub(1),
        };
        if let Some(next) = next {
            self.view.0.shared.cache.hint(page.node().child(next).at.page());
        }
    }

    /// Cuts the leaf's entries to the bounds, so that `next` compares no keys.
    fn enter(&mut self, page: Arc<Page>) {
        let node = page.node();
        let start = match &self.low {
            Bound::Unbounded => 0,
            Bound::Included(key) => at_or_above(&node, key),
            Bound::Excluded(key) => above(&node, key),
        };
        let end = match &self.high {
            Bound::Unbounded => node.len(),
            Bound::Included(key) => above(&node, key),
            Bound::Excluded(key) => at_or_above(&node, key),
        };
        self.last_leaf = match self.direction {
            Direction::Forward => end < node.len(),
            Direction::Reverse => start > 0,
        };
        self.leaf = Some((page, start..end.max(start)));
    }
}

fn key_of(bound: &Bound<Vec<u8>>) -> Option<&Vec<u8>> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    }
}

/// The first entry of a leaf that is not below `key`.
fn at_or_above(node: &Node<'_>, key: &[u8]) -> usize {
    node.search(key).unwrap_or_else(|i| i)
}

/// The first entry of a leaf that is above `key`.
fn above(node: &Node<'_>, key: &[u8]) -> usize {
    node.search(key).map_or_else(|i| i, |i| i + 1)
}
