//! Every byte of a file that matters is guarded: a changed one is an error or
//! changes nothing; wrong data is never served.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::ops::Bound::Unbounded;

use btree::{Direction, Error, PAGE_BYTES};
use common::*;
use platform::sim::{Fault, SimDisk, Times};
use platform::{Disk, Open};

/// Two commits, so that both meta pages matter, and a tree of two levels.
fn small_file() -> (std::sync::Arc<SimDisk>, Vec<Trees>) {
    let disk = SimDisk::new(1);
    let file = open(disk.clone()).unwrap();
    let mut models = vec![Trees::new()];
    for n in 1..=3u8 {
        let ops = (0..20u32).map(|k| (k.to_be_bytes().to_vec(), Some(vec![n; 300])));
        let change = Change::from([(1, ops.collect()), (u32::from(n), Default::default())]);
        let mut model = models.last().unwrap().clone();
        commit(&file, &change, n, &model).unwrap();
        apply_to_model(&mut model, &change);
        models.push(model);
    }
    (disk, models)
}

#[test]
fn every_changed_byte_is_found_or_harmless() {
    let (disk, models) = small_file();
    let bytes = disk.file_bytes(PATH).unwrap();
    let mut found = 0;
    for offset in 0..bytes.len() as u64 {
        let xor = 1 << (offset % 8);
        disk.corrupt(PATH, offset, xor).unwrap();
        let outcome = open(disk.clone()).and_then(|file| {
            let view = file.view();
            // `verify` reads as much again: not for every byte.
            let clean = offset % 16 != 0 || file.verify().is_clean();
            Ok((view.user()[0], contents(&view)?, clean))
        });
        match outcome {
            // The newest version, or the one before if the newest meta page is hit.
            Ok((n, trees, clean)) => {
                let page = offset / PAGE_BYTES as u64;
                assert!(n == 3 || (n == 2 && page < 2), "version {n} at {offset}");
                assert_eq!(trees, models[usize::from(n)], "offset {offset}");
                assert!(clean || page >= 2, "offset {offset}");
            }
            Err(Error::Corrupt { .. }) => found += 1,
            Err(e) => panic!("offset {offset}: {e}"),
        }
        disk.corrupt(PATH, offset, xor).unwrap();
    }
    assert!(found >= 4 * PAGE_BYTES, "only {found} of {} changes found", bytes.len());
    assert_eq!(disk.file_bytes(PATH).unwrap(), bytes);
}

#[test]
fn an_old_page_at_the_right_place_is_found() {
    // given: the file as it was one commit of the same pages ago
    let (disk, _) = small_file();
    let old = disk.file_bytes(PATH).unwrap();
    let file = open(disk.clone()).unwrap();
    for n in 4..=9 {
        let ops = (0..20u32).map(|k| (k.to_be_bytes().to_vec(), Some(vec![n; 300])));
        let mut write = file.begin();
        write.apply(1, ops.map(|(k, v)| (k, btree::Op::Put(v.unwrap()))), &mut |_, _| {}).unwrap();
        write.commit().unwrap();
    }
    drop(file);
    let new = disk.file_bytes(PATH).unwrap();
    // when: any one page goes back to what it was (a write the disk lost)
    let raw = disk.open(PATH, Open::Write).unwrap();
    for page in 2..old.len() / PAGE_BYTES {
        let at = page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
        if old[at.clone()] == new[at.clone()] {
            continue;
        }
        raw.write_at(&old[at.clone()], at.start as u64).unwrap();
        // then: it is an error, or the page was not in use
        if let Ok(file) = open(disk.clone()) {
            let view = file.view();
            if let Ok(trees) = contents(&view) {
                assert!(trees[&1].values().all(|v| v == &vec![9; 300]), "page {page}");
            }
        }
        raw.write_at(&new[at.clone()], at.start as u64).unwrap();
    }
    // and a page written to another's place is found as well
    raw.write_at(&new[2 * PAGE_BYTES..3 * PAGE_BYTES], 3 * PAGE_BYTES as u64).unwrap();
    let moved = open(disk.clone()).map(|f| f.verify());
    if let Ok(report) = moved {
        assert!(report.faults.iter().all(|f| f.place.page == 3), "{report:?}");
    }
}

