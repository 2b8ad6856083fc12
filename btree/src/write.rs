//! The write transaction: new pages, then the switch.
//!
//! The durability argument. Version e stands whole on the disk, reachable from
//! meta page e % 2. Commit e + 1
//!
//! 1. writes its pages, all of them to places that neither version e nor
//!    version e - 1 nor any live view can reach (`free::Space::release`, or
//!    behind the end of the file);
//! 2. fdatasync: they are durable before anything refers to them;
//! 3. writes meta page (e + 1) % 2, over the meta page of version e - 1. Torn,
//!    its checksum fails, and version e is what the next open finds;
//! 4. fdatasync: only now the commit is reported, and only now views see it.
//!
//! The types assert the order: step 3 takes the [`Durable`] that only step 2
//! makes.
//!
//! What a failure leaves:
//! * a write of step 1: nothing refers to its place, and whatever of it was
//!   written is written over before anything will. The transaction fails, the
//!   file is as it was, and the caller may start over with another one;
//! * the write of step 3: the new meta page may lie in the kernel whole, for the
//!   next open to find, while this process, going on from version e, would write
//!   over the pages it names. So nothing is written before the slot holds version
//!   e - 1 again (or, if that was damaged when the file was opened, no version),
//!   synced: `restore`, tried by each later transaction. A crash until then finds
//!   version e + 1, which is whole and durable by step 2, or version e;
//! * a sync: the kernel may have dropped the bytes and forgotten the failure, so
//!   nothing is known of the disk any more and a later sync that succeeds would
//!   prove nothing. The file is poisoned: no call is repeated, later writes are
//!   refused, reads go on from version e.
//!
//! Pages written early, when a transaction holds too many, go to the same places
//! as in step 1: until step 3 nothing refers to them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use parking_lot::MutexGuard;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::apply::{self, Applied, Op};
use crate::cache::Hint;
use crate::error::Error;
use crate::file::PageFile;
use crate::format::{Child, DIRECTORY, Meta, Owner, PAGE_BYTES, Ref, Root};
use crate::free::{self, Space};
use crate::node::{Page, build};
use crate::run::Run;
use crate::trim::{self, Trimmed};
use crate::view::{State, View};

/// Most bytes written with one call.
const WRITE_BYTES: usize = 1 << 20;

/// A write transaction. Dropped, it has changed nothing.
pub struct Write<'f> {
    file: &'f PageFile,
    base: Arc<State>,
    txn: Txn<'f>,
    /// What differs from `base`: `None` is a tree that is gone.
    roots: BTreeMap<u32, Option<Root>>,
    user: [u8; 64],
    /// Where the directory, unchanged, stands now.
    moved: Option<Ref>,
    /// Commits in a row for the sake of shrinking, this one counted.
    shrinking: u32,
    /// To be committed even without a change.
    anyway: bool,
}

/// The pages of a write transaction.
pub(crate) struct Txn<'f> {
    file: &'f PageFile,
    space: MutexGuard<'f, Space>,
    /// The commit this will be.
    epoch: u64,
    /// New pages not yet written.
    dirty: BTreeMap<u32, Arc<Page>>,
    /// Every page number taken so far.
    fresh: BTreeSet<u32>,
    /// Taken, and given back: nothing refers to them.
    recycled: Vec<u32>,
    /// Pages of the base version that this one does not reach, and who wrote them.
    freed: Vec<(u32, u64)>,
    /// Pages in the file before.
    pages_before: u32,
    /// Free pages at the end that the file shall not have any more.
    cut: Range<u32>,
    /// Why it must not be committed.
    failed: Option<String>,
    committed: bool,
}

/// Proof that every new page is durable.
struct Durable(());

