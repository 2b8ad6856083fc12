//! Leaf and inner pages: reading them in place, and building them.
//!
//! Must stay true:
//! * a page is never changed once sealed: it is packed without gaps;
//! * a page was checked whole ([`check`]) before a [`Node`] reads it, so that
//!   reading one never meets an offset outside the page;
//! * the prefix is the longest one all keys of the page share, so a set of
//!   entries has exactly one encoding;
//! * entry 0 of an inner page has no key: its child holds everything below key 1;
//! * an inner page says of each child how many keys are below it. Who makes one takes
//!   that from the pages below ([`Run::keys`]), so it is right where those are.
//!
//! ```text
//!   32      32+4n      32+6n      32+6n+p                          end
//!   | heads   | offsets  | prefix   | cell 0 | cell 1 | ... | cell n-1 | zeros
//!
//!   head    first 4 bytes of the suffix, zero-padded, big-endian: one cache
//!           line decides most steps of a search
//!   offset  u16, where the cell begins; it ends where the next begins
//!   cell    | suffix length u16 | suffix | value |
//!           key = prefix + suffix; the value of an inner page is a child (14 bytes)
//! ```

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use zerocopy::big_endian::U32 as Head;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::format::{
    CAPACITY, Child, FIRST_PAGE, Header, INNER, LEAF, MAX_KEY, MAX_VALUE, PAGE_BYTES, PageBytes,
    Ref, carried_checksum, checksum, seal,
};
use crate::pins::{Bound, Pins};
use crate::run::Run;

/// Bytes of a page an entry takes beside its suffix and value: head, offset, length.
pub(crate) const ENTRY_BYTES: usize = 8;
/// Header, heads and offsets of a page with a hundred entries.
const HINTED: usize = 640;
const HEADER_BYTES: usize = size_of::<Header>();

/// A page in memory. Sealed, whole and checked.
pub(crate) struct Page {
    bytes: PageBytes,
    /// Its children, if it is an inner page above inner pages.
    pins: OnceLock<Pins>,
}

impl Page {
    /// Checks bytes read from the disk against their place and the reference that led there.
    pub(crate) fn from_disk(
        at: Ref,
        stamp: u32,
        level: u8,
        bytes: PageBytes,
    ) -> Result<Page, String> {
        let page = Page { bytes, pins: OnceLock::new() };
        if page.checksum() != checksum(at.page(), &page.bytes) {
            return Err("its checksum does not match its bytes and place".into());
        }
        if !at.vouches_for(page.checksum()) {
            return Err("it is not the version of the page that was referred to".into());
        }
        let header = page.header();
        if header.tree.get() != stamp || header.level != level {
            return Err(format!(
                "it belongs to tree {}, level {}, not to tree {stamp}, level {level}",
                header.tree, header.level
            ));
        }
        check(&page.bytes)?;
        Ok(page)
    }

    /// A page this process has sealed.
    pub(crate) fn sealed(bytes: PageBytes) -> Page {
        Page { bytes, pins: OnceLock::new() }
    }

    /// Has what a search reads first brought near: header, heads and offsets.
    #[inline]
    pub(crate) fn hint(&self) {
        platform::prefetch(&self.bytes[..HINTED]);
    }

    /// Where its children are kept, for an inner page above inner pages.
    pub(crate) fn pins(&self, bound: &Arc<Bound>) -> &Pins {
        self.pins.get_or_init(|| Pins::new(self.node().len(), bound))
    }

    /// Whether it is a leaf or an inner page.
    pub(crate) fn is_node(&self) -> bool {
        matches!(self.header().kind, LEAF | INNER)
    }

    pub(crate) fn bytes(&self) -> &PageBytes {
        &self.bytes
    }

    pub(crate) fn checksum(&self) -> u64 {
        carried_checksum(&self.bytes)
    }

    pub(crate) fn header(&self) -> &Header {
        header(&self.bytes)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.header().epoch.get()
    }

    /// Bytes in use behind the header.
    pub(crate) fn used(&self) -> usize {
        usize::from(self.header().end.get()) - HEADER_BYTES
    }

    pub(crate) fn node(&self) -> Node<'_> {
        Node::of(&self.bytes)
    }
}

fn header(bytes: &PageBytes) -> &Header {
    Header::ref_from_prefix(bytes).expect("a page is larger than its header").0
}

/// First four bytes, zero-padded: never orders two suffixes wrongly, may call them equal.
fn head_of(suffix: &[u8]) -> u32 {
    let mut head = [0; 4];
    let n = suffix.len().min(4);
    head[..n].copy_from_slice(&suffix[..n]);
    u32::from_be_bytes(head)
}

/// A leaf or inner page, read in place.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    bytes: &'a PageBytes,
    heads: &'a [Head],
    offsets: &'a [U16],
    prefix: &'a [u8],
    end: usize,
    inner: bool,
}

