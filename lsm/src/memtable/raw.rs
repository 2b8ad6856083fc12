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

use std::alloc::{self, Layout};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use parking_lot::{Mutex, MutexGuard};

use super::node::{Inner, Leaf, Ordered};
use super::sync::{AtomicPtr, Mark};

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
    pub(super) fn entry(
        &mut self,
        key: &[u8],
        lsn: u64,
        value: Option<&[u8]>,
        older: Option<Entry<'a>>,
    ) -> Entry<'a> {
        let bytes = value.unwrap_or_default();
        let header = Header {
            lsn,
            value_len: u32::try_from(bytes.len()).expect("a batch holds less than 4 GiB"),
            key_len: u16::try_from(key.len()).expect("a key has at most 1 KiB"),
            put: value.is_some(),
            has_past: older.is_some(),
            mark: Mark::new(),
        };
        let past = if older.is_some() { size_of::<Past>() } else { 0 };
        let size = size_of::<Header>() + past + key.len() + bytes.len();
        // The next one begins aligned: no place is lost in two different ways.
        let size = size.next_multiple_of(align_of::<Header>());
        let at = self.bump.place(false, size, align_of::<Header>(), &self.arena.bytes);
        // SAFETY: a fresh place (1) of `size` bytes, aligned for the header, which
        // is aligned as the past that follows it; all writes lie within it, and
        // what is copied from is borrowed, so it does not overlap a fresh place.
        unsafe {
            at.cast::<Header>().write(header);
            let mut to = at.add(size_of::<Header>());
            if let Some(older) = older {
                to.cast::<Past>().write(Past::of(older));
                to = to.add(size_of::<Past>());
            }
            ptr::copy_nonoverlapping(key.as_ptr(), to, key.len());
            ptr::copy_nonoverlapping(bytes.as_ptr(), to.add(key.len()), bytes.len());
            (*at.cast::<Header>()).mark.write();
        }
        Entry(NonNull::new(at).expect("a place is not null"), PhantomData)
    }
}

/// ```text
///  0      8            12        14    15         16         40
/// +------+------------+---------+-----+----------+----------+---------+-----------+
/// | lsn  | value len  | key len | put | has past | past ... | key ... | value ... |
/// | u64  | u32        | u16     | u8  | u8       | if any   |         |           |
/// +------+------------+---------+-----+----------+----------+---------+-----------+
/// ```
#[repr(C)]
pub(super) struct Header {
    lsn: u64,
    value_len: u32,
    key_len: u16,
    put: bool,
    has_past: bool,
    mark: Mark,
}
const _: () = assert!(size_of::<Header>() % align_of::<Past>() == 0);

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
pub(crate) struct Entry<'a>(NonNull<u8>, PhantomData<&'a Arena>);

// SAFETY: what it leads to is not written any more (1) and may be read anywhere.
unsafe impl Send for Entry<'_> {}
// SAFETY: as above.
unsafe impl Sync for Entry<'_> {}

impl<'a> Entry<'a> {
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
        // SAFETY: so many bytes of key follow header and past (see `entry`).
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
        // SAFETY: so many bytes of value follow the key (see `entry`).
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
    pub(super) fn as_of(self, lsn: u64) -> Option<Entry<'a>> {
        let mut at = self;
        while at.lsn() > lsn {
            let past = at.past()?;
            let jump = Entry(past.jump, PhantomData);
            at = if jump.lsn() > lsn { jump } else { Entry(past.older, PhantomData) };
        }
        Some(at)
    }
}

/// A link to an entry.
pub(super) struct EntryLink(AtomicPtr<u8>);

impl EntryLink {
    pub(super) fn new(to: Option<Entry<'_>>) -> Self {
        EntryLink(AtomicPtr::new(to.map_or(ptr::null_mut(), |to| to.0.as_ptr())))
    }

    #[inline]
    pub(super) fn load(&self) -> Option<Entry<'_>> {
        NonNull::new(self.0.load(Acquire)).map(|at| Entry(at, PhantomData))
    }

    #[inline]
    pub(super) fn store(&self, to: Entry<'_>) {
        self.0.store(to.0.as_ptr(), Release);
    }
}

/// A link to a leaf.
pub(super) struct LeafLink(AtomicPtr<Leaf>);

impl LeafLink {
    pub(super) fn none() -> Self {
        LeafLink(AtomicPtr::new(ptr::null_mut()))
    }

    pub(super) fn new(to: Option<&Leaf>) -> Self {
        LeafLink(AtomicPtr::new(to.map_or(ptr::null_mut(), |to| ptr::from_ref(to).cast_mut())))
    }

    #[inline]
    pub(super) fn load(&self) -> Option<&Leaf> {
        // SAFETY: null, or a leaf placed in the arena this link belongs to: written
        // before (3), never moved, alive while the link is borrowed (2), and only
        // ever shared.
        unsafe { self.0.load(Acquire).as_ref() }
    }

    #[inline]
    pub(super) fn store(&self, to: &Leaf) {
        self.0.store(ptr::from_ref(to).cast_mut(), Release);
    }
}

