//! Handles of the simulated disk: an open file, a held lock.
//!
//! Invariant: a handle belongs to the machine it was opened on; after that
//! machine's crash it fails for ever, whatever was restarted from it.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::names::InodeId;
use super::state::State;
use super::trace::Verb;
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
        let mut state = self.state.lock();
        let got = state.read(self.inode, &self.path, buf, offset);
        let asked = (offset, buf.len());
        state.trace().note(Verb::Read, &self.path, asked, &[], &got, |n| *n as u64);
        got
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if !buf.is_empty() {
            self.check_writable()?;
        }
        let mut state = self.state.lock();
        let done = state.write(self.inode, &self.path, buf, offset);
        state.trace().note(Verb::Write, &self.path, (offset, buf.len()), buf, &done, |()| 0);
        done
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        let done = state.sync(self.inode, &self.path);
        state.trace().note(Verb::Sync, &self.path, (0, 0), &[], &done, |()| 0);
        done
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.state.lock();
        let done = state.set_len(self.inode, &self.path, len);
        state.trace().note(Verb::SetLen, &self.path, (len, 0), &[], &done, |()| 0);
        done
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.check_writable()?;
        let mut state = self.state.lock();
        let done = state.punch(self.inode, &self.path, offset, len);
        let asked = (offset, usize::try_from(len).unwrap_or(usize::MAX));
        state.trace().note(Verb::Punch, &self.path, asked, &[], &done, |()| 0);
        done.map(|()| true)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len > self.len()? {
            self.check_writable()?;
        }
        let mut state = self.state.lock();
        let done = state.allocate(self.inode, &self.path, len);
        state.trace().note(Verb::Allocate, &self.path, (len, 0), &[], &done, |()| 0);
        done
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        let len = state.len(self.inode);
        state.trace().note(Verb::Len, &self.path, (0, 0), &[], &len, |len| *len);
        len
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