#[test]
fn a_cursor_skips_nothing_it_could_not_read() {
    // given: a cursor without a cache, and a leaf that fails when it gets there
    let disk = SimDisk::new(1);
    let options = btree::Options { cache_bytes: 0, ..options() };
    let file = btree::PageFile::open(disk.clone(), PATH, options).unwrap();
    let ops = (0..400u32).map(|k| (k.to_be_bytes().to_vec(), Some(vec![7; 30])));
    commit(&file, &Change::from([(1, ops.collect())]), 1, &Trees::new()).unwrap();
    let view = file.view();
    for direction in [Direction::Forward, Direction::Reverse] {
        for page in 2..u64::from(view.file_pages()) {
            let mut cursor = view.range(1, Unbounded, Unbounded, direction);
            cursor.next().unwrap().unwrap();
            disk.corrupt(PATH, page * 4096 + 50, 1).unwrap();
            let (mut given, mut failed) = (1, 0);
            // when: it fails twice and the disk then recovers
            loop {
                match cursor.next() {
                    Ok(Some(_)) => given += 1,
                    Ok(None) => break,
                    Err(_) => failed += 1,
                }
                if failed == 2 {
                    disk.corrupt(PATH, page * 4096 + 50, 1).unwrap();
                    failed += 1;
                }
            }
            if failed == 0 {
                disk.corrupt(PATH, page * 4096 + 50, 1).unwrap();
            }
            // then: every entry was given once
            assert_eq!(given, 400, "page {page}");
        }
    }
}

#[test]
fn errors_name_file_page_and_tree() {
    let (disk, _) = small_file();
    let file = open(disk.clone()).unwrap();
    // given: the last leaf of tree 1 damaged (found by trying)
    let pages = file.verify().pages;
    drop(file);
    let mut messages = Vec::new();
    for page in 2..pages {
        let offset = u64::from(page) * PAGE_BYTES as u64 + 100;
        disk.corrupt(PATH, offset, 1).unwrap();
        if let Ok(file) = open(disk.clone())
            && let Err(e) = contents(&file.view())
        {
            let faults = file.verify().faults;
            assert!(faults.iter().any(|f| f.place.page == page && f.place.tree == Some(1)));
            messages.push((page, e.to_string()));
        }
        disk.corrupt(PATH, offset, 1).unwrap();
    }
    assert!(!messages.is_empty());
    for (page, message) in messages {
        let start = format!("{PATH}, page {page} (offset {}) of tree 1 is damaged", page * 4096);
        assert!(message.starts_with(&start), "{message}");
        for todo in ["planck verify --dir", "planck restore --from", "planck salvage --dir"] {
            assert!(message.contains(todo), "{message}");
        }
    }
}

/// Gives a page the checksum of its bytes, and what refers to it that checksum, up to
/// the meta page: a file that holds together but for what was changed.
fn reseal(bytes: &mut [u8], mut page: usize) {
    loop {
        let at = page * PAGE_BYTES;
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        digest.update(&(page as u64).to_le_bytes());
        digest.update(&bytes[at + 8..at + PAGE_BYTES]);
        let (old, new) = (bytes[at..at + 4].to_vec(), digest.finalize().to_le_bytes());
        bytes[at..at + 8].copy_from_slice(&new);
        if page < 2 {
            return;
        }
        let reference = [&(page as u32).to_le_bytes()[..], &old].concat();
        // The newest page that has it: epochs are at 8 of headers, at 24 of meta pages.
        let epoch = |page: usize| {
            let at = page * PAGE_BYTES + if page < 2 { 24 } else { 8 };
            u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
        };
        let mut found: Vec<usize> = (0..bytes.len() - 8)
            .filter(|&i| bytes[i..i + 8] == reference[..] && i / PAGE_BYTES != page)
            .collect();
        found.sort_by_key(|&i| epoch(i / PAGE_BYTES));
        let place = *found.last().unwrap();
        bytes[place + 4..place + 8].copy_from_slice(&new[..4]);
        page = place / PAGE_BYTES;
    }
}

