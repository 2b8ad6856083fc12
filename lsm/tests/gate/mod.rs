//! A disk whose syncs wait at a gate, so that a test decides who waits for whom.

#![allow(dead_code)] // Not every test uses all of it.

use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use platform::sim::SimDisk;
use platform::{Disk, File, Lock, Open};

#[derive(Default)]
struct State {
    /// Syncs of files under this prefix wait.
    closed: Option<&'static str>,
    waiting: usize,
    syncs: u64,
}

#[derive(Default)]
struct Gate(Mutex<State>, Condvar);

impl Gate {
    fn pass(&self, path: &str) {
        let mut state = self.0.lock();
        state.waiting += 1;
        while state.closed.is_some_and(|prefix| path.starts_with(prefix)) {
            self.1.wait(&mut state);
        }
        state.waiting -= 1;
        state.syncs += 1;
    }
}

pub struct GateDisk {
    inner: Arc<SimDisk>,
    gate: Arc<Gate>,
}

impl GateDisk {
    pub fn new(inner: Arc<SimDisk>) -> Arc<Self> {
        Arc::new(GateDisk { inner, gate: Arc::default() })
    }

    /// Syncs of files under `prefix` wait from now on, or nobody's do.
    pub fn close(&self, prefix: Option<&'static str>) {
        self.gate.0.lock().closed = prefix;
        self.gate.1.notify_all();
    }

    /// Threads that wait.
    pub fn waiting(&self) -> usize {
        self.gate.0.lock().waiting
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.gate.0.lock().syncs
    }
}

/// Spins until it holds.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..3_000_000u64 {
        if holds() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("it never came to this: {what}");
}

impl Disk for GateDisk {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let (inner, gate) = (self.inner.open(path, how)?, Arc::clone(&self.gate));
        Ok(Arc::new(GateFile { inner, gate, path: path.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.inner.create_dir(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }
}

struct GateFile {
    inner: Arc<dyn File>,
    gate: Arc<Gate>,
    path: String,
}

impl File for GateFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass(&self.path);
        self.inner.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
