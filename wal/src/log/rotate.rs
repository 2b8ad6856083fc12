//! Rotation: the tail segment ends and the next begins.
//!
//! Must stay true:
//! * all of it runs under the append lock; watchers are told after that;
//! * no segment begins before the one before it is durable (sync mode), or is in the
//!   list of those the next flush syncs first (async mode);
//! * a rotation that is refused has changed nothing: the tail is as it was.

use super::{Inner, MOST_UNSYNCED, Tail, begun};
use crate::SyncMode;
use crate::error::Error;
use crate::files::{self, Failed, Segment};
use crate::segment::{self, HEADER_LEN, SegmentHeader};
use std::sync::atomic::Ordering;

impl Inner {
    /// Ends the tail segment, if it holds a frame. `true`: it did.
    pub(crate) fn rotate_now(&self) -> Result<bool, Error> {
        let outcome = {
            let mut tail = self.tail.lock();
            if self.turn.is_poisoned() {
                Err(self.poison_error())
            } else if tail.birth.is_some() {
                self.begin_if_due(&mut tail).map(|()| true)
            } else if tail.at == HEADER_LEN {
                Ok(false)
            } else {
                // The flush makes the new segment's name durable too: else the ended one
                // could not be truncated.
                self.rotate(&mut tail).and_then(|()| self.flush_now()).map(|()| true)
            }
        };
        self.watchers.tell(self.durable_lsn());
        outcome
    }

    /// Ends the tail segment and begins the next. The caller has the append lock.
    pub(super) fn rotate(&self, tail: &mut Tail) -> Result<(), Error> {
        let header = SegmentHeader {
            number: tail.number + 1,
            first_lsn: self.last_lsn() + 1,
            epoch: self.epoch,
            salt: self.opts.salt,
            recycled: false,
        };
        match self.opts.sync {
            SyncMode::Async => self.rotate_loosely(tail, &header),
            SyncMode::Sync => self.rotate_durably(tail, &header),
        }
    }

    /// Async mode: waits for no disk; the next flush makes it all durable, the
    /// ended segment first.
    fn rotate_loosely(&self, tail: &mut Tail, header: &SegmentHeader) -> Result<(), Error> {
        if self.now.lock().unsynced.len() >= MOST_UNSYNCED {
            self.flush_now()?;
        }
        let mut spare = self.spares.lock().pop();
        let first_len = files::grown(&self.opts, 0, HEADER_LEN);
        let made = files::make_loose(&*self.disk, &self.dir, header, &mut spare, first_len);
        let segment = made.map_err(|error| {
            self.spares.lock().extend(spare);
            self.refuse(header.number, error)
        })?;
        self.begin(tail, segment, true);
        Ok(())
    }

    /// Sync mode: the ended segment is durable before the next one is made, and
    /// that is before a frame is written to it.
    pub(super) fn rotate_durably(
        &self,
        tail: &mut Tail,
        header: &SegmentHeader,
    ) -> Result<(), Error> {
        let held = self.turn.take().map_err(Error::Poisoned)?;
        if self.durable_lsn() < self.last_lsn() {
            held.publish(self.flush_group());
        }
        if self.turn.is_poisoned() {
            return Err(self.poison_error());
        }
        let mut spare = self.spares.lock().pop();
        let first_len = files::grown(&self.opts, 0, HEADER_LEN);
        let (disk, mode) = (&*self.disk, self.opts.sync);
        let made = files::make(disk, &self.dir, mode, header, &mut spare, first_len);
        let segment = match made {
            Ok(segment) => segment,
            Err(Failed::Clean(error)) => {
                self.spares.lock().extend(spare);
                return Err(self.refuse(header.number, error));
            }
            Err(Failed::Sync(error)) => {
                let path = segment::path(&self.dir, header.number);
                let what = format!("the log segment {path} could not be made: {error}");
                return Err(self.poison(true, &what));
            }
        };
        self.pending.lock().begin(&segment.header);
        self.begin(tail, segment, false);
        drop(held);
        Ok(())
    }

    /// Goes over to a new segment.
    fn begin(&self, tail: &mut Tail, segment: Segment, loose: bool) {
        let mut now = self.now.lock();
        if let Some(ended) = now.segments.last_mut() {
            (ended.bytes, ended.last_lsn, ended.sealed) = (tail.at, self.last_lsn(), true);
        }
        now.segments.push(begun(&segment.header));
        let ended = std::mem::replace(&mut now.segment, segment.clone());
        if loose {
            now.unsynced.push(ended.file);
            now.loose += 1;
        }
        self.end.store(HEADER_LEN, Ordering::Release);
        drop(now);
        tail.number = segment.header.number;
        tail.segment = segment;
        tail.at = HEADER_LEN;
    }
}
