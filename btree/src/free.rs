//! The free list: which pages hold nothing the committed version can reach.
//!
//! Must stay true:
//! * a page freed by commit n was reachable in version n - 1. It may be written
//!   again in commit n + 2 at the earliest: while commit n + 1 is being written,
//!   version n - 1 still stands whole behind the older meta page;
//! * and only when no live view of a version that could reach it is left.
//!
//! Every commit writes the list anew. Class 0 is what the next commit may use,
//! class 1 what this commit freed (the commit after the next may use it). After
//! a restart no views live, so that is all there is to know.
//!
//! ```text
//!   0        32          40                             end
//!   | header | next page | run | run | ...              | zeros
//!
//!   header  kind 3, tree 2^32 - 1, level = class, count = runs, prefix 0
//!   next    reference to the next page of the list, zeros in the last
//!   run     two LEB128 numbers: pages skipped since the end of the run before
//!           (since page 0 in the first run of a page), pages in the run - 1
//! ```

use std::collections::{BTreeMap, BTreeSet};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::error::Error;
use crate::format::{
    DIRECTORY, FIRST_PAGE, FREE, Header, Meta, PAGE_BYTES, PageBytes, Ref, carried_checksum,
    checksum, seal,
};
use crate::view::Shared;

const BODY: usize = size_of::<Header>() + size_of::<Ref>();
/// Longest LEB128 encoding of a u32.
const VARINT: usize = 5;

/// What the next commit may use, and what must wait. Lives in memory.
#[derive(Default)]
pub(crate) struct Space {
    /// Reusable now, descending: the lowest is taken first.
    pub(crate) reusable: Vec<u32>,
    /// By the commit that freed them: page, and the commit that wrote it (0 if
    /// unknown). Views in between can reach the page.
    pub(crate) waiting: BTreeMap<u64, Vec<(u32, u64)>>,
    /// Where the committed list itself lies.
    pub(crate) chain: Vec<u32>,
    /// Pages in the file.
    pub(crate) pages: u32,
    /// The meta page before the current one, if it is whole.
    pub(crate) older: Option<Meta>,
    /// A write over the older meta page failed: who knows what stands there.
    pub(crate) doubt: bool,
    /// Commits made in a row to shrink the file.
    pub(crate) shrinking: u32,
    /// At this epoch, reusable pages from this one on were given back.
    pub(crate) punched: (u64, u32),
}

impl Space {
    /// Moves to `reusable` what commit `epoch` may write over.
    pub(crate) fn release(&mut self, epoch: u64, live: &BTreeSet<u64>) {
        let before = self.reusable.len();
        for (&freed, pages) in self.waiting.range_mut(..epoch.saturating_sub(1)) {
            if live.range(..freed).next().is_none() {
                self.reusable.extend(pages.drain(..).map(|(page, _)| page));
                continue;
            }
            pages.retain(|&(page, born)| {
                let reachable = live.range(born.min(freed)..freed).next().is_some();
                if !reachable {
                    self.reusable.push(page);
                }
                reachable
            });
        }
        self.waiting.retain(|_, pages| !pages.is_empty());
        if self.reusable.len() > before {
            self.reusable.sort_by(|a, b| b.cmp(a));
        }
    }

    /// How many waiting pages are kept by live views, by the epoch of the newest
    /// that can reach them: free once all views up to that one are gone.
    pub(crate) fn pinned(&self, live: &BTreeSet<u64>) -> BTreeMap<u64, u64> {
        let mut pinned = BTreeMap::new();
        for (&freed, pages) in &self.waiting {
            if live.range(..freed).next().is_none() {
                continue;
            }
            for &(_, born) in pages {
                if let Some(newest) = live.range(born.min(freed)..freed).next_back() {
                    *pinned.entry(*newest).or_default() += 1;
                }
            }
        }
        pinned
    }
}

/// A page of the list without its place.
struct Piece {
    class: u8,
    runs: u16,
    body: Vec<u8>,
}

fn put_varint(out: &mut Vec<u8>, mut n: u32) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut n = 0u64;
    for shift in 0..VARINT {
        let (&b, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(b & 0x7F) << (7 * shift);
        if b < 0x80 {
            return u32::try_from(n).ok();
        }
    }
    None
}

/// Cuts ascending page numbers into pieces.
fn pieces(class: u8, pages: &[u32], out: &mut Vec<Piece>) {
    let mut piece: Option<(Piece, u32)> = None;
    for run in pages.chunk_by(|a, b| a + 1 == *b) {
        let (start, len) = (run[0], run.len() as u32);
        if piece.as_ref().is_some_and(|(p, _)| p.body.len() + 2 * VARINT > PAGE_BYTES - BODY) {
            out.extend(piece.take().map(|(p, _)| p));
        }
        let (p, end) = piece.get_or_insert_with(|| (Piece { class, runs: 0, body: Vec::new() }, 0));
        put_varint(&mut p.body, start - *end);
        put_varint(&mut p.body, len - 1);
        p.runs += 1;
        *end = start + len;
    }
    out.extend(piece.map(|(p, _)| p));
}

/// A list ready to be written.
pub(crate) struct Encoded {
    pub(crate) first: Ref,
    pub(crate) pages: Vec<(u32, Box<PageBytes>)>,
    /// Page numbers in the list.
    pub(crate) count: u64,
}

