//! The log as those see it who follow it: its durable frames, and the stay of them.
//! Who holds what is in `retain.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::health::Health;
use crate::retain::{Holder, Retention};
use crate::{Error, Lsm, Lsn};

/// The durable frames of the log, in order: made by [`Lsm::frames`]. Damage it meets is
/// counted in the store's stats.
pub struct LogCursor {
    cursor: wal::Cursor,
    health: Arc<Health>,
}

impl LogCursor {
    /// The next durable frame, or `None` if there is none yet: ask again later.
    ///
    /// # Errors
    /// [`WalError::Gone`](crate::WalError::Gone) if truncation overtook it; damage, or a disk that does not
    /// read. It stays where it was.
    #[allow(clippy::should_implement_trait)] // lending: the frame borrows the buffer
    pub fn next(&mut self) -> Result<Option<wal::Frame<'_>>, Error> {
        match self.cursor.next() {
            Ok(frame) => Ok(frame),
            Err(error) => {
                let error = Error::from(error);
                self.health.met_again(&error);
                Err(error)
            }
        }
    }

    /// The LSN of the frame that [`LogCursor::next`] hands out next.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.cursor.position()
    }
}

impl Lsm {
    /// Keeps the log's frames from `from` on for a reader, within
    /// [`Options::wal_retain_bytes`](crate::Options), until the [`Retention`] is
    /// dropped. `name` is for stats; it need not be one of a kind.
    ///
    /// # Errors
    /// [`WalError::Gone`](crate::WalError::Gone) if the log no longer has `from`; it says from where on it
    /// has.
    pub fn retain(&self, name: &str, from: Lsn) -> Result<Retention, Error> {
        self.retain.hold(name, from, || self.oldest_lsn())
    }

    /// The log's durable frames from `from` on, now and as they come. They stay
    /// there only for who retains them: [`Lsm::retain`].
    ///
    /// # Errors
    /// [`WalError::Gone`](crate::WalError::Gone) if the log no longer has `from`.
    pub fn frames(&self, from: Lsn) -> Result<LogCursor, Error> {
        Ok(LogCursor { cursor: self.wal.cursor(from)?, health: Arc::clone(&self.health) })
    }

    /// The first commit that the log still has, or the next one to come.
    pub fn oldest_lsn(&self) -> Lsn {
        self.wal.segments().first().map_or(1, |segment| segment.first_lsn)
    }

    /// The newest commit that is durable and visible: a snapshot taken after shows it, and
    /// no power cut undoes it.
    pub fn settled_lsn(&self) -> Lsn {
        // A frame may be durable before its commit is in the memtables.
        let lsn = self.wal.durable_lsn().min(self.applied.load(Acquire));
        self.visible.fetch_max(lsn, Release);
        lsn
    }

    /// The newest commit that snapshots see.
    pub fn visible_lsn(&self) -> Lsn {
        self.visible.load(Acquire)
    }

    /// About how many bytes of the log hold the commits from `from` on: of the segment that
    /// it lies in, a share by its number.
    pub fn log_bytes_from(&self, from: Lsn) -> u64 {
        let segments = self.wal.segments();
        let behind = segments.iter().filter(|segment| segment.last_lsn >= from);
        let bytes = behind.map(|segment| {
            let frames = (segment.last_lsn + 1).saturating_sub(segment.first_lsn).max(1);
            let before = from.saturating_sub(segment.first_lsn).min(frames);
            segment.bytes
                - (u128::from(segment.bytes) * u128::from(before) / u128::from(frames)) as u64
        });
        bytes.sum()
    }

    /// Who keeps the log from being cut, in the order they came.
    pub fn holders(&self) -> Vec<Holder> {
        self.retain.holders()
    }

    /// Up to which frame the log may be cut: the end of a segment.
    pub(crate) fn trim_limit(&self) -> Lsn {
        let segments = self.wal.segments();
        let most = self.options.wal_retain_bytes;
        let keep = self.options.wal_keep_bytes;
        let limit = self.retain.limit(self.archiving.archived(), &segments, most, keep);
        // What was condemned, not what the log may look like a moment later: a holder
        // may be taken in from the first frame that stays here.
        let stays = segments.iter().rev().find(|s| s.first_lsn <= limit + 1);
        stays.map_or(0, |s| s.first_lsn - 1)
    }
}
