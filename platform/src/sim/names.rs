//! The names of a simulated disk: live ones, durable ones, and the way between.
//!
//! Invariants:
//! * a change of a name is one whole thing: a rename that survives gives the
//!   new name and takes the old one, a rename that is lost does neither;
//! * changes that share a path survive in order: a later one never without an
//!   earlier one; changes that share none survive in any combination;
//! * directories are durable when made (the contract of `create_dir`).

use std::collections::{BTreeMap, BTreeSet};

use crate::path::parent;

pub(crate) type InodeId = u64;

#[derive(Clone, Debug)]
enum Change {
    Create { path: String, inode: InodeId },
    Remove { path: String },
    Rename { from: String, to: String, inode: InodeId },
}

impl Change {
    fn paths(&self) -> [&str; 2] {
        match self {
            Self::Create { path, .. } | Self::Remove { path } => [path, path],
            Self::Rename { from, to, .. } => [from, to],
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, InodeId>) {
        match self {
            Self::Create { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            Self::Remove { path } => {
                names.remove(path);
            }
            Self::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    live: BTreeMap<String, InodeId>,
    durable: BTreeMap<String, InodeId>,
    pending: Vec<Change>,
    dirs: BTreeSet<String>,
}

impl Names {
    pub(crate) fn get(&self, path: &str) -> Option<InodeId> {
        self.live.get(path).copied()
    }

    pub(crate) fn get_durable(&self, path: &str) -> Option<InodeId> {
        self.durable.get(path).copied()
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = (&str, InodeId)> {
        self.live.iter().map(|(path, inode)| (path.as_str(), *inode))
    }

    pub(crate) fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.dirs.contains(path)
    }

    pub(crate) fn make_dir(&mut self, path: &str) {
        self.dirs.insert(path.to_owned());
    }

    pub(crate) fn dirs(&self) -> impl Iterator<Item = &str> {
        self.dirs.iter().map(String::as_str)
    }

    /// Changes not yet durable in `dir`.
    pub(crate) fn pending_in(&self, dir: &str) -> usize {
        self.pending.iter().filter(|change| change.paths().iter().any(|p| parent(p) == dir)).count()
    }

    pub(crate) fn create(&mut self, path: &str, inode: InodeId) {
        self.push(Change::Create { path: path.to_owned(), inode });
    }

    pub(crate) fn remove(&mut self, path: &str) {
        self.push(Change::Remove { path: path.to_owned() });
    }

    /// `from` must be live. A rename onto itself changes nothing.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        if let Some(inode) = self.get(from)
            && from != to
        {
            self.push(Change::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        }
    }

    pub(crate) fn sync_dir(&mut self, dir: &str) {
        self.make_durable(|change| change.paths().iter().any(|path| parent(path) == dir));
    }

    /// The names a power cut leaves, `survives` deciding each unsynced change.
    pub(crate) fn after_power_cut(&self, mut survives: impl FnMut() -> bool) -> Self {
        let mut names = self.clone();
        names.make_durable(|_| survives());
        Self {
            live: names.durable.clone(),
            durable: names.durable,
            pending: Vec::new(),
            dirs: names.dirs,
        }
    }

    /// Every inode that a name has, had durably, or may have after a crash.
    pub(crate) fn referenced(&self) -> BTreeSet<InodeId> {
        let pending = self.pending.iter().filter_map(|change| match change {
            Change::Create { inode, .. } | Change::Rename { inode, .. } => Some(*inode),
            Change::Remove { .. } => None,
        });
        self.live.values().chain(self.durable.values()).copied().chain(pending).collect()
    }

    fn push(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    /// Applies the chosen changes, and the earlier ones they stand on, in order.
    fn make_durable(&mut self, mut chosen: impl FnMut(&Change) -> bool) {
        let mut needed = BTreeSet::new();
        let mut keep: Vec<bool> = Vec::with_capacity(self.pending.len());
        for change in self.pending.iter().rev() {
            // Asked for each, so that a seeded choice is a function of the list alone.
            let wanted = chosen(change);
            let kept = wanted || change.paths().iter().any(|path| needed.contains(*path));
            if kept {
                needed.extend(change.paths());
            }
            keep.push(kept);
        }
        keep.reverse();
        let mut keep = keep.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let kept = keep.next().unwrap_or(false);
            if kept {
                change.apply(durable);
            }
            !kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durable(names: &Names) -> Vec<(&str, InodeId)> {
        names.durable.iter().map(|(path, inode)| (path.as_str(), *inode)).collect()
    }

    #[test]
    fn a_sync_makes_the_names_of_its_directory_durable_and_no_other() {
        let mut names = Names::default();
        names.create("a/x", 1);
        names.create("b/y", 2);
        names.sync_dir("a");
        assert_eq!(durable(&names), [("a/x", 1)]);
        assert_eq!((names.pending_in("a"), names.pending_in("b")), (0, 1));
    }

    #[test]
    fn a_rename_that_survives_brings_the_creation_it_stands_on() {
        // given: create tmp, write elsewhere, rename tmp over a durable name
        let mut names = Names::default();
        names.create("now", 1);
        names.sync_dir("");
        names.create("tmp", 2);
        names.create("other", 3);
        names.rename("tmp", "now");
        // when: only the rename (asked first: newest first) survives
        let mut asked = 0;
        let after = names.after_power_cut(|| {
            asked += 1;
            asked == 1
        });
        // then
        assert_eq!(durable(&after), [("now", 2)]);
        // and when nothing survives, the old file is there
        assert_eq!(durable(&names.after_power_cut(|| false)), [("now", 1)]);
    }

    #[test]
    fn a_rename_across_directories_leaves_no_ghost_of_its_source() {
        let mut names = Names::default();
        names.create("a/x", 1);
        names.rename("a/x", "b/x");
        names.sync_dir("b");
        assert_eq!(durable(&names.after_power_cut(|| true)), [("b/x", 1)]);
    }
}
