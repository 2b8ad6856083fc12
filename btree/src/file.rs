//! Opening and creating a page file, and handing out views and the writer.
//!
//! Must stay true:
//! * a file appears under its name whole (written aside, synced, renamed,
//!   directory synced), so a crash while creating leaves no file or a fresh one;
//! * the version opened is that of the valid meta page with the highest epoch;
//!   all it vouches for is there, else opening fails: nothing is repaired;
//! * what was opened is durable before anyone sees it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use platform::{Disk, Open};
use zerocopy::FromBytes;

use crate::cache::{Cache, CacheStats, Hint};
use crate::error::Error;
use crate::format::{
    BadMeta, DIRECTORY, FIRST_PAGE, MAX_HEIGHT, Meta, Owner, PAGE_BYTES, Ref, Root, VERSION,
};
use crate::free::{self, Space};
use crate::pins::Bound;
use crate::verify::Report;
use crate::view::{Shared, State, View};
use crate::write::Write;

/// How to open a page file.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most bytes the page cache holds. A cache too small for a page caches nothing.
    pub cache_bytes: usize,
    /// Most bytes of new pages a [`Write`] holds before it writes them out early
    /// (nothing refers to them until the commit).
    pub dirty_bytes: usize,
}

impl Default for Options {
    /// 64 MiB of cache, 8 MiB of unwritten pages.
    fn default() -> Options {
        Options { cache_bytes: 64 << 20, dirty_bytes: 8 << 20 }
    }
}

/// A page file: many trees, one atomic switch.
pub struct PageFile {
    shared: Arc<Shared>,
    current: ArcSwap<State>,
    space: Mutex<Space>,
    dirty_bytes: usize,
    older_meta: Option<String>,
}

impl PageFile {
    /// Opens the page file at `path`, or creates it; its directory must exist.
    /// The caller makes sure that no one else has it open.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] if no meta page is valid or what it
    /// vouches for is not; [`Error::Version`] if another release wrote it. One meta page
    /// that cannot be read is no error: [`PageFile::damaged_meta`] tells it.
    pub fn open(disk: Arc<dyn Disk>, path: &str, opts: Options) -> Result<PageFile, Error> {
        PageFile::open_or_make(disk, path, opts, [0; 64])
    }

