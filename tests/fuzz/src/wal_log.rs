//! Frames of the write-ahead log: a log with bytes changed, checksums right again.

use crate::bytes::{Bytes, crc, crc32c, edits, number, number32, put_file, set};
use crate::marks::reached;
use platform::Disk;
use platform::sim::SimDisk;
use std::sync::Arc;
use wal::{Options, Wal};

const SALT: u64 = 0x5A17;
/// Bytes of a frame's header, and of a segment's.
pub(crate) const HEADER: usize = 64;
/// The bit that has the headers of segments made right; those below are for the frames.
pub(crate) const SEGMENTS: u8 = 16;

/// Makes both checksums of the frame at `at` right, if its length fits.
fn reseal(bytes: &mut [u8], salt: u64, segment: u64, at: usize) {
    let Some(frame) = bytes.get(at..).filter(|frame| frame.len() >= HEADER) else { return };
    let payload = frame.get(HEADER..HEADER + number32(frame, 8) as usize).unwrap_or_default();
    let sum = crc32c(&[payload]);
    let mut head: [u8; HEADER] = frame[..HEADER].try_into().expect("it has a header's length");
    set(&mut head, 48, u64::from(sum));
    let (salt, at_bytes) = (salt.to_le_bytes(), (at as u64).to_le_bytes());
    let epoch = number(&head, 32).to_le_bytes();
    let check = crc(&[&salt, &segment.to_le_bytes(), &epoch, &at_bytes, &head[..56], &[0; 40]]);
    set(&mut head, 56, check);
    bytes[at..at + HEADER].copy_from_slice(&head);
}

/// Makes the checksum of a segment's header right.
fn reseal_header(bytes: &mut [u8]) {
    if let Some(head) = bytes.get(..56) {
        let sum = crc(&[head]);
        set(bytes, 56, sum);
    }
}

/// As both, of a whole segment as its lengths say.
pub(crate) fn reseal_segment(bytes: &mut [u8]) {
    if bytes.len() < HEADER {
        return;
    }
    reseal_header(bytes);
    let (segment, salt) = (number(bytes, 16), number(bytes, 40));
    let mut at = HEADER;
    while bytes.get(at..at + 4) == Some(b"PLKF") {
        reseal(bytes, salt, segment, at);
        at += HEADER + (number32(bytes, at + 8) as usize).next_multiple_of(8);
    }
}

fn options() -> Options {
    Options { segment_bytes: 4096, salt: SALT, ..Options::default() }
}

/// A small log, and where what is in it lies.
pub(crate) struct Laid {
    disk: Arc<SimDisk>,
    payloads: Vec<Vec<u8>>,
    /// Of each frame, counted through all segments.
    pub(crate) frames: Vec<usize>,
    /// Number, path and first byte of each segment, counted so.
    segments: Vec<(u64, String, usize)>,
    bytes: Vec<u8>,
}

impl Laid {
    /// A log of four frames with so many times four bytes.
    pub(crate) fn new(sizes: [u8; 4]) -> Laid {
        let disk = SimDisk::new(0);
        let log = Wal::open(disk.clone(), "w", options(), 1, 0, &mut |_| Ok(()))
            .expect("an empty disk takes a log");
        let payload = |(n, size): (u8, &u8)| vec![n ^ 0x55; usize::from(*size) * 4];
        let payloads: Vec<Vec<u8>> = (0..).zip(&sizes).map(payload).collect();
        for (n, payload) in payloads.iter().enumerate() {
            log.append(1, payload).expect("the simulated disk takes it");
            // What the last two say tells that the first two were durable.
            if n % 2 == 1 {
                log.sync().expect("the simulated disk syncs");
            }
        }
        let infos = log.segments();
        drop(log);
        let (mut segments, mut bytes, mut frames) = (Vec::new(), Vec::new(), Vec::new());
        for info in infos {
            let path = format!("w/{:020}.wal", info.number);
            let all = disk.file_bytes(&path).expect("the segment is there");
            segments.push((info.number, path, bytes.len()));
            let mut at = bytes.len() + HEADER;
            for _ in info.first_lsn..=info.last_lsn {
                frames.push(at);
                at += HEADER + payloads[frames.len() - 1].len().next_multiple_of(8);
            }
            bytes.extend_from_slice(&all[..info.bytes as usize]);
            assert_eq!(bytes.len(), at, "frames fill their segment");
        }
        Laid { disk, payloads, frames, segments, bytes }
    }

