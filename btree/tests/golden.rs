//! The bytes of a page file, as they are and will stay in format 2.
//!
//! A change here is a change of the format: raise `VERSION`, and keep reading
//! these bytes or refuse them by name.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fmt::Write as _;

use btree::{Op, PAGE_BYTES};
use common::*;
use expect_test::{Expect, expect};
use platform::sim::SimDisk;
use platform::{Disk, Open};

/// 16 bytes a line with their offset, lines of zeros left out.
fn dump(disk: &SimDisk, page: usize) -> String {
    let bytes = disk.file_bytes(PATH).unwrap();
    let page = &bytes[page * PAGE_BYTES..(page + 1) * PAGE_BYTES];
    let mut out = String::new();
    for (i, line) in page.chunks(16).enumerate() {
        if line.iter().all(|&b| b == 0) {
            continue;
        }
        write!(out, "{:04}:", i * 16).unwrap();
        for group in line.chunks(4) {
            out.push(' ');
            for b in group {
                write!(out, "{b:02x}").unwrap();
            }
        }
        out.push('\n');
    }
    out
}

fn check(disk: &SimDisk, page: usize, expected: Expect) {
    expected.assert_eq(&dump(disk, page));
}

#[test]
fn a_fresh_file() {
    let disk = SimDisk::new(1);
    open(disk.clone()).unwrap();
    assert_eq!(disk.file_bytes(PATH).unwrap().len(), 2 * PAGE_BYTES);
    check(
        &disk,
        0,
        expect![[r#"
            0000: 7a89ffed 343cfc5a 504c4e4b 54524545
            0016: 02000000 00100000 00000000 00000000
            0032: 00000000 00000000 00000000 02000000
        "#]],
    );
    check(
        &disk,
        1,
        expect![[r#"
            0000: 7c8ade58 4cdaf66a 504c4e4b 54524545
            0016: 02000000 00100000 01000000 00000000
            0032: 00000000 00000000 00000000 02000000
        "#]],
    );
}

#[test]
fn a_leaf_and_its_directory() {
    let disk = SimDisk::new(1);
    let file = open(disk.clone()).unwrap();
    let mut write = file.begin();
    let ops = [("user/ann", "1"), ("user/annabel", "22"), ("user/bob", ""), ("user/c", "3")];
    write.apply(7, ops.map(|(k, v)| (k, Op::Put(v))), &mut |_, _| {}).unwrap();
    write.set_user(*b"the caller's own sixty-four bytes, switched together with roots.");
    write.commit().unwrap();
    assert_eq!(disk.file_bytes(PATH).unwrap().len(), 4 * PAGE_BYTES);
    // The leaf of tree 7, the directory's leaf, the meta page of epoch 2.
    check(
        &disk,
        2,
        expect![[r#"
            0000: 6ac048c0 2dd25aed 02000000 00000000
            0016: 07000000 01000400 05005700 00000000
            0032: 616e6e00 616e6e61 626f6200 63000000
            0048: 3d004300 4e005300 75736572 2f030061
            0064: 6e6e3107 00616e6e 6162656c 32320300
            0080: 626f6201 00633300 00000000 00000000
        "#]],
    );
    check(
        &disk,
        3,
        expect![[r#"
            0000: 34105b1a 50699f93 02000000 00000000
            0016: ffffffff 01000100 04004400 00000000
            0032: 00000000 2a000000 00070000 02000000
            0048: 6ac048c0 01000000 07000000 04000000
        "#]],
    );
    check(
        &disk,
        0,
        expect![[r#"
            0000: 5d2a81a6 1923dc30 504c4e4b 54524545
            0016: 02000000 00100000 02000000 00000000
            0032: 03000000 34105b1a 01000000 04000000
            0048: 01000000 00000000 00000000 00000000
            0064: 00000000 00000000 74686520 63616c6c
            0080: 65722773 206f776e 20736978 74792d66
            0096: 6f757220 62797465 732c2073 77697463
            0112: 68656420 746f6765 74686572 20776974
            0128: 6820726f 6f74732e 00000000 00000000
        "#]],
    );
}

#[test]
fn an_inner_page_and_a_free_list() {
    let disk = SimDisk::new(1);
    let file = open(disk.clone()).unwrap();
    let mut write = file.begin();
    let ops = (0..30u8).map(|k| ([b"key ".as_slice(), &[k; 8]].concat(), Op::Put([k; 500])));
    write.apply(1, ops, &mut |_, _| {}).unwrap();
    write.commit().unwrap();
    // Pages 2 to 6 are leaves.
    check(
        &disk,
        7,
        expect![[r#"
            0000: b4dda1f6 8addd5fb 02000000 00000000
            0016: 01000000 02010500 04007800 00000000
            0032: 00000000 07000000 0e000000 15000000
            0048: 1c000000 42004c00 57006200 6d006b65
            0064: 79200000 02000000 b84fbbe2 01000703
            0080: 000000e3 b6f6af01 000e0400 000087ec
            0096: e2750100 15050000 00621c12 7b01001c
            0112: 06000000 80c9fbee 00000000 00000000
        "#]],
    );
    let mut write = file.begin();
    write.apply(1, [(b"key ", Op::Put(b"first"))], &mut |_, _| {}).unwrap();
    write.commit().unwrap();
    // What that freed: the first leaf, the root, the directory.
    let list = disk.file_bytes(PATH).unwrap().len() / PAGE_BYTES - 1;
    check(
        &disk,
        list,
        expect![[r#"
            0000: 09da9592 4effa96c 03000000 00000000
            0016: ffffffff 03010200 00002c00 00000000
            0032: 00000000 00000000 02000401 00000000
        "#]],
    );
}

#[test]
fn a_file_of_format_2_is_read() {
    // given: a fresh file's meta page 1, as the bytes above say
    let disk = SimDisk::new(1);
    let raw = disk.open(PATH, Open::CreateNew).unwrap();
    let mut page = [0; PAGE_BYTES];
    page[..8].copy_from_slice(&META_CHECKSUM);
    page[8..24].copy_from_slice(b"PLNKTREE\x02\0\0\0\0\x10\0\0");
    page[24] = 1;
    page[44] = 2;
    raw.write_at(&page, PAGE_BYTES as u64).unwrap();
    disk.sync_dir("").unwrap();
    // when, then: it opens, as the version without trees
    let file = open(disk.clone()).unwrap();
    assert_eq!((file.view().epoch(), file.view().trees().count()), (1, 0));
    assert!(file.damaged_meta().unwrap().contains("meta page 0"));
}

/// Of the second page of a fresh file.
const META_CHECKSUM: [u8; 8] = [0x7c, 0x8a, 0xde, 0x58, 0x4c, 0xda, 0xf6, 0x6a];