#[test]
fn a_wrong_count_in_an_inner_page_is_named() {
    // given: a tree of two levels, and its root in the file
    let disk = SimDisk::new(1);
    let file = open(disk.clone()).unwrap();
    let ops = (0..20u32).map(|k| (k.to_be_bytes().to_vec(), Some(vec![7; 300])));
    commit(&file, &Change::from([(1, ops.collect())]), 1, &Trees::new()).unwrap();
    assert_clean(&file);
    drop(file);
    let mut bytes = disk.file_bytes(PATH).unwrap();
    let inner = |page: &usize| bytes[page * PAGE_BYTES + 20] == 2;
    let root = (2..bytes.len() / PAGE_BYTES).find(inner).unwrap();
    // Without a change it is what it was.
    let before = bytes.clone();
    reseal(&mut bytes, root);
    assert_eq!(bytes, before);
    // when: it says one key more of its last child, whose count ends its bytes
    let end = root * PAGE_BYTES + 26;
    let end = usize::from(u16::from_le_bytes([bytes[end], bytes[end + 1]]));
    bytes[root * PAGE_BYTES + end - 6] += 1;
    reseal(&mut bytes, root);
    disk.open(PATH, Open::Write).unwrap().write_at(&bytes, 0).unwrap();
    // then: all keys are served, and verify names the root and the leaf that disagree,
    let file = open(disk.clone()).unwrap();
    assert_eq!(contents(&file.view()).unwrap()[&1].len(), 20);
    let faults = file.verify().faults;
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert_eq!(faults[0].place.page as usize, root);
    assert!(faults[0].what.contains("it has 21 keys"), "{faults:?}");
    assert!(faults[1].what.contains("what refers to it says"), "{faults:?}");
    // and so does a walk over its pages.
    let mut pages = file.view().pages();
    let mut found = Vec::new();
    while let Some(walked) = pages.next(&mut |_, _| false) {
        let btree::Walked::Page(at, page) = walked else { panic!("nothing is lost") };
        found.extend(page.check(&at).err());
    }
    assert_eq!(found, faults.iter().map(|fault| fault.what.clone()).collect::<Vec<_>>());
}

#[test]
fn another_format_is_refused_by_name() {
    for version in [1, 2, 4] {
        refused_by_version(version);
    }
}

fn refused_by_version(version: u8) {
    // given: that version in a meta page that checks
    let (disk, _) = small_file();
    let mut page = disk.file_bytes(PATH).unwrap()[..PAGE_BYTES].to_vec();
    page[16] = version;
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    digest.update(&[0; 8]);
    digest.update(&page[8..]);
    page[..8].copy_from_slice(&digest.finalize().to_le_bytes());
    disk.open(PATH, Open::Write).unwrap().write_at(&page, 0).unwrap();
    // when, then
    let error = open(disk).unwrap_err();
    let named =
        matches!(error, Error::Version { found, supported: 3, .. } if found == version.into());
    assert!(named, "{error}");
    let todo = if version < 3 { "planctl export" } else { "run the release that wrote it" };
    assert!(error.to_string().contains(todo), "{error}");
}

#[test]
fn a_file_without_a_valid_meta_page_is_refused() {
    let (disk, _) = small_file();
    disk.corrupt(PATH, 30, 1).unwrap();
    disk.corrupt(PATH, 4096 + 30, 1).unwrap();
    let error = open(disk.clone()).unwrap_err().to_string();
    assert!(error.contains("neither meta page is valid"), "{error}");
    // Cut short, by any amount, it is refused too.
    let (disk, _) = small_file();
    let raw = disk.open(PATH, Open::Write).unwrap();
    raw.set_len(raw.len().unwrap() - 1).unwrap();
    let error = open(disk.clone()).unwrap_err().to_string();
    assert!(error.contains("its meta page says"), "{error}");
    raw.set_len(0).unwrap();
    assert!(matches!(open(disk).unwrap_err(), Error::Corrupt { .. }));
}

#[test]
fn a_damaged_newest_meta_page_is_told() {
    let (disk, models) = small_file();
    assert_eq!(open(disk.clone()).unwrap().damaged_meta(), None);
    // Epoch 4 is in page 0.
    disk.corrupt(PATH, 80, 1).unwrap();
    let file = open(disk).unwrap();
    assert!(file.damaged_meta().unwrap().contains("meta page 0 is damaged"));
    assert_eq!(contents(&file.view()).unwrap(), models[2]);
    // It goes on from there, over the damaged page.
    let change = Change::from([(9, [(b"k".to_vec(), Some(vec![1]))].into())]);
    commit(&file, &change, 4, &models[2]).unwrap();
    assert_clean(&file);
}

