//! The walk over all pages: what it gives is the version, whole, and no more.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use btree::{Op, PAGE_BYTES, PageFile, View, Walked, check_page, open_damaged};
use common::options;
use platform::sim::SimDisk;
use platform::{Disk, Open};

fn fill(file: &PageFile, tree: u32, keys: std::ops::Range<u32>, value: u8) -> View {
    let mut write = file.begin();
    let ops = keys.map(|k| (k.to_be_bytes(), Op::Put([value; 60])));
    write.apply(tree, ops, &mut |_, _| {}).unwrap();
    write.commit().unwrap()
}

fn open(disk: &Arc<SimDisk>) -> PageFile {
    PageFile::open(Arc::clone(disk) as _, "f", options()).unwrap()
}

/// Adds the pages `have` lacks; returns how many came.
fn copy(view: &View, have: &mut BTreeMap<u32, (u32, Vec<u8>)>) -> usize {
    let mut pages = view.pages();
    let mut got = Vec::new();
    let known = &mut |page, check| have.get(&page).is_some_and(|(c, _)| *c == check);
    while let Some(walked) = pages.next(known) {
        match walked {
            Walked::Page(at, copy) => got.push((at.page, at.check, copy.bytes().to_vec())),
            Walked::Lost(at, error) => panic!("{at:?}: {error}"),
        }
    }
    let came = got.len();
    have.extend(got.into_iter().map(|(page, check, bytes)| (page, (check, bytes))));
    came
}

fn assemble(view: &View, have: &BTreeMap<u32, (u32, Vec<u8>)>) -> Arc<SimDisk> {
    let disk = SimDisk::new(2);
    let file = disk.open("f", Open::CreateNew).unwrap();
    file.set_len(u64::from(view.file_pages()) * PAGE_BYTES as u64).unwrap();
    for (page, (check, bytes)) in have {
        let bytes: &[u8; PAGE_BYTES] = bytes[..].try_into().unwrap();
        assert_eq!(check_page(*page, bytes), Some(*check));
        file.write_at(bytes, u64::from(*page) * PAGE_BYTES as u64).unwrap();
    }
    let (page, meta) = view.meta_page();
    file.write_at(&*meta, u64::from(page) * PAGE_BYTES as u64).unwrap();
    disk
}

#[test]
fn the_pages_of_a_view_put_together_are_the_version_and_later_ones_need_only_what_is_new() {
    // Given a file with two trees, one of them dropped in part later, and a view of it,
    let disk = SimDisk::new(1);
    let file = open(&disk);
    fill(&file, 1, 0..3000, 1);
    let first = fill(&file, 2, 0..3000, 1);
    let mut have = BTreeMap::new();
    let all = copy(&first, &mut have);
    // when commits go on while the first view is held,
    fill(&file, 1, 100..110, 2);
    let second = fill(&file, 3, 0..10, 3);
    // then the first one's pages are the first version,
    let found = open(&assemble(&first, &have));
    assert!(found.verify().is_clean(), "{:?}", found.verify());
    assert_eq!(found.view().get(1, &105u32.to_be_bytes()).unwrap().unwrap()[0], 1);
    assert!(found.view().is_empty(3));
    // and the second needs a few more, not all,
    let more = copy(&second, &mut have);
    assert!(more < 12 && all > 80, "{more} after {all}");
    let found = open(&assemble(&second, &have));
    assert!(found.verify().is_clean(), "{:?}", found.verify());
    assert_eq!(found.view().get(1, &105u32.to_be_bytes()).unwrap().unwrap()[0], 2);
    assert_eq!(found.view().len(3), 10);
    // and writing on it works.
    fill(&found, 3, 0..500, 4);
    assert!(found.verify().is_clean());
}

#[test]
fn a_lost_page_is_named_with_its_keys_and_the_walk_goes_on() {
    let disk = SimDisk::new(1);
    let file = open(&disk);
    fill(&file, 1, 0..3000, 1);
    let view = fill(&file, 2, 0..3000, 1);
    let mut pages = Vec::new();
    let mut walk = view.pages();
    while let Some(Walked::Page(at, copy)) = walk.next(&mut |_, _| false) {
        pages.push((at, copy));
    }
    let entries: usize =
        pages.iter().filter(|p| p.0.tree.is_some()).map(|p| p.1.entries().count()).sum();
    assert_eq!(entries, 6000);
    for (lost, copy) in &pages {
        // Given one rotten page,
        let disk = disk.snapshot();
        disk.corrupt("f", u64::from(lost.page) * PAGE_BYTES as u64 + 77, 4).unwrap();
        // when what can be opened is walked,
        let (view, _) = open_damaged(&*disk, "f").unwrap();
        let mut walk = view.pages();
        let (mut found, mut named) = (0, Vec::new());
        while let Some(walked) = walk.next(&mut |_, _| false) {
            match walked {
                Walked::Page(at, copy) if at.tree.is_some() => found += copy.entries().count(),
                Walked::Page(..) => {}
                Walked::Lost(at, _) => named.push(at),
            }
        }
        // then exactly that page is named, and only what is below it is missing.
        assert_eq!(named, std::slice::from_ref(lost));
        if lost.tree.is_some() && lost.level == 0 {
            assert_eq!(found, 6000 - copy.entries().count());
        }
        assert!(!view.verify().is_clean());
    }
    assert_eq!(disk.unsynced("f"), 0);
}
