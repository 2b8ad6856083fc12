//! Faults a test asks for by name.
//!
//! Invariant: a fault strikes by path prefix and kind of call only, so that a
//! run with faults replays like one without.

/// Which call fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A read fails with an input/output error.
    Read,
    /// A read returns fewer bytes than there are (possibly none).
    ShortRead,
    /// A write, append or `set_len` fails; any part of the write may be done.
    Write,
    /// A sync of a file or directory fails. What was unsynced in the file is
    /// kept or lost for good there and then: a later sync does not save it.
    Sync,
    /// A create, rename or remove fails; nothing is done.
    Name,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// The next matching call only.
    Next,
    /// Every matching call until [`SimDisk::clear_faults`](super::SimDisk::clear_faults).
    Every,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Vec<(Fault, String, Times)>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault, prefix: &str, times: Times) {
        self.0.push((fault, prefix.to_owned(), times));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether this call is to fail; a fault for the next call is used up.
    pub(crate) fn strikes(&mut self, fault: Fault, path: &str) -> bool {
        let hit = self
            .0
            .iter()
            .position(|(f, prefix, _)| *f == fault && path.starts_with(prefix.as_str()));
        if let Some(at) = hit
            && self.0[at].2 == Times::Next
        {
            self.0.remove(at);
        }
        hit.is_some()
    }
}
