//! The simulated disk as tests hold it.
//!
//! Invariants:
//! * what a returned `sync` or `sync_dir` promised survives every restart; what
//!   none promised may be there, gone or torn, as the seed chooses;
//! * same seed and same calls, same bytes: no clock, no address, no hash order;
//! * a copy of the disk shares its pages, so crashing one run at each of some
//!   thousand calls is cheap.
//!
//! ```
//! use platform::sim::SimDisk;
//! use platform::{Disk, Open};
//!
//! let work = |disk: &SimDisk| -> std::io::Result<()> {
//!     let file = disk.open("a", Open::CreateNew)?;
//!     file.append(b"hello")?;
//!     file.sync()?;
//!     disk.sync_dir("")
//! };
//! for n in 1.. {
//!     let disk = SimDisk::new(7);
//!     disk.crash_after(n);
//!     let done = work(&disk);
//!     let found = disk.restart();
//!     if done.is_ok() {
//!         assert_eq!(found.file_bytes("a").unwrap(), b"hello");
//!         break;
//!     }
//!     assert!(done.is_err_and(|e| SimDisk::is_crash(&e)));
//! }
//! ```

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::fault::{Fault, Times};
use super::file::{SimFile, SimLock};
use super::state::{Crashed, State};
use super::tally::Tally;
use super::trace::{Call, Verb};
use crate::disk::{Disk, File, Lock, Open};

