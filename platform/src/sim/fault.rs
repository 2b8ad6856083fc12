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
    /// An open fails for want of file descriptors (`EMFILE`); nothing is done.
    Descriptors,
    /// A write is acknowledged and never reaches the medium, whatever is synced.
    /// Reads show it from the cache until a restart, or not at all, as the seed
    /// chooses; a file it would have grown has grown, by zeros. (Bytes of the same
    /// 4 KiB page written later take the page as the cache shows it with them.)
    LostWrite,
    /// A write is acknowledged and lands elsewhere: in this or another file, at
    /// an offset as far into its 512-byte sector. Where it belongs nothing changes.
    Misdirected,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// The next matching call only.
    Next,
    /// The matching call after so many others, only (0 is the next).
    After(u64),
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

    pub(crate) fn clear_kind(&mut self, fault: Fault) {
        self.0.retain(|(planned, ..)| *planned != fault);
    }

    /// Whether this call is to fail; a fault for one call is used up by it.
    pub(crate) fn strikes(&mut self, fault: Fault, path: &str) -> bool {
        let mut hit = false;
        self.0.retain_mut(|(planned, prefix, times)| {
            if hit || *planned != fault || !path.starts_with(prefix.as_str()) {
                return true;
            }
            match times {
                Times::Every => hit = true,
                Times::After(left) if *left > 0 => *left -= 1,
                Times::Next | Times::After(_) => {
                    hit = true;
                    return false;
                }
            }
            true
        });
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_as_often_as_it_was_told_to() {
        let mut faults = Faults::default();
        faults.add(Fault::Write, "a/", Times::After(2));
        faults.add(Fault::Write, "b", Times::Next);
        faults.add(Fault::Sync, "", Times::Every);
        let writes =
            ["a/x", "b", "b", "a/y", "a/x", "a/x"].map(|p| faults.strikes(Fault::Write, p));
        assert_eq!(writes, [false, true, false, false, true, false]);
        assert!((0..3).all(|_| faults.strikes(Fault::Sync, "c")));
        assert!(!faults.strikes(Fault::Read, "c"));
    }
}
