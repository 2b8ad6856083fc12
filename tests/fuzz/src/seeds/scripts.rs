//! Changes of bytes in logs, value logs, archives, backups and stores: what they change
//! is found in what the encoders wrote.

use super::{Script, Seeds};
use crate::{backups, copies, store, values, wal_log};

pub(super) fn make(seeds: &mut Seeds) {
    wal(seeds);
    records(seeds);
    archives(seeds);
    backups(seeds);
    stores(seeds);
}

/// Fields of a frame's header: `wal/src/frame.rs`.
const VERSION: usize = 4;
const LENGTH: usize = 8;
const FLAGS: usize = 12;
const LSN: usize = 16;
const EPOCH: usize = 32;
const DURABLE: usize = 40;

fn wal(seeds: &mut Seeds) {
    let small = [3, 1, 0, 9];
    let large = [255, 250, 240, 255];
    let frames = wal_log::Laid::new(small).frames;
    let mut add = |name: &str, script: Script| seeds.add("wal_frame", name, script.0);
    let of = |sizes: [u8; 4], resealed: u8| Script::new(&[&sizes[..], &[resealed]].concat());
    add("whole", of(small, 0));
    add("two-segments", of(large, 0));
    add("empty-frames", of([0; 4], 0));
    let first = |resealed| of(small, resealed);
    let body = wal_log::HEADER;
    add("changed-payload", first(1).put(frames[0] + body, b"other"));
    add("rotten-payload", first(0).put(frames[0] + body, b"other"));
    add("torn-end", first(0).put(frames[3] + body, b"other"));
    add("magic", first(0).put(frames[0], b"X"));
    add("torn-header", first(0).put(frames[3] + LSN, &[77]));
    add("version", first(1).put(frames[0] + VERSION, &[9]));
    add("last-version", first(8).put(frames[3] + VERSION, &[9]));
    add("flags", first(1).put(frames[0] + FLAGS, &[6]));
    add("mark-too-early", first(1).put(frames[0] + FLAGS, &[1]));
    add("mark-at-the-end", first(8).put(frames[3] + FLAGS, &[1]).put(frames[3] + LENGTH, &[0]));
    add("too-long", first(1).put(frames[0] + LENGTH, &[0xFF; 4]));
    add("past-the-end", first(8).put(frames[3] + LENGTH, &[0xFF, 0xFF]));
    add("shorter", first(2).put(frames[1] + LENGTH, &[2]));
    add("lsn-skips", first(2).put(frames[1] + LSN, &[9]));
    add("lsn-again", first(2).put(frames[1] + LSN, &[1]));
    add("other-epoch", first(2).put(frames[1] + EPOCH, &[9]));
    add("durable-beyond", first(8).put(frames[3] + DURABLE, &[200]));
    add("padding", first(0).put(frames[2] - 1, &[1]));
    // Of a segment's header: version at 8, number 16, first LSN 24, epoch 32, salt 40.
    let header = |resealed: u8| of(small, resealed | wal_log::SEGMENTS);
    add("segment-magic", header(0).put(0, b"X"));
    add("segment-rotten", of(small, 0).put(16, &[9]));
    add("segment-version", header(0).put(8, &[9]));
    add("segment-misnamed", header(0).put(16, &[9]));
    add("segment-begins-later", header(0).put(24, &[3]));
    add("segment-other-salt", header(0).put(40, &[3]));
    add("segment-other-epoch", header(15).put(32, &[9]));
    let second = wal_log::Laid::new(large).frames[3];
    add("second-segment-rotten", of(large, 0).put(second + body, &[1]));
    add("second-segment-header", of(large, 0).put(second - 64, &[1]));
    add("first-of-two-rotten", of(large, 0).put(frames[0] + body, &[1]));
}

fn records(seeds: &mut Seeds) {
    let sizes = [20, 0, 200];
    // Keys of 1, 10 and 19 bytes.
    let second = values::HEADER + values::HEADER + 1 + 20;
    let mut add = |name: &str, resealed: u8, edits: &[(usize, &[u8])]| {
        let script = Script::new(&[&sizes[..], &[resealed]].concat());
        let script = edits.iter().fold(script, |script, (at, bytes)| script.put(*at, bytes));
        seeds.add("vlog_record", name, script.0);
    };
    let first = values::HEADER;
    add("whole", 0, &[]);
    add("value", 1, &[(first + 40, b"other")]);
    add("rotten-value", 0, &[(first + 40, b"other")]);
    add("rotten-header", 0, &[(first + 8, &[9])]);
    add("magic", 1, &[(first, b"X")]);
    add("version", 1, &[(first + 2, &[9])]);
    add("flags", 1, &[(first + 3, &[1])]);
    add("keyspace", 1, &[(first + 4, &[9])]);
    add("longer-value", 1, &[(first + 16, &[21])]);
    add("huge-value", 1, &[(first + 16, &[0xFF; 4])]);
    add("longer-key", 2, &[(second + 20, &[11])]);
    // What the key lacks, the value has.
    add("shorter-key", 2, &[(second + 20, &[9]), (second + 16, &[1])]);
    add("reserved", 2, &[(second + 22, &[1])]);
    add("segment-magic", values::SEGMENT, &[(0, b"X")]);
    add("segment-version", values::SEGMENT, &[(8, &[9])]);
    add("segment-number", values::SEGMENT, &[(16, &[9])]);
    add("segment-rotten", 0, &[(16, &[9])]);
}

