//! The archived file, as bytes.
//!
//! Must stay true:
//! * every byte is under a checksum, and every checksum but the header's own
//!   begins with the place (store, first LSN of the file, offset), so that a
//!   block of another file, or of another place, never checks;
//! * lengths are trusted only after the checksum over them holds, and are bounded
//!   even then;
//! * magic and version keep their place in every later format.
//!
//! ```text
//! file:    header, blocks, footer
//!
//! header   0          8         12        16
//!         +----------+---------+---------+-------------------------------+
//!         | PLANKARC | version | length  | store: 16 bytes               |
//!         +----------+---------+---------+-------------------------------+
//!         | first_lsn          | last_lsn           |  32
//!         +--------------------+--------------------+
//!         | first_wall         | last_wall          |  48   of the first and the
//!         +--------------------+--------------------+       last frame, micros
//!         | oldest_wall        | newest_wall        |  64   of all frames
//!         +--------------------+--------------------+
//!         | first_epoch        | last_epoch         |  80
//!         +--------------------+--------------------+
//!         | raw_bytes          | blocks             |  96   before compression
//!         +--------------------+--------------------+
//!         | content            | checksum           | 112   content: crc64 of all
//!         +--------------------+--------------------+       raw bytes; checksum:
//!                                                           crc64 of bytes 0..120
//! block    0          4          8          12        16
//!         +----------+----------+----------+----------+
//!         | PLKB     | flags    | raw_len  | stored   |  flags: 1 = lz4, 0 = as is
//!         +----------+----------+----------+----------+
//!         | first_lsn           | frames   | zero     |  16
//!         +---------------------+----------+----------+
//!         | raw_check           | stored_check        |  32  crc64 of each
//!         +---------------------+---------------------+
//!         | zero                | header_check        |  48  crc64(place, 0..56)
//!         +---------------------+---------------------+
//!         | stored bytes: frames, one after the other |  64
//!         +-------------------------------------------+
//! frame    0            8            16     20     24
//!         +------------+------------+------+------+-----------------+
//!         | wall       | epoch      | len  | zero | payload         |
//!         +------------+------------+------+------+-----------------+
//!          its LSN: the block's first, counted up
//! footer   0            8            16           24
//!         +------------+------------+------------+----------------+
//!         | PLANKEND   | file_bytes | body       | checksum       |
//!         +------------+------------+------------+----------------+
//!          body: crc64 of all bytes between header and footer;
//!          checksum: crc64(header, footer 0..24): with it the whole file
//! ```

use super::{StoreId, Summary};
use crate::{Lsn, MAX_PAYLOAD_BYTES};
use crc_fast::{CrcAlgorithm, Digest, checksum};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER_LEN: usize = 128;
pub(crate) const BLOCK_LEN: usize = 64;
pub(crate) const FRAME_LEN: usize = 24;
pub(crate) const FOOTER_LEN: usize = 32;
const MAGIC: [u8; 8] = *b"PLANKARC";
const BLOCK_MAGIC: [u8; 4] = *b"PLKB";
const END_MAGIC: [u8; 8] = *b"PLANKEND";
const LZ4: u32 = 1;
const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc64Nvme;

