//! The bytes of a page file: meta page and page header.
//!
//! Must stay true:
//! * every page's checksum covers its page number, so that a page read from,
//!   or written to, the wrong place never checks;
//! * a reference to a page carries half of that page's checksum, so that an
//!   older page left at the right place (a lost write) is found as well: the
//!   meta page vouches for every byte reachable from it;
//! * magic, version and checksum of a meta page keep their place and their
//!   algorithm in all later versions, so that an older release can say which
//!   version it met.
//!
//! All numbers are little-endian, except heads (see `node`). Pages are 4096
//! bytes; page n starts at byte n * 4096. Pages 0 and 1 are meta pages; a
//! commit of epoch e writes page e % 2.
//!
//! ```text
//! meta page
//!   0        8        16      20      24       32            40
//!   | check  | magic  | vers. | p.size| epoch  | directory   |
//!   40       44       48               56            64      72
//!   | height | pages  | trees          | free list   | free  | user, 64 bytes | zeros to 4096
//!
//! every other page begins with a header of 32 bytes
//!   0        8        16      20  21  22     24      26     28      32
//!   | check  | epoch  | tree  |kind|lvl|count |prefix | end  | zero  | body
//!
//! reference to a page
//!   0        4        8
//!   | page   | low half of the page's checksum |
//!
//! child of an inner page
//!   0           8               14
//!   | reference | keys below it |
//! ```
//!
//! checksum = CRC-64/NVME over the page number as u64, then bytes 8..4096.

use crc_fast::{CrcAlgorithm, Digest};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes in a page.
pub const PAGE_BYTES: usize = 4096;
/// Longest key, in bytes.
pub const MAX_KEY: usize = 1024;
/// Longest value, in bytes.
pub const MAX_VALUE: usize = 512;
/// The file format this code writes, and the newest it reads.
pub const VERSION: u32 = 3;

/// First bytes (after the checksum) of a meta page.
pub(crate) const MAGIC: [u8; 8] = *b"PLNKTREE";
/// Number of meta pages, and so the number of the first page of another kind.
pub(crate) const FIRST_PAGE: u32 = 2;
/// The tree of trees. Not a number a caller may use.
pub(crate) const DIRECTORY: u32 = u32::MAX;
/// Bytes of a page after its header.
pub(crate) const CAPACITY: usize = PAGE_BYTES - size_of::<Header>();
/// Taller than any tree can grow: every inner page has room for three children.
pub(crate) const MAX_HEIGHT: u32 = 32;

/// Kind of a page, in its header.
pub(crate) const LEAF: u8 = 1;
/// An inner page: its values are children ([`Child`]).
pub(crate) const INNER: u8 = 2;
/// A piece of the free list.
pub(crate) const FREE: u8 = 3;

/// A reference to a page: its number, and half of its checksum.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct Ref {
    page: U32,
    check: U32,
}

impl Ref {
    /// No page (page 0 is a meta page, so nothing refers to it).
    pub(crate) const NONE: Ref = Ref { page: U32::ZERO, check: U32::ZERO };

    pub(crate) fn new(page: u32, checksum: u64) -> Ref {
        Ref { page: U32::new(page), check: U32::new(low_half(checksum)) }
    }

    pub(crate) fn page(self) -> u32 {
        self.page.get()
    }

    /// What it says of the page's checksum.
    pub(crate) fn check(self) -> u32 {
        self.check.get()
    }

    pub(crate) fn is_none(self) -> bool {
        self.page() == 0
    }

    /// Whether the page with this whole checksum is the one meant.
    pub(crate) fn vouches_for(self, checksum: u64) -> bool {
        self.check.get() == low_half(checksum)
    }
}

/// What an inner page says of a child: where it is, and how many keys are in the leaves
/// below it. That is what lets keys between two bounds be counted without reading them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct Child {
    pub(crate) at: Ref,
    /// Little-endian. A file has 2^32 pages of fewer than 2^9 keys at most: they fit.
    keys: [u8; 6],
}

impl Child {
    pub(crate) fn new(at: Ref, keys: u64) -> Child {
        let [a, b, c, d, e, f, ..] = keys.to_le_bytes();
        Child { at, keys: [a, b, c, d, e, f] }
    }

    /// Keys in the leaves below it.
    pub(crate) fn keys(&self) -> u64 {
        let [a, b, c, d, e, f] = self.keys;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

fn low_half(checksum: u64) -> u32 {
    (checksum & u64::from(u32::MAX)) as u32
}

/// The header of every page that is not a meta page.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    /// Over the page number and everything behind this field.
    pub(crate) checksum: U64,
    /// The commit that wrote the page.
    pub(crate) epoch: U64,
    /// The tree it was made for ([`Root::stamp`]); [`DIRECTORY`] for the tree of trees and the free list.
    pub(crate) tree: U32,
    /// [`LEAF`], [`INNER`] or [`FREE`].
    pub(crate) kind: u8,
    /// Distance to the leaves; in the free list 0 = reusable, 1 = freed by this epoch.
    pub(crate) level: u8,
    /// Entries; in the free list, runs.
    pub(crate) count: U16,
    /// Bytes of the prefix all keys of the page share.
    pub(crate) prefix_len: U16,
    /// Offset of the first unused byte; from here on the page is zero.
    pub(crate) end: U16,
    /// Zero.
    pub(crate) reserved: U32,
}

/// A meta page without its trailing zeros.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Meta {
    pub(crate) checksum: U64,
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) page_bytes: U32,
    pub(crate) epoch: U64,
    /// Root of the directory: tree id (big-endian) to [`Root`].
    pub(crate) directory: Ref,
    pub(crate) directory_height: U32,
    /// Pages the file has, meta pages included. What lies beyond is not vouched for.
    pub(crate) pages: U32,
    /// Entries of the directory.
    pub(crate) trees: U64,
    /// First page of the free list.
    pub(crate) free: Ref,
    /// Page numbers in the free list, those freed by this epoch included.
    pub(crate) free_pages: U64,
    /// The caller's.
    pub(crate) user: [u8; 64],
}