    /// The first byte of the segment that byte `at` is in.
    fn segment_of(&self, at: usize) -> usize {
        self.segments.iter().rposition(|(.., from)| *from <= at).expect("the first begins at 0")
    }

    /// Where the frame behind frame `n` begins, or would.
    fn end(&self, n: usize) -> usize {
        self.frames[n] + HEADER + self.payloads[n].len().next_multiple_of(8)
    }
}

/// Where the corpus comes to.
pub(crate) const PLACES: &[&str] = &[
    "a frame as it was",
    "a changed frame",
    "a frame of a second segment",
    "all recovered",
    "a torn end, cut off",
    "has log format 9",
    "the oldest segment starts at frame 3",
    "the oldest segment's header does not check",
    "a sound frame says LSN 9",
    "a sound frame says LSN 1",
    "durable LSN 200",
    "no frame starts here",
    "the frame has the unknown version 9",
    "the frame has the unknown flags 0x6",
    "the frame's header does not match its checksum",
    "the frame's payload does not match its checksum",
    "more than a frame may have",
];

/// Changes bytes of a log of a few frames, makes checksums right where the input
/// says so, and recovers it.
pub fn wal_frame(data: &[u8]) {
    let mut input = Bytes(data);
    let laid = Laid::new([input.u8(), input.u8(), input.u8(), input.u8()]);
    let resealed = input.u8();
    let mut bytes = laid.bytes.clone();
    for (at, to) in edits(&mut input, bytes.len(), 32) {
        bytes[at] = to;
    }
    let first_edit = bytes.iter().zip(&laid.bytes).position(|(a, b)| a != b);
    let ends = laid.segments.iter().skip(1).map(|(.., from)| *from).chain([bytes.len()]);
    for ((number, path, from), end) in laid.segments.iter().zip(ends) {
        let segment = &mut bytes[*from..end];
        for (n, at) in laid.frames.iter().enumerate() {
            if resealed & 1 << n != 0 && (*from..end).contains(at) {
                reseal(segment, SALT, *number, at - from);
            }
        }
        if resealed & SEGMENTS != 0 {
            reseal_header(segment);
        }
        let mut whole = laid.disk.file_bytes(path).expect("the segment is there");
        whole[..segment.len()].copy_from_slice(segment);
        put_file(&laid.disk, path, &whole);
    }
    // Frames that lie before the first change must be served as they were.
    let is_before = |n: &usize| first_edit.is_none_or(|first| laid.end(*n) <= first);
    let untouched = (0..laid.payloads.len()).take_while(is_before).count();
    let mut next = 1;
    let disk: Arc<dyn Disk> = laid.disk.clone();
    let opened = Wal::open(disk, "w", options(), 1, 0, &mut |frame| {
        assert_eq!(frame.lsn, next, "LSNs are dense");
        let was = laid.payloads.get(frame.lsn as usize - 1);
        let is_same = was.is_some_and(|was| frame.payload == was);
        assert!(is_same || frame.lsn as usize > untouched, "an untouched frame");
        reached(if is_same { "a frame as it was" } else { "a changed frame" });
        let at = laid.frames.get(frame.lsn as usize - 1);
        if at.is_some_and(|at| laid.segment_of(*at) > 0) {
            reached("a frame of a second segment");
        }
        next += 1;
        Ok(())
    });
    match opened {
        Ok(_) => {
            assert!(next > untouched as u64, "untouched frames are served");
            let lost = next <= laid.payloads.len() as u64;
            reached(if lost { "a torn end, cut off" } else { "all recovered" });
        }
        Err(error) => reached(error),
    }
}