/// Raw bytes after which a block is closed: docs/decisions/0012-log-archive.md.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;
/// The most a block can hold: almost full, then the largest frame.
pub(crate) const MAX_RAW: usize = BLOCK_BYTES + FRAME_LEN + MAX_PAYLOAD_BYTES;
const _: () = assert!(MAX_RAW < u32::MAX as usize);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    version: U32,
    header_len: U32,
    store: [u8; 16],
    first_lsn: U64,
    last_lsn: U64,
    first_wall: U64,
    last_wall: U64,
    oldest_wall: U64,
    newest_wall: U64,
    first_epoch: U64,
    last_epoch: U64,
    raw_bytes: U64,
    blocks: U64,
    content: U64,
    checksum: U64,
}
const _: () = assert!(size_of::<RawHeader>() == HEADER_LEN);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBlock {
    magic: [u8; 4],
    flags: U32,
    raw_len: U32,
    stored_len: U32,
    first_lsn: U64,
    frames: U32,
    zero0: U32,
    raw_check: U64,
    stored_check: U64,
    zero1: U64,
    header_check: U64,
}
const _: () = assert!(size_of::<RawBlock>() == BLOCK_LEN);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFrame {
    wall: U64,
    epoch: U64,
    payload_len: U32,
    zero: U32,
}
const _: () = assert!(size_of::<RawFrame>() == FRAME_LEN);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFooter {
    magic: [u8; 8],
    file_bytes: U64,
    body: U64,
    checksum: U64,
}
const _: () = assert!(size_of::<RawFooter>() == FOOTER_LEN);

/// Why the first bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFlaw {
    Newer(u32),
    Invalid(&'static str),
}

pub(crate) fn encode_header(summary: &Summary) -> [u8; HEADER_LEN] {
    let mut raw = RawHeader {
        magic: MAGIC,
        version: VERSION.into(),
        header_len: (HEADER_LEN as u32).into(),
        store: summary.store.0,
        first_lsn: summary.first_lsn.into(),
        last_lsn: summary.last_lsn.into(),
        first_wall: summary.first_wall.into(),
        last_wall: summary.last_wall.into(),
        oldest_wall: summary.oldest_wall.into(),
        newest_wall: summary.newest_wall.into(),
        first_epoch: summary.first_epoch.into(),
        last_epoch: summary.last_epoch.into(),
        raw_bytes: summary.raw_bytes.into(),
        blocks: summary.blocks.into(),
        content: summary.content.into(),
        checksum: 0.into(),
    };
    raw.checksum = checksum(ALGORITHM, &raw.as_bytes()[..HEADER_LEN - 8]).into();
    zerocopy::transmute!(raw)
}

pub(crate) fn decode_header(bytes: &[u8]) -> Result<Summary, HeaderFlaw> {
    if bytes.len() >= 12 && bytes[..8] == MAGIC {
        let version = U32::read_from_bytes(&bytes[8..12]).map_or(0, U32::get);
        if version > VERSION {
            return Err(HeaderFlaw::Newer(version));
        }
    }
    let Ok((raw, _)) = RawHeader::ref_from_prefix(bytes) else {
        return Err(HeaderFlaw::Invalid("the file is shorter than its header"));
    };
    if raw.magic != MAGIC {
        return Err(HeaderFlaw::Invalid("it does not begin like an archived file"));
    }
    if raw.checksum.get() != checksum(ALGORITHM, &bytes[..HEADER_LEN - 8]) {
        return Err(HeaderFlaw::Invalid("the header does not match its checksum"));
    }
    let (first_lsn, last_lsn) = (raw.first_lsn.get(), raw.last_lsn.get());
    let sound = raw.version.get() == VERSION
        && raw.header_len.get() as usize == HEADER_LEN
        && (1..=last_lsn).contains(&first_lsn)
        && last_lsn < Lsn::MAX
        && raw.blocks.get() > 0;
    if !sound {
        return Err(HeaderFlaw::Invalid("the header makes no sense"));
    }
    Ok(Summary {
        store: StoreId(raw.store),
        first_lsn,
        last_lsn,
        first_wall: raw.first_wall.get(),
        last_wall: raw.last_wall.get(),
        oldest_wall: raw.oldest_wall.get(),
        newest_wall: raw.newest_wall.get(),
        first_epoch: raw.first_epoch.get(),
        last_epoch: raw.last_epoch.get(),
        raw_bytes: raw.raw_bytes.get(),
        blocks: raw.blocks.get(),
        content: raw.content.get(),
    })
}