#[test]
fn an_unreadable_meta_page_costs_nothing_while_the_other_is_whole() {
    // Epoch 4 is in page 0, epoch 3 in page 1.
    for (slot, version) in [(0u64, 2), (1, 3)] {
        let (disk, models) = small_file();
        disk.spoil(PATH, slot * PAGE_BYTES as u64 + 600, 1).unwrap();
        // Read only, the other one is found, and the fault is no torn end.
        let (view, faults) = btree::open_damaged(&*disk, PATH).unwrap();
        assert_eq!(contents(&view).unwrap(), models[version]);
        let [fault] = &faults[..] else { panic!("{faults:?}") };
        assert!(!fault.torn && fault.what.contains(&format!("meta page {slot}")), "{fault:?}");
        // Opened, it goes on from there,
        let file = open(disk.clone()).unwrap();
        assert!(file.damaged_meta().unwrap().contains("unreadable sector"));
        assert_eq!(contents(&file.view()).unwrap(), models[version]);
        let change = Change::from([(9, [(b"k".to_vec(), Some(vec![1]))].into())]);
        let mut model = models[version].clone();
        commit(&file, &change, 9, &model).unwrap();
        apply_to_model(&mut model, &change);
        assert_clean(&file);
        drop(file);
        // and what it wrote over is whole again.
        let file = open(disk).unwrap();
        assert_eq!(file.damaged_meta(), None);
        assert_eq!(contents(&file.view()).unwrap(), model);
    }
    // If the other's pages are not whole it is refused, and the unreadable one left as it
    // is: the disk may give it another time.
    let (disk, _) = small_file();
    disk.spoil(PATH, 0, 1).unwrap();
    let pages = disk.file_bytes(PATH).unwrap().len() / PAGE_BYTES;
    for page in 2..pages {
        disk.corrupt(PATH, (page * PAGE_BYTES + 100) as u64, 1).unwrap();
    }
    let before = disk.digest();
    assert!(matches!(open(disk.clone()).unwrap_err(), Error::Corrupt { .. }));
    assert_eq!(disk.digest(), before);
    // With neither readable the disk is named: it may give them another time.
    let (disk, _) = small_file();
    disk.spoil(PATH, 0, 2 * PAGE_BYTES as u64).unwrap();
    let error = open(disk).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn a_meta_page_that_can_be_read_again_after_it_was_passed_over_is_not_chosen() {
    // Given a newest meta page that the disk does not give this once,
    let (disk, models) = small_file();
    let change = |n: u8| {
        let ops = (0..20u32).map(|k| (k.to_be_bytes().to_vec(), Some(vec![n; 300])));
        Change::from([(1, ops.collect())])
    };
    let work = |disk: std::sync::Arc<SimDisk>| -> Result<(), Error> {
        disk.fail(Fault::Read, PATH, Times::Next);
        let file = open(disk)?;
        let mut model = models[2].clone();
        for n in 20..24 {
            commit(&file, &change(n), n, &model)?;
            apply_to_model(&mut model, &change(n));
        }
        Ok(())
    };
    let calm = disk.snapshot();
    work(calm.clone()).unwrap();
    for call in 1..=calm.calls() {
        for seed in 0..4 {
            // when the machine ends at any call of what was done without it,
            let disk = disk.snapshot();
            disk.reseed(seed);
            disk.crash_after(call);
            work(disk.clone()).unwrap_err();
            // then what is found is whole: the version before, the one passed over as
            // long as nothing was done, or a new one.
            let file = open(disk.restart()).unwrap();
            assert_clean(&file);
            let (n, found) = (file.view().user()[0], contents(&file.view()).unwrap());
            match n {
                2 | 3 => assert_eq!(found, models[usize::from(n)], "call {call}"),
                n => {
                    assert!(found[&1].values().all(|v| v == &vec![n; 300]), "call {call}: {n}");
                    assert!((20..24).contains(&n));
                }
            }
        }
    }
}
