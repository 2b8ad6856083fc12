//! Handles of the simulated disk: an open file, a held lock.
//!
//! Invariant: a handle belongs to the machine it was opened on; after that
//! machine's crash it fails for ever, whatever was restarted from it.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::names::InodeId;
use super::state::State;
use crate::disk::{File, Lock};

pub(crate) struct SimFile {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) inode: InodeId,
    pub(crate) path: Box<str>,
    pub(crate) writable: bool,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "could not write {}: it was opened for reading only",
            self.path
        )))
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.state.lock().read(self.inode, &self.path, buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if !buf.is_empty() {
            self.check_writable()?;
        }
        self.state.lock().write(self.inode, &self.path, buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.state.lock().sync(self.inode, &self.path)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        self.state.lock().set_len(self.inode, &self.path, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len > self.len()? {
            self.check_writable()?;
        }
        self.state.lock().allocate(self.inode, &self.path, len)
    }

    fn len(&self) -> io::Result<u64> {
        self.state.lock().len(self.inode)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.state.lock().close(self.inode);
    }
}

pub(crate) struct SimLock {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) path: Box<str>,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.state.lock().unlock(&self.path);
    }
}
