//! A snapshot, and which keys were written since.
//!
//! What must stay true: what is said to be all is all: who missed some of it, since more was
//! written than is remembered, or the keyspace was dropped, is told so.

use std::collections::BTreeSet;

use crate::recent::Live;
use crate::{Error, KeyspaceId, Lsm, Lsn, Snapshot};

/// See the module.
pub struct Since {
    snapshot: Snapshot,
    /// Up to where it was told.
    known: Lsn,
    _live: Live,
}

impl Since {
    /// The state that it begins with.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Lsm {
    /// A snapshot of what is acknowledged, of which it can be asked what was written since:
    /// what takes long to find is found in it, and brought up to date by that.
    ///
    /// # Errors
    /// As [`Lsm::snapshot`].
    pub fn since(&self) -> Result<Since, Error> {
        let (snapshot, live) = self.acknowledged()?;
        let known = snapshot.lsn();
        Ok(Since { snapshot, known, _live: live })
    }

    /// The keys of a keyspace that were written by the commits up to `upto`, and behind the
    /// snapshot or what was asked for last; `None`: not all of them are known.
    ///
    /// In [`Lsm::commit_with`], with the state that it gives, these are all there are before
    /// that commit.
    pub fn written(
        &self,
        since: &mut Since,
        keyspace: KeyspaceId,
        upto: Lsn,
    ) -> Option<BTreeSet<Box<[u8]>>> {
        let mut found = BTreeSet::new();
        if upto <= since.known {
            return Some(found);
        }
        for written in self.recent.behind(since.known)? {
            if written.lsn > upto {
                break;
            }
            for (of, key) in written.keys() {
                if of == keyspace.0 {
                    found.insert(key?.into());
                }
            }
        }
        since.known = upto;
        Some(found)
    }
}