impl<'f> Write<'f> {
    pub(crate) fn new(
        file: &'f PageFile,
        space: MutexGuard<'f, Space>,
        base: Arc<State>,
    ) -> Write<'f> {
        let txn = Txn {
            file,
            epoch: base.meta.epoch.get() + 1,
            dirty: BTreeMap::new(),
            fresh: BTreeSet::new(),
            recycled: Vec::new(),
            freed: Vec::new(),
            pages_before: space.pages,
            cut: 0..0,
            failed: None,
            committed: false,
            space,
        };
        let user = base.meta.user;
        Write {
            file,
            base,
            txn,
            roots: BTreeMap::new(),
            user,
            moved: None,
            shrinking: 0,
            anyway: false,
        }
    }

    /// Applies operations in strictly ascending key order to a tree, which is
    /// made if absent and gone if left empty. Each touched leaf is copied once.
    /// `replaced` is called with key and old value for each entry that is
    /// replaced or deleted.
    ///
    /// # Errors
    /// [`Error::Refused`] for keys out of order or too long, values too long,
    /// tree 2^32 - 1; [`Error::Io`], [`Error::Corrupt`], [`Error::Poisoned`].
    /// After an error the transaction can only be dropped.
    pub fn apply<K, V, I>(
        &mut self,
        tree: u32,
        ops: I,
        replaced: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<Applied, Error>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
        I: IntoIterator<Item = (K, Op<V>)>,
    {
        let result = self.try_apply(tree, ops, replaced);
        self.txn.note_failure(&result);
        result
    }

    fn try_apply<K, V, I>(
        &mut self,
        tree: u32,
        ops: I,
        replaced: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<Applied, Error>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
        I: IntoIterator<Item = (K, Op<V>)>,
    {
        self.txn.usable(tree)?;
        let root = self.root(tree);
        let owner = root.map_or(Owner::new(tree), |root| root.owner(tree));
        let (after, applied) = apply::apply(&mut self.txn, owner, root, ops.into_iter(), replaced)?;
        if after != root {
            self.roots.insert(tree, after);
        }
        Ok(applied)
    }

    /// Removes a tree with all its entries; returns how many pages that frees.
    /// Reads its inner pages, and its leaves if views older than the current one live.
    ///
    /// # Errors
    /// As [`Write::apply`].
    pub fn drop_tree(&mut self, tree: u32) -> Result<u64, Error> {
        let result = self.try_drop_tree(tree);
        self.txn.note_failure(&result);
        result
    }

    fn try_drop_tree(&mut self, tree: u32) -> Result<u64, Error> {
        self.txn.usable(tree)?;
        let Some(root) = self.root(tree) else { return Ok(0) };
        let level = self.file.shared().levels(tree, &root)? - 1;
        let oldest = self.file.shared().live.lock().first().copied();
        let older_views = oldest.is_some_and(|epoch| epoch < self.base.meta.epoch.get());
        let pages = self.txn.free_below(root.at, root.owner(tree), level, older_views)?;
        self.roots.insert(tree, None);
        Ok(pages)
    }

    /// Gives a tree another number, at the cost of one entry of the directory
    /// however large it is; `false` if there is no tree `from`.
    ///
    /// # Errors
    /// [`Error::Refused`] if `to` has keys; else as [`Write::apply`].
    pub fn rename_tree(&mut self, from: u32, to: u32) -> Result<bool, Error> {
        let result = self.try_rename_tree(from, to);
        self.txn.note_failure(&result);
        result
    }

    fn try_rename_tree(&mut self, from: u32, to: u32) -> Result<bool, Error> {
        self.txn.usable(from)?;
        self.txn.usable(to)?;
        let Some(root) = self.root(from) else { return Ok(false) };
        if from == to {
            return Ok(true);
        }
        if self.root(to).is_some() {
            let what = format!("tree {from} cannot be renamed to it: it has keys");
            return Err(self.txn.refuse(to, what));
        }
        self.roots.insert(from, None);
        self.roots.insert(to, Some(root));
        Ok(true)
    }

    /// Removes the first entries of a tree, whole leaves of them, at most
    /// `leaves`; each entry is given to `removed`. A large tree is freed so in
    /// steps of a bounded size: each reads the leaves it frees and writes one
    /// page per level.
    ///
    /// # Errors
    /// As [`Write::apply`].
    pub fn trim_tree(
        &mut self,
        tree: u32,
        leaves: u32,
        removed: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<Trimmed, Error> {
        let result = self.try_trim_tree(tree, leaves, removed);
        self.txn.note_failure(&result);
        result
    }

    fn try_trim_tree(
        &mut self,
        tree: u32,
        leaves: u32,
        removed: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<Trimmed, Error> {
        self.txn.usable(tree)?;
        let Some(root) = self.root(tree) else { return Ok(Trimmed::default()) };
        let (after, trimmed) = trim::trim(&mut self.txn, tree, root, leaves, removed)?;
        if after != Some(root) {
            self.roots.insert(tree, after);
        }
        Ok(trimmed)
    }

    /// Sets the caller's bytes, committed together with the trees.
    pub fn set_user(&mut self, user: [u8; 64]) {
        self.user = user;
    }

    /// Keys in a tree as this transaction has it.
    pub fn len(&self, tree: u32) -> u64 {
        self.root(tree).map_or(0, |r| r.entries.get())
    }

    /// Whether a tree has no key as this transaction has it.
    pub fn is_empty(&self, tree: u32) -> bool {
        self.len(tree) == 0
    }

    fn root(&self, tree: u32) -> Option<Root> {
        match self.roots.get(&tree) {
            Some(changed) => *changed,
            None => self.base.root(tree).copied(),
        }
    }

    /// Has [`Write::commit`] write a meta page even if nothing changed: then both
    /// meta pages hold the same.
    pub fn anyway(&mut self) {
        self.anyway = true;
    }

    /// Makes all of it durable and visible at once, or nothing. Without any
    /// change nothing is written, and the current view is returned.
    ///
    /// # Errors
    /// [`Error::Io`]: nothing was committed; start over with another transaction,
    /// now or when [there is space](Error::is_no_space). Only after a failed sync,
    /// which poisons the file, or a failed write of the meta page the commit may
    /// be found after a restart. [`Error::Poisoned`]; [`Error::Refused`] if an
    /// earlier call on this transaction failed: nothing was committed.
    pub fn commit(mut self) -> Result<View, Error> {
        self.txn.usable(0)?;
        if !self.anyway && self.roots.is_empty() && self.user == self.base.meta.user {
            return Ok(View(Arc::clone(&self.base)));
        }
        self.finish()
    }

    /// A commit without changes: the directory and the free list move to lower
    /// places, pages come free, and the page count goes down.
    pub(crate) fn commit_anyway(mut self, shrinking: u32) -> Result<View, Error> {
        self.txn.usable(0)?;
        self.shrinking = shrinking;
        if let Some((at, level)) = self.directory() {
            self.moved = Some(self.txn.moved(at, level)?.at);
        }
        self.finish()
    }

    /// The directory's root, and its level.
    pub(crate) fn directory(&self) -> Option<(Ref, u8)> {
        let meta = &self.base.meta;
        let level = (meta.directory_height.get() as u8).saturating_sub(1);
        (!meta.directory.is_none()).then_some((meta.directory, level))
    }

    pub(crate) fn txn(&self) -> &Txn<'f> {
        &self.txn
    }

    /// Undoes what a failed commit left, if need be.
    pub(crate) fn ready(&mut self) -> Result<(), Error> {
        self.txn.usable(0)
    }

    pub(crate) fn space(&mut self) -> &mut Space {
        &mut self.txn.space
    }

    fn finish(mut self) -> Result<View, Error> {
        let roots = self.merged_roots();
        let mut meta = self.write_directory()?;
        meta.trees = U64::new(roots.len() as u64);
        let chain = self.write_free_list(&mut meta)?;
        let durable = self.txn.sync_pages()?;
        self.txn.switch(&meta, durable)?;

        // From here on it is done.
        let txn = &mut self.txn;
        txn.committed = true;
        txn.space.shrinking = self.shrinking;
        txn.space.older = Some(self.base.meta);
        txn.space.chain = chain;
        txn.space.reusable.append(&mut txn.recycled);
        txn.space.reusable.sort_by(|a, b| b.cmp(a));
        let freed = std::mem::take(&mut txn.freed);
        txn.space.waiting.insert(txn.epoch, freed);
        let state = State::new(Arc::clone(self.file.shared()), meta, roots);
        self.file.switch(Arc::clone(&state));
        Ok(View(state))
    }

    /// The base's roots with the changes on top.
    fn merged_roots(&self) -> Vec<(u32, Root)> {
        let mut roots: BTreeMap<u32, Root> = self.base.roots.iter().copied().collect();
        for (tree, root) in &self.roots {
            match root {
                Some(root) => roots.insert(*tree, *root),
                None => roots.remove(tree),
            };
        }
        roots.into_iter().collect()
    }

    /// Applies the changed roots to the directory; returns the new meta page so far.
    fn write_directory(&mut self) -> Result<Meta, Error> {
        let mut meta = Meta { user: self.user, ..self.base.meta };
        meta.epoch = U64::new(self.txn.epoch);
        meta.directory = self.moved.unwrap_or(meta.directory);
        let before = (!meta.directory.is_none()).then_some(Root {
            at: meta.directory,
            height: meta.directory_height,
            stamp: U32::new(DIRECTORY),
            entries: meta.trees,
        });
        let ops = self.roots.iter().map(|(tree, root)| {
            let op = match root {
                Some(root) => Op::Put(root.as_bytes()),
                None => Op::Delete,
            };
            (tree.to_be_bytes(), op)
        });
        let (after, _) =
            apply::apply(&mut self.txn, Owner::new(DIRECTORY), before, ops, &mut |_, _| {})?;
        (meta.directory, meta.directory_height) =
            after.map_or((Ref::NONE, U32::ZERO), |root| (root.at, root.height));
        Ok(meta)
    }

    /// Writes the free list as of this commit; returns the pages it lies in.
    fn write_free_list(&mut self, meta: &mut Meta) -> Result<Vec<u32>, Error> {
        let txn = &mut self.txn;
        txn.cut_end();
        let born = self.base.meta.epoch.get();
        txn.freed.extend(txn.space.chain.iter().map(|&page| (page, born)));
        let freed: Vec<u32> = txn.freed.iter().map(|&(page, _)| page).collect();
        // What waits only for views is reusable after a restart.
        let mut also_free = txn.recycled.clone();
        also_free.extend(txn.space.waiting.values().flatten().map(|&(page, _)| page));
        let space = &mut *txn.space;
        let shared = txn.file.shared();
        let pages = &mut space.pages;
        let list = free::encode(txn.epoch, &mut space.reusable, &also_free, &freed, || {
            extend(pages, &shared.path)
        })?;
        let chain: Vec<u32> = list.pages.iter().map(|&(page, _)| page).collect();
        for (page, bytes) in list.pages {
            txn.fresh.insert(page);
            txn.dirty.insert(page, Arc::new(Page::sealed(*bytes)));
        }
        meta.free = list.first;
        meta.free_pages = U64::new(list.count);
        meta.pages = U32::new(txn.space.pages);
        Ok(chain)
    }
}

/// Grows the file by one page.
fn extend(pages: &mut u32, path: &str) -> Result<u32, Error> {
    let page = *pages;
    *pages = page.checked_add(1).ok_or_else(|| Error::Full { path: path.to_owned() })?;
    Ok(page)
}

impl Txn<'_> {
    fn usable(&mut self, tree: u32) -> Result<(), Error> {
        let path = || self.file.shared().path.clone();
        if let Some(why) = self.file.poisoned() {
            return Err(Error::Poisoned { path: path(), why });
        }
        let refused = |what: String| Err(Error::Refused { path: path(), tree, what });
        if let Some(why) = &self.failed {
            return refused(format!("an earlier call on this transaction failed ({why}): drop it"));
        }
        if tree == DIRECTORY {
            return refused("tree 4294967295 is the directory's: take another number".into());
        }
        self.restore()
    }

    /// Undoes a failed write of a meta page, before anything else is written.
    fn restore(&mut self) -> Result<(), Error> {
        if !self.space.doubt {
            return Ok(());
        }
        let slot = (self.epoch % 2) as u32;
        let bytes = self.space.older.map_or(Box::new([0; PAGE_BYTES]), |older| older.encode());
        self.write_at(&*bytes, u64::from(slot) * PAGE_BYTES as u64)?;
        self.sync()?;
        self.space.doubt = false;
        Ok(())
    }

    fn note_failure<T>(&mut self, result: &Result<T, Error>) {
        if let Err(e) = result
            && self.failed.is_none()
        {
            self.failed = Some(e.to_string());
        }
    }

    pub(crate) fn refuse(&self, tree: u32, what: impl Into<String>) -> Error {
        Error::Refused { path: self.file.shared().path.clone(), tree, what: what.into() }
    }

    pub(crate) fn levels(&self, tree: u32, root: &Root) -> Result<u8, Error> {
        self.file.shared().levels(tree, root)
    }

    /// A page of the base version or of this one.
    pub(crate) fn load(&self, at: Ref, owner: Owner, level: u8) -> Result<Arc<Page>, Error> {
        match self.dirty.get(&at.page()) {
            Some(page) if at.vouches_for(page.checksum()) => Ok(Arc::clone(page)),
            _ => self.file.shared().load(at, owner, level, Hint::Once),
        }
    }

    /// Makes a page of entries `range` of `run`.
    pub(crate) fn write_node(
        &mut self,
        run: &Run,
        range: Range<usize>,
        owner: Owner,
        level: u8,
    ) -> Result<Child, Error> {
        let number = self.allocate()?;
        let keys = run.keys(range.clone(), level > 0);
        let page = build(run, range, self.epoch, owner.stamp, level, number);
        let child = Child::new(Ref::new(number, page.checksum()), keys);
        self.dirty.insert(number, Arc::new(page));
        if self.dirty.len() * PAGE_BYTES > self.file.dirty_bytes() {
            self.write_pages()?;
        }
        Ok(child)
    }

    fn allocate(&mut self) -> Result<u32, Error> {
        if let Some(page) = self.recycled.pop() {
            return Ok(page);
        }
        let page = match self.space.reusable.pop() {
            Some(page) => page,
            None => extend(&mut self.space.pages, &self.file.shared().path)?,
        };
        self.fresh.insert(page);
        Ok(page)
    }

    /// Takes free pages at the end out of the file. Those that were given back by
    /// this transaction go in any case: they were perhaps never written, and the
    /// file must be as long as the meta page says.
    fn cut_end(&mut self) {
        let Txn { space, recycled, .. } = self;
        recycled.sort_by(|a, b| b.cmp(a));
        let end = space.pages;
        let (mut reusable, mut given_back) = (0, 0);
        while let Some(last) = space.pages.checked_sub(1) {
            if space.reusable.get(reusable) == Some(&last) {
                reusable += 1;
            } else if recycled.get(given_back) == Some(&last) {
                given_back += 1;
            } else {
                break;
            }
            space.pages = last;
        }
        space.reusable.drain(..reusable);
        recycled.drain(..given_back);
        self.cut = self.space.pages..end;
    }

    /// The new version does not reach this page; `born` is who wrote it.
    pub(crate) fn free(&mut self, page: u32, born: u64) {
        if self.fresh.contains(&page) {
            self.dirty.remove(&page);
            self.recycled.push(page);
        } else {
            self.freed.push((page, born));
        }
    }

    fn free_below(
        &mut self,
        at: Ref,
        owner: Owner,
        level: u8,
        older_views: bool,
    ) -> Result<u64, Error> {
        if level == 0 {
            // Who wrote a leaf matters only to views older than the base: without
            // them it is not read. One that cannot be read is kept for all views.
            let born = match older_views {
                true => self.load(at, owner, 0).map_or(0, |page| page.epoch()),
                false => 0,
            };
            self.free(at.page(), born);
            return Ok(1);
        }
        let page = self.load(at, owner, level)?;
        let node = page.node();
        let mut pages = 1;
        for i in 0..node.len() {
            pages += self.free_below(node.child(i).at, owner, level - 1, older_views)?;
        }
        self.free(at.page(), page.epoch());
        Ok(pages)
    }

    /// Step 1, or early: writes the new pages, neighbours with one call.
    fn write_pages(&mut self) -> Result<(), Error> {
        let shared = Arc::clone(self.file.shared());
        let dirty = std::mem::take(&mut self.dirty);
        let mut buffer: Vec<u8> = Vec::new();
        let mut start = 0u64;
        for (&page, frame) in &dirty {
            let offset = u64::from(page) * PAGE_BYTES as u64;
            if start + buffer.len() as u64 != offset || buffer.len() >= WRITE_BYTES {
                self.write_at(&buffer, start)?;
                buffer.clear();
                start = offset;
            }
            buffer.extend_from_slice(frame.bytes());
        }
        self.write_at(&buffer, start)?;
        for (page, frame) in dirty {
            if frame.is_node() {
                shared.cache.insert(page, frame, Hint::Point);
            }
        }
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let result = self.file.shared().file.write_at(bytes, offset);
        result.map_err(|e| self.file.shared().io("write to", e))
    }

    /// Steps 1 and 2.
    fn sync_pages(&mut self) -> Result<Durable, Error> {
        self.write_pages()?;
        self.sync()?;
        Ok(Durable(()))
    }

    /// Steps 3 and 4.
    fn switch(&mut self, meta: &Meta, _: Durable) -> Result<(), Error> {
        let done = self.write_at(&*meta.encode(), u64::from(meta.slot()) * PAGE_BYTES as u64);
        self.space.doubt = done.is_err();
        done?;
        self.sync()
    }

    fn sync(&mut self) -> Result<(), Error> {
        let result = self.file.shared().file.sync();
        result.map_err(|e| self.poison("sync", e))
    }

    fn poison(&mut self, action: &str, e: std::io::Error) -> Error {
        let shared = self.file.shared();
        shared.poison.lock().get_or_insert_with(|| format!("{action} failed: {e}"));
        shared.io(action, e)
    }
}

impl Drop for Txn<'_> {
    /// Gives back what was taken.
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        let before = self.pages_before;
        let space = &mut *self.space;
        space.pages = before;
        let given_back = self.fresh.iter().copied().chain(self.cut.clone());
        space.reusable.extend(given_back.filter(|&page| page < before));
        space.reusable.sort_by(|a, b| b.cmp(a));
        // A page that was cut may have been taken again for the free list.
        space.reusable.dedup();
    }
}