/// What the directory says of a tree.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct Root {
    pub(crate) at: Ref,
    /// Levels, at least 1.
    pub(crate) height: U32,
    /// The number in the headers of the tree's pages: the one it was made under.
    /// A rename changes the tree's number, not its pages.
    pub(crate) stamp: U32,
    /// Keys in the tree.
    pub(crate) entries: U64,
}

impl Root {
    pub(crate) fn owner(&self, tree: u32) -> Owner {
        Owner { tree, stamp: self.stamp.get() }
    }
}

/// Whose page it is: the number callers and errors use, and the one in the
/// page's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) tree: u32,
    pub(crate) stamp: u32,
}

impl Owner {
    /// A tree that has not been renamed.
    pub(crate) fn new(tree: u32) -> Owner {
        Owner { tree, stamp: tree }
    }
}

const _: () = {
    assert!(size_of::<Ref>() == 8);
    assert!(size_of::<Child>() == 14);
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<Meta>() == 136);
    assert!(size_of::<Root>() == 24);
    assert!(std::mem::offset_of!(Meta, magic) == 8);
    assert!(std::mem::offset_of!(Meta, version) == 16);
    assert!(std::mem::offset_of!(Meta, user) == 72);
    // Three of the largest inner entries, two of the largest leaf entries fit.
    assert!(3 * (8 + MAX_KEY + size_of::<Child>()) <= CAPACITY);
    assert!(2 * (8 + MAX_KEY + MAX_VALUE) <= CAPACITY);
};

/// The bytes of a page.
pub(crate) type PageBytes = [u8; PAGE_BYTES];

/// The checksum the page should carry at that place.
pub(crate) fn checksum(page: u32, bytes: &PageBytes) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(&u64::from(page).to_le_bytes());
    digest.update(&bytes[8..]);
    digest.finalize()
}

/// Writes the checksum for that place into the page, and returns it.
pub(crate) fn seal(page: u32, bytes: &mut PageBytes) -> u64 {
    let sum = checksum(page, bytes);
    bytes[..8].copy_from_slice(&sum.to_le_bytes());
    sum
}

/// The checksum the page carries.
pub(crate) fn carried_checksum(bytes: &PageBytes) -> u64 {
    U64::read_from_prefix(bytes).expect("a page has 8 bytes").0.get()
}

/// Why a meta page cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadMeta {
    /// It is whole, but of another format.
    Version(u32),
    /// It is torn, or not a meta page.
    Damaged(String),
}

impl std::fmt::Display for BadMeta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadMeta::Version(version) => write!(f, "it is of format {version}"),
            BadMeta::Damaged(what) => f.write_str(what),
        }
    }
}

impl Meta {
    /// A file without trees.
    pub(crate) fn empty(epoch: u64) -> Meta {
        Meta {
            checksum: U64::ZERO,
            magic: MAGIC,
            version: U32::new(VERSION),
            page_bytes: U32::new(PAGE_BYTES as u32),
            epoch: U64::new(epoch),
            directory: Ref::NONE,
            directory_height: U32::ZERO,
            pages: U32::new(FIRST_PAGE),
            trees: U64::ZERO,
            free: Ref::NONE,
            free_pages: U64::ZERO,
            user: [0; 64],
        }
    }

    /// The page this meta page is written to.
    pub(crate) fn slot(&self) -> u32 {
        u32::from(self.epoch.get() % 2 == 1)
    }

    /// The whole page, sealed for its place.
    pub(crate) fn encode(&self) -> Box<PageBytes> {
        let mut bytes = Box::new([0; PAGE_BYTES]);
        bytes[..size_of::<Meta>()].copy_from_slice(self.as_bytes());
        seal(self.slot(), &mut bytes);
        bytes
    }

    /// Reads meta page `slot`.
    pub(crate) fn decode(slot: u32, bytes: &PageBytes) -> Result<Meta, BadMeta> {
        let damaged = |what: &str| Err(BadMeta::Damaged(what.to_owned()));
        let (meta, rest) = Meta::read_from_prefix(bytes).expect("a page is larger than a meta");
        if carried_checksum(bytes) != checksum(slot, bytes) {
            return damaged("its checksum does not match its bytes");
        }
        if meta.magic != MAGIC {
            return damaged("it does not begin like a page file");
        }
        if meta.version.get() != VERSION {
            return Err(BadMeta::Version(meta.version.get()));
        }
        if meta.page_bytes.get() as usize != PAGE_BYTES {
            return damaged("its page size belongs to no release");
        }
        let has_directory = !meta.directory.is_none();
        if meta.slot() != slot
            || meta.pages.get() < FIRST_PAGE
            || has_directory != (meta.directory_height.get() > 0)
            || has_directory != (meta.trees.get() > 0)
            || meta.directory_height.get() > MAX_HEIGHT
            || *rest != [0; PAGE_BYTES][size_of::<Meta>()..]
        {
            return damaged("its fields contradict each other");
        }
        Ok(meta)
    }
}
