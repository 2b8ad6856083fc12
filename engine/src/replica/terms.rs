//! Terms: which primary made which commits.
//!
//! What must stay true:
//! * a term begins with a commit that says so, the first one its primary makes
//!   ([`lsm::Lsm::lead`]); it is in the log like any other, so a replica that has applied
//!   it knows the term, and one that has not does not;
//! * two terms of one number by two primaries are told apart by a number drawn by chance;
//! * commits up to the same LSN are the same on both sides if, and only if, both have the
//!   same terms up to there: that is what [`compare`] rests on, and nobody follows who
//!   fails it.
//!
//! ```text
//! keyspace 3, key: number of the term, u64 big-endian
//!  0      8      16
//! +------+------+------+
//! | from | id   | wall |   u64 little-endian each. from: the commit it begins with;
//! +------+------+------+   wall: when, in microseconds since 1970
//!
//! on the wire, of each term:  number | from | id   u64 little-endian each
//! ```

use std::ops::Bound;

use lsm::{Batch, Direction, KeyspaceId, Lsm, Lsn, Snapshot};

/// Where terms are stored.
pub(crate) const TERMS: KeyspaceId = KeyspaceId(3);
/// Terms of one store at most: both sides send all of theirs.
pub(crate) const MAX_TERMS: usize = 1024;

/// A time in which one primary made all commits. Before the first there were no replicas
/// that were promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    /// Rises by one with every promotion.
    pub(crate) number: u64,
    /// Its first commit.
    pub(crate) from: Lsn,
    /// Drawn by chance when it was begun.
    pub(crate) id: u64,
}

/// Bytes of a term, stored and sent.
const LEN: usize = 24;

fn three(numbers: [u64; 3]) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    for (to, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        to.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn of_three(bytes: &[u8; LEN]) -> [u64; 3] {
    let (numbers, _) = bytes.as_chunks();
    [0, 1, 2].map(|at: usize| u64::from_le_bytes(numbers[at]))
}

/// What becomes of a replica that would follow a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All its commits are the primary's.
    Follows,
    /// Its commits behind this one are not the primary's.
    Diverged(Lsn),
    /// It knows of a later term: the primary is none any more.
    OlderPrimary(Term),
}

/// Compares the terms of a primary with those of a replica whose last commit is `last`.
pub(crate) fn compare(primary: &[Term], replica: &[Term], last: Lsn) -> Verdict {
    let same = primary.iter().zip(replica).take_while(|(a, b)| a == b).count();
    match (primary.get(same), replica.get(same)) {
        (Some(theirs), Some(ours)) => Verdict::Diverged(theirs.from.min(ours.from) - 1),
        (None, Some(ours)) => Verdict::OlderPrimary(*ours),
        (Some(theirs), None) if last >= theirs.from => Verdict::Diverged(theirs.from - 1),
        (_, None) => Verdict::Follows,
    }
}

/// The batch that begins a term.
pub(crate) fn begin(term: Term, wall_micros: u64) -> Batch {
    let mut batch = Batch::new();
    let stored = three([term.from, term.id, wall_micros]);
    batch.put_new(TERMS, &term.number.to_be_bytes(), &stored);
    batch
}

/// The terms that a store has, oldest first. `None`: a record that makes no sense.
pub(crate) fn load(lsm: &Lsm) -> Result<Option<Vec<Term>>, lsm::Error> {
    of(&lsm.snapshot()?)
}

fn of(snapshot: &Snapshot) -> Result<Option<Vec<Term>>, lsm::Error> {
    let all = Bound::Unbounded;
    let mut cursor = snapshot.range(TERMS, all, all, Direction::Forward)?;
    let mut terms = Vec::new();
    while let Some((key, value)) = cursor.next()? {
        let (Ok(number), Ok(stored)) = (key.try_into(), value.try_into()) else {
            return Ok(None);
        };
        let [from, id, _] = of_three(stored);
        terms.push(Term { number: u64::from_be_bytes(number), from, id });
    }
    Ok(is_sound(&terms).then_some(terms))
}

