//! The log's archive: a file with bytes changed, or cut, checksums right again.

use crate::bytes::{Bytes, crc, edits, number, number32, put_file, set};
use crate::marks::reached;
use platform::Disk;
use platform::sim::SimDisk;
use std::sync::Arc;
use wal::Wal;
use wal::archive::{Archive, Archiver, Progress, StoreId, Until};

const STORE: StoreId = StoreId([7; 16]);
/// Bytes of an archived file's header, of a block's, and of its end.
pub(crate) const HEADER: usize = 128;
pub(crate) const BLOCK: usize = 64;
pub(crate) const FOOTER: usize = 32;
/// Bits of the choice: what is made right (header, first block, end); and whether the
/// first block is unpacked before bytes are changed.
pub(crate) const ALL: u8 = 7;
pub(crate) const UNPACKED: u8 = 8;

/// The file with its first block as it is, not packed.
fn unpack(bytes: &[u8]) -> Vec<u8> {
    let (packed, raw) = (number32(bytes, HEADER + 12), number32(bytes, HEADER + 8));
    let body = HEADER + BLOCK;
    let end = body + packed as usize;
    let plain = match number32(bytes, HEADER + 4) {
        0 => bytes[body..end].to_vec(),
        _ => lz4_flex::block::decompress(&bytes[body..end], raw as usize).expect("it was packed"),
    };
    let mut file = [&bytes[..body], &plain, &bytes[end..]].concat();
    file[HEADER + 4..HEADER + 8].fill(0);
    file[HEADER + 12..HEADER + 16].copy_from_slice(&raw.to_le_bytes());
    file
}

/// Makes the checksums right of an archived file that may still have its parts.
fn reseal(bytes: &mut [u8], which: u8) {
    if bytes.len() < HEADER + BLOCK + FOOTER {
        return;
    }
    if which & 2 != 0 {
        let first = number(bytes, 32).to_le_bytes();
        let stored = number32(bytes, HEADER + 12) as usize;
        let from = HEADER + BLOCK;
        if let Some(stored) = bytes.get(from..from + stored) {
            let sum = crc(&[stored]);
            set(bytes, HEADER + 40, sum);
            if number32(bytes, HEADER + 4) == 0 {
                // As it is: so its bytes are what the file holds.
                set(bytes, HEADER + 32, sum);
                set(bytes, HEADER - 16, sum);
            }
        }
        let place = [&STORE.0[..], &first, &(HEADER as u64).to_le_bytes()].concat();
        let sum = crc(&[&place, &bytes[HEADER..from - 8]]);
        set(bytes, from - 8, sum);
    }
    if which & 1 != 0 {
        let sum = crc(&[&bytes[..HEADER - 8]]);
        set(bytes, HEADER - 8, sum);
    }
    if which & 4 != 0 {
        let end = bytes.len() - FOOTER;
        let file_bytes = bytes.len() as u64;
        set(bytes, end + 8, file_bytes);
        let body = crc(&[&bytes[HEADER..end]]);
        set(bytes, end + 16, body);
        let whole = crc(&[&bytes[..HEADER], &bytes[end..end + 24]]);
        set(bytes, end + 24, whole);
    }
}

/// A small log, archived: two files.
pub(crate) struct Laid {
    disk: Arc<SimDisk>,
    payloads: Vec<Vec<u8>>,
    /// The paths of the files.
    pub(crate) files: Vec<String>,
}

impl Laid {
    /// Of six frames with so many times three bytes.
    pub(crate) fn new(sizes: [u8; 6]) -> Laid {
        let (from, disk) = (SimDisk::new(0), SimDisk::new(1));
        let options = wal::Options { segment_bytes: 4096, salt: 1, ..wal::Options::default() };
        let log = Wal::open(from, "w", options, 1, 0, &mut |_| Ok(())).expect("an empty disk");
        let mut payloads = Vec::new();
        for (n, size) in (0..).zip(sizes) {
            // Every other one cannot be packed.
            let byte = |i: usize| if n % 2 == 0 { n } else { (i * 151 + usize::from(n)) as u8 };
            let payload: Vec<u8> = (0..usize::from(size) * 3).map(byte).collect();
            log.append(u64::from(n), &payload).expect("the simulated disk takes it");
            payloads.push(payload);
            if n % 3 == 2 {
                log.sync().expect("the simulated disk syncs");
                log.rotate_now().expect("the simulated disk takes it");
            }
        }
        let to: Arc<dyn Disk> = disk.clone();
        let mut archiver = Archiver::open(to, "a", STORE, &log).expect("an empty archive");
        while archiver.step(&log, 1000).expect("the simulated disk takes it") != Progress::Idle {}
        let files = disk.list("a").expect("it was made");
        let files = files.iter().map(|file| format!("a/{file}")).collect();
        Laid { disk, payloads, files }
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, file: usize) -> Vec<u8> {
        self.disk.file_bytes(&self.files[file]).expect("a listed file is there")
    }
}

/// Where the corpus comes to.
pub(crate) const PLACES: &[&str] = &[
    "a frame as it was",
    "a changed frame",
    "all verified",
    "read to the end",
    "has archive format 9",
    "which is not what its name says",
    "is of another store",
    "it does not begin like an archived file",
    "the header does not match its checksum",
    "the header does not say what the file holds",
    "the header makes no sense",
    "no block starts here",
    "a block's header makes no sense",
    "a block cannot be unpacked",
    "a block does not match its checksum",
    "frames from 3 on; what follows is 1, up to 3",
    "the file does not end as it should",
];

/// Archives a small log, changes or cuts a file, makes checksums right where the
/// input says so, and reads: what was not made right again gives no wrong frame.
pub fn archive(data: &[u8]) {
    let mut input = Bytes(data);
    let laid = Laid::new(std::array::from_fn(|_| input.u8()));
    let file = usize::from(input.u8()) % laid.files.len();
    let mut bytes = laid.bytes(file);
    let choice = input.u8();
    let resealed = choice & ALL;
    if choice & UNPACKED != 0 {
        bytes = unpack(&bytes);
    }
    let cut = usize::from(input.u8());
    for (at, to) in edits(&mut input, bytes.len(), 16) {
        bytes[at] = to;
    }
    if cut < 16 {
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
    }
    reseal(&mut bytes, resealed);
    put_file(&laid.disk, &laid.files[file], &bytes);

    let archive = match Archive::open(laid.disk, "a") {
        Ok(archive) => archive,
        Err(error) => return reached(format_args!("opening: {error}")),
    };
    let faults = archive.verify(Some(STORE), &mut |_, _, _| {});
    faults.iter().for_each(|fault| reached(format_args!("verifying: {fault}")));
    if faults.is_empty() {
        reached("all verified");
    }
    let mut frames = match archive.frames(1, Until::End, Some(STORE)) {
        Ok(frames) => frames,
        Err(error) => return reached(format_args!("reading: {error}")),
    };
    let mut next = 1;
    loop {
        let frame = match frames.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => return reached("read to the end"),
            Err(error) => return reached(format_args!("reading: {error}")),
        };
        assert_eq!(frame.lsn, next, "LSNs are dense");
        let was = laid.payloads.get(next as usize - 1);
        let is_same = was.is_some_and(|was| frame.payload == *was);
        assert!(is_same || resealed != 0, "a wrong frame");
        reached(if is_same { "a frame as it was" } else { "a changed frame" });
        next += 1;
    }
}