/// Where a block stands: goes into its checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) store: StoreId,
    pub(crate) file_first: Lsn,
    pub(crate) offset: u64,
}

/// What a block's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first_lsn: Lsn,
    pub(crate) frames: u32,
    pub(crate) raw_len: usize,
    pub(crate) stored_len: usize,
    lz4: bool,
    raw_check: u64,
    stored_check: u64,
}

pub(super) fn block_check(place: Place, bytes: &[u8]) -> u64 {
    let mut digest = Digest::new(ALGORITHM);
    digest.update(&place.store.0);
    digest.update(&place.file_first.to_le_bytes());
    digest.update(&place.offset.to_le_bytes());
    digest.update(&bytes[..BLOCK_LEN - 8]);
    digest.finalize()
}

/// Appends one whole block of `frames` frames to `out`, compressed if that helps.
/// `raw` is not empty and at most [`MAX_RAW`] long.
pub(crate) fn encode_block(out: &mut Vec<u8>, place: Place, first: Lsn, frames: u32, raw: &[u8]) {
    let at = out.len();
    let most = lz4_flex::block::get_maximum_output_size(raw.len());
    out.resize(at + BLOCK_LEN + most, 0);
    // A block that cannot be compressed is stored as it is: no error.
    let packed = lz4_flex::block::compress_into(raw, &mut out[at + BLOCK_LEN..]).ok();
    let lz4 = packed.filter(|len| *len < raw.len());
    match lz4 {
        Some(len) => out.truncate(at + BLOCK_LEN + len),
        None => {
            out.truncate(at + BLOCK_LEN);
            out.extend_from_slice(raw);
        }
    }
    let stored = &out[at + BLOCK_LEN..];
    let mut header = RawBlock {
        magic: BLOCK_MAGIC,
        flags: if lz4.is_some() { LZ4 } else { 0 }.into(),
        raw_len: (raw.len() as u32).into(),
        stored_len: (stored.len() as u32).into(),
        first_lsn: first.into(),
        frames: frames.into(),
        zero0: 0.into(),
        raw_check: checksum(ALGORITHM, raw).into(),
        stored_check: checksum(ALGORITHM, stored).into(),
        zero1: 0.into(),
        header_check: 0.into(),
    };
    header.header_check = block_check(place, header.as_bytes()).into();
    out[at..at + BLOCK_LEN].copy_from_slice(header.as_bytes());
}

/// Checks a block's header; the error says what is wrong.
pub(crate) fn decode_block(bytes: &[u8], place: Place) -> Result<Block, &'static str> {
    let Ok((raw, _)) = RawBlock::ref_from_prefix(bytes) else {
        return Err("the file ends inside a block's header");
    };
    if raw.magic != BLOCK_MAGIC {
        return Err("no block starts here");
    }
    if raw.header_check.get() != block_check(place, bytes) {
        return Err("a block's header does not match its checksum");
    }
    let (raw_len, stored_len) = (raw.raw_len.get() as usize, raw.stored_len.get() as usize);
    let lz4 = raw.flags.get() == LZ4;
    let sound = raw.flags.get() <= LZ4
        && (FRAME_LEN..=MAX_RAW).contains(&raw_len)
        && (if lz4 { stored_len < raw_len } else { stored_len == raw_len })
        && raw.frames.get() > 0
        && raw.zero0.get() == 0
        && raw.zero1.get() == 0;
    if !sound {
        return Err("a block's header makes no sense");
    }
    Ok(Block {
        first_lsn: raw.first_lsn.get(),
        frames: raw.frames.get(),
        raw_len,
        stored_len,
        lz4,
        raw_check: raw.raw_check.get(),
        stored_check: raw.stored_check.get(),
    })
}

