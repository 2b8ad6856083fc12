//! The segment: a file of frames, and its header.
//!
//! Must stay true:
//! * a segment belongs to one life of the log (one `epoch`) and starts at
//!   `first_lsn`; its number is in its name and under its checksum, so a renamed
//!   file does not check;
//! * magic, version and checksum have the same place and algorithm in every format, so
//!   that any version can refuse another one by name, and a rotten version is not taken
//!   for one;
//! * a life's first segment gets its `.wal` name only when its header is on the
//!   disk; a later one's may be lost in a power cut, with all frames in it.
//!
//! ```text
//!  0          8         12        16
//! +----------+---------+---------+
//! | PLANKWAL | version | length  |  length of this header: 64
//! +----------+---------+---------+
//! | segment number     | first_lsn  |  16
//! +--------------------+------------+
//! | epoch              | salt       |  32
//! +--------------------+------------+
//! | flags              | checksum   |  48   flags: 1 recycled; crc64 of bytes 0..56
//! +--------------------+------------+
//! | frames ...                      |  64
//! | zeros, or frames of an earlier use (recycled) |
//! ```
//!
//! Names: `N.wal` is segment `N` (20 digits); `N.spare` a former one to be used
//! again; `N.new` one in the making. Only the first kind is ever read.

use crate::Lsn;
use crc_fast::{CrcAlgorithm, checksum};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"PLANKWAL";
pub(crate) const VERSION: u32 = 2;
pub(crate) const HEADER_LEN: u64 = 64;
const CHECKED: usize = 56;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 8],
    version: U32,
    header_len: U32,
    segment: U64,
    first_lsn: U64,
    epoch: U64,
    salt: U64,
    flags: U64,
    checksum: U64,
}
const _: () = assert!(size_of::<Raw>() as u64 == HEADER_LEN);
const _: () = assert!(std::mem::offset_of!(Raw, checksum) == CHECKED);

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    pub(crate) first_lsn: Lsn,
    pub(crate) epoch: u64,
    pub(crate) salt: u64,
    /// Behind its frames may stand those of an earlier use of the file.
    pub(crate) recycled: bool,
}

/// Why bytes are not the header of this segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFlaw {
    /// Sound, of another format: refuse by name.
    Other(u32),
    /// Sound, but of a file with another number.
    Misnamed(SegmentHeader),
    /// Torn or damaged.
    Invalid,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN as usize] {
        let mut raw = Raw {
            magic: MAGIC,
            version: VERSION.into(),
            header_len: (HEADER_LEN as u32).into(),
            segment: self.number.into(),
            first_lsn: self.first_lsn.into(),
            epoch: self.epoch.into(),
            salt: self.salt.into(),
            flags: u64::from(self.recycled).into(),
            checksum: 0.into(),
        };
        raw.checksum = checksum(CrcAlgorithm::Crc64Nvme, &raw.as_bytes()[..CHECKED]).into();
        let mut out = [0; HEADER_LEN as usize];
        out.copy_from_slice(raw.as_bytes());
        out
    }

    /// Checks the first bytes of the file that is named `number`.
    pub(crate) fn check(bytes: &[u8], number: u64) -> Result<Self, HeaderFlaw> {
        let Ok((raw, _)) = Raw::ref_from_prefix(bytes) else { return Err(HeaderFlaw::Invalid) };
        let sum = checksum(CrcAlgorithm::Crc64Nvme, &bytes[..CHECKED]);
        if raw.magic != MAGIC || raw.checksum.get() != sum {
            return Err(HeaderFlaw::Invalid);
        }
        if raw.version.get() != VERSION {
            return Err(HeaderFlaw::Other(raw.version.get()));
        }
        let sound = u64::from(raw.header_len.get()) == HEADER_LEN
            && raw.flags.get() <= 1
            && raw.first_lsn.get() > 0;
        if !sound {
            return Err(HeaderFlaw::Invalid);
        }
        let header = Self {
            number: raw.segment.get(),
            first_lsn: raw.first_lsn.get(),
            epoch: raw.epoch.get(),
            salt: raw.salt.get(),
            recycled: raw.flags.get() == 1,
        };
        if header.number == number { Ok(header) } else { Err(HeaderFlaw::Misnamed(header)) }
    }
}

/// What a file of the log's directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Segment,
    Spare,
    New,
}

impl Kind {
    fn suffix(self) -> &'static str {
        match self {
            Self::Segment => "wal",
            Self::Spare => "spare",
            Self::New => "new",
        }
    }

    /// The path of file `number` of this kind.
    pub(crate) fn path(self, dir: &str, number: u64) -> String {
        let slash = if dir.is_empty() { "" } else { "/" };
        format!("{dir}{slash}{number:020}.{}", self.suffix())
    }

    /// Kind and number of a file by its name; other files are none of the log's.
    pub(crate) fn of(name: &str) -> Option<(Self, u64)> {
        let (digits, suffix) = name.split_once('.')?;
        if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let kind =
            [Self::Segment, Self::Spare, Self::New].into_iter().find(|k| k.suffix() == suffix)?;
        Some((kind, digits.parse().ok()?))
    }
}

/// The path of segment `number`.
pub(crate) fn path(dir: &str, number: u64) -> String {
    Kind::Segment.path(dir, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader =
        SegmentHeader { number: 3, first_lsn: 17, epoch: 2, salt: 0xabcd, recycled: true };

    #[test]
    fn golden_bytes_of_version_2() {
        let hex: String = HEADER
            .encode()
            .chunks(16)
            .map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
            .collect();
        expect_test::expect![[r#"
            504c414e4b57414c0200000040000000
            03000000000000001100000000000000
            0200000000000000cdab000000000000
            0100000000000000e61bf988e4e133af
        "#]]
        .assert_eq(&hex);
    }

    #[test]
    fn a_header_checks_under_its_own_number_only() {
        assert_eq!(SegmentHeader::check(&HEADER.encode(), 3), Ok(HEADER));
        assert_eq!(SegmentHeader::check(&HEADER.encode(), 4), Err(HeaderFlaw::Misnamed(HEADER)));
    }

    #[test]
    fn every_flipped_bit_and_every_torn_prefix_is_seen() {
        let good = HEADER.encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::check(&bad, 3).is_err(), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert_eq!(SegmentHeader::check(&good[..cut], 3), Err(HeaderFlaw::Invalid));
        }
    }

    #[test]
    fn other_versions_are_told_from_damage() {
        for version in [1, 3] {
            let mut bytes = HEADER.encode();
            bytes[8] = version;
            assert_eq!(SegmentHeader::check(&bytes, 3), Err(HeaderFlaw::Invalid), "it is rotten");
            let sum = checksum(CrcAlgorithm::Crc64Nvme, &bytes[..CHECKED]);
            bytes[CHECKED..].copy_from_slice(&sum.to_le_bytes());
            let other = Err(HeaderFlaw::Other(version.into()));
            assert_eq!(SegmentHeader::check(&bytes, 3), other);
        }
    }

    #[test]
    fn names() {
        assert_eq!(path("wal", 7), "wal/00000000000000000007.wal");
        assert_eq!(path("", 7), "00000000000000000007.wal");
        for kind in [Kind::Segment, Kind::Spare, Kind::New] {
            assert_eq!(Kind::of(&kind.path("", 7)), Some((kind, 7)));
        }
        for other in [
            "7.wal",
            "00000000000000000007.wal.bak",
            "+0000000000000000007.wal",
            "99999999999999999999.wal",
        ] {
            assert_eq!(Kind::of(other), None, "{other}");
        }
    }
}
