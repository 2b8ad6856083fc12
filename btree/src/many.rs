//! Many keys looked up at once: in key order, so that each page on the way is
//! fetched once, and keys of one leaf cost one descent.
//!
//! Must stay true: keys ascend; the path is that of the last key; a page of it is
//! used again only for a key below its upper fence, which is the next separator in
//! the nearest page above that has one.
//!
//! Leaves far apart are as many waits for memory. So their places are found first,
//! for a group of keys, and all are brought near before the first is read.

use std::sync::Arc;

use crate::cache::Hint;
use crate::error::Error;
use crate::format::{Owner, Ref};
use crate::node::{Node, Page};
use crate::view::{Shared, Value, View};

/// Keys whose leaves are brought near together.
const GROUP: usize = 16;

/// An inner page on the way to a key.
struct Step {
    page: Arc<Page>,
    /// Where its upper fence stands: the page of the path, and the entry there.
    /// `None`: it has none.
    fence: Option<(usize, usize)>,
}

impl View {
    /// Looks up keys of a tree and hands each, by its place among the keys, what is
    /// there. The keys ascend (the same one may come again).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`]: some were handed out before.
    pub fn get_many<'k>(
        &self,
        tree: u32,
        keys: impl IntoIterator<Item = &'k [u8]>,
        each: &mut dyn FnMut(usize, Option<Value>),
    ) -> Result<(), Error> {
        let mut keys = keys.into_iter().enumerate();
        let Some(root) = self.0.root(tree) else {
            keys.for_each(|(i, _)| each(i, None));
            return Ok(());
        };
        let (shared, owner) = (&*self.0.shared, root.owner(tree));
        let top = shared.levels(tree, root)? - 1;
        let mut path: Vec<Step> = Vec::new();
        let mut group: Vec<(usize, &[u8], Ref)> = Vec::with_capacity(GROUP);
        let mut last: Option<(Ref, Arc<Page>)> = None;
        loop {
            group.clear();
            for (i, key) in keys.by_ref().take(GROUP) {
                let at = leaf_of(shared, root.at, owner, top, key, &mut path)?;
                shared.cache.hint_set(at.page());
                group.push((i, key, at));
            }
            if group.is_empty() {
                return Ok(());
            }
            let mut hinted = last.as_ref().map(|(at, _)| at.page());
            for (_, _, at) in &group {
                if hinted.replace(at.page()) != Some(at.page()) {
                    shared.cache.hint(at.page());
                }
            }
            for &(i, key, at) in &group {
                let leaf = match last.take_if(|(held, _)| held.page() == at.page()) {
                    Some((_, leaf)) => leaf,
                    None => shared.load(at, owner, 0, Hint::Point)?,
                };
                each(i, Value::find(&leaf, key));
                last = Some((at, leaf));
            }
        }
    }
}

/// Where the leaf of `key` is; `path` are the inner pages on the way to the last one
/// asked for.
fn leaf_of(
    shared: &Shared,
    root: Ref,
    owner: Owner,
    top: u8,
    key: &[u8],
    path: &mut Vec<Step>,
) -> Result<Ref, Error> {
    if top == 0 {
        return Ok(root);
    }
    while let Some(step) = path.last()
        && let Some((above, entry)) = step.fence
        && !is_below(key, path[above].page.node(), entry)
    {
        path.pop();
    }
    if path.is_empty() {
        let page = shared.load(root, owner, top, Hint::Point)?;
        path.push(Step { page, fence: None });
    }
    loop {
        let last = path.len() - 1;
        let node = path[last].page.node();
        let child = node.child_index(key);
        if path.len() == usize::from(top) {
            return Ok(node.child(child).at);
        }
        let next = (last, child + 1);
        let fence = if next.1 < node.len() { Some(next) } else { path[last].fence };
        let level = top - path.len() as u8;
        let page = shared.load(node.child(child).at, owner, level, Hint::Point)?;
        path.push(Step { page, fence });
    }
}

/// Whether `key` is below that of entry `i`.
fn is_below(key: &[u8], node: Node<'_>, i: usize) -> bool {
    let prefix = node.prefix();
    match key.get(..prefix.len()) {
        Some(head) if head == prefix => key[prefix.len()..] < *node.suffix(i),
        Some(head) => head < prefix,
        // Shorter than the prefix.
        None => key < prefix,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use platform::sim::SimDisk;
    use proptest::prelude::*;

    use crate::{Op, Options, PageFile};

    proptest! {
        #[test]
        fn it_answers_as_get_does(
            keys in prop::collection::btree_set(prop::collection::vec(0u8..6, 1..6), 0..600),
            mut probes in prop::collection::vec(prop::collection::vec(0u8..7, 0..6), 0..80),
            pad in 0usize..200,
        ) {
            let file = PageFile::open(SimDisk::new(1), "f", Options::default()).unwrap();
            let map: BTreeMap<_, _> = keys.into_iter().map(|key| (key.clone(), key)).collect();
            let mut write = file.begin();
            let ops = map.iter().map(|(k, v)| (k.clone(), Op::Put([v.as_slice(), &vec![0; pad]].concat())));
            write.apply(7, ops, &mut |_, _| {}).unwrap();
            let view = write.commit().unwrap();
            probes.extend(map.keys().step_by(7).cloned());
            probes.sort();
            let mut got = vec![None; probes.len()];
            let probe = probes.iter().map(Vec::as_slice);
            view.get_many(7, probe.clone(), &mut |i, value| {
                got[i] = Some(value.map(|value| value.to_vec()));
            }).unwrap();
            for (probe, got) in probes.iter().zip(&got) {
                let one = view.get(7, probe).unwrap().map(|value| value.to_vec());
                prop_assert_eq!(got.as_ref(), Some(&one));
            }
            let mut none = 0;
            view.get_many(8, probe, &mut |_, value| none += usize::from(value.is_none())).unwrap();
            prop_assert_eq!(none, probes.len());
        }
    }

    #[test]
    fn a_page_is_fetched_once_for_all_its_keys() {
        // Given a tree of three levels,
        let file = PageFile::open(SimDisk::new(1), "f", Options::default()).unwrap();
        let mut write = file.begin();
        let key = |n: u32| [&n.to_be_bytes()[..], &[0; 28]].concat();
        let ops = (0..30_000).map(|n| (key(n), Op::Put([0; 30])));
        write.apply(7, ops, &mut |_, _| {}).unwrap();
        let view = write.commit().unwrap();
        assert!(view.trees().any(|tree| tree.tree == 7 && tree.height == 3));
        let fetched = |keys: Vec<Vec<u8>>| {
            let before = file.cache_stats();
            let mut found = 0;
            let each = &mut |_, value: Option<crate::Value>| found += usize::from(value.is_some());
            view.get_many(7, keys.iter().map(Vec::as_slice), each).unwrap();
            let after = file.cache_stats();
            assert_eq!(found, keys.len());
            after.hits + after.misses - before.hits - before.misses
        };
        // then neighbours cost one descent or two,
        assert!(fetched((100..120).map(key).collect()) <= 5);
        // and keys far apart each their leaf, the pages above once.
        let apart = fetched((0..30_000).step_by(1000).map(key).collect());
        assert!((30..45).contains(&apart), "{apart}");
    }
}
