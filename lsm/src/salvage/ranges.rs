//! Ranges of keys that are lost, so that the log and a scan can find what was in them.
//!
//! What must stay true: what lies in a range that was added lies in one that is kept, and
//! nothing else does: ranges that meet become one, none is widened. There are [`RANGES`] at
//! most.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Lost;

/// Ranges kept in memory. Beyond, one is reported lost at once, and nothing of it is looked
/// for: neither a scan nor the log takes it out again.
pub(super) const RANGES: usize = 1 << 16;

/// The ranges of one keyspace, none of which meets another: where each begins, and before
/// which key it ends (`None`: with the keyspace).
type Disjoint = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// See the module.
pub(super) struct Ranges {
    of: BTreeMap<u32, Disjoint>,
    /// All keyspaces but these, sorted: those that the directory hides.
    all_but: Option<Vec<u32>>,
    /// In all keyspaces.
    count: usize,
    most: usize,
}

/// Whether a range that ends there has a key in common with one that begins at `low`, or
/// the two touch.
fn reaches(end: Option<&[u8]>, low: &[u8]) -> bool {
    end.is_none_or(|end| end >= low)
}

/// The last range that begins at a key or before it.
fn upto<'r>(ranges: &'r Disjoint, key: &[u8]) -> Option<(&'r Vec<u8>, &'r Option<Vec<u8>>)> {
    ranges.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()
}

/// The first that begins there or behind it.
fn from<'r>(ranges: &'r Disjoint, key: &[u8]) -> Option<(&'r Vec<u8>, &'r Option<Vec<u8>>)> {
    ranges.range::<[u8], _>((Bound::Included(key), Bound::Unbounded)).next()
}

impl Ranges {
    /// None, with room for so many.
    pub(super) fn new(most: usize) -> Ranges {
        Ranges { of: BTreeMap::new(), all_but: None, count: 0, most }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0 && self.all_but.is_none()
    }

    /// Everything of every keyspace but these is lost.
    pub(super) fn add_all_but(&mut self, but: &[u32]) {
        // Lost is what either says: spared is what both spare.
        match &mut self.all_but {
            Some(spared) => spared.retain(|keyspace| but.contains(keyspace)),
            spared => *spared = Some(but.to_vec()),
        }
    }

    /// The keys of a keyspace from `low` on to below `high` are lost; given back if there is
    /// no room to keep that.
    pub(super) fn add(
        &mut self,
        keyspace: u32,
        mut low: Vec<u8>,
        mut high: Option<Vec<u8>>,
    ) -> Result<(), Lost> {
        let kept = self.of.entry(keyspace).or_default();
        let before = upto(kept, &low);
        let mut met = before.filter(|(_, end)| reaches(end.as_deref(), &low));
        if met.is_none() {
            let next = from(kept, &low);
            met = next.filter(|(begin, _)| reaches(high.as_deref(), begin));
        }
        if met.is_none() && self.count >= self.most {
            return Err(Lost::Range { keyspace: Some(keyspace), low, high });
        }
        while let Some((begin, _)) = met {
            let begin = begin.clone();
            let end = kept.remove(&begin).flatten();
            self.count -= 1;
            low = low.min(begin);
            high = high.zip(end).map(|(one, other)| one.max(other));
            let next = from(kept, &low);
            met = next.filter(|(begin, _)| reaches(high.as_deref(), begin));
        }
        kept.insert(low, high);
        self.count += 1;
        Ok(())
    }

    /// Nothing is lost of a keyspace that was dropped.
    pub(super) fn forget(&mut self, keyspace: u32) {
        self.count -= self.of.remove(&keyspace).map_or(0, |ranges| ranges.len());
    }

    /// Nothing is lost at all.
    pub(super) fn clear(&mut self) {
        *self = Ranges::new(self.most);
    }

    /// Whether that key is lost.
    pub(super) fn holds(&self, keyspace: u32, key: &[u8]) -> bool {
        let in_hidden = || self.all_but.as_ref().is_some_and(|spared| !spared.contains(&keyspace));
        let is_in = |ranges: &Disjoint| {
            let before = upto(ranges, key);
            before.is_some_and(|(_, end)| end.as_ref().is_none_or(|end| key < end.as_slice()))
        };
        in_hidden() || self.of.get(&keyspace).is_some_and(is_in)
    }

