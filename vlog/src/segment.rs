//! The segment: a file of records, its header, and where the log ends.
//!
//! Must stay true: the number is in the name and under the checksum, so a
//! renamed file does not check; magic, version and checksum have the same place and
//! algorithm in every format, so that any version can refuse another one by name, and
//! a rotten version is not taken for one.
//!
//! ```text
//!  0          8         12        16
//! +----------+---------+---------+
//! | PLANKVLG | version | length  |  length of this header: 32
//! +----------+---------+---------+
//! | segment  | zero    | checksum  |  16   crc64 of bytes 0..24
//! +----------+---------+-----------+
//! | records ...                    |  32
//! ```

use crc_fast::{CrcAlgorithm, checksum};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"PLANKVLG";
/// 2: crc32c for records, their headers checked by themselves as well.
pub(crate) const VERSION: u32 = 2;
/// Bytes of the header of a segment file.
pub(crate) const HEADER_LEN: u64 = 32;
const CHECKED: usize = 24;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 8],
    version: U32,
    header_len: U32,
    segment: U32,
    zero: U32,
    checksum: U64,
}
const _: () = assert!(size_of::<Raw>() as u64 == HEADER_LEN);
const _: () = assert!(std::mem::offset_of!(Raw, checksum) == CHECKED);

/// Where the value log ends, as the caller's meta page vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tail {
    /// The last segment; 0 if there is none yet.
    pub segment: u32,
    /// Its length in bytes, header included.
    pub len: u64,
}

impl Tail {
    /// The tail of a value log that holds nothing.
    pub const EMPTY: Self = Self { segment: 0, len: 0 };
    /// Bytes of a tail on the disk: segment (4), length (8), little-endian.
    pub const BYTES: usize = 12;

    /// Bytes of records in its segment; the file's header does not count.
    pub fn record_bytes(self) -> u64 {
        self.len.saturating_sub(HEADER_LEN)
    }

    /// The bytes for the meta page.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..4].copy_from_slice(&self.segment.to_le_bytes());
        out[4..].copy_from_slice(&self.len.to_le_bytes());
        out
    }

    /// The tail in `bytes`, or `None` if they are not 12.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (segment, len) = bytes.split_first_chunk::<4>()?;
        let len = <[u8; 8]>::try_from(len).ok()?;
        Some(Self { segment: u32::from_le_bytes(*segment), len: u64::from_le_bytes(len) })
    }
}

/// Why bytes are not the header of this segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFlaw {
    /// Sound, of another format.
    Other(u32),
    Invalid,
}

pub(crate) fn encode(number: u32) -> [u8; HEADER_LEN as usize] {
    let mut raw = Raw {
        magic: MAGIC,
        version: VERSION.into(),
        header_len: (HEADER_LEN as u32).into(),
        segment: number.into(),
        zero: 0.into(),
        checksum: 0.into(),
    };
    raw.checksum = checksum(CrcAlgorithm::Crc64Nvme, &raw.as_bytes()[..CHECKED]).into();
    let mut out = [0; HEADER_LEN as usize];
    out.copy_from_slice(raw.as_bytes());
    out
}

/// Checks the first bytes of the file that is named `number`.
pub(crate) fn check(bytes: &[u8], number: u32) -> Result<(), HeaderFlaw> {
    if let Ok((raw, _)) = Raw::ref_from_prefix(bytes)
        && raw.magic == MAGIC
        && raw.version.get() != VERSION
        && raw.checksum.get() == checksum(CrcAlgorithm::Crc64Nvme, &bytes[..CHECKED])
    {
        return Err(HeaderFlaw::Other(raw.version.get()));
    }
    // One number has one header: compare whole.
    if bytes.len() as u64 >= HEADER_LEN && bytes[..HEADER_LEN as usize] == encode(number) {
        Ok(())
    } else {
        Err(HeaderFlaw::Invalid)
    }
}

/// The path of segment `number`.
pub(crate) fn path(dir: &str, number: u32) -> String {
    if dir.is_empty() { format!("{number:010}.vlog") } else { format!("{dir}/{number:010}.vlog") }
}

/// The number of a segment file's name; other files are none of the log's.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".vlog")?;
    if digits.len() != 10 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_version_2() {
        let hex: String = encode(3)
            .chunks(16)
            .map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
            .collect();
        expect_test::expect![[r#"
            504c414e4b564c470200000020000000
            03000000000000001ae21c5d373d489c
        "#]]
        .assert_eq(&hex);
    }

    #[test]
    fn golden_bytes_of_a_tail() {
        let tail = Tail { segment: 3, len: 0x0102 };
        assert_eq!(tail.to_bytes(), [3, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Tail::from_bytes(&tail.to_bytes()), Some(tail));
        assert_eq!(Tail::from_bytes(&[0; 11]), None);
        assert_eq!(Tail::from_bytes(&[0; 13]), None);
        assert_eq!(Tail::from_bytes(&[0; 12]), Some(Tail::EMPTY));
    }

    #[test]
    fn every_flipped_bit_and_every_torn_prefix_is_seen() {
        let good = encode(3);
        assert_eq!(check(&good, 3), Ok(()));
        assert_eq!(check(&good, 4), Err(HeaderFlaw::Invalid));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bad, 3).is_err(), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert_eq!(check(&good[..cut], 3), Err(HeaderFlaw::Invalid));
        }
    }

    #[test]
    fn other_versions_are_told_from_damage() {
        for version in [1, 3] {
            let mut bytes = encode(3);
            bytes[8] = version;
            assert_eq!(check(&bytes, 3), Err(HeaderFlaw::Invalid), "a rotten version");
            let sum = checksum(CrcAlgorithm::Crc64Nvme, &bytes[..CHECKED]);
            bytes[CHECKED..].copy_from_slice(&sum.to_le_bytes());
            assert_eq!(check(&bytes, 3), Err(HeaderFlaw::Other(version.into())));
        }
    }

    #[test]
    fn names() {
        assert_eq!(path("vlog", 7), "vlog/0000000007.vlog");
        assert_eq!(number_of("0000000007.vlog"), Some(7));
        for other in ["7.vlog", "0000000007.vlog.bak", "+000000007.vlog", "9999999999.vlog"] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