    /// As [`PageFile::open`]; a file that is made holds `user` from its first moment.
    ///
    /// # Errors
    /// As [`PageFile::open`].
    pub fn open_or_make(
        disk: Arc<dyn Disk>,
        path: &str,
        opts: Options,
        user: [u8; 64],
    ) -> Result<PageFile, Error> {
        let io = |action: &str, source| Error::Io {
            path: path.to_owned(),
            action: action.to_owned(),
            source,
        };
        let mut was_there = true;
        let file = match disk.open(path, Open::Write) {
            Ok(file) => {
                // A process killed in a commit may leave a version, or the file's
                // name, that is in the kernel only. It must not be lost after it
                // was read here: the log may be cut on the strength of it.
                file.sync().map_err(|e| io("sync", e))?;
                disk.sync_dir(directory(path)).map_err(|e| io("sync the directory of", e))?;
                file
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                was_there = false;
                create(&*disk, path, user).map_err(|e| io("create", e))?;
                disk.open(path, Open::Write).map_err(|e| io("open", e))?
            }
            Err(e) => return Err(io("open", e)),
        };
        let cache = Cache::new(opts.cache_bytes);
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            file,
            bound: Bound::new(cache.frames() / 8),
            cache,
            live: Mutex::new(BTreeSet::new()),
            pinned: Mutex::default(),
            poison: Mutex::new(None),
        });
        let (meta, older) = choose_meta(&shared)?;
        let file_bytes = shared.file.len().map_err(|e| shared.io("measure", e))?;
        if file_bytes < u64::from(meta.pages.get()) * PAGE_BYTES as u64 {
            let what =
                format!("the file has {file_bytes} bytes, its meta page says {} pages", meta.pages);
            return Err(shared.corrupt(meta.slot(), None, what));
        }
        let roots = read_directory(&shared, &meta)?;
        let mut list = free::load(&shared, &meta)?;
        // A refusal above has changed nothing.
        if was_there {
            if matches!(older, Err(Other::Unreadable(_))) {
                erase(&shared, 1 - meta.slot())?;
            }
            rewrite(&shared, meta.slot())?;
        }
        let (older, older_meta) = match older {
            Ok(older) => (Some(older), None),
            Err(other) => (None, Some(other.to_string())),
        };
        let mut space = Space {
            reusable: std::mem::take(&mut list.reusable),
            chain: list.chain,
            pages: meta.pages.get(),
            older,
            ..Space::default()
        };
        space.reusable.sort_by(|a, b| b.cmp(a));
        let freed = list.freed.into_iter().map(|page| (page, 0)).collect();
        space.waiting.insert(meta.epoch.get(), freed);
        let state = State::new(Arc::clone(&shared), meta, roots);
        Ok(PageFile {
            shared,
            current: ArcSwap::new(state),
            space: Mutex::new(space),
            dirty_bytes: opts.dirty_bytes,
            older_meta,
        })
    }

    /// The committed version of now. Never waits, not even for a commit.
    pub fn view(&self) -> View {
        View(self.current.load_full())
    }

    /// The oldest version some view still stands on: views of older ones are gone,
    /// and none can come back. Never waits for a commit.
    pub fn oldest_epoch(&self) -> u64 {
        let current = self.current.load().meta.epoch.get();
        self.shared.live.lock().first().copied().unwrap_or(current)
    }

    /// Starts a write transaction; waits while there is another one.
    /// Dropped without [`Write::commit`] it has changed nothing.
    pub fn begin(&self) -> Write<'_> {
        let mut space = self.space.lock();
        let base = self.current.load_full();
        {
            let live = self.shared.live.lock();
            space.release(base.meta.epoch.get() + 1, &live);
            *self.shared.pinned.lock() = space.pinned(&live);
        }
        Write::new(self, space, base)
    }

    /// Pages that only live views of older versions need, as of the last
    /// [`PageFile::begin`]: how many, by the epoch of the newest view that can
    /// reach them. They are free once all views up to that one are gone.
    pub fn pinned_pages(&self) -> std::collections::BTreeMap<u64, u64> {
        self.shared.pinned.lock().clone()
    }

    /// How the page cache does.
    pub fn cache_stats(&self) -> CacheStats {
        self.shared.cache.stats()
    }

    /// Why the file takes no more writes, if a sync has failed.
    pub fn poisoned(&self) -> Option<String> {
        self.shared.poison.lock().clone()
    }

    /// What was wrong with the other meta page when the file was opened: a
    /// crash in a commit leaves one damaged. If none had happened, or the disk did not
    /// give it, the last commit may have been lost to the disk; the log knows.
    pub fn damaged_meta(&self) -> Option<&str> {
        self.older_meta.as_deref()
    }

    /// Reads and checks everything the current version can reach, and that each
    /// other page is free. Reads and writes go on meanwhile; the cache is left alone.
    pub fn verify(&self) -> Report {
        crate::verify::verify(&self.view())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    /// Makes a committed state the current one.
    pub(crate) fn switch(&self, state: Arc<State>) {
        self.current.store(state);
    }
}

impl std::fmt::Debug for PageFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageFile").field("view", &self.view()).finish_non_exhaustive()
    }
}

/// Writes a file without trees aside and gives it its name.
fn create(disk: &dyn Disk, path: &str, user: [u8; 64]) -> std::io::Result<()> {
    let aside = format!("{path}.new");
    let file = disk.open(&aside, Open::Create)?;
    file.set_len(0)?;
    for epoch in 0..u64::from(FIRST_PAGE) {
        let meta = Meta { user, ..Meta::empty(epoch) };
        file.write_at(&*meta.encode(), u64::from(meta.slot()) * PAGE_BYTES as u64)?;
    }
    file.sync()?;
    disk.rename(&aside, path)?;
    disk.sync_dir(directory(path))
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Why there is no second meta page.
#[derive(Debug)]
pub(crate) enum Other {
    /// It was read and does not check: a crash in a commit leaves one so.
    Damaged(String),
    /// The disk does not give it: no crash leaves that.
    Unreadable(String),
}

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Other::Damaged(what) | Other::Unreadable(what)) = self;
        f.write_str(what)
    }
}

/// The valid meta page with the highest epoch; the other, or what is wrong with it.
///
/// One that the disk does not give counts as damaged. If it was the newer one, nothing
/// is lost with it that cannot be had again: the version of the older one is whole
/// (pages are used again, and what lies beside the file is removed or cut, only once
/// both meta pages are of later commits), and who keeps a log keeps it from what the
/// older one says on (`lsm/src/retain.rs`).
pub(crate) fn choose_meta(shared: &Shared) -> Result<(Meta, Result<Meta, Other>), Error> {
    let slots = [read_meta(shared, 0), read_meta(shared, 1)];
    for slot in &slots {
        if let Ok(Err(BadMeta::Version(found))) = slot {
            return Err(Error::Version {
                path: shared.path.clone(),
                found: *found,
                supported: VERSION,
            });
        }
    }
    let bad = |slot: u32, bad: Result<BadMeta, Error>| match bad {
        Ok(bad) => Other::Damaged(format!("meta page {slot} is damaged: {bad}")),
        Err(error) => Other::Unreadable(format!("meta page {slot}: {error}")),
    };
    match slots.map(|slot| slot.map_or_else(|e| Err(Err(e)), |meta| meta.map_err(Ok))) {
        [Ok(a), Ok(b)] if a.epoch.get() > b.epoch.get() => Ok((a, Ok(b))),
        [Ok(a), Ok(b)] => Ok((b, Ok(a))),
        [Ok(good), Err(other)] => Ok((good, Err(bad(1, other)))),
        [Err(other), Ok(good)] => Ok((good, Err(bad(0, other)))),
        [Err(Ok(a)), Err(Ok(b))] => {
            let what = format!("neither meta page is valid (0: {a}; 1: {b})");
            Err(shared.corrupt(0, None, what))
        }
        // The disk may give it another time.
        [Err(Err(error)), Err(_)] | [Err(Ok(_)), Err(Err(error))] => Err(error),
    }
}

