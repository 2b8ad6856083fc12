//! What a transaction has read, as ranges of keys by keyspace.
//!
//! What must stay true: a key that was looked for is covered, there or not; so is
//! everything between the bounds of a cursor that it has come past, and all between its
//! bounds while it is open: nothing rests on when it is let go of. Memory is bounded:
//! beyond it neighbours are taken together with what lies between them, which may
//! make a conflict of what is none, and never the other way round.

use std::collections::BTreeMap;
use std::ops::Bound;

use parking_lot::Mutex;

use crate::KeyspaceId;

/// Bytes of memory that ranges may take.
const MOST: usize = 2 << 20;
/// Bytes that a range takes beside its keys.
const OVERHEAD: usize = 64;

/// Where a range ends, its beginning being a key that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// It is that one key.
    Itself,
    /// Before this key.
    Before(Box<[u8]>),
    /// With the last key there can be.
    Never,
}

/// Apart from each other, by where they begin.
#[derive(Default)]
struct Ranges {
    list: BTreeMap<Box<[u8]>, End>,
    bytes: usize,
}

/// The bounds of a cursor that is open.
struct Open {
    keyspace: KeyspaceId,
    low: Bound<Box<[u8]>>,
    high: Bound<Box<[u8]>>,
}

#[derive(Default)]
struct State {
    keyspaces: BTreeMap<u32, Ranges>,
    open: BTreeMap<u64, Open>,
    next: u64,
    bytes: usize,
}

/// See the module.
pub(crate) struct Reads {
    state: Mutex<State>,
    most: usize,
}

impl Default for Reads {
    fn default() -> Self {
        Reads { state: Mutex::default(), most: MOST }
    }
}

/// The first key behind `key`.
fn behind(key: &[u8]) -> Box<[u8]> {
    [key, &[0]].concat().into()
}

impl End {
    fn len(&self) -> usize {
        if let End::Before(end) = self { end.len() } else { 0 }
    }

    /// Whether a range from `start` to here has a key that is not below `start`.
    fn covers(&self, start: &[u8], key: &[u8]) -> bool {
        match self {
            End::Itself => start == key,
            End::Before(end) => key < &**end,
            End::Never => true,
        }
    }

    /// As an end that says where it is.
    fn told(self, start: &[u8]) -> End {
        if self == End::Itself { End::Before(behind(start)) } else { self }
    }

    /// The later one of two that say where they are.
    fn later(self, other: End) -> End {
        match (self, other) {
            (End::Before(a), End::Before(b)) => End::Before(a.max(b)),
            _ => End::Never,
        }
    }
}

impl Ranges {
    fn covers(&self, key: &[u8]) -> bool {
        let at = self.list.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        at.is_some_and(|(start, end)| end.covers(start, key))
    }

    fn point(&mut self, key: &[u8]) {
        if !self.covers(key) {
            self.put(key.into(), End::Itself);
        }
    }

    /// From `start` on, which is in it, to before `end`.
    fn range(&mut self, start: &[u8], end: Option<Box<[u8]>>) {
        let mut start: Box<[u8]> = start.into();
        let mut end = end.map_or(End::Never, End::Before);
        if matches!(&end, End::Before(end) if **end <= *start) {
            return;
        }
        let before = (Bound::Unbounded, Bound::Included(&*start));
        let before = self.list.range::<[u8], _>(before).next_back();
        if let Some((from, to)) = before
            && to.covers(from, &start)
        {
            start = from.clone();
        }
        // All that begin within it are taken in.
        while let Some((from, to)) = self.within(&start, &end) {
            self.remove(&from);
            end = end.later(to.told(&from));
        }
        self.put(start, end);
    }

    fn within(&self, start: &[u8], end: &End) -> Option<(Box<[u8]>, End)> {
        let (from, to) =
            self.list.range::<[u8], _>((Bound::Included(start), Bound::Unbounded)).next()?;
        end.covers(start, from).then(|| (from.clone(), to.clone()))
    }

