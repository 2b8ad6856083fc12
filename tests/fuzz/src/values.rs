//! Records of the value log: a segment with bytes changed, checksums right again.

use crate::bytes::{Bytes, edits};
use platform::sim::SimDisk;
use platform::{Disk, Open};
use std::sync::Arc;
use vlog::{Options, Pointer, Vlog};

/// Header of the segment, then records: 32 bytes of header, key, value.
const HEADER: usize = 32;

/// Makes the checksums of the record at `at` right: crc32c(place, 24 bytes), and the
/// same over key and value too.
fn reseal(bytes: &mut [u8], segment: u32, at: usize, len: usize) {
    let (head, rest) = bytes[at..at + len].split_at(HEADER);
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&u64::from(segment).to_le_bytes());
    digest.update(&(at as u64).to_le_bytes());
    digest.update(&head[..24]);
    let head_sum = digest.finalize() as u32;
    digest.update(rest);
    let sum = digest.finalize() as u32;
    bytes[at + 24..at + 28].copy_from_slice(&head_sum.to_le_bytes());
    bytes[at + 28..at + 32].copy_from_slice(&sum.to_le_bytes());
}

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
    let file = disk.open(&path, Open::Write).expect("the segment is there");
    file.write_at(&bytes, 0).expect("the simulated disk takes it");
    let disk: Arc<dyn Disk> = disk;
    let Ok(log) = Vlog::open(disk, "v", Options::default(), tail) else { return };
    let mut record = Vec::new();
    for at in &pointers {
        let place = at.offset as usize..at.offset as usize + at.len as usize;
        if let Ok(found) = log.read_into(*at, &mut record) {
            assert_eq!(found.key.len() + found.value.len() + HEADER, at.len as usize);
            let whole = bytes[place.clone()].ends_with(found.value);
            assert!(whole, "what is served is what lies there");
        } else {
            assert_ne!(bytes[place.clone()], before[place], "an untouched record is served");
        }
    }
    let mut scan = log.scan(tail.segment).expect("the segment is there");
    let mut found = 0;
    while let Ok(Some((at, _))) = scan.next() {
        assert!(at.offset >= HEADER as u64 && at.offset < tail.len);
        found += 1;
        assert!(found <= bytes.len() / HEADER, "a scan ends");
    }
}