fn archives(seeds: &mut Seeds) {
    let sizes = [40, 50, 60, 70, 80, 90];
    let laid = copies::Laid::new(sizes);
    let mut add = |name: &str, file: u8, resealed: u8, cut: u8, at: usize, bytes: &[u8]| {
        let choices = [&sizes[..], &[file, resealed, cut]].concat();
        seeds.add("archive", name, Script::new(&choices).put(at, bytes).0);
    };
    let (whole, all) = (255, copies::ALL);
    let end = laid.bytes(0).len() - copies::FOOTER;
    let block = copies::HEADER;
    let frames = block + copies::BLOCK;
    add("whole-0", 0, 0, whole, 0, &[]);
    add("whole-1", 1, 0, whole, 0, &[]);
    add("cut-short", 0, 0, 5, 0, &[]);
    add("rotten-frames", 0, 0, whole, frames + 9, &[1, 2, 3]);
    add("changed-packed-frames", 0, all, whole, frames + 9, &[1, 2, 3]);
    let unpacked = all | copies::UNPACKED;
    add("unpacked", 0, unpacked, whole, 0, &[]);
    // Frame: wall, epoch at 8, length 16, zero 20, payload 24.
    add("changed-payload", 0, unpacked, whole, frames + 24, &[1, 2, 3]);
    add("frame-epoch", 0, unpacked, whole, frames + 8, &[9]);
    add("frame-length", 0, unpacked, whole, frames + 16, &[9]);
    add("frame-length-huge", 0, unpacked, whole, frames + 16, &[0xFF; 4]);
    add("frame-zero", 0, unpacked, whole, frames + 20, &[1]);
    add("rotten-header", 0, 0, whole, 40, &[9]);
    add("magic", 0, all, whole, 0, b"X");
    add("version", 0, all, whole, 8, &[9]);
    add("other-store", 0, all, whole, 16, &[9]);
    add("other-first-lsn", 0, all, whole, 32, &[2]);
    add("other-last-lsn", 0, all, whole, 40, &[9]);
    add("hole", 1, all, whole, 32, &[7]);
    add("times", 0, all, whole, 48, &[9]);
    add("raw-bytes", 0, all, whole, 96, &[9]);
    add("many-blocks", 0, all, whole, 104, &[9]);
    add("no-blocks", 0, all, whole, 104, &[0]);
    add("content", 0, all, whole, 112, &[9]);
    add("block-magic", 0, all, whole, block, b"X");
    add("block-flags", 0, all, whole, block + 4, &[2]);
    add("block-as-it-is", 0, all, whole, block + 4, &[0]);
    add("block-raw-length", 0, all, whole, block + 8, &[9]);
    add("block-raw-huge", 0, all, whole, block + 8, &[0xFF; 4]);
    add("block-stored-huge", 0, all, whole, block + 12, &[0xFF; 4]);
    add("block-first", 0, all, whole, block + 16, &[3]);
    add("block-frames", 0, all, whole, block + 24, &[9]);
    add("block-zero", 0, all, whole, block + 28, &[9]);
    add("footer-magic", 0, all, whole, end, b"X");
    add("footer-rotten", 0, 0, whole, end + 8, &[1]);
}

/// The number of the file that ends so, of those that follow from the store.
fn file(files: &[String], begins: &str, ends: &str) -> u8 {
    let is_it = |file: &String| file.contains(begins) && file.contains(ends);
    let at = files.iter().position(is_it);
    at.unwrap_or_else(|| panic!("no file {begins}*{ends} in {files:?}")) as u8
}