    fn put(&mut self, start: Box<[u8]>, end: End) {
        self.bytes += OVERHEAD + start.len() + end.len();
        self.list.insert(start, end);
    }

    fn remove(&mut self, start: &[u8]) {
        if let Some(end) = self.list.remove(start) {
            self.bytes -= OVERHEAD + start.len() + end.len();
        }
    }

    /// Takes each two neighbours together; one that is alone becomes all there can be.
    fn coarsen(&mut self) {
        let mut list = std::mem::take(&mut self.list).into_iter();
        self.bytes = 0;
        let Some((start, end)) = list.next() else { return };
        if list.len() == 0 {
            return self.put(Box::default(), End::Never);
        }
        let mut first = Some((start, end));
        while let Some((start, end)) = first.take() {
            let end = match list.next() {
                Some((second, end)) => end.told(&second),
                None => end,
            };
            self.put(start, end);
            first = list.next();
        }
    }
}

impl State {
    fn change(&mut self, keyspace: KeyspaceId, most: usize, f: impl FnOnce(&mut Ranges)) {
        let ranges = self.keyspaces.entry(keyspace.0).or_default();
        let before = ranges.bytes;
        f(ranges);
        self.bytes = self.bytes + ranges.bytes - before;
        while self.bytes > most {
            // The one with the most, the lowest of several: the same in each run.
            let largest =
                self.keyspaces.values_mut().reduce(|a, b| if b.bytes > a.bytes { b } else { a });
            let Some(ranges) = largest else { return };
            let before = ranges.bytes;
            ranges.coarsen();
            self.bytes = self.bytes + ranges.bytes - before;
            if ranges.bytes == before {
                // One that is all there can be: they are as coarse as can be.
                return;
            }
        }
    }
}

impl Reads {
    /// A key was looked for.
    pub(crate) fn point(&self, keyspace: KeyspaceId, key: &[u8]) {
        self.state.lock().change(keyspace, self.most, |ranges| ranges.point(key));
    }

    /// All keys between these bounds were looked for.
    pub(crate) fn range(&self, keyspace: KeyspaceId, low: Bound<&[u8]>, high: Bound<&[u8]>) {
        self.state.lock().range(keyspace, self.most, low, high);
    }

    /// A cursor is opened; the number to [`Reads::close`] it by.
    pub(crate) fn open(&self, keyspace: KeyspaceId, low: Bound<&[u8]>, high: Bound<&[u8]>) -> u64 {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        let (low, high) = (low.map(Box::from), high.map(Box::from));
        state.open.insert(number, Open { keyspace, low, high });
        number
    }

    /// A cursor is let go of: it counts for what of it was told by [`Reads::range`].
    pub(crate) fn close(&self, number: u64) {
        self.state.lock().open.remove(&number);
    }

    /// Whether a key was read.
    pub(crate) fn covers(&self, keyspace: u32, key: &[u8]) -> bool {
        let state = self.state.lock();
        let within = |open: &Open| {
            open.keyspace.0 == keyspace && {
                let bounds = (open.low.as_ref().map(|k| &**k), open.high.as_ref().map(|k| &**k));
                std::ops::RangeBounds::contains(&bounds, key)
            }
        };
        state.keyspaces.get(&keyspace).is_some_and(|ranges| ranges.covers(key))
            || state.open.values().any(within)
    }

    /// Whether anything of a keyspace was read.
    pub(crate) fn has(&self, keyspace: u32) -> bool {
        let state = self.state.lock();
        state.keyspaces.contains_key(&keyspace)
            || state.open.values().any(|open| open.keyspace.0 == keyspace)
    }

