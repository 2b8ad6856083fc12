//! Taking choices off the front of an input, and small things that targets share.

use platform::sim::SimDisk;
use platform::{Disk, Open};
use std::sync::Arc;

/// What is left of an input.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// The next byte, 0 past the end.
    pub fn u8(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.u8(), self.u8()]))
    }

    /// Whether anything is left.
    pub fn any(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Changes of single bytes, at most `most`: (place below `len`, what to set).
pub fn edits(input: &mut Bytes<'_>, len: usize, most: usize) -> Vec<(usize, u8)> {
    let mut edits = Vec::new();
    while input.any() && edits.len() < most && len > 0 {
        let at = input.u16() % len;
        edits.push((at, input.u8()));
    }
    edits
}

/// CRC-64/NVME over several parts.
pub fn crc(parts: &[&[u8]]) -> u64 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize()
}

/// CRC-32C over several parts.
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize() as u32
}

/// The number of eight bytes, little-endian; 0 past the end.
pub fn number(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes.get(at..).and_then(|rest| rest.first_chunk());
    eight.map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// The number of four bytes, little-endian; 0 past the end.
pub fn number32(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
    four.map_or(0, |four| u32::from_le_bytes(*four))
}

/// Writes a number of eight bytes, little-endian.
pub fn set(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

/// Puts other bytes into a file, which is as long as they are then.
pub fn put_file(disk: &SimDisk, path: &str, bytes: &[u8]) {
    let file = disk.open(path, Open::Write).expect("the file is there");
    file.write_at(bytes, 0).expect("the simulated disk takes it");
    file.set_len(bytes.len() as u64).expect("the simulated disk takes it");
}

/// What lies on a disk: made once, for as many disks as are needed.
pub struct Image(Vec<(String, Vec<u8>)>);

impl Image {
    /// Of all files but locks.
    pub fn of(disk: &SimDisk) -> Image {
        let files = disk.files().into_iter().filter(|file| !file.ends_with("LOCK"));
        let read = |path: String| {
            let bytes = disk.file_bytes(&path).expect("a listed file is there");
            (path, bytes)
        };
        Image(files.map(read).collect())
    }

    /// The paths of the files.
    pub fn files(&self) -> Vec<String> {
        self.0.iter().map(|(path, _)| path.clone()).collect()
    }

    /// A disk with all of them.
    pub fn disk(&self, seed: u64) -> Arc<SimDisk> {
        let disk = SimDisk::new(seed);
        for (path, bytes) in &self.0 {
            if let Some((dir, _)) = path.rsplit_once('/') {
                disk.create_dir(dir).expect("the simulated disk takes it");
            }
            let file = disk.open(path, Open::CreateNew).expect("each is there once");
            file.write_at(bytes, 0).expect("the simulated disk takes it");
        }
        disk
    }
}