/// Unpacks the stored bytes of `block` into `raw`, replacing what it holds.
pub(crate) fn unpack(block: &Block, stored: &[u8], raw: &mut Vec<u8>) -> Result<(), &'static str> {
    raw.clear();
    if stored.len() != block.stored_len || checksum(ALGORITHM, stored) != block.stored_check {
        return Err("a block does not match its checksum");
    }
    if block.lz4 {
        raw.resize(block.raw_len, 0);
        match lz4_flex::block::decompress_into(stored, raw) {
            Ok(len) if len == block.raw_len => {}
            _ => return Err("a block cannot be unpacked"),
        }
    } else {
        raw.extend_from_slice(stored);
    }
    if checksum(ALGORITHM, raw) != block.raw_check {
        return Err("a block's content does not match its checksum");
    }
    Ok(())
}

/// Appends one frame to a block's raw bytes.
pub(crate) fn encode_frame(raw: &mut Vec<u8>, wall: u64, epoch: u64, payload: &[u8]) {
    let header = RawFrame {
        wall: wall.into(),
        epoch: epoch.into(),
        payload_len: (payload.len() as u32).into(),
        zero: 0.into(),
    };
    raw.extend_from_slice(header.as_bytes());
    raw.extend_from_slice(payload);
}

/// The frame at `at` of a block's raw bytes: wall time, epoch, and where its
/// payload lies.
pub(crate) fn decode_frame(raw: &[u8], at: usize) -> Option<(u64, u64, std::ops::Range<usize>)> {
    let (header, _) = RawFrame::ref_from_prefix(raw.get(at..)?).ok()?;
    let from = at + FRAME_LEN;
    let to = from.checked_add(header.payload_len.get() as usize)?;
    let sound = header.zero.get() == 0 && to <= raw.len() && to - from <= MAX_PAYLOAD_BYTES;
    sound.then(|| (header.wall.get(), header.epoch.get(), from..to))
}

pub(crate) fn digest() -> Digest {
    Digest::new(ALGORITHM)
}

pub(crate) fn encode_footer(
    header: &[u8; HEADER_LEN],
    file_bytes: u64,
    body: u64,
) -> [u8; FOOTER_LEN] {
    let mut raw = RawFooter {
        magic: END_MAGIC,
        file_bytes: file_bytes.into(),
        body: body.into(),
        checksum: 0.into(),
    };
    raw.checksum = footer_check(header, raw.as_bytes()).into();
    zerocopy::transmute!(raw)
}

/// Checks the last bytes of a file of `file_bytes` that begins with `header`;
/// returns the checksum of all between.
pub(crate) fn decode_footer(
    bytes: &[u8],
    header: &[u8],
    file_bytes: u64,
) -> Result<u64, &'static str> {
    let Ok(raw) = RawFooter::ref_from_bytes(bytes) else {
        return Err("the file is shorter than its header and end");
    };
    if raw.magic != END_MAGIC || raw.file_bytes.get() != file_bytes {
        return Err("the file does not end as it should: it is cut off, or grew");
    }
    if raw.checksum.get() != footer_check(header, bytes) {
        return Err("the file's end does not match its checksum");
    }
    Ok(raw.body.get())
}

fn footer_check(header: &[u8], footer: &[u8]) -> u64 {
    let mut digest = digest();
    digest.update(header);
    digest.update(&footer[..FOOTER_LEN - 8]);
    digest.finalize()
}

/// The name of the file with frames `first` to `last`; names sort by LSN.
pub(crate) fn name(first: Lsn, last: Lsn) -> String {
    format!("{first:020}-{last:020}.arc")
}

/// The frames a name claims; other names are none of the archive's.
pub(crate) fn range_of(name: &str) -> Option<(Lsn, Lsn)> {
    let (first, last) = name.strip_suffix(".arc")?.split_once('-')?;
    let number = |digits: &str| {
        let sound = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
        sound.then(|| digits.parse::<u64>().ok()).flatten()
    };
    let (first, last) = (number(first)?, number(last)?);
    (first > 0 && first <= last && last < Lsn::MAX).then_some((first, last))
}