    /// Bytes of memory they take.
    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

impl State {
    fn range(&mut self, keyspace: KeyspaceId, most: usize, low: Bound<&[u8]>, high: Bound<&[u8]>) {
        let end = match high {
            Bound::Included(key) => Some(behind(key)),
            Bound::Excluded(key) => Some(key.into()),
            Bound::Unbounded => None,
        };
        self.change(keyspace, most, |ranges| match low {
            Bound::Included(key) => ranges.range(key, end),
            Bound::Excluded(key) => ranges.range(&behind(key), end),
            Bound::Unbounded => ranges.range(&[], end),
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KS: KeyspaceId = KeyspaceId(7);

    fn bound(kind: u8, key: &[u8]) -> Bound<&[u8]> {
        match kind {
            0 => Bound::Unbounded,
            1 => Bound::Included(key),
            _ => Bound::Excluded(key),
        }
    }

    proptest! {
        #[test]
        fn what_was_read_is_covered_and_nothing_else_until_memory_is_short(
            looks in prop::collection::vec(
                (any::<bool>(), 0u8..3, prop::collection::vec(0u8..4, 1..3),
                 0u8..3, prop::collection::vec(0u8..4, 1..3)),
                0..20,
            ),
            keys in prop::collection::vec(prop::collection::vec(0u8..4, 1..4), 20),
        ) {
            let (all, few) = (Reads::default(), Reads { most: 3 * OVERHEAD, ..Reads::default() });
            for (is_point, kinds, low, kinds_high, high) in &looks {
                for reads in [&all, &few] {
                    match is_point {
                        true => reads.point(KS, low),
                        false => reads.range(KS, bound(*kinds, low), bound(*kinds_high, high)),
                    }
                    prop_assert!(reads.bytes() <= reads.most);
                }
            }
            for key in &keys {
                let read = looks.iter().any(|(is_point, kind, low, kind_high, high)| match is_point {
                    true => low == key,
                    false => {
                        let bounds = (bound(*kind, low), bound(*kind_high, high));
                        std::ops::RangeBounds::<[u8]>::contains(&bounds, &**key)
                    }
                });
                prop_assert_eq!(all.covers(KS.0, key), read, "{:?}", key);
                prop_assert!(!read || few.covers(KS.0, key), "{:?}", key);
                prop_assert!(!all.covers(KS.0 + 1, key));
            }
            let state = all.state.lock();
            let sum: usize = state.keyspaces.values().flat_map(|r| &r.list)
                .map(|(start, end)| OVERHEAD + start.len() + end.len()).sum();
            prop_assert_eq!(sum, state.bytes);
        }
    }

    #[test]
    fn memory_is_bounded_over_all_keyspaces_and_coarse_in_one_alone() {
        let reads = Reads { most: 20 * OVERHEAD, ..Reads::default() };
        reads.point(KeyspaceId(1), b"one");
        for n in 0..1000u32 {
            reads.point(KS, &(2 * n).to_be_bytes());
            assert!(reads.bytes() <= reads.most, "{n}");
        }
        for n in 0..1000u32 {
            assert!(reads.covers(KS.0, &(2 * n).to_be_bytes()), "{n}");
        }
        assert!(
            !reads.covers(KS.0, &5000u32.to_be_bytes()),
            "behind the last one nothing was read"
        );
        assert!(reads.covers(1, b"one") && !reads.covers(1, b"two"));
        // As many keyspaces as no bound allows for: each is read as a whole then.
        for n in 0..100 {
            reads.point(KeyspaceId(n), b"key");
        }
        assert!((0..100).all(|n| reads.covers(n, b"key")));
        assert!(reads.bytes() <= 101 * (OVERHEAD + 10), "{}", reads.bytes());
    }

    #[test]
    fn a_cursor_that_is_open_has_read_all_between_its_bounds() {
        let reads = Reads::default();
        let number = reads.open(KS, Bound::Included(b"b"), Bound::Excluded(b"d"));
        assert!(reads.has(KS.0) && !reads.has(1));
        for (key, read) in [(b"a", false), (b"b", true), (b"c", true), (b"d", false)] {
            assert_eq!(reads.covers(KS.0, key), read, "{key:?}");
        }
        reads.range(KS, Bound::Included(b"b"), Bound::Included(b"b"));
        reads.close(number);
        assert!(reads.covers(KS.0, b"b") && !reads.covers(KS.0, b"c"));
    }
}