/// Encodes the list. Its own pages come from `reusable` (descending; those used
/// are taken off it), else from `extend`, which grows the file by a page.
pub(crate) fn encode(
    epoch: u64,
    reusable: &mut Vec<u32>,
    also_free: &[u32],
    freed: &[u32],
    mut extend: impl FnMut() -> Result<u32, Error>,
) -> Result<Encoded, Error> {
    let mut freed = freed.to_vec();
    freed.sort_unstable();
    let mut own = Vec::new();
    // Taking pages for the list shortens it, which may free it from needing
    // them: then the last ones are written without runs. `own` only grows, so
    // this ends.
    let (pieces, count) = loop {
        let mut free: Vec<u32> = reusable.iter().chain(also_free).copied().collect();
        free.sort_unstable();
        let mut found = Vec::new();
        pieces(0, &free, &mut found);
        pieces(1, &freed, &mut found);
        if found.len() <= own.len() {
            break (found, (free.len() + freed.len()) as u64);
        }
        for _ in own.len()..found.len() {
            own.push(match reusable.pop() {
                Some(page) => page,
                None => match extend() {
                    Ok(page) => page,
                    Err(e) => {
                        reusable.extend(own);
                        return Err(e);
                    }
                },
            });
        }
    };
    let mut next = Ref::NONE;
    let mut pages = Vec::with_capacity(own.len());
    let empty = (pieces.len()..own.len()).map(|_| Piece { class: 0, runs: 0, body: Vec::new() });
    let all: Vec<Piece> = pieces.into_iter().chain(empty).collect();
    for (piece, &page) in all.iter().zip(&own).rev() {
        let mut bytes = Box::new([0; PAGE_BYTES]);
        let end = BODY + piece.body.len();
        let header = Header {
            checksum: U64::ZERO,
            epoch: U64::new(epoch),
            tree: U32::new(DIRECTORY),
            kind: FREE,
            level: piece.class,
            count: U16::new(piece.runs),
            prefix_len: U16::ZERO,
            end: U16::new(end as u16),
            reserved: U32::ZERO,
        };
        bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        bytes[size_of::<Header>()..BODY].copy_from_slice(next.as_bytes());
        bytes[BODY..end].copy_from_slice(&piece.body);
        next = Ref::new(page, seal(page, &mut bytes));
        pages.push((page, bytes));
    }
    Ok(Encoded { first: next, pages, count })
}

/// A list as read from the file.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct FreeList {
    /// Class 0, ascending within each page of the list.
    pub(crate) reusable: Vec<u32>,
    /// Class 1.
    pub(crate) freed: Vec<u32>,
    /// The pages of the list itself.
    pub(crate) chain: Vec<u32>,
}

/// Reads the list a meta page points to, checking each page.
pub(crate) fn load(shared: &Shared, meta: &Meta) -> Result<FreeList, Error> {
    let mut list = FreeList::default();
    let mut at = meta.free;
    let mut total = 0u64;
    while !at.is_none() {
        let page = at.page();
        let corrupt = |what: &str| shared.corrupt(page, None, format!("free list: {what}"));
        if list.chain.len() >= meta.pages.get() as usize {
            return Err(corrupt("it goes in a circle"));
        }
        list.chain.push(page);
        let (bytes, _) = load_page(shared, at)?;
        let into = match decode(&bytes, meta.pages.get()) {
            Ok((0, pages, next)) => {
                at = next;
                (&mut list.reusable, pages)
            }
            Ok((_, pages, next)) => {
                at = next;
                (&mut list.freed, pages)
            }
            Err(what) => return Err(corrupt(what)),
        };
        total += into.1.len() as u64;
        into.0.extend(into.1);
    }
    if total != meta.free_pages.get() {
        let what = format!("it holds {total} pages, the meta page says {}", meta.free_pages);
        return Err(shared.corrupt(meta.free.page(), None, what));
    }
    Ok(list)
}

/// Reads one page of a list and where the next one is.
pub(crate) fn load_page(shared: &Shared, at: Ref) -> Result<(PageBytes, Ref), Error> {
    let page = at.page();
    let corrupt = |what: &str| shared.corrupt(page, None, format!("free list: {what}"));
    let bytes = shared.read(page, None)?;
    let sum = carried_checksum(&bytes);
    if sum != checksum(page, &bytes) || !at.vouches_for(sum) {
        return Err(corrupt("the checksum does not match"));
    }
    match decode(&bytes, u32::MAX) {
        Ok((_, _, next)) => Ok((bytes, next)),
        Err(what) => Err(corrupt(what)),
    }
}

pub(crate) fn decode(
    bytes: &PageBytes,
    file_pages: u32,
) -> Result<(u8, Vec<u32>, Ref), &'static str> {
    let (header, rest) = Header::ref_from_prefix(bytes).expect("a page is larger than its header");
    let (next, _) = Ref::read_from_prefix(rest).expect("a page is larger than its header");
    let end = usize::from(header.end.get());
    if header.kind != FREE
        || header.tree.get() != DIRECTORY
        || header.level > 1
        || !(BODY..=PAGE_BYTES).contains(&end)
        || (!next.is_none() && next.page() < FIRST_PAGE)
    {
        return Err("the page is not one of the free list");
    }
    let mut body = &bytes[BODY..end];
    let mut pages = Vec::new();
    let mut at = 0u32;
    for _ in 0..header.count.get() {
        let skip = take_varint(&mut body).ok_or("a run is cut off")?;
        let more = take_varint(&mut body).ok_or("a run is cut off")?;
        let start = at.checked_add(skip).ok_or("a run goes past all pages")?;
        let last = start.checked_add(more).ok_or("a run goes past all pages")?;
        if start < FIRST_PAGE || last >= file_pages {
            return Err("a run goes past the end of the file");
        }
        pages.extend(start..=last);
        at = last + 1;
    }
    if !body.is_empty() {
        return Err("bytes are left behind its runs");
    }
    Ok((header.level, pages, next))
}
