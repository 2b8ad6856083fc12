//! Backups: online, consistent, incremental; and what is made of them.
//!
//! What a backup holds: the pages of one version of the page file, the value log
//! up to the tail that version vouches for, and the log's frames behind it up to a
//! commit that was durable when the backup ended. That is what a store rests on,
//! so a restored store is the store as of that commit.
//!
//! Why it is consistent while everything goes on:
//! * a [`btree::View`] is held: the pages it reaches are not written over, and
//!   value-log segments it names are not removed, as long as it is. That is bounded
//!   ([`Options::max_backup_pinned_bytes`](crate::Options)): beyond, the view is taken
//!   away, and the backup fails by name;
//! * the bytes of the value log below a committed tail never change;
//! * frames are copied from the log's cursor, which gives durable ones without a
//!   gap, and are retained until they are. Should the log be truncated before all
//!   the same (a bound on what may be retained), the backup ends at the last one
//!   copied: a commit is missing or there, never half there.
//!
//! Why it is whole or not there: parts are written under names no manifest has yet
//! and synced; their names are synced; then the manifest is written aside, synced,
//! renamed, its name synced. Files that no manifest names are swept away by the
//! next backup or [`prune`]. A part is removed only after every manifest that
//! names it is gone, durably. While a manifest cannot be read nothing is removed, and
//! no new backup rests on a part that was there when it was written.
//!
//! Why it is cheap: a page carries the checksums of those below it, so a subtree
//! whose root is in an earlier part, with that checksum, is there whole; it is not
//! even read. Of a value-log segment only the bytes behind what is there are read.
//! When the parts of pages taken together hold twice what the version has, the
//! next backup takes all pages anew.
//!
//! What a backup reads it verifies: a rotten page or record makes it fail by name,
//! since a copy of damage would replace a good one in time.

mod asked;
mod catalog;
mod copy;
mod error;
pub(crate) mod format;
mod part;
mod restore;
mod source;
mod table;

pub use asked::{Restore, Restored, Until};
pub use catalog::{BackupInfo, Backups, Pruned, Unreadable, backups, check_backup, prune};
pub use copy::{Backup, BackupOptions, Progress};
pub use error::Error as BackupError;
pub(crate) use restore::empty;
pub use restore::restore;
