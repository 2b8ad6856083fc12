//! All of a simulated disk behind one lock, and the call at which it dies.
//!
//! Invariants:
//! * every mutating or sync call passes [`State::step`] once and only there is
//!   counted: call number n means the same in every run;
//! * once crashed, nothing changes and nothing is answered;
//! * what a crash leaves follows from the seed and the number of calls made.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::fault::{Fault, Faults};
use super::inode::Inode;
use super::names::{InodeId, Names};
use super::rng::Rng;
use super::tally::Tally;
use super::trace::Trace;
use crate::disk::Open;
use crate::path::{check_dir, check_file, parent, prefixes};

/// The largest length a kernel would take.
const MAX_LEN: u64 = i64::MAX as u64;

/// The inner error of every call to a crashed disk.
#[derive(Debug)]
pub(crate) struct Crashed;

impl std::fmt::Display for Crashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the simulated disk has crashed; restart it and open everything anew")
    }
}

impl std::error::Error for Crashed {}

pub(crate) fn crashed() -> io::Error {
    io::Error::other(Crashed)
}

/// How a counted call goes on.
enum Step {
    Whole,
    /// The machine dies here: do what the generator says, then fail.
    Dies(Rng),
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(super) seed: u64,
    pub(super) names: Names,
    pub(super) inodes: BTreeMap<InodeId, Arc<Inode>>,
    next_inode: InodeId,
    pub(super) handles: BTreeMap<InodeId, u64>,
    locks: BTreeSet<String>,
    pub(super) calls: u64,
    crash_at: Option<u64>,
    crashed: bool,
    restarts: u64,
    pub(super) faults: Faults,
    pub(super) budget: Option<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) max_handles: Option<u64>,
    pub(super) rots: u64,
    pub(super) tally: Tally,
    trace: Trace,
}

impl State {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    // What a test asks for.

    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    pub(crate) fn is_crashed(&self) -> bool {
        self.crashed
    }

    pub(crate) fn reseed(&mut self, seed: u64) {
        self.seed = seed;
    }

    pub(crate) fn crash_after(&mut self, n: u64) {
        self.crash_at = Some(self.calls.saturating_add(n));
        self.crashed |= n == 0;
    }

    pub(crate) fn disarm(&mut self) {
        self.crash_at = None;
    }

    pub(crate) fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    pub(crate) fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    pub(crate) fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    pub(crate) fn file_bytes(&self, path: &str) -> Option<Vec<u8>> {
        Some(self.inode(self.names.get(path)?).live().to_vec())
    }

    pub(crate) fn durable_bytes(&self, path: &str) -> Option<Vec<u8>> {
        Some(self.inode(self.names.get_durable(path)?).durable().to_vec())
    }

    pub(crate) fn files(&self) -> Vec<String> {
        self.names.live().map(|(path, _)| path.to_owned()).collect()
    }

    pub(crate) fn unsynced(&self, path: &str) -> usize {
        let bytes = self.names.get(path).map_or(0, |inode| self.inode(inode).pending());
        bytes + if self.names.is_dir(path) { self.names.pending_in(path) } else { 0 }
    }

