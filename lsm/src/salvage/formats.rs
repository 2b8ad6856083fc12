//! What another version wrote is not salvaged: all of it would be called lost.
//!
//! What must stay true: a version is told from a rotten one by a checksum over it;
//! nothing is changed or made.

use platform::Disk;
use vlog::SegmentFile;

use crate::batch::{BatchError, decode};
use crate::meta::Meta;
use crate::{Error, Lsn, PAGES, VLOG_DIR, WAL_DIR};

/// Refuses a store of another version; of this one, the last commit that is known of.
///
/// # Errors
/// That it is of another version, by name.
pub(super) fn check(source: &dyn Disk) -> Result<Lsn, Error> {
    let mut last = 0;
    match btree::open_damaged(source, PAGES) {
        Err(error @ btree::Error::Version { .. }) => return Err(error.into()),
        Ok((view, _)) => match Meta::decode(view.user(), PAGES) {
            Err(error @ Error::Version { .. }) => return Err(error),
            Err(_) => {}
            Ok(meta) => last = meta.flushed,
        },
        Err(_) => {}
    }
    if let Err(error @ wal::Error::OtherFormat { .. }) = wal::newest_epoch(source, WAL_DIR) {
        return Err(error.into());
    }
    for id in SegmentFile::ids(source, VLOG_DIR).unwrap_or_default() {
        let header = SegmentFile::open(source, VLOG_DIR, id).and_then(|file| file.check_header());
        if let Err(error @ vlog::Error::OtherFormat { .. }) = header {
            return Err(error.into());
        }
    }
    let mut other = None;
    let each = &mut |frame: &wal::Frame<'_>, _| {
        last = last.max(frame.lsn);
        if other.is_none()
            && let Err(source @ BatchError::Version(_)) = decode(frame.payload)
        {
            other = Some(Error::Frame { lsn: frame.lsn, source });
        }
    };
    // What is wrong with the log is told when it is replayed.
    drop(wal::check(source, WAL_DIR, 1, 0, each, &mut |_| {}));
    other.map_or(Ok(last), Err)
}
