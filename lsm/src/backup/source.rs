//! What a backup reads of the store, piece by piece.
//!
//! What must stay true: everything that keeps pages or files of the store from being
//! freed lies behind one lock, held while a piece is read and never while one is
//! written. So it can be taken away (`lease.rs`) though the thread that copies waits
//! for a disk of backups that does not answer. From then on each piece fails by name.

use std::collections::VecDeque;

use btree::{PAGE_BYTES, PageAt, PageCopy, Pages, View, Walked};
use parking_lot::Mutex;
use vlog::{Scan, SegmentFile};

use super::error::Error;
use crate::lease::Reader;

/// Bytes `from..to` of a segment; `from` is 0, or where a record begins.
pub(crate) struct Extent {
    pub(crate) segment: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) file: SegmentFile,
}

/// An extent that is read now.
pub(crate) struct Begun {
    pub(crate) segment: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The segment's own, if it is read from its first byte on.
    pub(crate) header: Vec<u8>,
}

/// See the module.
pub(crate) struct Source {
    /// `None`: it was taken away.
    held: Mutex<Option<Held>>,
    /// What the store may keep for it, in bytes.
    most: u64,
}

struct Held {
    view: View,
    walk: Pages,
    /// Extents of segments still to be read.
    values: VecDeque<Extent>,
    scan: Option<Scan>,
}

impl Reader for Source {
    fn empty(&self) {
        let taken = self.held.lock().take();
        drop(taken);
    }
}

impl Source {
    pub(crate) fn new(view: View, values: VecDeque<Extent>, most: u64) -> Self {
        let held = Held { walk: view.pages(), view, values, scan: None };
        Source { held: Mutex::new(Some(held)), most }
    }

    fn read<T>(&self, f: impl FnOnce(&mut Held) -> Result<T, Error>) -> Result<T, Error> {
        match &mut *self.held.lock() {
            Some(held) => f(held),
            None => Err(self.taken()),
        }
    }

    /// What is said once it was taken away.
    pub(crate) fn taken(&self) -> Error {
        Error::HeldTooMuch { most: self.most }
    }

    /// Nothing more of it is needed, whether or not it was taken away.
    pub(crate) fn close(&self) {
        self.empty();
    }

    /// Begins the next extent of the value log; `None`: there is none.
    pub(crate) fn extent(&self) -> Result<Option<Begun>, Error> {
        self.read(|held| {
            let Some(Extent { segment, from, to, file }) = held.values.pop_front() else {
                return Ok(None);
            };
            let mut header = Vec::new();
            if from == 0 {
                file.check_header()?;
                header.resize(SegmentFile::FIRST as usize, 0);
                let got = file.read_raw(&mut header, 0)?;
                if got < header.len() {
                    let what = format!("it ends after {got} bytes, within its header");
                    let file = file.path().to_owned();
                    return Err(crate::Error::Corrupt { file, what }.into());
                }
            }
            held.scan = Some(file.scan(from.max(SegmentFile::FIRST), to));
            Ok(Some(Begun { segment, from, to, header }))
        })
    }

    /// Adds whole records of the extent to `out`, until these are at least `most` bytes.
    /// `false`: the extent has ended.
    pub(crate) fn records(&self, most: usize, out: &mut Vec<u8>) -> Result<bool, Error> {
        self.read(|held| {
            let Some(scan) = &mut held.scan else { return Ok(false) };
            while out.len() < most {
                let Some((_, _, bytes)) = scan.next_raw()? else {
                    held.scan = None;
                    return Ok(false);
                };
                out.extend_from_slice(bytes);
            }
            Ok(true)
        })
    }

    /// The next page; `None`: there is none. See [`Pages::next`] for `known`.
    pub(crate) fn page(
        &self,
        known: &mut dyn FnMut(u32, u32) -> bool,
    ) -> Result<Option<(PageAt, PageCopy)>, Error> {
        self.read(|held| match held.walk.next(known) {
            None => Ok(None),
            Some(Walked::Page(at, page)) => Ok(Some((at, page))),
            Some(Walked::Lost(_, error)) => Err(error.into()),
        })
    }

    /// The meta page, and where it lies.
    pub(crate) fn meta_page(&self) -> Result<(u32, Box<[u8; PAGE_BYTES]>), Error> {
        self.read(|held| Ok(held.view.meta_page()))
    }
}