fn backups(seeds: &mut Seeds) {
    let laid = backups::Laid::new();
    let (manifest, parts, frames) = (backups::MANIFEST, backups::PARTS, backups::FRAMES);
    let mut add = |name: &str, file: u8, resealed: u8, at: usize, bytes: &[u8]| {
        seeds.add("backup", name, Script::new(&[file, resealed]).put(at, bytes).0);
    };
    let last = file(&laid.files, "2", ".manifest");
    add("whole", last, 0, 0, &[]);
    add("manifest-rotten", last, 0, 50, &[9]);
    // Head: magic, version at 8, files 12, store 16, number 32, parent 40, LSN 48,
    // flushed 56, length of the tail 88, epoch 96, pages 104, segment of the tail 108.
    for (name, at, bytes) in [
        ("magic", 0, &b"X"[..]),
        ("version", 8, &[9]),
        ("more-files", 12, &[99]),
        ("store", 16, &[9]),
        ("number", 32, &[9]),
        ("lsn", 48, &[99]),
        ("flushed", 56, &[50]),
        ("tail-length", 88, &[1, 0, 1]),
        ("epoch", 96, &[99]),
        ("pages", 104, &[99]),
        ("tail-segment", 108, &[9]),
        ("wall", 120, &[9]),
    ] {
        add(&format!("manifest-{name}"), last, manifest, at, bytes);
    }
    // Entry: kind, segment at 4, number 8, from 16, units 24, bytes 32, checksum 40,
    // last 48, zero 56.
    let manifest_bytes = laid.bytes(&laid.files[usize::from(last)]);
    let kinds = manifest_bytes[backups::HEAD..].chunks_exact(backups::ENTRY).map(|entry| entry[0]);
    let kinds: Vec<u8> = kinds.collect();
    for (n, kind) in kinds.iter().enumerate() {
        if kinds[..n].contains(kind) {
            continue;
        }
        for (name, at, bytes) in [
            ("kind", 0, &[9][..]),
            ("other-kind", 0, &[3]),
            ("segment", 4, &[9]),
            ("number", 8, &[9]),
            ("from", 16, &[9]),
            ("units", 24, &[9]),
            ("bytes", 32, &[0xFF; 8]),
            ("checksum", 40, &[9]),
            ("last", 48, &[9]),
            ("zero", 56, &[9]),
        ] {
            let at = backups::HEAD + n * backups::ENTRY + at;
            add(&format!("entry-of-{kind}-{name}"), last, manifest, at, bytes);
        }
    }
    for part in ["pages", "values", "frames"] {
        let number = file(&laid.files, "2.", &format!(".{part}"));
        let body = backups::PART + backups::FRAME;
        add(&format!("{part}-rotten"), number, 0, body, &[9; 3]);
        add(&format!("{part}-magic"), number, parts, 0, b"X");
        add(&format!("{part}-version"), number, parts, 8, &[9]);
        add(&format!("{part}-kind"), number, parts, 12, &[9]);
        add(&format!("{part}-store"), number, parts, 16, &[9]);
        add(&format!("{part}-changed"), number, parts, body, &[9; 3]);
    }
    // Frame: length, zero at 4, LSN 8, wall 16, epoch 24, checksum 32, payload: a batch.
    let number = file(&laid.files, "2.", ".frames");
    let len = laid.bytes(&laid.files[usize::from(number)]).len();
    let resealed = parts | frames;
    let first = backups::PART;
    add("frame-length", number, resealed, first, &[0xFF, 0xFF, 0xFF]);
    add("frame-lsn", number, resealed, first + 8, &[99]);
    add("frame-wall", number, resealed, first + 16, &[99]);
    add("frame-epoch", number, resealed, first + 24, &[99]);
    add("frame-version", number, resealed, first + backups::FRAME, &[9]);
    add("frame-value", number, resealed, len - 8, &[99]);
}

fn stores(seeds: &mut Seeds) {
    let laid = store::Laid::new();
    let pages = file(&laid.files, "trees.pages", "");
    let (log, values) = (file(&laid.files, "wal/", ".wal"), file(&laid.files, "vlog/", ""));
    let mut add = |name: &str, file: u8, at: usize, bytes: &[u8]| {
        seeds.add("store", name, Script::new(&[file]).put(at, bytes).0);
    };
    add("whole", pages, 0, &[]);
    for (name, number) in [("pages", pages), ("log", log), ("values", values)] {
        let bytes = laid.bytes(&laid.files[usize::from(number)]);
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("it is not all zeros");
        for n in 0..8 {
            let at = (used * n / 8) & !3;
            add(&format!("{name}-rotten-{n}"), number, at, &[9]);
            add(&format!("{name}-changed-{n}"), number | store::RESEALED, at, &[9]);
        }
    }
    // A byte of each page, in its cells.
    let bytes = laid.bytes(&laid.files[usize::from(pages)]);
    for (n, page) in bytes.chunks(4096).enumerate() {
        let Some(used) = page.iter().rposition(|byte| *byte != 0) else { continue };
        for (name, at) in [("end", used), ("middle", used / 2), ("stamp", 16), ("count", 22)] {
            let name = format!("page-{n}-{name}");
            add(&name, pages | store::RESEALED, n * 4096 + at, &[page[at] ^ 1]);
        }
    }
    // Values that nothing is newer than: in the tree, in the log, in the value log.
    for (name, number, n) in [("pages", pages, 19), ("log", log, 27), ("values", values, 22)] {
        let bytes = laid.bytes(&laid.files[usize::from(number)]);
        let value = store::value(n);
        let places = bytes.windows(value.len()).enumerate().filter(|(_, some)| *some == value);
        let script = Script::new(&[number | store::RESEALED]);
        let script = places.fold(script, |script, (at, _)| script.put(at, &[9]));
        seeds.add("store", &format!("{name}-other-value"), script.0);
    }
}