/// A node below an inner one.
#[derive(Clone, Copy)]
pub(super) enum Child<'a> {
    Leaf(&'a Leaf),
    Inner(&'a Inner),
}

/// A link to a node of either kind: the lowest bit says which (set: a leaf).
pub(super) struct ChildLink(AtomicPtr<u8>);

const LEAF: usize = 1;
const _: () = assert!(align_of::<Leaf>() > LEAF && align_of::<Inner>() > LEAF);

impl ChildLink {
    pub(super) fn none() -> Self {
        ChildLink(AtomicPtr::new(ptr::null_mut()))
    }

    pub(super) fn new(to: Option<Child<'_>>) -> Self {
        ChildLink(AtomicPtr::new(to.map_or(ptr::null_mut(), Self::tagged)))
    }

    fn tagged(to: Child<'_>) -> *mut u8 {
        match to {
            Child::Leaf(leaf) => {
                ptr::from_ref(leaf).cast_mut().cast::<u8>().map_addr(|at| at | LEAF)
            }
            Child::Inner(inner) => ptr::from_ref(inner).cast_mut().cast(),
        }
    }

    #[inline]
    pub(super) fn load(&self) -> Option<Child<'_>> {
        let at = self.0.load(Acquire);
        // SAFETY: null, or a node as for `LeafLink::load`; its kind was put into
        // the lowest bit, which the alignment of nodes leaves free.
        unsafe {
            if at.addr() & LEAF != 0 {
                at.map_addr(|at| at & !LEAF).cast::<Leaf>().as_ref().map(Child::Leaf)
            } else {
                at.cast::<Inner>().as_ref().map(Child::Inner)
            }
        }
    }

    #[inline]
    pub(super) fn store(&self, to: Child<'_>) {
        self.0.store(Self::tagged(to), Release);
    }
}

/// A place in a leaf as one order word has it, and the version shown there.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) leaf: &'a Leaf,
    pub(super) order: Ordered,
    pub(super) rank: usize,
    entry: Option<Entry<'a>>,
}

impl<'a> Spot<'a> {
    /// In `leaf` as it is now, at nothing yet.
    #[inline]
    pub(super) fn of(leaf: &'a Leaf) -> Self {
        Spot { leaf, order: leaf.order(), rank: 0, entry: None }
    }

    /// At a version of the `rank`-th key.
    #[inline]
    pub(super) fn at(self, rank: usize, entry: Entry<'a>) -> Self {
        Spot { rank, entry: Some(entry), ..self }
    }
}

/// A [`Spot`] in what `owner` owns, kept alive by it; at first nowhere.
pub(super) struct Anchor<O> {
    /// [`Spot::leaf`], [`Spot::entry`], without their lifetime.
    leaf: Option<NonNull<Leaf>>,
    entry: Option<NonNull<u8>>,
    order: Ordered,
    rank: usize,
    owner: Arc<O>,
}

// SAFETY: a leaf (atomics), an entry that nobody writes, and an `Arc`.
unsafe impl<O: Send + Sync> Send for Anchor<O> {}
// SAFETY: as above.
unsafe impl<O: Send + Sync> Sync for Anchor<O> {}

impl<O> Anchor<O> {
    pub(super) fn new(owner: Arc<O>) -> Self {
        Anchor { leaf: None, entry: None, order: Ordered::default(), rank: 0, owner }
    }

    /// The version stood on.
    #[inline]
    pub(super) fn entry(&self) -> Option<Entry<'_>> {
        // Lent by the owner as in `go`.
        self.entry.map(|at| Entry(at, PhantomData))
    }

    /// Goes where `step` says, from where it stands. `step` must do for any
    /// lifetime, so the spot it gives is the owner's.
    #[inline]
    pub(super) fn go(
        &mut self,
        step: impl for<'a> FnOnce(&'a O, Option<Spot<'a>>) -> Option<Spot<'a>>,
    ) {
        let spot = self.leaf.map(|leaf| Spot {
            // SAFETY: `step` was lent it by `*owner`, which does not move in its
            // `Arc`, lives while we hold that, and is not borrowed mutably while
            // it is shared: it may be lent again for as long as `self` is.
            leaf: unsafe { leaf.as_ref() },
            order: self.order,
            rank: self.rank,
            entry: self.entry.map(|at| Entry(at, PhantomData)),
        });
        match step(&self.owner, spot) {
            Some(spot) => {
                self.leaf = Some(NonNull::from(spot.leaf));
                self.entry = spot.entry.map(|entry| entry.0);
                (self.order, self.rank) = (spot.order, spot.rank);
            }
            None => (self.leaf, self.entry) = (None, None),
        }
    }
}

/// Bytes that lie in what `owner` owns, kept alive by it.
pub(crate) struct Held<O> {
    bytes: NonNull<[u8]>,
    owner: Arc<O>,
}

// SAFETY: shared bytes that nobody writes, and an `Arc`.
unsafe impl<O: Send + Sync> Send for Held<O> {}
// SAFETY: as above.
unsafe impl<O: Send + Sync> Sync for Held<O> {}

impl<O> Held<O> {
    /// What `find` finds in the owner, with the owner; `None` where it finds none.
    /// `find` must do for any lifetime, so what it gives is the owner's or static.
    #[inline]
    pub(crate) fn find(
        owner: &Arc<O>,
        find: impl for<'a> FnOnce(&'a O) -> Option<&'a [u8]>,
    ) -> Option<Held<O>> {
        let bytes = NonNull::from(find(owner)?);
        Some(Held { bytes, owner: Arc::clone(owner) })
    }
}

impl<O> Clone for Held<O> {
    fn clone(&self) -> Self {
        Held { bytes: self.bytes, owner: Arc::clone(&self.owner) }
    }
}

impl<O> Deref for Held<O> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: borrowed from `*owner`, which does not move in its `Arc`, lives
        // while we hold that, and is not borrowed mutably while it is shared.
        unsafe { self.bytes.as_ref() }
    }
}

impl<O> fmt::Debug for Held<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
