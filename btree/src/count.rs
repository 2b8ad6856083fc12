//! How many keys lie between two bounds, without reading them.
//!
//! Must stay true: the number is exact. It costs two ways down at most, however many
//! keys there are: what lies between the ways is summed from what inner pages say of
//! their children ([`Child`](crate::format::Child)), and `verify` proves that.

use std::ops::Bound;
use std::sync::Arc;

use crate::cache::Hint;
use crate::error::Error;
use crate::format::{Owner, Ref};
use crate::node::{Node, Page};
use crate::view::{Shared, View};

/// A place between two keys.
#[derive(Clone, Copy)]
enum Edge<'k> {
    /// Before the key, if it is there.
    Before(&'k [u8]),
    /// Behind it.
    Behind(&'k [u8]),
    /// Before all keys.
    First,
    /// Behind all keys.
    Last,
}

impl Edge<'_> {
    /// The child of an inner page in which it lies.
    fn child(self, node: &Node<'_>) -> usize {
        match self {
            Edge::Before(key) | Edge::Behind(key) => node.child_index(key),
            Edge::First => 0,
            Edge::Last => node.len() - 1,
        }
    }

    /// How many entries of a leaf lie before it.
    fn rank(self, node: &Node<'_>) -> usize {
        match self {
            Edge::Before(key) => node.search(key).unwrap_or_else(|i| i),
            Edge::Behind(key) => node.search(key).map_or_else(|i| i, |i| i + 1),
            Edge::First => 0,
            Edge::Last => node.len(),
        }
    }
}

impl View {
    /// How many keys of a tree lie between the bounds: exactly, at the cost of two
    /// lookups. Bounds that exclude each other have none between them.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`].
    pub fn count_range(
        &self,
        tree: u32,
        low: Bound<&[u8]>,
        high: Bound<&[u8]>,
    ) -> Result<u64, Error> {
        let Some(root) = self.0.root(tree) else { return Ok(0) };
        let low = match low {
            Bound::Unbounded => Edge::First,
            Bound::Included(key) => Edge::Before(key),
            Bound::Excluded(key) => Edge::Behind(key),
        };
        let high = match high {
            Bound::Unbounded => Edge::Last,
            Bound::Included(key) => Edge::Behind(key),
            Bound::Excluded(key) => Edge::Before(key),
        };
        if let (Edge::First, Edge::Last) = (low, high) {
            return Ok(root.entries.get());
        }
        let level = self.0.shared.levels(tree, root)? - 1;
        let count = Count { shared: &self.0.shared, owner: root.owner(tree) };
        count.between(root.at, level, low, high)
    }
}

struct Count<'a> {
    shared: &'a Shared,
    owner: Owner,
}

impl Count<'_> {
    fn load(&self, at: Ref, level: u8) -> Result<Arc<Page>, Error> {
        self.shared.load(at, self.owner, level, Hint::Point)
    }

    /// Keys between two places below a page: one way down as long as both go the same.
    fn between(
        &self,
        mut at: Ref,
        mut level: u8,
        low: Edge<'_>,
        high: Edge<'_>,
    ) -> Result<u64, Error> {
        loop {
            let page = self.load(at, level)?;
            let node = page.node();
            if level == 0 {
                return Ok(high.rank(&node).saturating_sub(low.rank(&node)) as u64);
            }
            let (from, to) = (low.child(&node), high.child(&node));
            level -= 1;
            if from > to {
                return Ok(0);
            }
            if from == to {
                at = node.child(from).at;
                continue;
            }
            let all = node.keys_before(to) - node.keys_before(from);
            let out = self.before(node.child(from).at, level, low)?;
            let Some(within) = all.checked_sub(out) else {
                let what = "what it says of the keys below it is not so: run verify";
                return Err(self.shared.corrupt(at.page(), Some(self.owner.tree), what));
            };
            return Ok(within + self.before(node.child(to).at, level, high)?);
        }
    }

    /// Keys below a page that lie before a place.
    fn before(&self, mut at: Ref, mut level: u8, edge: Edge<'_>) -> Result<u64, Error> {
        let mut keys = 0;
        loop {
            let page = self.load(at, level)?;
            let node = page.node();
            if level == 0 {
                return Ok(keys + edge.rank(&node) as u64);
            }
            let child = edge.child(&node);
            keys += node.keys_before(child);
            at = node.child(child).at;
            level -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use platform::sim::SimDisk;

    use super::*;
    use crate::{Op, Options, PageFile};

    /// Trees of one level, two and three, every pair of bounds of some keys.
    #[test]
    fn it_is_what_a_walk_would_count() {
        for (keys, levels) in [(1u32, 1), (40, 1), (2_000, 2), (40_000, 3)] {
            let file = PageFile::open(SimDisk::new(1), "f", Options::default()).unwrap();
            let key = |n: u32| [&(n * 2).to_be_bytes()[..], &[7; 28]].concat();
            let mut write = file.begin();
            write.apply(3, (0..keys).map(|n| (key(n), Op::Put([0; 30]))), &mut |_, _| {}).unwrap();
            let view = write.commit().unwrap();
            assert_eq!(view.trees().next().unwrap().height, levels);
            let all: BTreeSet<Vec<u8>> = (0..keys).map(key).collect();
            let mut ends = vec![Bound::Unbounded];
            for n in (0..2 * keys + 1).step_by((keys / 6).max(1) as usize) {
                let there = n % 2 == 0;
                let bytes = if there { key(n / 2) } else { n.to_be_bytes().to_vec() };
                ends.extend([Bound::Included(bytes.clone()), Bound::Excluded(bytes)]);
            }
            for low in &ends {
                for high in &ends {
                    let (low, high) =
                        (low.as_ref().map(Vec::as_slice), high.as_ref().map(Vec::as_slice));
                    let after = |key: &[u8]| match low {
                        Bound::Unbounded => true,
                        Bound::Included(low) => key >= low,
                        Bound::Excluded(low) => key > low,
                    };
                    let before = |key: &[u8]| match high {
                        Bound::Unbounded => true,
                        Bound::Included(high) => key <= high,
                        Bound::Excluded(high) => key < high,
                    };
                    let found = all.iter().filter(|key| after(key) && before(key)).count();
                    let counted = view.count_range(3, low, high).unwrap();
                    assert_eq!(counted, found as u64, "{keys} keys, {low:?} to {high:?}");
                }
            }
            assert_eq!(view.count_range(4, Bound::Unbounded, Bound::Unbounded).unwrap(), 0);
        }
    }

    #[test]
    fn it_reads_two_ways_down() {
        let file = PageFile::open(SimDisk::new(1), "f", Options::default()).unwrap();
        let key = |n: u32| [&n.to_be_bytes()[..], &[7; 28]].concat();
        let mut write = file.begin();
        write.apply(3, (0..40_000).map(|n| (key(n), Op::Put([0; 30]))), &mut |_, _| {}).unwrap();
        let view = write.commit().unwrap();
        let before = file.cache_stats();
        let (low, high) = (key(1_000), key(39_000));
        let counted = view.count_range(3, Bound::Included(&low), Bound::Excluded(&high)).unwrap();
        assert_eq!(counted, 38_000);
        let after = file.cache_stats();
        assert_eq!(after.hits + after.misses - before.hits - before.misses, 5);
    }
}
