//! Frames of the write-ahead log: a log with bytes changed, checksums right again.

use crate::bytes::{Bytes, crc, edits};
use platform::sim::SimDisk;
use platform::{Disk, Open};
use std::sync::Arc;
use wal::{Options, Wal};

const SALT: u64 = 0x5A17;
/// Bytes of a frame's header.
const HEADER: usize = 64;

/// Makes both checksums of the frame at `at` right, if its length fits.
fn reseal(bytes: &mut [u8], segment: u64, at: usize) {
    let Some(frame) = bytes.get(at..).filter(|frame| frame.len() >= HEADER) else { return };
    let len = u32::from_le_bytes([frame[8], frame[9], frame[10], frame[11]]) as usize;
    let payload = frame.get(HEADER..HEADER + len).unwrap_or_default();
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, payload);
    let mut head: [u8; HEADER] = frame[..HEADER].try_into().expect("it has a header's length");
    head[48..56].copy_from_slice(&sum.to_le_bytes());
    let (salt, at_bytes) = (SALT.to_le_bytes(), (at as u64).to_le_bytes());
    let epoch: [u8; 8] = head[32..40].try_into().expect("eight bytes");
    let check = crc(&[&salt, &segment.to_le_bytes(), &epoch, &at_bytes, &head[..56], &[0; 40]]);
    head[56..64].copy_from_slice(&check.to_le_bytes());
    bytes[at..at + HEADER].copy_from_slice(&head);
}

fn options() -> Options {
    Options { segment_bytes: 4096, salt: SALT, ..Options::default() }
}

/// Changes bytes of a log of a few frames, makes checksums right where the input
/// says so, and recovers it.
pub fn wal_frame(data: &[u8]) {
    let mut input = Bytes(data);
    let disk = SimDisk::new(0);
    let log = Wal::open(disk.clone(), "w", options(), 1, 0, &mut |_| Ok(()))
        .expect("an empty disk takes a log");
    let payloads: Vec<Vec<u8>> =
        (0..4u8).map(|n| vec![n ^ 0x55; usize::from(input.u8()) * 4]).collect();
    let mut places = Vec::new();
    for payload in &payloads {
        let before = log.segments();
        log.append(1, payload).expect("the simulated disk takes it");
        let after = log.segments();
        let last = after.last().expect("there is a segment");
        let at = match before.last() {
            Some(before) if before.number == last.number => before.bytes,
            // It began a segment of its own: behind the header, which is all the
            // segment before it had when it was new.
            _ => last.bytes - (HEADER + payload.len().next_multiple_of(8)) as u64,
        };
        places.push((last.number, at as usize));
    }
    log.sync().expect("the simulated disk syncs");
    let segments = log.segments();
    drop(log);
    let resealed = input.u8();
    let mut first_edit = None;
    let names = disk.list("w").expect("the directory is there");
    for (i, info) in segments.iter().enumerate() {
        let Some(name) = names.iter().find(|name| {
            let digits = name.split('.').next().unwrap_or_default();
            name.ends_with(".wal")
                && (digits.parse() == Ok(info.number)
                    || u64::from_str_radix(digits, 16) == Ok(info.number))
        }) else {
            continue;
        };
        let path = format!("w/{name}");
        let mut bytes = disk.file_bytes(&path).expect("the segment is there");
        let most = if i == 0 { 24 } else { 8 };
        for (at, to) in edits(&mut input, info.bytes as usize, most) {
            if bytes[at] != to {
                let place = (info.number, at);
                first_edit = Some(first_edit.map_or(place, |first: (u64, usize)| first.min(place)));
            }
            bytes[at] = to;
        }
        for (n, (segment, at)) in places.iter().enumerate() {
            if resealed & 1 << n != 0 && *segment == info.number {
                reseal(&mut bytes, *segment, *at);
            }
        }
        let file = disk.open(&path, Open::Write).expect("the segment is there");
        file.write_at(&bytes, 0).expect("the simulated disk takes it");
    }
    // Frames that lie before the first change must be served as they were.
    let untouched = places.iter().zip(&payloads).take_while(|((segment, at), payload)| {
        let end = (*segment, at + HEADER + payload.len().next_multiple_of(8));
        first_edit.is_none_or(|first| end <= first)
    });
    let untouched = untouched.count();
    let mut next = 1;
    let disk: Arc<dyn Disk> = disk;
    let opened = Wal::open(disk, "w", options(), 1, 0, &mut |frame| {
        assert_eq!(frame.lsn, next, "LSNs are dense");
        if (frame.lsn as usize) <= untouched {
            assert_eq!(frame.payload, payloads[frame.lsn as usize - 1], "an untouched frame");
        }
        next += 1;
        Ok(())
    });
    if opened.is_ok() {
        assert!(next > untouched as u64, "untouched frames are served");
    }
}
