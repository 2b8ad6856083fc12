//! Verifying the log: each frame, dense from the trees on.

use std::cell::RefCell;

use super::{At, Walk};
use crate::batch::decode;
use crate::meta::Meta;
use crate::{Error, Lsn, WAL_DIR, directory};

/// What is left of the log.
pub(super) enum Log {
    /// Durable frames of a living log, up to what was durable at first.
    Living { cursor: Box<Option<wal::Cursor>>, until: Lsn },
    /// The files of a closed one.
    Closed { meta: Option<Meta> },
}

impl Log {
    pub(super) fn living(wal: &wal::Wal, from: Lsn) -> Self {
        // Truncated since: then the trees have it.
        let cursor = wal.cursor(from).ok();
        Log::Living { cursor: Box::new(cursor), until: wal.durable_lsn() }
    }

    pub(super) fn closed(meta: Option<Meta>) -> Self {
        Log::Closed { meta }
    }
}

impl Walk {
    /// Reads frames; true when all were read.
    pub(super) fn walk_log(&mut self, left: &mut u64) -> Result<bool, Error> {
        match self.log.take() {
            None => Ok(true),
            Some(Log::Living { mut cursor, until }) => {
                let ended = match &mut *cursor {
                    Some(cursor) => self.living(cursor, until, left),
                    None => true,
                };
                if !ended {
                    self.log = Some(Log::Living { cursor, until });
                }
                Ok(ended)
            }
            Some(Log::Closed { meta }) => {
                self.closed_log(meta)?;
                Ok(true)
            }
        }
    }

    /// Nobody waits for it: in one piece.
    fn closed_log(&mut self, meta: Option<Meta>) -> Result<(), Error> {
        if directory::names(&*self.disk, WAL_DIR)?.is_empty() {
            if meta.is_none_or(|meta| meta.wal_epoch > 0) {
                self.report.fault(WAL_DIR, At::File, None, "there is no segment of the log");
            }
            return Ok(());
        }
        let flushed = meta.map_or(0, |meta| meta.flushed);
        let from = if meta.is_some() { flushed + 1 } else { 1 };
        // Told as they are found: the report is bounded, lists beside it would not be.
        let report = RefCell::new(&mut self.report);
        let mut frames_epoch = 0;
        let checked = wal::check(
            &*self.disk,
            WAL_DIR,
            from,
            flushed,
            &mut |frame, _| {
                frames_epoch = frames_epoch.max(frame.epoch);
                if let Err(error) = decode(frame.payload) {
                    let at = At::Frame(frame.lsn, 0);
                    report.borrow_mut().fault(WAL_DIR, at, None, error.to_string());
                }
            },
            &mut |fault| {
                let at = At::Frame(fault.lsn, fault.offset);
                // Without a page file nobody knows which frames are needed.
                if fault.torn {
                    report.borrow_mut().note(&fault.file, at, fault.what);
                } else {
                    report.borrow_mut().fault(&fault.file, at, None, fault.what);
                }
            },
        )?;
        // As an opening refuses it: the log's next life would not be after this one.
        let epoch = checked.newest_epoch.max(frames_epoch);
        if let Some(meta) = meta
            && (1..meta.wal_epoch).contains(&epoch)
        {
            let what = format!(
                "its newest epoch is {epoch}, the page file names {}: they do not belong together",
                meta.wal_epoch
            );
            self.report.fault(WAL_DIR, At::File, None, what);
        }
        self.report.log_segments = checked.segments;
        self.report.frames = checked.frames;
        self.report.last_lsn = checked.newest_lsn.max(flushed);
        Ok(())
    }

    fn living(&mut self, cursor: &mut wal::Cursor, until: Lsn, left: &mut u64) -> bool {
        while *left > 0 && self.report.last_lsn < until {
            match cursor.next() {
                Ok(Some(frame)) => {
                    self.report.frames += 1;
                    self.report.last_lsn = frame.lsn;
                    *left = left.saturating_sub(frame.payload.len() as u64);
                    if let Err(error) = decode(frame.payload) {
                        let at = At::Frame(frame.lsn, 0);
                        self.report.fault(WAL_DIR, at, None, error.to_string());
                    }
                }
                Ok(None) | Err(wal::Error::Gone { .. }) => return true,
                Err(error) => {
                    self.report.fault(WAL_DIR, At::File, None, error.to_string());
                    return true;
                }
            }
        }
        self.report.last_lsn >= until
    }
}
