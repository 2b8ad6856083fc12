//! Taking choices off the front of an input.

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
