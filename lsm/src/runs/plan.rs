//! Where a flush writes the cells of a keyspace: into its tree, or a run.
//!
//! What must stay true: with runs there is no writing beside them into the tree: the
//! set is newer than they are.
//!
//! The costs, in bytes of pages for a set of `m` cells spread over `t` of a tree's `L`
//! leaves, about 60 cells in each: the tree, `t` pages. A run, `m` cells in full pages
//! one to three times, and a share of the merge: that writes each leaf once, for as many
//! cells as a quarter of the tree has. So runs pay from some eight times fewer leaves
//! than cells on, if a tree is several sets large; what is appended never does.

use btree::View;

use crate::Error;
use crate::memtable::Walk;
use crate::options::Options;

use super::{Run, SLOTS};

/// A run pays when fewer than so many cells of a set meet in a leaf.
const CELLS_PER_LEAF: u64 = 8;
/// A set is this many times smaller than what runs may come to, or it is no run.
const SETS_PER_MERGE: u64 = 2;
/// One pair of neighbours of so many is looked at, in large sets.
const STRIDE: u64 = 32;
/// Trees of fewer keys are looked at pair by pair.
const LARGE: u64 = 1 << 16;

/// Where a set goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Tree,
    /// Into a new run, which takes so many of the newest ones in.
    Run {
        with: usize,
        /// Cells of the set.
        cells: u64,
    },
}

/// How many keys runs may have before they are merged into a tree of `keys`.
pub(super) fn bound(options: &Options, keys: u64) -> u64 {
    if options.run_leaves == 0 { 0 } else { keys.saturating_mul(options.run_percent.into()) / 100 }
}

/// The way of the set that `walk` walks, which stands on its first entry. The tree has
/// `keys` keys in `view` now; `runs`: newest first.
pub(crate) fn choose(
    options: &Options,
    view: &View,
    keyspace: u32,
    keys: u64,
    runs: &[Run],
    mut walk: Walk,
) -> Result<Way, Error> {
    let from = u64::from(options.run_leaves);
    if runs.is_empty() && (from == 0 || keys < from) {
        return Ok(Way::Tree);
    }
    let most = bound(options, keys) / SETS_PER_MERGE;
    let stride = if keys < LARGE { 1 } else { STRIDE };
    let (mut cells, mut pairs, mut apart) = (0u64, 0u64, 0u64);
    let mut leaf = None;
    while let Some(key) = walk.key() {
        if runs.is_empty() {
            let (begins, ends) = (cells % stride == 0, cells % stride == 1 % stride);
            if begins || ends {
                let here = view.leaf_page(keyspace, key)?;
                if ends {
                    pairs += 1;
                    apart += u64::from(here != leaf);
                }
                leaf = here;
            }
            if cells > most {
                return Ok(Way::Tree);
            }
        }
        cells += 1;
        walk.forward();
    }
    if cells == 0 {
        return Ok(Way::Tree);
    }
    if runs.is_empty() {
        let leaves = 1 + (u128::from(cells) * u128::from(apart) / u128::from(pairs.max(1))) as u64;
        let pays = leaves >= from && leaves.saturating_mul(CELLS_PER_LEAF) > cells;
        return Ok(if pays { Way::Run { with: 0, cells } } else { Way::Tree });
    }
    Ok(Way::Run { with: joined(cells, runs.iter().map(|run| view.len(run.tree))), cells })
}

/// How many of the newest runs are merged with a set, so that there is room for it:
/// the newest, and then what is not much larger than all before it together.
fn joined(set: u64, runs: impl ExactSizeIterator<Item = u64>) -> usize {
    if runs.len() < SLOTS {
        return 0;
    }
    let (mut with, mut cells) = (0, set);
    for run in runs {
        if with > 0 && run > cells.saturating_mul(2) {
            break;
        }
        cells = cells.saturating_add(run);
        with += 1;
    }
    with
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_a_size_are_joined_and_small_sets_leave_large_ones_alone() {
        let joined = |set, runs: &[u64]| joined(set, runs.iter().copied());
        assert_eq!(joined(5, &[]), 0);
        assert_eq!(joined(5, &[5, 5, 5]), 0);
        assert_eq!(joined(5, &[5, 5, 5, 5]), 4);
        assert_eq!(joined(5, &[5, 5, 5, 25]), 4);
        assert_eq!(joined(5, &[5, 5, 5, 45]), 3);
        assert_eq!(joined(1, &[1, 900, 450, 450]), 1);
        assert_eq!(joined(1, &[450, 450, 450, 450]), 4);
    }

    /// However many sets come, there is room, and each cell is written few times.
    #[test]
    fn a_cell_is_written_a_few_times() {
        let (mut runs, mut written, mut sets) = (Vec::<u64>::new(), 0, 0);
        while runs.iter().sum::<u64>() < 64 {
            let with = joined(1, runs.iter().copied());
            let run = 1 + runs.drain(..with).sum::<u64>();
            runs.insert(0, run);
            assert!(runs.len() <= SLOTS);
            (written, sets) = (written + run, sets + 1);
        }
        assert!(written <= 4 * sets, "{written} for {sets}");
    }
}