/// A disk in memory that crashes when told to. Clones share one disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk whose fate follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Self::of(State::new(seed))
    }

    fn of(state: State) -> Arc<Self> {
        Arc::new(Self { state: Arc::new(Mutex::new(state)) })
    }

    /// Mutating and sync calls made so far: every write, append, `set_len`,
    /// `sync`, `sync_dir`, rename, remove, and every open, lock or `create_dir`
    /// that makes something. Calls refused for their arguments and empty writes
    /// do not count.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state.lock().calls()
    }

    /// Plans a crash at the `n`-th counted call from now (1 is the next; 0 is
    /// now): it does a seeded part of its work and fails, and so does every call
    /// after it, with an error [`SimDisk::is_crash`] knows.
    pub fn crash_after(&self, n: u64) {
        self.state.lock().crash_after(n);
    }

    /// Forgets the planned crash.
    pub fn disarm(&self) {
        self.state.lock().disarm();
    }

    /// Whether the planned crash, a restart or a kill has ended this machine.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.state.lock().is_crashed()
    }

    /// Whether `error` came from a crashed disk (and not from an injected fault).
    #[must_use]
    pub fn is_crash(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Crashed>())
    }

    /// The disk after a power cut: synced bytes and names, and of the rest what
    /// the seed chooses (pages survive out of order and torn at any byte; a
    /// change of a name is old or new). This disk is crashed from now on.
    /// Asked again, it chooses again.
    #[must_use]
    pub fn restart(&self) -> Arc<Self> {
        let mut state = self.state.lock();
        state.die();
        let rng = state.restart_rng();
        Self::of(state.after_power_cut(Some(rng)))
    }

    /// The disk after the cruellest power cut: nothing unsynced survives.
    #[must_use]
    pub fn restart_worst(&self) -> Arc<Self> {
        let mut state = self.state.lock();
        state.die();
        Self::of(state.after_power_cut(None))
    }

    /// The disk after the process was killed and the kernel lived on: all
    /// written bytes and names are there, still unsynced. This disk is crashed
    /// from now on.
    #[must_use]
    pub fn kill(&self) -> Arc<Self> {
        let mut state = self.state.lock();
        state.die();
        state.tally().kills += 1;
        Self::of(state.copy())
    }

    /// An independent copy, synced and unsynced alike, with no handle, lock,
    /// plan, fault or budget, counting its calls from 0. This disk goes on.
    /// Costs one pointer per file.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Self> {
        Self::of(self.state.lock().copy())
    }

    /// Another seed from here on: another fate for the same calls.
    pub fn reseed(&self, seed: u64) {
        self.state.lock().reseed(seed);
    }

    /// Makes calls on paths that start with `prefix` fail (`""`: all paths). The
    /// path is the one a handle was opened by.
    pub fn fail(&self, fault: Fault, prefix: &str, times: Times) {
        self.state.lock().faults().add(fault, prefix, times);
    }

    /// The next sync of a file or directory under `prefix` fails, and what it
    /// should have saved is kept or lost for good, as the seed chooses.
    pub fn fail_sync(&self, prefix: &str) {
        self.fail(Fault::Sync, prefix, Times::Next);
    }

    /// Every sync under `prefix` fails, until [`SimDisk::clear_faults`].
    pub fn fail_every_sync(&self, prefix: &str) {
        self.fail(Fault::Sync, prefix, Times::Every);
    }

    /// Forgets all faults (not the budget, not the planned crash).
    pub fn clear_faults(&self) {
        self.state.lock().faults().clear();
    }

    /// Forgets the faults of one kind.
    pub fn clear_fault(&self, fault: Fault) {
        self.state.lock().faults().clear_kind(fault);
    }

    /// From now on the disk takes `bytes` more bytes of writes (overwrites count
    /// too, removing gives nothing back); then writes do what fits and fail with
    /// `StorageFull`, and no file can be made. `None`: endless.
    pub fn set_budget(&self, bytes: Option<u64>) {
        self.state.lock().set_budget(bytes);
    }

    /// From now on the files hold at most `bytes` bytes, in pages of 4 KiB:
    /// overwriting is free, removing gives back (once the directory is synced and
    /// no handle is left). Beyond it, as with [`SimDisk::set_budget`]. `None`: endless.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().set_capacity(bytes);
    }

    /// Bytes of the pages that the files take up, as [`SimDisk::set_capacity`] counts.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// From now on at most so many files are open at once: opening one more fails
    /// with `EMFILE`. `None`: no limit.
    pub fn set_max_handles(&self, handles: Option<u64>) {
        self.state.lock().set_max_handles(handles);
    }

    /// Flips `bits` bits at rest, chosen by the seed among the durable bytes of
    /// the files whose path starts with `prefix`; says where, with the bits. What
    /// is written there later mends it, as on a real medium.
    pub fn rot(&self, prefix: &str, bits: usize) -> Vec<(String, u64, u8)> {
        self.state.lock().rot(prefix, bits)
    }

    /// How often each kind of fault has struck, here and before the restarts that
    /// led here.
    #[must_use]
    pub fn tally(&self) -> Tally {
        *self.state.lock().tally()
    }

    /// A hash of every call with its arguments, bytes and outcome, in order, here
    /// and before the restarts that led here: equal for equal runs.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.state.lock().trace().hash()
    }

    /// Keeps the last `calls` calls for [`SimDisk::take_calls`], here and after
    /// restarts. 0, the default: none.
    pub fn record(&self, calls: usize) {
        self.state.lock().trace().record(calls);
    }

    /// The calls kept since this was last asked, oldest first.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        self.state.lock().trace().take()
    }

    /// Flips the bits of `xor` in the byte at `offset`, as it stands written and
    /// as it stands durable: damage that a restart does not undo.
    ///
    /// # Errors
    /// When there is no such file or byte.
    pub fn corrupt(&self, path: &str, offset: u64, xor: u8) -> io::Result<()> {
        self.state.lock().corrupt(path, offset, xor)
    }

    /// Makes the sectors (512 bytes) under these bytes of a file unreadable: every read
    /// that touches one fails, here and after restarts, until it is written whole. The
    /// bytes themselves stay as they are.
    ///
    /// # Errors
    /// When there is no such file or byte.
    pub fn spoil(&self, path: &str, offset: u64, len: u64) -> io::Result<()> {
        self.state.lock().spoil(path, offset, len)
    }

    /// All bytes of a file as written, synced or not.
    #[must_use]
    pub fn file_bytes(&self, path: &str) -> Option<Vec<u8>> {
        self.state.lock().file_bytes(path)
    }

    /// The bytes `path` would have after [`SimDisk::restart_worst`]: what was
    /// synced, under the names that were; `None` if there would be no such file.
    #[must_use]
    pub fn durable_bytes(&self, path: &str) -> Option<Vec<u8>> {
        self.state.lock().durable_bytes(path)
    }

    /// The paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.state.lock().files()
    }

    /// How many changes no sync has covered: to the bytes of the file `path`, or
    /// to the names in the directory `path`.
    #[must_use]
    pub fn unsynced(&self, path: &str) -> usize {
        self.state.lock().unsynced(path)
    }

    /// A hash of all directories, names and written bytes: equal for equal runs.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.state.lock().digest()
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        let opened = state.open(path, how);
        state.trace().note(Verb::Open, path, (how as u64, 0), &[], &opened, |_| 0);
        let (inode, path) = (opened?, path.into());
        drop(state);
        let state = Arc::clone(&self.state);
        Ok(Arc::new(SimFile { state, inode, path, writable: how != Open::Read }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let done = state.rename(from, to);
        state.trace().note(Verb::Rename, from, (0, 0), to.as_bytes(), &done, |()| 0);
        done
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let done = state.remove(path);
        state.trace().note(Verb::Remove, path, (0, 0), &[], &done, |()| 0);
        done
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        let names = state.list(dir);
        state.trace().note(Verb::List, dir, (0, 0), &[], &names, |names| names.len() as u64);
        names
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let done = state.create_dir(dir);
        state.trace().note(Verb::CreateDir, dir, (0, 0), &[], &done, |()| 0);
        done
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let done = state.sync_dir(dir);
        state.trace().note(Verb::SyncDir, dir, (0, 0), &[], &done, |()| 0);
        done
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        let mut state = self.state.lock();
        let done = state.lock(path);
        state.trace().note(Verb::Lock, path, (0, 0), &[], &done, |()| 0);
        done?;
        drop(state);
        Ok(Box::new(SimLock { state: Arc::clone(&self.state), path: path.into() }))
    }
}