/// Makes a meta page that could not be read one that does not check, durably. The disk
/// may give it again another day, and it may be the newer one: it must not be chosen
/// then, since from here on its pages are used again and what lies beside the file is
/// cut to the older one's version. A power cut in this write leaves it as it was, before
/// anything was done, or damaged.
fn erase(shared: &Shared, slot: u32) -> Result<(), Error> {
    let offset = u64::from(slot) * PAGE_BYTES as u64;
    let action = || format!("erase unreadable page {slot} of");
    shared.file.write_at(&[0; PAGE_BYTES], offset).map_err(|e| shared.io(action(), e))?;
    shared.file.sync().map_err(|e| shared.io(action(), e))
}

/// Writes the meta page that was chosen once more. An earlier life may have failed to
/// sync it: then the kernel shows it, holds it for clean, and no sync brings it to the
/// disk, while all that is done from here on rests on it (the next commit writes over
/// the other one). Its pages are durable: they were synced before it was written. A
/// power cut in this write leaves the same bytes, or the other meta page's version,
/// whole.
fn rewrite(shared: &Shared, slot: u32) -> Result<(), Error> {
    let page = shared.read(slot, None)?;
    let offset = u64::from(slot) * PAGE_BYTES as u64;
    shared.file.write_at(&page, offset).map_err(|e| shared.io("write", e))?;
    shared.file.sync().map_err(|e| shared.io("sync", e))
}

/// The outer error: the disk does not give it.
fn read_meta(shared: &Shared, slot: u32) -> Result<Result<Meta, BadMeta>, Error> {
    match shared.read(slot, None) {
        Ok(bytes) => Ok(Meta::decode(slot, &bytes)),
        Err(Error::Corrupt { what, .. }) => Ok(Err(BadMeta::Damaged(what))),
        Err(e) => Err(e),
    }
}

/// All roots, by tree id, as the directory tree has them.
pub(crate) fn read_directory(shared: &Shared, meta: &Meta) -> Result<Vec<(u32, Root)>, Error> {
    let mut roots = Vec::new();
    if !meta.directory.is_none() {
        let height = meta.directory_height.get();
        debug_assert!(height <= MAX_HEIGHT);
        read_directory_page(shared, meta.directory, height as u8 - 1, &mut roots)?;
    }
    let sorted = roots.windows(2).all(|w: &[(u32, Root)]| w[0].0 < w[1].0);
    if !sorted || roots.len() as u64 != meta.trees.get() {
        let what = format!("it holds {} trees, the meta page says {}", roots.len(), meta.trees);
        return Err(shared.corrupt(meta.directory.page(), Some(DIRECTORY), what));
    }
    Ok(roots)
}

fn read_directory_page(
    shared: &Shared,
    at: Ref,
    level: u8,
    roots: &mut Vec<(u32, Root)>,
) -> Result<(), Error> {
    let page = shared.load(at, Owner::new(DIRECTORY), level, Hint::Once)?;
    let node = page.node();
    for i in 0..node.len() {
        if level > 0 {
            read_directory_page(shared, node.child(i).at, level - 1, roots)?;
            continue;
        }
        let (Ok(tree), Ok(root)) =
            (<[u8; 4]>::try_from(node.key(i)), Root::read_from_bytes(node.value(i)))
        else {
            return Err(shared.corrupt(
                at.page(),
                Some(DIRECTORY),
                format!("entry {i} is no tree"),
            ));
        };
        let tree = u32::from_be_bytes(tree);
        shared.levels(tree, &root)?;
        if root.at.page() < FIRST_PAGE || root.entries.get() == 0 {
            return Err(shared.corrupt(
                at.page(),
                Some(DIRECTORY),
                format!("the root of tree {tree} is none"),
            ));
        }
        roots.push((tree, root));
    }
    Ok(())
}
