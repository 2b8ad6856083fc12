//! Field names given twice: found without an allocation in documents of ordinary
//! width, and without quadratic time in wide ones.

use std::collections::BTreeSet;

/// Up to this many names are compared with each other; more go into a set.
const FEW: usize = 24;

/// The names seen so far in one document.
pub(super) struct Names<'a> {
    few: [&'a [u8]; FEW],
    count: usize,
    many: BTreeSet<&'a [u8]>,
}

impl<'a> Names<'a> {
    pub(super) fn new() -> Names<'a> {
        Names { few: [&[]; FEW], count: 0, many: BTreeSet::new() }
    }

    /// Adds a name; false if it was there.
    pub(super) fn add(&mut self, name: &'a [u8]) -> bool {
        if self.count < FEW {
            if self.few[..self.count].contains(&name) {
                return false;
            }
            self.few[self.count] = name;
            self.count += 1;
            return true;
        }
        if self.many.is_empty() {
            self.many.extend(self.few);
        }
        self.many.insert(name)
    }
}
