//! The bytes of a page file, as they are and will stay in format 3.
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
            0000: 3f4d75c5 8514ed3e 504c4e4b 54524545
            0016: 03000000 00100000 00000000 00000000
            0032: 00000000 00000000 00000000 02000000
        "#]],
    );
    check(
        &disk,
        1,
        expect![[r#"
            0000: 394e5470 fdf2e70e 504c4e4b 54524545
            0016: 03000000 00100000 01000000 00000000
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
            0000: 18ee0b8e a80bcd54 504c4e4b 54524545
            0016: 03000000 00100000 02000000 00000000
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
            0000: 1e19a3ad 7f4d89b5 02000000 00000000
            0016: 01000000 02010500 04009600 00000000
            0032: 00000000 07000000 0e000000 15000000
            0048: 1c000000 42005200 63007400 85006b65
            0064: 79200000 02000000 b84fbbe2 07000000
            0080: 00000100 07030000 00e3b6f6 af070000
            0096: 00000001 000e0400 000087ec e2750700
            0112: 00000000 01001505 00000062 1c127b07
            0128: 00000000 0001001c 06000000 80c9fbee
            0144: 02000000 00000000 00000000 00000000
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
fn a_file_of_format_3_is_read() {
    // given: a fresh file's meta page 1, as the bytes above say
    let disk = SimDisk::new(1);
    let raw = disk.open(PATH, Open::CreateNew).unwrap();
    let mut page = [0; PAGE_BYTES];
    page[..8].copy_from_slice(&META_CHECKSUM);
    page[8..24].copy_from_slice(b"PLNKTREE\x03\0\0\0\0\x10\0\0");
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
const META_CHECKSUM: [u8; 8] = [0x39, 0x4e, 0x54, 0x70, 0xfd, 0xf2, 0xe7, 0x0e];
