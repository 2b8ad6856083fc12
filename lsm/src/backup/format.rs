//! The bytes of a backup: manifest, heads of its parts, frames.
//!
//! What must stay true:
//! * a manifest names every file of its backup with length and checksum, and its
//!   own last 8 bytes cover all before: a backup is its manifest, or is none;
//! * magic and version keep their place in all later versions;
//! * every length is checked before it is used: what a manifest says of its files can be
//!   added up without overflow once it is decoded.
//!
//! All numbers are little-endian, every checksum is CRC-64/NVME.
//!
//! ```text
//! manifest: 0000000007.manifest
//!   0          8         12       16         32       40        48      56
//!   | PLANKBAK | version | files  | store id | number | parent  | lsn   | flushed
//!   64          72         80          88            96       104      108   112      120  128
//!   | lsn_wall  | begun    | ended     | tail length | epoch  | pages  | tail | copied | wall |
//!   wall: the highest wall time of any commit up to `flushed`, in microseconds since 1970
//!   128: `files` entries of 64 bytes, then a checksum of all before (8 bytes)
//!
//!   entry
//!   0      4        8        16     24       32       40         48         56     64
//!   | kind | segment | number | from | units  | bytes  | checksum | last     | zero |
//!
//!   number  the backup that wrote the file: it is in its name
//!   kind    1 pages: `units` of them.   2 values: bytes from..from+units of a segment,
//!           `last` is the checksum of the last of them (at most 4096).
//!           3 frames: `units` of them, the first has LSN `from`
//!   bytes, checksum: of the file
//!
//! every part begins with
//!   0          8         12     16         32
//!   | PLANKBAK | version | kind | store id | body
//!
//! pages:  0000000007.pages                page, page, ... then for each 4 bytes its
//!         number and 4 bytes of its checksum; the last page is the meta page
//! values: 0000000007.values-0000000003    bytes of segment 3, as they lie there
//! frames: 0000000007.frames
//!   0        4      8     16            24      32         40
//!   | length | zero | lsn | wall_micros | epoch | checksum | payload, zeros to a multiple of 8
//!   checksum: bytes 0..32 and the payload
//! ```

use btree::PAGE_BYTES;
use crc_fast::{CrcAlgorithm, Digest};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::directory::StoreId;
use crate::{Lsn, MAX_BATCH_BYTES};

pub(crate) const MAGIC: [u8; 8] = *b"PLANKBAK";
pub(crate) const VERSION: u32 = 2;
/// Bytes of a part before its body.
pub(crate) const PART_HEAD: u64 = 32;
/// Bytes of a page's line in the table behind the pages.
pub(crate) const TABLE_LINE: u64 = 8;
/// Bytes at the end of an extent that `last` covers, at most.
pub(crate) const LAST: u64 = 4096;

pub(crate) fn digest() -> Digest {
    Digest::new(CrcAlgorithm::Crc64Nvme)
}

pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    let mut digest = digest();
    digest.update(bytes);
    digest.finalize()
}

/// What a file of a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Pages,
    Values,
    Frames,
}

impl Kind {
    fn number(self) -> u32 {
        match self {
            Kind::Pages => 1,
            Kind::Values => 2,
            Kind::Frames => 3,
        }
    }

    fn of(number: u32) -> Option<Kind> {
        [Kind::Pages, Kind::Values, Kind::Frames].into_iter().find(|k| k.number() == number)
    }
}

/// A file of a backup, as its manifest has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    pub(crate) segment: u32,
    pub(crate) number: u64,
    pub(crate) from: u64,
    pub(crate) units: u64,
    pub(crate) bytes: u64,
    pub(crate) checksum: u64,
    pub(crate) last: u64,
}

impl Part {
    /// Its name in the backup's directory.
    pub(crate) fn name(&self) -> String {
        part_name(self.number, self.kind, self.segment)
    }

    /// Whether its numbers can be those of a file: none overflows what is computed of
    /// them, and the file is as long as what it holds.
    fn is_possible(&self) -> bool {
        let Some(body) = self.bytes.checked_sub(PART_HEAD) else { return false };
        let holds = |unit: u64, more: u64| self.units.checked_mul(unit)?.checked_add(more);
        let fits = match self.kind {
            Kind::Pages => holds(PAGE_BYTES as u64 + TABLE_LINE, 8) == Some(body),
            Kind::Values => self.units == body,
            Kind::Frames => holds(FRAME_HEAD as u64, 0).is_some_and(|least| least <= body),
        };
        fits && self.from.checked_add(self.units).is_some()
    }
}

