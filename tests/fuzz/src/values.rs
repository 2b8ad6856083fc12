//! Records of the value log: a segment with bytes changed, checksums right again.

use crate::bytes::{Bytes, crc, crc32c, edits, number32, put_file, set};
use crate::marks::reached;
use platform::Disk;
use platform::sim::SimDisk;
use std::sync::Arc;
use vlog::{Options, Pointer, Vlog};

/// Header of the segment, and of each record: 32 bytes.
pub(crate) const HEADER: usize = 32;
/// Bits of the choice what is made right: a record each, then the segment's header.
pub(crate) const SEGMENT: u8 = 8;

/// Makes the checksums of the record at `at` right: crc32c(place, 24 bytes), and the
/// same over key and value too.
fn reseal(bytes: &mut [u8], segment: u32, at: usize, len: usize) {
    let (head, rest) = bytes[at..at + len].split_at(HEADER);
    let place = [u64::from(segment).to_le_bytes(), (at as u64).to_le_bytes()].concat();
    let head_sum = crc32c(&[&place, &head[..24]]);
    let sum = crc32c(&[&place, &head[..24], rest]);
    bytes[at + 24..at + 28].copy_from_slice(&head_sum.to_le_bytes());
    bytes[at + 28..at + 32].copy_from_slice(&sum.to_le_bytes());
}

/// Makes the checksum of a segment's header right.
fn reseal_header(bytes: &mut [u8]) {
    if let Some(head) = bytes.get(..24) {
        let sum = crc(&[head]);
        set(bytes, 24, sum);
    }
}

/// As both, of a whole segment as its lengths say.
pub(crate) fn reseal_segment(bytes: &mut [u8]) {
    if bytes.len() < HEADER {
        return;
    }
    reseal_header(bytes);
    let segment = number32(bytes, 16);
    let mut at = HEADER;
    while let Some(head) = bytes.get(at..at + HEADER) {
        let keys = usize::from(u16::from_le_bytes([head[20], head[21]]));
        let len = HEADER + keys + number32(head, 16) as usize;
        if bytes.len() - at < len {
            return;
        }
        reseal(bytes, segment, at, len);
        at += len;
    }
}

/// Where the corpus comes to.
pub(crate) const PLACES: &[&str] = &[
    "a record as it was",
    "a changed record",
    "a scan to the end",
    "opening: v/0000000001.vlog has value log format 9",
    "the segment's header does not check",
    "reading: the value log is damaged",
    "scanning: the value log is damaged",
    "no record starts here",
    "the record does not match its checksum",
    "the record has the unknown version 9",
    "the record has the unknown compression 1",
    "the record's lengths do not add up",
];

/// Changes bytes of a segment with three records, makes the checksums right
/// where the input says so, and reads all of it.
pub fn vlog_record(data: &[u8]) {
    let mut input = Bytes(data);
    let disk = SimDisk::new(0);
    let log = Vlog::open(disk.clone(), "v", Options::default(), vlog::Tail::EMPTY)
        .expect("an empty disk takes a value log");
    let sizes = [input.u8(), input.u8(), input.u8()].map(usize::from);
    let put = |n: usize, size: &usize| {
        log.append(n as u32, &vec![7; 1 + n * 9], n as u64 + 1, &vec![n as u8; *size])
            .expect("the simulated disk takes it")
    };
    let pointers: Vec<Pointer> = sizes.iter().enumerate().map(|(n, s)| put(n, s)).collect();
    let tail = log.sync().expect("the simulated disk syncs");
    drop(log);
    let path = "v/".to_owned() + &disk.list("v").expect("the directory is there")[0];
    let mut bytes = disk.file_bytes(&path).expect("the segment is there");
    let before = bytes.clone();
    let resealed = input.u8();
    for (at, to) in edits(&mut input, bytes.len(), 64) {
        bytes[at] = to;
    }
    for (n, at) in pointers.iter().enumerate() {
        if resealed & 1 << n != 0 {
            reseal(&mut bytes, tail.segment, at.offset as usize, at.len as usize);
        }
    }
    if resealed & SEGMENT != 0 {
        reseal_header(&mut bytes);
    }
    put_file(&disk, &path, &bytes);
    let disk: Arc<dyn Disk> = disk;
    let log = match Vlog::open(disk, "v", Options::default(), tail) {
        Ok(log) => log,
        Err(error) => return reached(format_args!("opening: {error}")),
    };
    let mut record = Vec::new();
    for at in &pointers {
        let place = at.offset as usize..at.offset as usize + at.len as usize;
        let is_same = bytes[place.clone()] == before[place.clone()];
        match log.read_into(*at, &mut record) {
            Ok(found) => {
                assert_eq!(found.key.len() + found.value.len() + HEADER, at.len as usize);
                let whole = bytes[place].ends_with(found.value);
                assert!(whole, "what is served is what lies there");
                reached(if is_same { "a record as it was" } else { "a changed record" });
            }
            Err(error) => {
                assert!(!is_same, "an untouched record is served");
                reached(format_args!("reading: {error}"));
            }
        }
    }
    let mut scan = log.scan(tail.segment).expect("the segment is there");
    let mut found = 0;
    loop {
        match scan.next() {
            Ok(Some((at, _))) => {
                assert!(at.offset >= HEADER as u64 && at.offset < tail.len);
                found += 1;
                assert!(found <= bytes.len() / HEADER, "a scan ends");
            }
            Ok(None) => return reached("a scan to the end"),
            Err(error) => return reached(format_args!("scanning: {error}")),
        }
    }
}
