//! Pages of every kind, taken from page files; nearly sound ones are some of them with
//! bytes changed. Their checksums do not matter: the targets make them right.

use super::Seeds;
use btree::{Op, Options, PAGE_BYTES, PageFile};
use platform::Disk;
use platform::sim::SimDisk;
use std::sync::Arc;

/// Fields of a page's header and of a meta page: `btree/src/format.rs`.
const KIND: usize = 20;
const LEVEL: usize = 21;
const COUNT: usize = 22;
const PREFIX: usize = 24;
const END: usize = 26;
const HEADER: usize = 32;
const LEAF: u8 = 1;
const INNER: u8 = 2;
const FREE: u8 = 3;

/// The pages of a file in which commits left pages of every kind: tree 1 of small
/// entries, tree 2 of such large ones that it is three levels high, and a free list.
fn file() -> Vec<Vec<u8>> {
    let disk = SimDisk::new(0);
    let on: Arc<dyn Disk> = disk.clone();
    let pages = PageFile::open(on, "p", Options::default()).expect("an empty disk");
    for round in 0..4u32 {
        let mut write = pages.begin();
        let small = (0..40 * round).map(|n| (format!("key {n:05}"), Op::Put(n.to_be_bytes())));
        write.apply(1, small, &mut |_, _| ()).expect("the simulated disk takes it");
        // What tells neighbours apart comes late: few fit an inner page.
        let large = (0..150 * round).map(|n| {
            let key = [&[(n / 12) as u8; 700][..], &n.to_be_bytes()].concat();
            (key, Op::Put([n as u8; 400]))
        });
        write.apply(2, large, &mut |_, _| ()).expect("the simulated disk takes it");
        write.commit().expect("the simulated disk takes it");
    }
    let bytes = disk.file_bytes("p").expect("it was made");
    bytes.chunks(PAGE_BYTES).map(<[u8]>::to_vec).collect()
}

/// Without the zeros at its end, which the targets put there.
fn trimmed(page: &[u8]) -> Vec<u8> {
    let end = page.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    page[..end].to_vec()
}

/// The two bytes at `at`.
fn number(page: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([page[at], page[at + 1]]))
}

pub(super) fn make(seeds: &mut Seeds) {
    let file = file();
    let add = |seeds: &mut Seeds, name: &str, page: &[u8]| seeds.add("page", name, trimmed(page));
    let of = |kind: u8, level: u8| {
        let mut found = file[2..].iter().filter(|p| p[KIND] == kind && p[LEVEL] == level);
        found.next_back().unwrap_or_else(|| panic!("no page of kind {kind}, level {level}"))
    };
    let (leaf, inner, upper) = (of(LEAF, 0), of(INNER, 1), of(INNER, 2));
    let (free, freed) = (of(FREE, 0), of(FREE, 1));
    for (name, page) in [("inner", inner), ("upper", upper), ("free", free), ("freed", freed)] {
        add(seeds, name, page);
    }
    let least = file[2..].iter().filter(|p| p[KIND] == LEAF).min_by_key(|p| number(p, COUNT));
    add(seeds, "leaf-of-few", least.expect("there are leaves"));
    let most = file[2..].iter().filter(|p| p[KIND] == LEAF).max_by_key(|p| number(p, COUNT));
    let most = most.expect("there are leaves");
    add(seeds, "leaf-of-many", most);
    let mut changed = |name: &str, page: &[u8], at: usize, bytes: &[u8]| {
        let mut page = page.to_vec();
        page[at..at + bytes.len()].copy_from_slice(bytes);
        add(seeds, name, &page);
    };
    let offsets = HEADER + 4 * number(leaf, COUNT);
    let first = number(leaf, offsets);
    changed("leaf-above-the-leaves", leaf, LEVEL, &[1]);
    changed("no-entries", leaf, COUNT, &[0, 0]);
    changed("past-the-page", leaf, END, &[0xFF, 0xFF]);
    changed("first-entry-elsewhere", leaf, PREFIX, &[0, 0]);
    changed("entry-outside", leaf, offsets + 2, &[0xFF, 0xFF]);
    changed("key-too-long", leaf, first, &[0xFF, 0xFF]);
    // Keys of 704 bytes, most of it shared, with what is of the value.
    let long = file[2..].iter().filter(|p| p[KIND] == LEAF).max_by_key(|p| number(p, PREFIX));
    let long = long.expect("there are leaves");
    let cells = number(long, HEADER + 4 * number(long, COUNT));
    changed("key-over-the-bound", long, cells, &390u16.to_le_bytes());
    changed("heads-swapped", most, HEADER, &[0xFF; 4]);
    changed("not-zero-behind", least.expect("there are leaves"), PAGE_BYTES - 1, &[1]);
    changed("value-of-a-child", inner, KIND, &[INNER, 0]);
    let cells = HEADER + 6 * number(inner, COUNT) + number(inner, PREFIX);
    // Its first entry has no key: length, then page, half a checksum, keys below.
    changed("child-is-a-meta-page", inner, cells + 2, &[1, 0, 0, 0]);
    changed("child-without-keys", inner, cells + 10, &[0; 6]);
    changed("child-has-a-key", inner, cells, &[1, 0]);
    changed("free-next-is-a-meta-page", free, HEADER, &[1, 0, 0, 0, 9, 9, 9, 9]);
    changed("free-goes-on", free, HEADER, &[9, 0, 0, 0, 9, 9, 9, 9]);
    changed("free-run-cut-off", free, COUNT, &[0xFF, 0]);
    changed("free-bytes-left", free, COUNT, &[0, 0]);
    changed("free-run-too-far", free, HEADER + 8, &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]);
    changed("free-run-from-a-meta-page", free, HEADER + 8, &[0]);
    metas(seeds, &file);
}