impl<'a> Node<'a> {
    /// The caller has checked the page.
    fn of(bytes: &'a PageBytes) -> Node<'a> {
        let header = header(bytes);
        let n = usize::from(header.count.get());
        let body = &bytes[HEADER_BYTES..];
        let (heads, body) =
            <[Head]>::ref_from_prefix_with_elems(body, n).expect("checked: heads fit");
        let (offsets, body) =
            <[U16]>::ref_from_prefix_with_elems(body, n).expect("checked: offsets fit");
        Node {
            bytes,
            heads,
            offsets,
            prefix: &body[..usize::from(header.prefix_len.get())],
            end: usize::from(header.end.get()),
            inner: header.kind == INNER,
        }
    }

    /// Entries; at least 1.
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    /// What all keys of the page begin with.
    pub(crate) fn prefix(&self) -> &'a [u8] {
        self.prefix
    }

    fn cell(&self, i: usize) -> &'a [u8] {
        let start = usize::from(self.offsets[i].get());
        let end = self.offsets.get(i + 1).map_or(self.end, |o| usize::from(o.get()));
        &self.bytes[start..end]
    }

    /// The key of entry `i` without the prefix, and its value.
    pub(crate) fn split(&self, i: usize) -> (&'a [u8], &'a [u8]) {
        let cell = self.cell(i);
        let (len, rest) = U16::ref_from_prefix(cell).expect("checked: a cell has its length");
        rest.split_at(usize::from(len.get()))
    }

    /// The key of entry `i` without the prefix.
    pub(crate) fn suffix(&self, i: usize) -> &'a [u8] {
        self.split(i).0
    }

    /// The value of entry `i`.
    pub(crate) fn value(&self, i: usize) -> &'a [u8] {
        self.split(i).1
    }

    /// Where in the page the value of entry `i` lies.
    pub(crate) fn value_range(&self, i: usize) -> std::ops::Range<usize> {
        let end = self.offsets.get(i + 1).map_or(self.end, |o| usize::from(o.get()));
        end - self.value(i).len()..end
    }

    /// Child `i` of an inner page.
    pub(crate) fn child(&self, i: usize) -> Child {
        Child::read_from_bytes(self.value(i)).expect("checked: inner values are children")
    }

    /// Keys below the first `n` entries: of a leaf, those are the keys.
    pub(crate) fn keys_before(&self, n: usize) -> u64 {
        if !self.inner {
            return n as u64;
        }
        (0..n).map(|i| self.child(i).keys()).sum()
    }

    /// Keys in the page or below it.
    pub(crate) fn keys(&self) -> u64 {
        self.keys_before(self.len())
    }

    /// Writes the key of entry `i` into `key`. Entry 0 of an inner page has none.
    pub(crate) fn key_into(&self, i: usize, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(self.prefix);
        key.extend_from_slice(self.suffix(i));
    }

    pub(crate) fn key(&self, i: usize) -> Vec<u8> {
        [self.prefix, self.suffix(i)].concat()
    }

    /// `Ok(i)` if entry `i` has the key, else `Err(i)` with `i` the first entry above it.
    pub(crate) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let first = usize::from(self.inner);
        let shared = key.len().min(self.prefix.len());
        match key[..shared].cmp(&self.prefix[..shared]) {
            Ordering::Less => return Err(first),
            Ordering::Greater => return Err(self.len()),
            Ordering::Equal if shared < self.prefix.len() => return Err(first),
            Ordering::Equal => {}
        }
        let suffix = &key[shared..];
        let head = head_of(suffix);
        let (mut low, mut high) = (first, self.len());
        while low < high {
            let mid = low + (high - low) / 2;
            let order = self.heads[mid].get().cmp(&head).then_with(|| self.suffix(mid).cmp(suffix));
            match order {
                Ordering::Less => low = mid + 1,
                Ordering::Greater => high = mid,
                Ordering::Equal => return Ok(mid),
            }
        }
        Err(low)
    }

    /// Which child of an inner page holds the key.
    pub(crate) fn child_index(&self, key: &[u8]) -> usize {
        match self.search(key) {
            Ok(i) => i,
            Err(i) => i - 1,
        }
    }
}