/// Whether terms can be those of a store.
fn is_sound(terms: &[Term]) -> bool {
    let rises = |pair: &[Term]| pair[0].number < pair[1].number && pair[0].from < pair[1].from;
    terms.len() <= MAX_TERMS
        && terms.windows(2).all(rises)
        && terms.first().is_none_or(|first| first.number > 0 && first.from > 0)
}

/// As they are sent.
pub(crate) fn encode(terms: &[Term]) -> Vec<u8> {
    terms.iter().flat_map(|term| three([term.number, term.from, term.id])).collect()
}

/// Those that were sent; `None`: they are none.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Term>> {
    let (terms, rest) = bytes.as_chunks();
    if terms.len() > MAX_TERMS || !rest.is_empty() {
        return None;
    }
    let term = |bytes| {
        let [number, from, id] = of_three(bytes);
        Term { number, from, id }
    };
    Some(terms.iter().map(term).collect()).filter(|terms: &Vec<Term>| is_sound(terms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(number: u64, from: Lsn, id: u64) -> Term {
        Term { number, from, id }
    }

    #[test]
    fn who_may_follow_whom() {
        let (one, two, other) = (term(1, 10, 7), term(2, 20, 8), term(2, 25, 9));
        let cases: [(&[Term], &[Term], Lsn, Verdict); 13] = [
            (&[], &[], 0, Verdict::Follows),
            (&[], &[], 99, Verdict::Follows),
            (&[one], &[], 9, Verdict::Follows),
            // It has commit 10 of the old primary, in the place of the term's first.
            (&[one], &[], 10, Verdict::Diverged(9)),
            (&[one], &[one], 10, Verdict::Follows),
            (&[one, two], &[one], 19, Verdict::Follows),
            (&[one, two], &[one], 20, Verdict::Diverged(19)),
            (&[one, two], &[], 9, Verdict::Follows),
            (&[one, two], &[], 10, Verdict::Diverged(9)),
            (&[one], &[one, two], 20, Verdict::OlderPrimary(two)),
            (&[], &[one], 10, Verdict::OlderPrimary(one)),
            // Two replicas were promoted, each for itself.
            (&[one, two], &[one, other], 30, Verdict::Diverged(19)),
            (&[one, other], &[one, two], 30, Verdict::Diverged(19)),
        ];
        for (primary, replica, last, verdict) in cases {
            assert_eq!(compare(primary, replica, last), verdict, "{primary:?} {replica:?} {last}");
        }
        let same_number = term(1, 10, 8);
        assert_eq!(compare(&[one], &[same_number], 12), Verdict::Diverged(9));
    }

    #[test]
    fn golden() {
        let bytes = encode(&[term(1, 0x0203, 4), term(2, 0x0304, 5)]);
        let mut want = [0; 48];
        for (at, byte) in [(0, 1), (8, 3), (9, 2), (16, 4), (24, 2), (32, 4), (33, 3), (40, 5)] {
            want[at] = byte;
        }
        assert_eq!(bytes, want);
        assert_eq!(decode(&bytes).unwrap(), [term(1, 0x0203, 4), term(2, 0x0304, 5)]);
        let batch = begin(term(0x0102, 0x0203, 4), 5);
        let stored = batch.ops().next().unwrap();
        let mut value = [0; 24];
        (value[0], value[1], value[8], value[16]) = (3, 2, 4, 5);
        let key = [0, 0, 0, 0, 0, 0, 1, 2];
        assert_eq!(stored, lsm::Op::Put(KeyspaceId(3), &key, &value));
    }

    #[test]
    fn what_is_no_list_of_terms_is_none() {
        assert_eq!(decode(&[]), Some(Vec::new()));
        assert_eq!(decode(&[1; 23]), None);
        assert_eq!(decode(&encode(&[term(0, 1, 1)])), None);
        assert_eq!(decode(&encode(&[term(1, 0, 1)])), None);
        assert_eq!(decode(&encode(&[term(1, 5, 1), term(1, 6, 1)])), None);
        assert_eq!(decode(&encode(&[term(1, 5, 1), term(2, 5, 1)])), None);
        let many: Vec<Term> = (1..=1025).map(|n| term(n, n, n)).collect();
        assert!(decode(&encode(&many[..1024])).is_some());
        assert_eq!(decode(&encode(&many)), None);
    }
}
