//! Shared by the tests: small files, plain contents, a seeded generator.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use btree::{Direction, Error, Op, Options, PageFile, View};
use platform::Disk;

pub const PATH: &str = "data.pages";
pub type Key = Vec<u8>;
pub type Contents = BTreeMap<Key, Vec<u8>>;
/// Tree id to contents; trees without keys are left out.
pub type Trees = BTreeMap<u32, Contents>;
/// One commit: for each tree, keys and what happens to them.
pub type Change = BTreeMap<u32, BTreeMap<Key, Option<Vec<u8>>>>;

pub fn options() -> Options {
    Options { cache_bytes: 1 << 20, dirty_bytes: 64 << 10 }
}

pub fn open(disk: Arc<dyn Disk>) -> Result<PageFile, Error> {
    PageFile::open(disk, PATH, options())
}

/// Applies a change in one commit; checks the counts and old values on the way.
pub fn commit(file: &PageFile, change: &Change, user: u8, model: &Trees) -> Result<View, Error> {
    let mut write = file.begin();
    for (tree, ops) in change {
        let empty = Contents::new();
        let before = model.get(tree).unwrap_or(&empty);
        let mut old = Contents::new();
        let applied = write.apply(
            *tree,
            ops.iter().map(|(k, v)| (k, v.as_ref().map_or(Op::Delete, Op::Put))),
            &mut |k, v| assert!(old.insert(k.to_vec(), v.to_vec()).is_none(), "told twice"),
        )?;
        let expected: Contents =
            ops.keys().filter_map(|k| before.get(k).map(|v| (k.clone(), v.clone()))).collect();
        assert_eq!(old, expected, "old values");
        assert_eq!(applied.replaced + applied.deleted, expected.len() as u64);
        assert_eq!(applied.inserted + applied.absent, (ops.len() - expected.len()) as u64);
    }
    write.set_user([user; 64]);
    write.commit()
}

pub fn apply_to_model(model: &mut Trees, change: &Change) {
    for (tree, ops) in change {
        let contents = model.entry(*tree).or_default();
        for (key, value) in ops {
            match value {
                Some(value) => contents.insert(key.clone(), value.clone()),
                None => contents.remove(key),
            };
        }
        if contents.is_empty() {
            model.remove(tree);
        }
    }
}

/// Everything in a view, by cursor.
pub fn contents(view: &View) -> Result<Trees, Error> {
    let mut trees = Trees::new();
    for info in view.trees() {
        let found = range(view, info.tree, Bound::Unbounded, Bound::Unbounded, Direction::Forward)?;
        assert_eq!(found.len() as u64, info.entries, "count of tree {}", info.tree);
        trees.insert(info.tree, found.into_iter().collect());
    }
    Ok(trees)
}

pub fn range(
    view: &View,
    tree: u32,
    low: Bound<&[u8]>,
    high: Bound<&[u8]>,
    direction: Direction,
) -> Result<Vec<(Key, Vec<u8>)>, Error> {
    let mut cursor = view.range(tree, low, high, direction);
    let mut found = Vec::new();
    while let Some((key, value)) = cursor.next()? {
        found.push((key.to_vec(), value.to_vec()));
    }
    assert!(cursor.next()?.is_none(), "a cursor at its end stays there");
    Ok(found)
}

pub fn assert_clean(file: &PageFile) {
    let report = file.verify();
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    assert!(report.is_clean(), "{faults:#?}");
}

/// A small generator with a fixed sequence (splitmix64).
pub struct Seeded(pub u64);

impl Seeded {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }
}