/// Builds and seals the page that holds entries `range` of `run`.
/// The caller has made sure that they fit and that there is at least one.
pub(crate) fn build(
    run: &Run,
    range: std::ops::Range<usize>,
    epoch: u64,
    stamp: u32,
    level: u8,
    page: u32,
) -> Page {
    let inner = level > 0;
    let n = range.len();
    let prefix = run.shared_prefix(range.clone(), inner);
    let mut bytes = [0; PAGE_BYTES];
    let prefix_at = HEADER_BYTES + 6 * n;
    bytes[prefix_at..prefix_at + prefix.len()].copy_from_slice(prefix);
    let mut end = prefix_at + prefix.len();
    for (slot, i) in range.enumerate() {
        let (suffix, value): (&[u8], &[u8]) = if inner && slot == 0 {
            (&[], run.value(i))
        } else {
            (&run.key(i)[prefix.len()..], run.value(i))
        };
        let head_at = HEADER_BYTES + 4 * slot;
        bytes[head_at..head_at + 4].copy_from_slice(&head_of(suffix).to_be_bytes());
        let offset_at = HEADER_BYTES + 4 * n + 2 * slot;
        bytes[offset_at..offset_at + 2].copy_from_slice(&(end as u16).to_le_bytes());
        bytes[end..end + 2].copy_from_slice(&(suffix.len() as u16).to_le_bytes());
        let (s, v) = (end + 2, end + 2 + suffix.len());
        bytes[s..v].copy_from_slice(suffix);
        end = v + value.len();
        bytes[v..end].copy_from_slice(value);
    }
    let header = Header {
        checksum: U64::ZERO,
        epoch: U64::new(epoch),
        tree: U32::new(stamp),
        kind: if inner { INNER } else { LEAF },
        level,
        count: U16::new(n as u16),
        prefix_len: U16::new(prefix.len() as u16),
        end: U16::new(end as u16),
        reserved: U32::ZERO,
    };
    bytes[..HEADER_BYTES].copy_from_slice(header.as_bytes());
    seal(page, &mut bytes);
    Page { bytes, pins: OnceLock::new() }
}

/// Whether the page is a leaf or inner page that [`Node`] can read: every
/// length and offset within bounds. Order is `verify`'s business.
fn check(bytes: &PageBytes) -> Result<(), String> {
    let header = header(bytes);
    let n = usize::from(header.count.get());
    let end = usize::from(header.end.get());
    let inner = header.kind == INNER;
    if (header.kind != LEAF && !inner) || inner != (header.level > 0) {
        return Err(format!("kind {} does not go with level {}", header.kind, header.level));
    }
    let cells = HEADER_BYTES + 6 * n + usize::from(header.prefix_len.get());
    if n == 0 || n > CAPACITY / ENTRY_BYTES || end > PAGE_BYTES || cells > end {
        return Err(format!("{n} entries do not fit into {end} bytes"));
    }
    let node = Node::of(bytes);
    if usize::from(node.offsets[0].get()) != cells {
        return Err("its first entry is not where it should be".into());
    }
    for i in 0..n {
        let start = usize::from(node.offsets[i].get());
        let stop = node.offsets.get(i + 1).map_or(end, |o| usize::from(o.get()));
        if start + 2 > stop || stop > end {
            return Err(format!("entry {i} lies outside the page"));
        }
        let suffix = usize::from(u16::from_le_bytes([bytes[start], bytes[start + 1]]));
        let Some(value) = (stop - start - 2).checked_sub(suffix) else {
            return Err(format!("the key of entry {i} is longer than the entry"));
        };
        if node.prefix.len() + suffix > MAX_KEY {
            return Err(format!("the key of entry {i} is longer than {MAX_KEY} bytes"));
        }
        if inner && value != size_of::<Child>() || value > MAX_VALUE {
            return Err(format!("the value of entry {i} has {value} bytes"));
        }
        if inner && node.child(i).at.page() < FIRST_PAGE {
            return Err(format!("entry {i} refers to page {}", node.child(i).at.page()));
        }
        if inner && node.child(i).keys() == 0 {
            return Err(format!("entry {i} says that no key is below it"));
        }
    }
    Ok(())
}

/// What [`check`] leaves out: keys strictly ascending, heads true, the prefix
/// the longest one shared, unused bytes zero.
pub(crate) fn check_order(page: &Page) -> Result<(), String> {
    let node = page.node();
    let first = usize::from(node.inner);
    for i in first..node.len() {
        if node.heads[i].get() != head_of(node.suffix(i)) {
            return Err(format!("the head of entry {i} is not that of its key"));
        }
        if i > first && node.suffix(i - 1) >= node.suffix(i) {
            return Err(format!("the keys of entries {} and {i} are out of order", i - 1));
        }
    }
    if node.inner && (!node.suffix(0).is_empty() || node.heads[0].get() != 0) {
        return Err("entry 0 of an inner page has a key".into());
    }
    let keyed = node.len() - first;
    let longer = match keyed {
        0 => !node.prefix.is_empty(),
        1 => !node.suffix(first).is_empty(),
        _ => {
            let (a, b) = (node.suffix(first), node.suffix(node.len() - 1));
            !a.is_empty() && a.first() == b.first()
        }
    };
    if longer {
        return Err("its prefix is not the longest its keys share".into());
    }
    if page.bytes[node.end..] != [0; PAGE_BYTES][node.end..] {
        return Err("its unused bytes are not zero".into());
    }
    Ok(())
}

/// Whether the page has, or says that it has below it, as many keys as the page above
/// says of it. Where all pages of a tree do, all counts in it are right.
pub(crate) fn check_keys(page: &Page, above: u64) -> Result<(), String> {
    match page.node().keys() {
        keys if keys == above => Ok(()),
        keys => Err(format!("it has {keys} keys, in it or below; what refers to it says {above}")),
    }
}
