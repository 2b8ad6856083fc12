//! The memtable's memory: a bump arena, entries in it, links between what lies
//! in it. The only `unsafe` of this crate; everything above is safe code.
//!
//! Why it is sound:
//!
//! 1. *Memory.* Chunks are allocated by the writer, never moved, and freed only
//!    when the [`Arena`] is dropped. A place in a chunk is handed out once, so
//!    what lies there is written by nobody but its one writer, before anybody
//!    else knows of it, and is not written again (links and order words are
//!    atomics and change through `&`).
//! 2. *Lifetimes.* What [`Writer`] places is lent for `'a`, the life of the
//!    borrow of its arena: while it is borrowed it cannot be dropped or moved
//!    out of its owner. What a link leads to is lent for as long as the link
//!    itself is borrowed. **A link lies in the arena whose places it leads to, or
//!    in the owner of that arena**: so a borrowed link means a living arena. The
//!    types cannot say which arena a place came from; `table.rs`, the only user,
//!    has one arena in one owner.
//! 3. *Races.* A link is stored with Release after the place it leads to was
//!    written, and loaded with Acquire: who follows a link finds that place
//!    written. All other access to shared memory is through atomics or to bytes
//!    that no longer change. One thread writes: [`Arena::writer`] is a lock.
//! 4. *No destructors.* What is placed has none that matters: integers, links.
//! 5. *Sizes.* Header fields and chunk layouts come from lengths that were
//!    checked against the fields' widths.

#![allow(unsafe_code)]

mod anchor;
mod entry;
mod link;

use std::alloc::{self, Layout};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::{Mutex, MutexGuard};

pub(crate) use anchor::Held;
pub(super) use anchor::{Anchor, Spot};
pub(crate) use entry::Entry;
pub(super) use entry::Header;
pub(super) use link::{Child, ChildLink, EntryLink, LeafLink};

use super::node::{Inner, Leaf};
use super::sync::APART;

/// Bytes of the first chunk of each kind; each is twice the one before, up to
/// [`LARGEST`]: a keyspace that is hardly written costs little.
const FIRST: usize = 512;
/// Bytes of a full-sized chunk. What is larger than a quarter of it gets a chunk
/// of its own, so that at most a quarter is lost at a chunk's end.
const LARGEST: usize = 64 << 10;
/// Chunks begin at a cache line.
const ALIGN: usize = 64;

struct Chunk {
    at: NonNull<u8>,
    layout: Layout,
}

/// Where the next places come from.
struct Room {
    next: *mut u8,
    left: usize,
    /// Bytes of the chunk to come.
    chunk: usize,
}

impl Room {
    const fn new() -> Self {
        Room { next: ptr::null_mut(), left: 0, chunk: FIRST }
    }
}

struct Bump {
    chunks: Vec<Chunk>,
    /// Nodes lie apart from entries: a search stays within few pages.
    nodes: Room,
    entries: Room,
}

// SAFETY: the pointers are to memory that this value owns (chunks) or to places
// in it (rooms) that only its holder writes.
unsafe impl Send for Bump {}

/// See the module.
pub(super) struct Arena {
    bump: Mutex<Bump>,
    /// Bytes allocated, the list of chunks included.
    bytes: AtomicUsize,
}

impl Arena {
    pub(super) const fn new() -> Self {
        let bump = Bump { chunks: Vec::new(), nodes: Room::new(), entries: Room::new() };
        Arena { bump: Mutex::new(bump), bytes: AtomicUsize::new(0) }
    }

    /// Bytes of memory allocated.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// The right to place things. One at a time; others wait.
    #[inline]
    pub(super) fn writer(&self) -> Writer<'_> {
        Writer { arena: self, bump: self.bump.lock() }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for chunk in self.bump.get_mut().chunks.drain(..) {
            // SAFETY: allocated in `Bump::chunk` with this layout, freed here
            // only. No borrow of the arena is left (2), so nothing in it is used.
            unsafe { alloc::dealloc(chunk.at.as_ptr(), chunk.layout) };
        }
    }
}

