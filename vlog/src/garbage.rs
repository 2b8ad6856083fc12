//! Which segments to collect: a decision as a value.
//!
//! Must stay true: a pure function of its arguments; an unsealed segment is
//! never chosen; a segment without dead bytes is never chosen.

/// What the segment table knows of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentUse {
    /// The segment's number.
    pub id: u32,
    /// Bytes of records in it ([`crate::SegmentInfo::bytes`]).
    pub bytes: u64,
    /// Bytes of records that no pointer names any more.
    pub dead: u64,
    /// Nothing is appended to it any more.
    pub sealed: bool,
}

/// The segments whose dead share is at least `dead_ratio_percent`, those with
/// the most to win first, the older first among equals.
///
/// A ratio of 0 chooses every sealed segment with any dead byte; one over 100
/// chooses none.
pub fn choose_garbage(segments: &[SegmentUse], dead_ratio_percent: u32) -> Vec<u32> {
    let mut chosen: Vec<&SegmentUse> = segments
        .iter()
        .filter(|s| s.sealed && s.dead > 0)
        .filter(|s| {
            u128::from(s.dead.min(s.bytes)) * 100
                >= u128::from(s.bytes) * u128::from(dead_ratio_percent)
        })
        .collect();
    // dead_a / bytes_a against dead_b / bytes_b without a division.
    chosen.sort_by(|a, b| {
        let left = u128::from(b.dead.min(b.bytes)) * u128::from(a.bytes);
        let right = u128::from(a.dead.min(a.bytes)) * u128::from(b.bytes);
        left.cmp(&right).then(a.id.cmp(&b.id))
    });
    chosen.into_iter().map(|s| s.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let s = |id, bytes, dead, sealed| SegmentUse { id, bytes, dead, sealed };
        let cases: &[(&str, &[SegmentUse], u32, &[u32])] = &[
            ("nothing there", &[], 30, &[]),
            ("below the ratio", &[s(1, 100, 29, true)], 30, &[]),
            ("at the ratio", &[s(1, 100, 30, true)], 30, &[1]),
            ("the tail is never chosen", &[s(1, 100, 100, false)], 30, &[]),
            ("most dead first", &[s(1, 100, 40, true), s(2, 100, 90, true)], 30, &[2, 1]),
            ("by share, not by bytes", &[s(1, 1000, 400, true), s(2, 10, 9, true)], 30, &[2, 1]),
            ("older first among equals", &[s(5, 200, 100, true), s(2, 100, 50, true)], 30, &[2, 5]),
            ("ratio 0 wants a dead byte", &[s(1, 100, 0, true), s(2, 100, 1, true)], 0, &[2]),
            ("ratio 100 wants all dead", &[s(1, 100, 99, true), s(2, 100, 100, true)], 100, &[2]),
            ("ratio over 100", &[s(1, 100, 100, true)], 101, &[]),
            ("a count gone wrong is capped", &[s(1, 100, 200, true)], 101, &[]),
            ("no overflow", &[s(1, u64::MAX, u64::MAX, true)], 100, &[1]),
            ("empty segment", &[s(1, 0, 0, true)], 0, &[]),
        ];
        for (name, segments, ratio, want) in cases {
            assert_eq!(choose_garbage(segments, *ratio), *want, "{name}");
        }
    }
}
