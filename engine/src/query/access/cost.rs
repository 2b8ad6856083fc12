//! What a way to the rows of a query is expected to cost.
//!
//! What must stay true: a pure function of what is known before; nothing here is ever
//! needed for an answer to be right. The unit is a tenth of what it takes to read the
//! next document of a scan.

/// The next document of a scan.
const SCAN: u64 = 10;
/// The next entry of an index.
pub(super) const ENTRY: u64 = 4;
/// A document found by its key.
const GET: u64 = 36;
/// The next document of a walk.
pub(super) const WALKED: u64 = ENTRY + GET;
/// Making a row of an entry.
const DECODE: u64 = 4;
/// Coming to the first entry of bounds.
const SEEK: u64 = 20;
/// Of entries of which those that are equal in an order are picked, one of so many is
/// thought to be equal to the first.
const TIE: u64 = 16;
/// Putting a row in its place among others.
const SORT: u64 = 8;

/// How the rows are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All documents, in key order.
    Scan,
    /// All entries first, then the documents of their keys.
    Fetch,
    /// The entries one by one, each with its row.
    Walk,
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// Its document is read.
    Documents,
    /// A row is made of it.
    Entries,
    /// Nothing: it is counted.
    Nothing,
}

/// What is known of a way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) reads: Reads,
    /// Documents, or entries, that lie between its bounds.
    pub(super) within: u64,
    /// Bounds.
    pub(super) ranges: u64,
    /// Rows that are equal in the order must be picked out of what lies within.
    pub(super) ties: bool,
    /// Of those within, how many are expected to meet the filter.
    pub(super) matching: u64,
    /// Whether its rows need to be sorted.
    pub(super) sorts: bool,
    /// After so many rows the query ends, unless they need to be sorted first.
    pub(super) wanted: Option<u64>,
}

/// How many documents of a walk cost so much.
pub(super) fn documents(cost: u64) -> u64 {
    cost / WALKED
}

/// The cost of a way.
pub(super) fn cost(facts: &Facts) -> u64 {
    let Facts { kind, reads, within, ranges, ties, matching, sorts, wanted } = *facts;
    let matching = matching.min(within);
    // Those that meet the filter are thought to lie evenly among the others.
    let seen = match wanted.filter(|_| !sorts) {
        Some(wanted) => {
            let among = u128::from(wanted) * u128::from(within) / u128::from(matching.max(1));
            u64::try_from(among).unwrap_or(u64::MAX).min(within)
        }
        None => within,
    };
    let row = match reads {
        Reads::Documents => GET,
        Reads::Entries => DECODE,
        Reads::Nothing => 0,
    };
    let found = match kind {
        Kind::Scan => seen.saturating_mul(SCAN),
        Kind::Fetch => within.saturating_mul(ENTRY).saturating_add(seen.saturating_mul(row)),
        Kind::Walk => {
            let entries = if ties { seen.max(within / TIE) } else { seen };
            entries.saturating_mul(ENTRY).saturating_add(seen.saturating_mul(row))
        }
    };
    let sort = if sorts { matching.saturating_mul(SORT) } else { 0 };
    found.saturating_add(sort).saturating_add(ranges.saturating_mul(SEEK))
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: u64 = 100_000;

    fn scan(matching: u64, sorts: bool, wanted: Option<u64>) -> Facts {
        let (kind, reads) = (Kind::Scan, Reads::Documents);
        Facts { kind, reads, within: N, ranges: 0, ties: false, matching, sorts, wanted }
    }

    fn fetch(within: u64, sorts: bool, wanted: Option<u64>) -> Facts {
        let (kind, reads) = (Kind::Fetch, Reads::Documents);
        Facts { kind, reads, within, ranges: 1, ties: false, matching: within, sorts, wanted }
    }

    fn walk(reads: Reads, within: u64, matching: u64, sorts: bool, wanted: Option<u64>) -> Facts {
        let (kind, ties) = (Kind::Walk, false);
        Facts { kind, reads, within, ranges: 1, ties, matching, sorts, wanted }
    }

    /// The place of the cheapest.
    fn best(ways: &[Facts]) -> usize {
        (0..ways.len()).min_by_key(|at| cost(&ways[*at])).unwrap()
    }

    #[test]
    fn the_cheapest_way_is_the_one_expected() {
        use Reads::{Documents, Entries, Nothing};
        for (what, wanted_way, ways) in [
            (
                "few entries lead to few documents",
                1,
                vec![scan(10, false, None), fetch(10, false, None)],
            ),
            (
                "a third of all is a scan",
                0,
                vec![scan(N / 3, false, None), fetch(N / 3, false, None)],
            ),
            ("a fifth is not", 1, vec![scan(N / 5, false, None), fetch(N / 5, false, None)]),
            (
                "the first rows of a large range, in index order",
                2,
                vec![
                    scan(N / 2, true, Some(10)),
                    fetch(N / 2, true, Some(10)),
                    walk(Documents, N / 2, N / 2, false, Some(10)),
                ],
            ),
            (
                "few entries are sorted rather than all walked for a rare match",
                0,
                vec![fetch(50, true, Some(10)), walk(Documents, N, 50, false, Some(10))],
            ),
            (
                "many matches are soon met in index order",
                1,
                vec![fetch(N / 6, true, Some(10)), walk(Documents, N, N / 6, false, Some(10))],
            ),
            (
                "without a limit, all documents are better scanned and sorted",
                0,
                vec![scan(N, true, None), walk(Documents, N, N, false, None)],
            ),
            (
                "of half of them, too",
                0,
                vec![scan(N / 2, true, None), walk(Documents, N / 2, N / 2, false, None)],
            ),
            (
                "but not if no document is read",
                1,
                vec![scan(N, true, None), walk(Entries, N, N, false, None)],
            ),
            (
                "entries are grouped rather than documents",
                1,
                vec![scan(N, false, None), walk(Entries, N, N, false, None)],
            ),
            (
                "entries are sorted by another order rather than documents",
                1,
                vec![scan(N, true, None), walk(Entries, N, N, true, None)],
            ),
            (
                "entries are counted",
                2,
                vec![scan(N, false, None), fetch(N, false, None), walk(Nothing, N, N, false, None)],
            ),
            (
                "those that are equal are picked, but not for the first of a few documents",
                0,
                vec![
                    fetch(N / 200, true, Some(5)),
                    Facts { ties: true, ..walk(Documents, N, N / 200, false, Some(5)) },
                    scan(N / 200, true, Some(5)),
                ],
            ),
            (
                "a scan that soon has its rows",
                0,
                vec![scan(N / 2, false, Some(5)), fetch(N / 2, false, Some(5))],
            ),
        ] {
            assert_eq!(
                best(&ways),
                wanted_way,
                "{what}: {:?}",
                ways.iter().map(cost).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn nothing_overflows() {
        for kind in [Kind::Scan, Kind::Fetch, Kind::Walk] {
            for wanted in [None, Some(0), Some(u64::MAX)] {
                let all = u64::MAX;
                let (reads, within, ranges, matching) = (Reads::Documents, all, all, 0);
                cost(&Facts {
                    kind,
                    reads,
                    within,
                    ranges,
                    ties: true,
                    matching,
                    sorts: true,
                    wanted,
                });
                cost(&Facts {
                    kind,
                    reads,
                    within,
                    ranges,
                    ties: false,
                    matching,
                    sorts: false,
                    wanted,
                });
            }
        }
        assert_eq!(cost(&scan(0, false, Some(0))), 0);
    }
}