impl Bump {
    /// A new chunk of so many bytes, owned by the list. Counts what it allocates.
    fn chunk(&mut self, size: usize, bytes: &AtomicUsize) -> *mut u8 {
        let layout = Layout::from_size_align(size, ALIGN).expect("a chunk is far below isize::MAX");
        let list = self.chunks.capacity();
        self.chunks.reserve(1);
        // SAFETY: the size is not zero: FIRST at least, or what did not fit.
        let Some(at) = NonNull::new(unsafe { alloc::alloc(layout) }) else {
            alloc::handle_alloc_error(layout)
        };
        self.chunks.push(Chunk { at, layout });
        bytes.fetch_add(size + (self.chunks.capacity() - list) * size_of::<Chunk>(), Relaxed);
        at.as_ptr()
    }

    /// A place of `size` bytes at a multiple of `align`, at most [`ALIGN`].
    #[inline]
    fn place(&mut self, node: bool, size: usize, align: usize, bytes: &AtomicUsize) -> *mut u8 {
        debug_assert!(align.is_power_of_two() && align <= ALIGN && size > 0);
        if APART {
            return self.chunk(size, bytes);
        }
        let room = if node { &mut self.nodes } else { &mut self.entries };
        let skip = room.next.align_offset(align);
        if skip.saturating_add(size) <= room.left {
            // SAFETY: `left` bytes of the room's chunk follow `next`.
            let at = unsafe { room.next.add(skip) };
            // SAFETY: as above; at most one past the chunk's end.
            room.next = unsafe { at.add(size) };
            room.left -= skip + size;
            return at;
        }
        self.place_in_new(node, size, bytes)
    }

    #[cold]
    fn place_in_new(&mut self, node: bool, size: usize, bytes: &AtomicUsize) -> *mut u8 {
        let chunk = if node { self.nodes.chunk } else { self.entries.chunk };
        if size > chunk / 4 && size > LARGEST / 4 {
            return self.chunk(size, bytes);
        }
        let chunk = chunk.max(size.next_power_of_two());
        let at = self.chunk(chunk, bytes);
        let room = if node { &mut self.nodes } else { &mut self.entries };
        // SAFETY: the chunk has at least `size` bytes.
        room.next = unsafe { at.add(size) };
        room.left = chunk - size;
        room.chunk = (chunk * 2).min(LARGEST);
        at
    }
}

/// The right to place things in an arena.
pub(super) struct Writer<'a> {
    arena: &'a Arena,
    bump: MutexGuard<'a, Bump>,
}

impl<'a> Writer<'a> {
    /// A leaf, for good.
    pub(super) fn leaf(&mut self, leaf: Leaf) -> &'a Leaf {
        self.node(leaf)
    }

    /// An inner node, for good.
    pub(super) fn inner(&mut self, inner: Inner) -> &'a Inner {
        self.node(inner)
    }

    fn node<T>(&mut self, node: T) -> &'a T {
        const { assert!(align_of::<T>() <= ALIGN && size_of::<T>() > 0) };
        let at = self.bump.place(true, size_of::<T>(), align_of::<T>(), &self.arena.bytes);
        let at = at.cast::<T>();
        // SAFETY: a fresh place of this size and alignment (1), valid for 'a (2).
        unsafe {
            at.write(node);
            &*at
        }
    }

    /// An entry, for good: key and value are copied behind its header. `value` is
    /// `None` for a delete; `older` is the entry this one is a newer version of.
    /// Keys of 64 KiB and values of 4 GiB are a bug of the caller.
    #[inline]
    pub(super) fn entry(
        &mut self,
        key: &[u8],
        lsn: u64,
        value: Option<&[u8]>,
        older: Option<Entry<'a>>,
    ) -> Entry<'a> {
        let form = entry::Form::new(key, lsn, value, older);
        let at = self.bump.place(false, form.bytes(), entry::ALIGN, &self.arena.bytes);
        let at = NonNull::new(at).expect("a place is not null");
        // SAFETY: a fresh place (1) of the form's size and alignment, valid for 'a
        // (2); `older` lies in the same arena.
        unsafe { form.write(at) }
    }
}