pub(crate) fn part_name(number: u64, kind: Kind, segment: u32) -> String {
    match kind {
        Kind::Pages => format!("{number:010}.pages"),
        Kind::Values => format!("{number:010}.values-{segment:010}"),
        Kind::Frames => format!("{number:010}.frames"),
    }
}

pub(crate) fn manifest_name(number: u64) -> String {
    format!("{number:010}.manifest")
}

/// The number of a manifest's name.
pub(crate) fn manifest_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".manifest")?;
    number_of(digits)
}

/// The number of any name a backup may have given.
pub(crate) fn any_number(name: &str) -> Option<u64> {
    let (digits, rest) = name.split_once('.')?;
    let ours = ["pages", "frames", "manifest", "manifest.new"].contains(&rest)
        || rest.strip_prefix("values-").is_some_and(|n| number_of(n).is_some());
    if ours { number_of(digits) } else { None }
}

fn number_of(digits: &str) -> Option<u64> {
    let sound = digits.len() >= 10 && digits.bytes().all(|b| b.is_ascii_digit());
    if sound { digits.parse().ok() } else { None }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHead {
    magic: [u8; 8],
    version: U32,
    files: U32,
    store: [u8; 16],
    number: U64,
    parent: U64,
    lsn: U64,
    flushed: U64,
    lsn_wall: U64,
    begun: U64,
    ended: U64,
    tail_len: U64,
    epoch: U64,
    pages: U32,
    tail_segment: U32,
    copied: U64,
    flushed_wall: U64,
}
const _: () = assert!(size_of::<RawHead>() == 128);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawPart {
    kind: U32,
    segment: U32,
    number: U64,
    from: U64,
    units: U64,
    bytes: U64,
    checksum: U64,
    last: U64,
    zero: U64,
}
const _: () = assert!(size_of::<RawPart>() == 64);

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) store: StoreId,
    pub(crate) number: u64,
    /// The backup it took over files from; 0: none.
    pub(crate) parent: u64,
    /// The last commit in it, and its wall time (0 if no frame tells).
    pub(crate) lsn: Lsn,
    pub(crate) lsn_wall: u64,
    /// The last commit in its trees.
    pub(crate) flushed: Lsn,
    /// The highest wall time of any commit in its trees; 0 if there is none.
    pub(crate) flushed_wall: u64,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    /// Where its value log ends.
    pub(crate) tail: vlog::Tail,
    /// The commit of the page file, and pages in it.
    pub(crate) epoch: u64,
    pub(crate) pages: u32,
    /// Bytes written for it.
    pub(crate) copied: u64,
    pub(crate) parts: Vec<Part>,
}