fn metas(seeds: &mut Seeds, file: &[Vec<u8>]) {
    let add = |seeds: &mut Seeds, name: &str, page: &[u8]| seeds.add("meta", name, trimmed(page));
    let disk = SimDisk::new(0);
    let on: Arc<dyn Disk> = disk.clone();
    drop(PageFile::open(on, "p", Options::default()).expect("an empty disk"));
    let empty = disk.file_bytes("p").expect("it was made");
    empty.chunks(PAGE_BYTES).take(2).enumerate().for_each(|(n, page)| {
        add(seeds, ["empty-even", "empty-odd"][n], page);
    });
    add(seeds, "even", &file[0]);
    add(seeds, "odd", &file[1]);
    let store = SimDisk::new(0);
    let clock = Arc::new(platform::sim::SimClock::new(1));
    let lsm = lsm::Lsm::open(store.clone(), clock, lsm::Options::default());
    let lsm = lsm.expect("an empty disk takes a store");
    let mut batch = lsm::Batch::new();
    batch.put(lsm::KeyspaceId(1), b"key", &[7; 400]);
    lsm.commit(&batch).expect("the simulated disk takes it");
    lsm.flush().expect("the simulated disk takes it");
    lsm.close().expect("the simulated disk syncs");
    let pages = store.file_bytes("trees.pages").expect("it was made");
    let (even, odd) = (&pages[..PAGE_BYTES], &pages[PAGE_BYTES..2 * PAGE_BYTES]);
    add(seeds, "store-even", even);
    add(seeds, "store-odd", odd);
    // Magic at 8, version 16, page size 20, directory 32 and its height 40, pages 44,
    // trees 48, the store's part from 72: magic, version at 4, zero at 6.
    for (name, at, bytes) in [
        ("magic", 8, &b"PLNKTRIE"[..]),
        ("version", 16, &[9]),
        ("page-size", 20, &[0, 0x20]),
        ("no-directory", 32, &[0; 8]),
        ("too-high", 40, &[33]),
        ("no-pages", 44, &[0; 4]),
        ("zeros-set", 4095, &[1]),
        ("store-version", 76, &[99]),
        ("store-zero", 78, &[1]),
    ] {
        let mut page = even.to_vec();
        page[at..at + bytes.len()].copy_from_slice(bytes);
        add(seeds, name, &page);
    }
}