    /// As they are reported.
    pub(super) fn told(self) -> impl Iterator<Item = Lost> {
        let hidden = self.all_but.map(|_| Lost::Range { keyspace: None, low: vec![], high: None });
        let of = self.of.into_iter().flat_map(|(keyspace, ranges)| {
            let keyspace = Some(keyspace);
            ranges.into_iter().map(move |(low, high)| Lost::Range { keyspace, low, high })
        });
        hidden.into_iter().chain(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(range: &Lost) -> (Option<u32>, &[u8], Option<&[u8]>) {
        let Lost::Range { keyspace, low, high } = range else { panic!("{range}") };
        (*keyspace, low, high.as_deref())
    }

    fn add(ranges: &mut Ranges, low: &[u8], high: Option<&[u8]>) -> bool {
        ranges.add(1, low.to_vec(), high.map(<[u8]>::to_vec)).is_ok()
    }

    #[test]
    fn so_many_are_kept_and_the_next_is_given_back_unless_it_meets_one() {
        let mut ranges = Ranges::new(3);
        for (low, high) in [(b"b", b"c"), (b"f", b"g"), (b"k", b"m")] {
            assert!(add(&mut ranges, low, Some(high)));
        }
        let lost = ranges.add(2, b"x".to_vec(), None).unwrap_err();
        assert_eq!(bounds(&lost), (Some(2), &b"x"[..], None));
        assert!(!ranges.holds(2, b"y") && !add(&mut ranges, b"h", Some(b"i")));
        // What touches, lies within, or bridges takes no place, and may free one.
        assert!(add(&mut ranges, b"c", Some(b"d")) && add(&mut ranges, b"l", Some(b"l2")));
        assert!(add(&mut ranges, b"d", Some(b"f")));
        assert_eq!(ranges.count, 2);
        assert!(add(&mut ranges, b"x", None) && !add(&mut ranges, b"r", Some(b"s")));
        let told: Vec<_> = ranges.told().collect();
        let told: Vec<_> = told.iter().map(bounds).collect();
        let of = |low, high| (Some(1), low, high);
        let [b, g, k, m, x] = [&b"b"[..], b"g", b"k", b"m", b"x"];
        assert_eq!(told, [of(b, Some(g)), of(k, Some(m)), of(x, None)]);
    }

    #[test]
    fn a_key_is_lost_if_one_of_those_added_had_it() {
        let mut seed = 7u64;
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let (mut ranges, mut added) = (Ranges::new(usize::MAX), Vec::new());
            for _ in 0..draw(12) {
                let low = draw(40) as u8;
                let high = (draw(6) > 0).then(|| low + draw(8) as u8);
                let keyspace = draw(2) as u32;
                ranges.add(keyspace, vec![low], high.map(|high| vec![high])).unwrap();
                added.push((keyspace, low, high));
            }
            for (keyspace, key) in (0..2).flat_map(|of| (0..50u8).map(move |key| (of, key))) {
                let had = |&(of, low, high): &(u32, u8, Option<u8>)| {
                    of == keyspace && key >= low && high.is_none_or(|high| key < high)
                };
                let expected = added.iter().any(had);
                assert_eq!(ranges.holds(keyspace, &[key]), expected, "{keyspace} {key} {added:?}");
            }
            // None meets another.
            for kept in ranges.of.values() {
                let ends = kept.values().zip(kept.keys().skip(1));
                assert!(ends.into_iter().all(|(end, next)| !reaches(end.as_deref(), next)));
            }
            assert_eq!(ranges.count, ranges.of.values().map(BTreeMap::len).sum::<usize>());
        }
    }

    #[test]
    fn what_is_hidden_is_all_but_what_every_word_of_it_spares() {
        let mut ranges = Ranges::new(1);
        ranges.add_all_but(&[1, 2]);
        assert!(!ranges.holds(1, b"a") && ranges.holds(3, b"a") && !ranges.is_empty());
        ranges.add_all_but(&[2, 3]);
        assert!(ranges.holds(1, b"a") && !ranges.holds(2, b"a") && ranges.holds(3, b"a"));
        ranges.add(2, b"a".to_vec(), None).unwrap();
        assert!(ranges.holds(2, b"a"));
        ranges.forget(2);
        assert!(!ranges.holds(2, b"a") && ranges.count == 0);
        ranges.clear();
        assert!(ranges.is_empty() && !ranges.holds(1, b"a"));
    }
}