/// Why bytes are no manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Version(u32),
    Damaged(&'static str),
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let head = RawHead {
            magic: MAGIC,
            version: VERSION.into(),
            files: (self.parts.len() as u32).into(),
            store: self.store.0,
            number: self.number.into(),
            parent: self.parent.into(),
            lsn: self.lsn.into(),
            flushed: self.flushed.into(),
            lsn_wall: self.lsn_wall.into(),
            begun: self.begun.into(),
            ended: self.ended.into(),
            tail_len: self.tail.len.into(),
            epoch: self.epoch.into(),
            pages: self.pages.into(),
            tail_segment: self.tail.segment.into(),
            copied: self.copied.into(),
            flushed_wall: self.flushed_wall.into(),
        };
        let mut out = head.as_bytes().to_vec();
        for part in &self.parts {
            let raw = RawPart {
                kind: part.kind.number().into(),
                segment: part.segment.into(),
                number: part.number.into(),
                from: part.from.into(),
                units: part.units.into(),
                bytes: part.bytes.into(),
                checksum: part.checksum.into(),
                last: part.last.into(),
                zero: U64::ZERO,
            };
            out.extend_from_slice(raw.as_bytes());
        }
        let sum = checksum(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Manifest, Flaw> {
        let damaged = |what| Err(Flaw::Damaged(what));
        let Some((body, sum)) = bytes.split_last_chunk::<8>() else {
            return damaged("it is too short");
        };
        let Ok((head, mut rest)) = RawHead::ref_from_prefix(body) else {
            return damaged("it is too short");
        };
        if checksum(body) != u64::from_le_bytes(*sum) {
            return damaged("it does not match its checksum");
        }
        if head.magic != MAGIC {
            return damaged("it does not begin like a manifest");
        }
        if head.version.get() != VERSION {
            return Err(Flaw::Version(head.version.get()));
        }
        if rest.len() as u64 != u64::from(head.files.get()) * size_of::<RawPart>() as u64 {
            return damaged("its length does not fit the number of its files");
        }
        let mut parts = Vec::new();
        while let Ok((raw, more)) = RawPart::ref_from_prefix(rest) {
            rest = more;
            let Some(kind) = Kind::of(raw.kind.get()) else {
                return damaged("a file is of no known kind");
            };
            parts.push(Part {
                kind,
                segment: raw.segment.get(),
                number: raw.number.get(),
                from: raw.from.get(),
                units: raw.units.get(),
                bytes: raw.bytes.get(),
                checksum: raw.checksum.get(),
                last: raw.last.get(),
            });
        }
        let manifest = Manifest {
            store: StoreId(head.store),
            number: head.number.get(),
            parent: head.parent.get(),
            lsn: head.lsn.get(),
            lsn_wall: head.lsn_wall.get(),
            flushed: head.flushed.get(),
            flushed_wall: head.flushed_wall.get(),
            begun: head.begun.get(),
            ended: head.ended.get(),
            tail: vlog::Tail { segment: head.tail_segment.get(), len: head.tail_len.get() },
            epoch: head.epoch.get(),
            pages: head.pages.get(),
            copied: head.copied.get(),
            parts,
        };
        // Every byte has its meaning.
        if manifest.encode() != bytes {
            return damaged("reserved bytes are set");
        }
        let all = manifest.parts.iter().try_fold(0u64, |all, part| all.checked_add(part.bytes));
        if all.is_none() || !manifest.parts.iter().all(Part::is_possible) {
            return damaged("a file in it is as long as no such file can be");
        }
        Ok(manifest)
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawPartHead {
    magic: [u8; 8],
    version: U32,
    kind: U32,
    store: [u8; 16],
}
const _: () = assert!(size_of::<RawPartHead>() as u64 == PART_HEAD);

pub(crate) fn part_head(kind: Kind, store: StoreId) -> [u8; PART_HEAD as usize] {
    let raw = RawPartHead {
        magic: MAGIC,
        version: VERSION.into(),
        kind: kind.number().into(),
        store: store.0,
    };
    zerocopy::transmute!(raw)
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFrame {
    len: U32,
    zero: U32,
    lsn: U64,
    wall_micros: U64,
    epoch: U64,
    checksum: U64,
}
const FRAME_HEAD: usize = size_of::<RawFrame>();
const _: () = assert!(FRAME_HEAD == 40 && FRAME_HEAD.is_multiple_of(8));

/// Adds a frame to `out`.
pub(crate) fn put_frame(out: &mut Vec<u8>, frame: &wal::Frame<'_>) {
    let mut raw = RawFrame {
        len: (frame.payload.len() as u32).into(),
        zero: U32::ZERO,
        lsn: frame.lsn.into(),
        wall_micros: frame.wall_micros.into(),
        epoch: frame.epoch.into(),
        checksum: U64::ZERO,
    };
    raw.checksum = frame_checksum(&raw, frame.payload).into();
    out.extend_from_slice(raw.as_bytes());
    out.extend_from_slice(frame.payload);
    let padding = frame.payload.len().next_multiple_of(8) - frame.payload.len();
    out.extend_from_slice(&[0; 8][..padding]);
}

fn frame_checksum(raw: &RawFrame, payload: &[u8]) -> u64 {
    let mut digest = digest();
    digest.update(&raw.as_bytes()[..FRAME_HEAD - 8]);
    digest.update(payload);
    digest.finalize()
}

/// Bytes of the frame that begins here: of its head alone if not even that is
/// there; `None` if it can be none.
pub(crate) fn frame_len(bytes: &[u8]) -> Option<usize> {
    let Ok((raw, _)) = RawFrame::ref_from_prefix(bytes) else { return Some(FRAME_HEAD) };
    let len = raw.len.get() as usize;
    (len <= MAX_BATCH_BYTES).then(|| FRAME_HEAD + len.next_multiple_of(8))
}

/// The frame in exactly these bytes.
pub(crate) fn frame(bytes: &[u8]) -> Option<wal::Frame<'_>> {
    let (raw, rest) = RawFrame::ref_from_prefix(bytes).ok()?;
    let (payload, padding) = rest.split_at_checked(raw.len.get() as usize)?;
    let sound = raw.zero.get() == 0
        && padding.len() < 8
        && padding.iter().all(|b| *b == 0)
        && raw.checksum.get() == frame_checksum(raw, payload);
    sound.then(|| wal::Frame {
        lsn: raw.lsn.get(),
        wall_micros: raw.wall_micros.get(),
        epoch: raw.epoch.get(),
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest {
            store: StoreId([9; 16]),
            number: 7,
            parent: 6,
            lsn: 0x100,
            lsn_wall: 0x200,
            flushed: 0xf0,
            flushed_wall: 0x1ff,
            begun: 0x300,
            ended: 0x301,
            tail: vlog::Tail { segment: 3, len: 0x400 },
            epoch: 5,
            pages: 12,
            copied: 0x500,
            parts: vec![Part {
                kind: Kind::Values,
                segment: 3,
                number: 6,
                from: 0x20,
                units: 0x30,
                bytes: 0x50,
                checksum: 0xabcd,
                last: 0xef,
            }],
        }
    }

    #[test]
    fn golden_manifest() {
        let hex: String = sample()
            .encode()
            .chunks(16)
            .map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
            .collect();
        assert_eq!(hex, GOLDEN);
        assert_eq!(Manifest::decode(&sample().encode()), Ok(sample()));
    }

    const GOLDEN: &str = "\
504c414e4b42414b0200000001000000
09090909090909090909090909090909
07000000000000000600000000000000
0001000000000000f000000000000000
00020000000000000003000000000000
01030000000000000004000000000000
05000000000000000c00000003000000
0005000000000000ff01000000000000
02000000030000000600000000000000
20000000000000003000000000000000
5000000000000000cdab000000000000
ef000000000000000000000000000000
3087eb8211005d16
";

    #[test]
    fn golden_part_and_frame() {
        let head = part_head(Kind::Frames, StoreId([1; 16]));
        assert_eq!(head[..16], *b"PLANKBAK\x02\0\0\0\x03\0\0\0");
        assert_eq!(head[16..], [1; 16]);
        let mut bytes = Vec::new();
        let of = wal::Frame { lsn: 3, wall_micros: 4, epoch: 5, payload: b"abc" };
        put_frame(&mut bytes, &of);
        assert_eq!(bytes.len(), 48);
        assert_eq!(bytes[..9], [3, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(&bytes[40..], b"abc\0\0\0\0\0");
        assert_eq!(frame_len(&bytes), Some(48));
        assert_eq!(frame(&bytes), Some(of));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(frame(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_manifest_is_seen() {
        let good = sample().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&bad).is_err(), "bit {bit}");
        }
        assert!((0..good.len()).all(|cut| Manifest::decode(&good[..cut]).is_err()));
    }

    #[test]
    fn a_manifest_of_impossible_files_is_refused() {
        let good = |kind, units, bytes| Part { kind, units, bytes, ..sample().parts[0] };
        let pages = |n: u64| good(Kind::Pages, n, PART_HEAD + 8 + n * (4096 + 8));
        let told = |parts: Vec<Part>| Manifest::decode(&Manifest { parts, ..sample() }.encode());
        for sound in [pages(0), pages(3), good(Kind::Values, 7, 39), good(Kind::Frames, 2, 200)] {
            assert!(told(vec![sound]).is_ok(), "{sound:?}");
        }
        let bad = [
            Part { bytes: 31, ..pages(0) },
            Part { bytes: pages(3).bytes + 1, ..pages(3) },
            Part { units: u64::MAX / 4096, ..pages(3) },
            good(Kind::Values, 8, 39),
            Part { from: u64::MAX, ..good(Kind::Values, 7, 39) },
            good(Kind::Frames, 5, 200),
            good(Kind::Frames, u64::MAX, 200),
        ];
        let refused = Err(Flaw::Damaged("a file in it is as long as no such file can be"));
        for part in bad {
            assert_eq!(told(vec![part]), refused, "{part:?}");
        }
        let half = good(Kind::Frames, 2, u64::MAX / 2 + 1);
        assert!(told(vec![half]).is_ok());
        assert_eq!(told(vec![half, half]), refused, "all together");
    }

    #[test]
    fn a_newer_manifest_is_told_from_damage() {
        let mut bytes = sample().encode();
        let body = bytes.len() - 8;
        bytes[8] = 3;
        let sum = checksum(&bytes[..body]);
        bytes[body..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Manifest::decode(&bytes), Err(Flaw::Version(3)));
    }

    #[test]
    fn names() {
        let part = sample().parts[0];
        assert_eq!(part.name(), "0000000006.values-0000000003");
        assert_eq!(any_number(&part.name()), Some(6));
        assert_eq!(manifest_number(&manifest_name(7)), Some(7));
        for other in ["7.manifest", "LOCK", "0000000007.txt", "0000000007.values-x"] {
            assert_eq!((any_number(other), manifest_number(other)), (None, None), "{other}");
        }
    }
}
