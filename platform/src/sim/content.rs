//! A file's bytes as shared 4 KiB pages: a copy costs one pointer per page.
//!
//! Invariant: no page lies beyond the end and the bytes of the last page beyond
//! the end are zero, so that growing a file shows zeros; a page that was never
//! written is absent and reads as zeros.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The unit in which a kernel writes back: what survives out of order.
pub(crate) const PAGE: usize = 4096;
const PAGE_64: u64 = PAGE as u64;

type Page = [u8; PAGE];

#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

/// The part of a range that lies in one page.
pub(crate) struct Piece {
    pub(crate) page: u64,
    /// Where in the page it starts.
    pub(crate) within: usize,
    /// Where in the range it starts.
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// Cuts `offset..offset + len` at page boundaries. The sum must not overflow.
pub(crate) fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == len {
            return None;
        }
        let at = offset + start as u64;
        let within = (at % PAGE_64) as usize;
        let piece =
            Piece { page: at / PAGE_64, within, start, len: (PAGE - within).min(len - start) };
        start += piece.len;
        Some(piece)
    })
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Pages that hold something, from page `first` on.
    pub(crate) fn pages_from(&self, first: u64) -> u64 {
        self.pages.range(first..).count() as u64
    }

    /// Whether the page takes up space.
    pub(crate) fn has_page(&self, page: u64) -> bool {
        self.pages.contains_key(&page)
    }

    /// Returns how many bytes there were to read.
    pub(crate) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let left = self.len.saturating_sub(offset);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        for piece in pieces(offset, n) {
            let out = &mut buf[piece.start..piece.start + piece.len];
            match self.pages.get(&piece.page) {
                Some(page) => out.copy_from_slice(&page[piece.within..piece.within + piece.len]),
                None => out.fill(0),
            }
        }
        n
    }

    pub(crate) fn write(&mut self, data: &[u8], offset: u64) {
        for piece in pieces(offset, data.len()) {
            let page = self.pages.entry(piece.page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[piece.within..piece.within + piece.len]
                .copy_from_slice(&data[piece.start..piece.start + piece.len]);
        }
        if !data.is_empty() {
            self.len = self.len.max(offset + data.len() as u64);
        }
    }

    /// Lets the whole pages of a range of zeros go.
    pub(crate) fn forget_zeros(&mut self, len: usize, offset: u64) {
        for piece in pieces(offset, len) {
            if piece.len == PAGE {
                self.pages.remove(&piece.page);
            }
        }
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE_64));
            let within = (len % PAGE_64) as usize;
            if within > 0
                && let Some(page) = self.pages.get_mut(&(len / PAGE_64))
            {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.len = len;
    }

    /// Takes one page as it stands in `from` (shared, not copied).
    pub(crate) fn take_page(&mut self, from: &Self, page: u64) {
        match from.pages.get(&page) {
            Some(bytes) => self.pages.insert(page, Arc::clone(bytes)),
            None => self.pages.remove(&page),
        };
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut out = vec![0; usize::try_from(self.len).expect("a simulated file fits in memory")];
        self.read(&mut out, 0);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize, Vec<u8>),
        SetLen(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let data = (1usize..9000, any::<u8>()).prop_map(|(n, byte)| vec![byte; n]);
        let step = prop_oneof![
            (0usize..20_000, data).prop_map(|(at, data)| Step::Write(at, data)),
            (0usize..20_000).prop_map(Step::SetLen),
        ];
        proptest::collection::vec(step, 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn pages_read_like_one_vector(steps in steps()) {
            let (mut content, mut model) = (Content::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Write(at, data) => {
                        content.write(&data, at as u64);
                        let end = at + data.len();
                        model.resize(model.len().max(end), 0);
                        model[at..end].copy_from_slice(&data);
                    }
                    Step::SetLen(len) => {
                        content.set_len(len as u64);
                        model.resize(len, 0);
                    }
                }
                prop_assert!(content.to_vec() == model);
            }
        }
    }
}
