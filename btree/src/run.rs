//! Entries on their way into pages, and the decision where pages end.
//!
//! Pure: no page numbers, no disk. A run of an inner level carries a true
//! separator for every entry; entry 0 of a page loses it only in `node::build`.

use std::ops::Range;

use zerocopy::FromBytes;

use crate::format::{CAPACITY, Child};
use crate::node::{ENTRY_BYTES, Node};

/// Entries in key order, in one buffer.
#[derive(Clone, Default)]
pub(crate) struct Run {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    at: usize,
    key: u16,
    value: u16,
}

impl Run {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn key(&self, i: usize) -> &[u8] {
        let e = self.entries[i];
        &self.bytes[e.at..e.at + usize::from(e.key)]
    }

    pub(crate) fn value(&self, i: usize) -> &[u8] {
        let e = self.entries[i];
        let at = e.at + usize::from(e.key);
        &self.bytes[at..at + usize::from(e.value)]
    }

    /// The child in entry `i` of a run of an inner level.
    pub(crate) fn child(&self, i: usize) -> Child {
        Child::read_from_bytes(self.value(i)).expect("entries of inner runs are children")
    }

    /// Keys in these entries, or below them.
    pub(crate) fn keys(&self, range: Range<usize>, inner: bool) -> u64 {
        if inner { range.map(|i| self.child(i).keys()).sum() } else { range.len() as u64 }
    }

    /// Room for so many entries, of so many bytes together.
    pub(crate) fn with_room(entries: usize, bytes: usize) -> Run {
        Run { bytes: Vec::with_capacity(bytes), entries: Vec::with_capacity(entries) }
    }

    /// Adds an entry above all others; the key comes in two parts. Lengths are
    /// within `MAX_KEY` and `MAX_VALUE`: callers' were checked, pages' too.
    pub(crate) fn push(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(prefix);
        self.bytes.extend_from_slice(suffix);
        self.bytes.extend_from_slice(value);
        let key = (prefix.len() + suffix.len()) as u16;
        self.entries.push(Entry { at, key, value: value.len() as u16 });
    }

    /// Adds entries of another run.
    pub(crate) fn extend(&mut self, other: &Run, range: Range<usize>) {
        for i in range {
            self.push(&[], other.key(i), other.value(i));
        }
    }

    /// Adds entries of a leaf page.
    pub(crate) fn extend_from_node(&mut self, node: &Node<'_>, range: Range<usize>) {
        for i in range {
            self.push(node.prefix(), node.suffix(i), node.value(i));
        }
    }

    /// Takes the last entry off.
    pub(crate) fn pop(&mut self) {
        if let Some(e) = self.entries.pop() {
            self.bytes.truncate(e.at);
        }
    }

    fn keyed(range: Range<usize>, inner: bool) -> Range<usize> {
        range.start + usize::from(inner)..range.end
    }

    /// What all keys of a page with these entries begin with.
    pub(crate) fn shared_prefix(&self, range: Range<usize>, inner: bool) -> &[u8] {
        let keyed = Run::keyed(range, inner);
        if keyed.is_empty() {
            return &[];
        }
        let first = self.key(keyed.start);
        &first[..common(first, self.key(keyed.end - 1))]
    }

    /// Bytes these entries take in one page, header excluded.
    pub(crate) fn size(&self, range: Range<usize>, inner: bool) -> usize {
        let prefix = self.shared_prefix(range.clone(), inner).len();
        let mut fill = Fill { bytes: 0, keyed: Run::keyed(range.clone(), inner).len(), prefix };
        for e in &self.entries[range.clone()] {
            fill.bytes += ENTRY_BYTES + usize::from(e.key) + usize::from(e.value);
        }
        if inner && !range.is_empty() {
            fill.bytes -= self.key(range.start).len();
        }
        fill.size()
    }

    /// Where the page that starts with entry `start` ends, if filled as far as it goes.
    fn fill_from(&self, start: usize, inner: bool) -> usize {
        let mut fill = Fill::default();
        let mut end = start;
        while end < self.len() {
            let mut next = fill;
            next.bytes += ENTRY_BYTES + self.value(end).len();
            if !inner || end > start {
                let key = self.key(end);
                next.bytes += key.len();
                let first = &self.key(start + usize::from(inner));
                next.prefix =
                    if next.keyed == 0 { key.len() } else { common(&first[..next.prefix], key) };
                next.keyed += 1;
            }
            if next.size() > CAPACITY {
                break;
            }
            fill = next;
            end += 1;
        }
        end
    }

    /// Cuts the run into pages; returns where each ends. Pages are filled in
    /// order; then the last two share evenly, unless `append` says that more
    /// will come behind the last (it is the tree's right edge).
    pub(crate) fn paginate(&self, inner: bool, append: bool) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut start = 0;
        while start < self.len() {
            let end = self.fill_from(start, inner);
            ends.push(end);
            start = end;
        }
        if let [.., cut, end] = ends[..]
            && !append
        {
            let start = if ends.len() > 2 { ends[ends.len() - 3] } else { 0 };
            let at = ends.len() - 2;
            ends[at] = self.even_cut(start, cut, end, inner);
        }
        ends
    }

    /// The first cut of `start..end`, `full` at most, at which the left page is
    /// no smaller than the right one. Left grows and right shrinks with the cut,
    /// so both fit: left up to `full` does, and right is no larger than left.
    fn even_cut(&self, start: usize, full: usize, end: usize, inner: bool) -> usize {
        let (mut low, mut high) = (start + 1, full);
        while low < high {
            let mid = low + (high - low) / 2;
            if self.size(start..mid, inner) >= self.size(mid..end, inner) {
                high = mid;
            } else {
                low = mid + 1;
            }
        }
        low
    }
}

/// A page being filled.
#[derive(Clone, Copy, Default)]
struct Fill {
    /// Entries as if there were no prefix.
    bytes: usize,
    /// Entries with a key.
    keyed: usize,
    prefix: usize,
}

impl Fill {
    fn size(&self) -> usize {
        // The prefix is taken from every key and written once.
        self.bytes + self.prefix - self.keyed * self.prefix
    }
}

/// Length of the longest common prefix.
pub(crate) fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The shortest key above `left` and not above `right` (`left < right`).
pub(crate) fn separator<'a>(left: &[u8], right: &'a [u8]) -> &'a [u8] {
    &right[..(common(left, right) + 1).min(right.len())]
}
