//! What the log says of a damaged store: what is, whatever was.
//!
//! What must stay true: nothing is replayed behind a commit that is missing.

use std::cell::RefCell;

use super::Salvage;
use super::trees::put;
use crate::backup::BackupError;
use crate::batch::{Op, Told, decode};
use crate::directory;
use crate::meta::Meta;
use crate::verify::At;
use crate::{Error, Lsn, WAL_DIR};

impl Salvage<'_> {
    /// Replays the log as far as no commit is missing.
    pub(super) fn log(&mut self, meta: Option<Meta>) -> Result<(), BackupError> {
        if directory::names(self.source, WAL_DIR)?.is_empty() {
            if meta.is_none_or(|meta| meta.wal_epoch > 0) {
                self.faults.fault(WAL_DIR, At::File, None, "there is no segment of the log");
            }
            return Ok(());
        }
        let (from, need) = match meta {
            Some(meta) => (meta.flushed + 1, meta.flushed),
            None => {
                let mut first = Lsn::MAX;
                let (source, each) = (self.source, &mut |frame: &wal::Frame<'_>, _| {
                    first = first.min(frame.lsn);
                });
                wal::check(source, WAL_DIR, 1, 0, each, &mut |_| {}).map_err(Error::from)?;
                if first == Lsn::MAX {
                    return Ok(());
                }
                if first == 1 {
                    // It was never cut: what it does not put was never there.
                    self.ranges.clear();
                }
                (first, 0)
            }
        };
        let mut failed = None;
        // Told as they are found: the report is bounded, a list beside it would not be.
        let faults = RefCell::new(std::mem::take(&mut self.faults));
        // A batch that cannot be decoded is as good as missing.
        let mut missing = false;
        let source = self.source;
        wal::check(
            source,
            WAL_DIR,
            from,
            need,
            &mut |frame, gap| {
                if frame.lsn < from || failed.is_some() {
                    return;
                }
                missing |= gap;
                let ops = match decode(frame.payload) {
                    Ok(ops) if !missing => ops,
                    Ok(_) => {
                        self.report.commits_left += 1;
                        return;
                    }
                    Err(error) => {
                        missing = true;
                        let at = At::Frame(frame.lsn, 0);
                        faults.borrow_mut().fault(WAL_DIR, at, None, error.to_string());
                        return;
                    }
                };
                ops.told().for_each(|told| self.op(told));
                self.report.commits += 1;
                self.report.as_of = Some(frame.lsn);
                self.tell(frame.payload.len() as u64);
                failed = self.write(false).err();
            },
            &mut |fault| {
                if !fault.torn {
                    let at = At::Frame(fault.lsn, fault.offset);
                    faults.borrow_mut().fault(&fault.file, at, None, fault.what);
                }
            },
        )
        .map_err(Error::from)?;
        self.faults = faults.into_inner();
        failed.map_or(Ok(()), Err)
    }

    /// One operation of a commit: it says what is, whatever was.
    fn op(&mut self, told: Told<'_>) {
        match told.op {
            Op::Put(keyspace, key, value) => {
                put(&mut self.batch, keyspace, key, value, told.versioned);
                self.lost.remove(&(keyspace.0, key.to_vec()));
            }
            Op::Delete(keyspace, key) => {
                self.batch.delete(keyspace, key);
                self.lost.remove(&(keyspace.0, key.to_vec()));
            }
            Op::DropKeyspace(keyspace) => {
                self.batch.drop_keyspace(keyspace);
                self.ranges.forget(keyspace.0);
                self.lost.retain(|(of, _)| *of != keyspace.0);
            }
        }
    }
}