    /// FNV-1a over every live name and byte, and every directory.
    pub(crate) fn digest(&self) -> u64 {
        let mut hash = 0xCBF2_9CE4_8422_2325_u64;
        let mut eat = |bytes: &[u8]| {
            for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
            }
        };
        self.names.dirs().for_each(|dir| eat(dir.as_bytes()));
        for (path, inode) in self.names.live() {
            eat(path.as_bytes());
            eat(&self.inode(inode).live().to_vec());
        }
        hash
    }

    // The disk after the end of a process or of the power.

    /// A new machine with the same bytes, live and durable: all handles, locks,
    /// plans and faults stay behind.
    pub(crate) fn copy(&self) -> Self {
        let mut copy = Self {
            seed: self.seed,
            names: self.names.clone(),
            inodes: self.inodes.clone(),
            next_inode: self.next_inode,
            tally: self.tally,
            trace: self.trace.clone(),
            ..Self::default()
        };
        copy.collect();
        copy
    }

    pub(crate) fn die(&mut self) {
        self.crashed = true;
    }

    /// The generator for the next restart: another one each time.
    pub(crate) fn restart_rng(&mut self) -> Rng {
        self.restarts += 1;
        Rng::new(self.seed, self.calls.wrapping_mul(1 << 20).wrapping_add(self.restarts))
    }

    /// What a power cut leaves: as `rng` chooses, or only what was synced.
    pub(crate) fn after_power_cut(&self, mut rng: Option<Rng>) -> Self {
        let mut tally = self.tally;
        tally.power_cuts += 1;
        let mut survives = |kept: bool| {
            if kept {
                tally.names_kept += 1
            } else {
                tally.names_undone += 1
            }
            kept
        };
        let names = match &mut rng {
            Some(rng) => {
                let keep = rng.below(5);
                self.names.after_power_cut(|| survives(rng.below(4) < keep))
            }
            None => self.names.after_power_cut(|| survives(false)),
        };
        let (seed, next_inode) = (rng.as_mut().map_or(self.seed, Rng::next), self.next_inode);
        let trace = self.trace.clone();
        let mut after = Self { seed, names, next_inode, trace, ..Self::default() };
        for inode in after.names.referenced() {
            let file =
                self.inodes.get(&inode).map(|file| file.after_power_cut(rng.as_mut(), &mut tally));
            after.inodes.insert(inode, file.unwrap_or_default());
        }
        after.tally = tally;
        after
    }

    // The calls of `Disk`.

    pub(crate) fn open(&mut self, path: &str, how: Open) -> io::Result<InodeId> {
        self.check()?;
        check_file(path)?;
        self.descriptor(path)?;
        let inode = match (self.names.get(path), how) {
            (Some(_), Open::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => inode,
            (None, Open::CreateNew) if self.names.is_dir(path) => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            (None, _) if self.names.is_dir(path) => return Err(io::ErrorKind::IsADirectory.into()),
            (None, how) => {
                self.check_parent(path)?;
                if matches!(how, Open::Read | Open::Write) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                self.create(path)?
            }
        };
        *self.handles.entry(inode).or_default() += 1;
        Ok(inode)
    }

    /// Called for each handle dropped.
    pub(crate) fn close(&mut self, inode: InodeId) {
        if let Some(count) = self.handles.get_mut(&inode) {
            *count -= 1;
            if *count == 0 {
                self.handles.remove(&inode);
                if !self.names.referenced().contains(&inode) {
                    self.inodes.remove(&inode);
                }
            }
        }
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.check()?;
        check_file(from)?;
        check_file(to)?;
        // In the order a kernel finds these out.
        if self.names.is_dir(from) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.live(from)?;
        self.check_parent(to)?;
        if self.names.is_dir(to) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.change_names(from, |names| names.rename(from, to))
    }

    pub(crate) fn remove(&mut self, path: &str) -> io::Result<()> {
        self.check()?;
        check_file(path)?;
        if self.names.is_dir(path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.live(path)?;
        self.change_names(path, |names| names.remove(path))
    }

    pub(crate) fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.check()?;
        self.check_dir(dir)?;
        let inside = self.names.live().filter(|(path, _)| parent(path) == dir);
        Ok(inside.map(|(path, _)| path.rsplit('/').next().unwrap_or(path).to_owned()).collect())
    }

    pub(crate) fn create_dir(&mut self, dir: &str) -> io::Result<()> {
        self.check()?;
        check_dir(dir)?;
        if prefixes(dir).any(|part| self.names.get(part).is_some()) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let missing: Vec<&str> = prefixes(dir).filter(|part| !self.names.is_dir(part)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (made, result) = match self.step() {
            Step::Whole => {
                self.fault(Fault::Name, dir)?;
                (missing.len(), Ok(()))
            }
            Step::Dies(mut rng) => (rng.up_to(missing.len()), Err(crashed())),
        };
        missing[..made].iter().for_each(|part| self.names.make_dir(part));
        result
    }

    pub(crate) fn sync_dir(&mut self, dir: &str) -> io::Result<()> {
        self.check()?;
        self.check_dir(dir)?;
        match self.step() {
            Step::Whole => {
                self.fault(Fault::Sync, dir)?;
                self.names.sync_dir(dir);
                self.collect();
                Ok(())
            }
            // What a sync got done before the end is for the restart to choose.
            Step::Dies(_) => Err(crashed()),
        }
    }

    pub(crate) fn lock(&mut self, path: &str) -> io::Result<()> {
        let inode = self.open(path, Open::Create)?;
        self.close(inode);
        if !self.locks.insert(path.to_owned()) {
            let why = format!("{path} is locked by another holder");
            return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
        }
        Ok(())
    }

    pub(crate) fn unlock(&mut self, path: &str) {
        self.locks.remove(path);
    }

    // The calls of `File`; `path` is the name it was opened by.

    pub(crate) fn read(
        &mut self,
        inode: InodeId,
        path: &str,
        buf: &mut [u8],
        offset: u64,
    ) -> io::Result<usize> {
        self.check()?;
        self.fault(Fault::Read, path)?;
        if self.inode(inode).is_spoilt(offset, buf.len()) {
            self.tally.failed_reads += 1;
            return Err(io::Error::other(format!("unreadable sector under {path:?} at {offset}")));
        }
        let n = self.inode(inode).live().read(buf, offset);
        if n > 0 && self.faults.strikes(Fault::ShortRead, path) {
            self.tally.short_reads += 1;
            return Ok(Rng::new(self.seed, self.calls ^ offset).up_to(n - 1));
        }
        Ok(n)
    }

    pub(crate) fn write(
        &mut self,
        inode: InodeId,
        path: &str,
        data: &[u8],
        offset: u64,
    ) -> io::Result<()> {
        self.check()?;
        if data.is_empty() {
            return Ok(());
        }
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > MAX_LEN) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (part, result) = match self.step() {
            Step::Dies(mut rng) => (rng.up_to(data.len()), Err(crashed())),
            Step::Whole => match self.fault(Fault::Write, path) {
                Err(e) => (self.rng().up_to(data.len()), Err(e)),
                Ok(()) => self.room(inode, data.len(), offset),
            },
        };
        if result.is_ok() {
            if self.faults.strikes(Fault::LostWrite, path) {
                self.tally.lost_writes += 1;
                let cached = self.rng().coin();
                self.inode_mut(inode).lose(data, offset, cached);
                return result;
            }
            if self.faults.strikes(Fault::Misdirected, path) {
                self.misdirect(inode, data, offset);
                return result;
            }
        } else if part > 0 && !self.crashed {
            self.tally.short_writes += 1;
        }
        self.inode_mut(inode).write(&data[..part], offset);
        result
    }

    /// Zeros behind the end, paid for now.
    pub(crate) fn allocate(&mut self, inode: InodeId, path: &str, len: u64) -> io::Result<()> {
        self.check()?;
        if len > MAX_LEN {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let now = self.inode(inode).live().len();
        if len <= now {
            self.inode_mut(inode).reserve(len);
            return Ok(());
        }
        let wanted = usize::try_from(len - now).unwrap_or(usize::MAX);
        let (part, result) = match self.step() {
            Step::Dies(mut rng) => (rng.up_to(wanted), Err(crashed())),
            Step::Whole => match self.fault(Fault::Write, path) {
                Err(e) => (self.rng().up_to(wanted), Err(e)),
                Ok(()) => self.room(inode, wanted, now),
            },
        };
        if part > 0 {
            let file = self.inode_mut(inode);
            file.set_len(now + part as u64);
            file.reserve(now + part as u64);
        }
        result
    }

    /// Zeros within the file that take up no space.
    pub(crate) fn punch(
        &mut self,
        inode: InodeId,
        path: &str,
        offset: u64,
        len: u64,
    ) -> io::Result<()> {
        self.check()?;
        let end = self.inode(inode).live().len().min(offset.saturating_add(len));
        let Some(wanted) = end.checked_sub(offset).and_then(|n| usize::try_from(n).ok()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (part, result) = match self.step() {
            Step::Dies(mut rng) => (rng.up_to(wanted), Err(crashed())),
            Step::Whole => match self.fault(Fault::Write, path) {
                Err(e) => (self.rng().up_to(wanted), Err(e)),
                Ok(()) => (wanted, Ok(())),
            },
        };
        self.inode_mut(inode).punch(part, offset);
        result
    }

    pub(crate) fn set_len(&mut self, inode: InodeId, path: &str, len: u64) -> io::Result<()> {
        self.check()?;
        if len > MAX_LEN {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (done, result) = match self.step() {
            Step::Dies(mut rng) => (rng.coin(), Err(crashed())),
            Step::Whole => {
                self.fault(Fault::Write, path)?;
                (true, Ok(()))
            }
        };
        if done {
            self.inode_mut(inode).set_len(len);
        }
        result
    }

    pub(crate) fn sync(&mut self, inode: InodeId, path: &str) -> io::Result<()> {
        self.check()?;
        match self.step() {
            Step::Dies(_) => Err(crashed()),
            Step::Whole => {
                if let Err(e) = self.fault(Fault::Sync, path) {
                    let (mut rng, mut tally) = (self.rng(), self.tally);
                    self.inode_mut(inode).fail_sync(&mut rng, &mut tally);
                    self.tally = tally;
                    return Err(e);
                }
                self.inode_mut(inode).sync();
                Ok(())
            }
        }
    }

    pub(crate) fn len(&self, inode: InodeId) -> io::Result<u64> {
        self.check()?;
        Ok(self.inode(inode).live().len())
    }

    // Parts.

    fn check(&self) -> io::Result<()> {
        if self.crashed { Err(crashed()) } else { Ok(()) }
    }

    /// Counts a mutating or sync call whose arguments are fine.
    fn step(&mut self) -> Step {
        self.calls += 1;
        if self.crash_at == Some(self.calls) {
            self.crashed = true;
            return Step::Dies(self.rng());
        }
        Step::Whole
    }

    /// The generator of this call.
    pub(super) fn rng(&self) -> Rng {
        Rng::new(self.seed, self.calls.wrapping_mul(1 << 20))
    }

    fn fault(&mut self, fault: Fault, path: &str) -> io::Result<()> {
        if self.faults.strikes(fault, path) {
            match fault {
                Fault::Read => self.tally.failed_reads += 1,
                Fault::Write => self.tally.failed_writes += 1,
                Fault::Sync => self.tally.failed_syncs += 1,
                Fault::Name => self.tally.failed_names += 1,
                _ => {}
            }
            let why = format!("injected input/output error ({fault:?}) on {path:?}");
            return Err(io::Error::other(why));
        }
        Ok(())
    }

    fn create(&mut self, path: &str) -> io::Result<InodeId> {
        let inode = self.next_inode;
        self.next_inode += 1;
        if self.budget == Some(0) || self.capacity.is_some_and(|most| self.used() >= most) {
            self.tally.no_space += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inodes.insert(inode, Arc::default());
        let result = self.change_names(path, |names| names.create(path, inode));
        if result.is_err() {
            self.collect();
        }
        result.map(|()| inode)
    }

    fn change_names(&mut self, path: &str, change: impl FnOnce(&mut Names)) -> io::Result<()> {
        match self.step() {
            Step::Whole => {
                self.fault(Fault::Name, path)?;
                change(&mut self.names);
                Ok(())
            }
            Step::Dies(mut rng) => {
                if rng.coin() {
                    change(&mut self.names);
                }
                Err(crashed())
            }
        }
    }

    pub(super) fn live(&self, path: &str) -> io::Result<InodeId> {
        self.check_parent(path)?;
        self.names.get(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn check_parent(&self, path: &str) -> io::Result<()> {
        self.check_dir(parent(path))
    }

    fn check_dir(&self, dir: &str) -> io::Result<()> {
        check_dir(dir)?;
        if self.names.is_dir(dir) {
            Ok(())
        } else if prefixes(dir).any(|part| self.names.get(part).is_some()) {
            Err(io::ErrorKind::NotADirectory.into())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    pub(super) fn inode(&self, inode: InodeId) -> &Arc<Inode> {
        self.inodes.get(&inode).expect("a name or a handle keeps its inode")
    }

    pub(super) fn inode_mut(&mut self, inode: InodeId) -> &mut Inode {
        Arc::make_mut(self.inodes.get_mut(&inode).expect("a name or a handle keeps its inode"))
    }

    /// Forgets the files that no name and no handle can reach.
    fn collect(&mut self) {
        let named = self.names.referenced();
        let handles = &self.handles;
        self.inodes.retain(|inode, _| named.contains(inode) || handles.contains_key(inode));
    }
}
