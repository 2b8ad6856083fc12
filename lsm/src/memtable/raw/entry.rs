//! Entries: versions of keys. Laid out once, never changed.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use super::super::sync::Mark;
use super::Arena;

/// Where an entry begins.
pub(super) const ALIGN: usize = align_of::<Header>();

/// ```text
///  0      8            12        14    15         16         40
/// +------+------------+---------+-----+----------+----------+---------+-----------+
/// | lsn  | value len  | key len | put | has past | past ... | key ... | value ... |
/// | u64  | u32        | u16     | u8  | u8       | if any   |         |           |
/// +------+------------+---------+-----+----------+----------+---------+-----------+
/// ```
#[repr(C)]
pub(in super::super) struct Header {
    lsn: u64,
    value_len: u32,
    key_len: u16,
    put: bool,
    has_past: bool,
    mark: Mark,
}
const _: () = assert!(size_of::<Header>().is_multiple_of(align_of::<Past>()));

/// The way to older versions of the same key.
#[repr(C)]
#[derive(Clone, Copy)]
struct Past {
    /// The next older one.
    older: NonNull<u8>,
    /// One much older: see [`Past::of`].
    jump: NonNull<u8>,
    /// Older versions in all.
    depth: u64,
}
const _: () = assert!(size_of::<Past>() == 24 && align_of::<Past>() <= align_of::<Header>());

impl Past {
    /// The past of a version newer than `older`. Jumps are those of Myers'
    /// random-access list: equal steps are joined to one of twice the length and
    /// one, so that any older version is found in logarithmic time, and a version
    /// costs constant time and space.
    fn of(older: Entry<'_>) -> Past {
        let jump = older.jump();
        let joined = jump.jump();
        let depth = older.depth();
        let equal = depth - jump.depth() == jump.depth() - joined.depth();
        let jump = if equal { joined } else { older };
        Past { older: older.0, jump: jump.0, depth: depth + 1 }
    }
}

/// A version of a key, in the arena for good.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a>(pub(super) NonNull<u8>, PhantomData<&'a Arena>);

// SAFETY: what it leads to is not written any more (1) and may be read anywhere.
unsafe impl Send for Entry<'_> {}
// SAFETY: as above.
unsafe impl Sync for Entry<'_> {}

/// An entry to be written.
pub(super) struct Form<'b, 'a> {
    key: &'b [u8],
    lsn: u64,
    value: Option<&'b [u8]>,
    older: Option<Entry<'a>>,
}

impl<'b, 'a> Form<'b, 'a> {
    #[inline]
    pub(super) fn new(
        key: &'b [u8],
        lsn: u64,
        value: Option<&'b [u8]>,
        older: Option<Entry<'a>>,
    ) -> Self {
        Form { key, lsn, value, older }
    }

    /// What it takes, up to where the next one may begin.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        let past = if self.older.is_some() { size_of::<Past>() } else { 0 };
        let size = size_of::<Header>() + past + self.key.len();
        (size + self.value.map_or(0, <[u8]>::len)).next_multiple_of(ALIGN)
    }

    /// Writes it.
    ///
    /// # Safety
    /// `at` is a place of [`Form::bytes`] bytes aligned to [`ALIGN`] that nobody
    /// else knows of, valid and not written again for `'a`.
    #[inline]
    pub(super) unsafe fn write(self, at: NonNull<u8>) -> Entry<'a> {
        let bytes = self.value.unwrap_or_default();
        let header = Header {
            lsn: self.lsn,
            value_len: u32::try_from(bytes.len()).expect("a batch holds less than 4 GiB"),
            key_len: u16::try_from(self.key.len()).expect("a key has at most 1 KiB"),
            put: self.value.is_some(),
            has_past: self.older.is_some(),
            mark: Mark::new(),
        };
        // SAFETY: all writes lie within the place, one behind the other; header and
        // past are aligned since the header's size is a multiple of the past's
        // alignment. What is copied from is borrowed, so it does not overlap a
        // place nobody knows of.
        unsafe {
            at.cast::<Header>().write(header);
            let mut to = at.as_ptr().add(size_of::<Header>());
            if let Some(older) = self.older {
                to.cast::<Past>().write(Past::of(older));
                to = to.add(size_of::<Past>());
            }
            ptr::copy_nonoverlapping(self.key.as_ptr(), to, self.key.len());
            ptr::copy_nonoverlapping(bytes.as_ptr(), to.add(self.key.len()), bytes.len());
            at.cast::<Header>().as_ref().mark.write();
        }
        Entry(at, PhantomData)
    }
}

impl<'a> Entry<'a> {
    /// The entry at a place.
    ///
    /// # Safety
    /// One was written there, in an arena that lives for `'a`.
    #[inline]
    pub(super) unsafe fn from_place(at: NonNull<u8>) -> Self {
        Entry(at, PhantomData)
    }

    #[inline]
    fn header(self) -> &'a Header {
        // SAFETY: an entry begins with its header, written before anybody knew of
        // the entry (3) and alive for 'a (2).
        let header = unsafe { self.0.cast::<Header>().as_ref() };
        header.mark.read();
        header
    }

    #[inline]
    fn past(self) -> Option<&'a Past> {
        if !self.header().has_past {
            return None;
        }
        // SAFETY: the header says that a past follows it, aligned as it is.
        Some(unsafe { self.0.add(size_of::<Header>()).cast::<Past>().as_ref() })
    }

    /// Offset of the key.
    #[inline]
    fn body(self) -> usize {
        size_of::<Header>() + if self.header().has_past { size_of::<Past>() } else { 0 }
    }

    /// The commit that wrote it.
    #[inline]
    pub(crate) fn lsn(self) -> u64 {
        self.header().lsn
    }

    #[inline]
    pub(crate) fn key(self) -> &'a [u8] {
        let len = usize::from(self.header().key_len);
        // SAFETY: so many bytes of key follow header and past (see `Form::write`).
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(self.body()), len) }
    }

    /// The value; `None`: the key was deleted.
    #[inline]
    pub(crate) fn value(self) -> Option<&'a [u8]> {
        let header = self.header();
        if !header.put {
            return None;
        }
        let at = self.body() + usize::from(header.key_len);
        // SAFETY: so many bytes of value follow the key (see `Form::write`).
        Some(unsafe {
            std::slice::from_raw_parts(self.0.as_ptr().add(at), header.value_len as usize)
        })
    }

    fn depth(self) -> u64 {
        self.past().map_or(0, |past| past.depth)
    }

    /// The oldest version jumps to itself.
    fn jump(self) -> Entry<'a> {
        // It was placed before, in the same arena: alive for 'a.
        self.past().map_or(self, |past| Entry(past.jump, PhantomData))
    }

    /// The newest version not above `lsn`.
    #[inline]
    pub(in super::super) fn as_of(self, lsn: u64) -> Option<Entry<'a>> {
        let mut at = self;
        while at.lsn() > lsn {
            let past = at.past()?;
            let jump = Entry(past.jump, PhantomData);
            at = if jump.lsn() > lsn { jump } else { Entry(past.older, PhantomData) };
        }
        Some(at)
    }
}
