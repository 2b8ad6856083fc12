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

/// The segments worth collecting, the best first.
///
/// Those without anything alive come before all others: they cost nothing. Then
/// those whose dead share is at least `dead_ratio_percent`, by what collecting
/// them wins for what it costs: bytes freed, for the bytes read and the bytes
/// written again, weighted by age (in segments written since, its logarithm): what
/// is young is still dying, and cheaper to collect later. The older first among
/// equals.
///
/// A ratio of 0 chooses every sealed segment with any dead byte; one over 100
/// only those without anything alive.
pub fn choose_garbage(segments: &[SegmentUse], dead_ratio_percent: u32) -> Vec<u32> {
    let newest = segments.iter().map(|s| s.id).max().unwrap_or(0);
    let mut chosen: Vec<(f64, u32)> = segments
        .iter()
        .filter(|s| s.sealed && s.dead > 0)
        .filter(|s| {
            s.dead >= s.bytes
                || u128::from(s.dead) * 100 >= u128::from(s.bytes) * u128::from(dead_ratio_percent)
        })
        .map(|s| (score(s, newest), s.id))
        .collect();
    chosen.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    chosen.into_iter().map(|(_, id)| id).collect()
}

/// Larger is better. Only multiplications and divisions: the same on every machine.
fn score(s: &SegmentUse, newest: u32) -> f64 {
    if s.dead >= s.bytes {
        return f64::INFINITY;
    }
    let age = u32::BITS - (newest - s.id).saturating_add(1).leading_zeros();
    let (bytes, dead) = (s.bytes as f64, s.dead as f64);
    dead / (2.0 * bytes - dead) * f64::from(age)
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
            ("the older of equals", &[s(5, 200, 100, true), s(2, 100, 50, true)], 30, &[2, 5]),
            ("age counts", &[s(1, 100, 45, true), s(99, 100, 60, true)], 30, &[1, 99]),
            ("age is not all", &[s(1, 100, 30, true), s(9, 100, 95, true)], 30, &[9, 1]),
            (
                "all dead before all",
                &[s(1, 100, 99, true), s(98, 9, 9, true), s(99, 10, 0, true)],
                30,
                &[98, 1],
            ),
            ("all dead, the older first", &[s(4, 9, 9, true), s(3, 8, 8, true)], 30, &[3, 4]),
            ("ratio 0 wants a dead byte", &[s(1, 100, 0, true), s(2, 100, 1, true)], 0, &[2]),
            ("ratio 100 wants all dead", &[s(1, 100, 99, true), s(2, 100, 100, true)], 100, &[2]),
            ("ratio over 100", &[s(1, 100, 100, true), s(2, 100, 99, true)], 101, &[1]),
            ("no newest", &[s(u32::MAX, 100, 50, true), s(0, 9, 5, true)], 30, &[0, u32::MAX]),
            ("no overflow", &[s(1, u64::MAX, u64::MAX, true)], 100, &[1]),
            ("empty segment", &[s(1, 0, 0, true)], 0, &[]),
        ];
        for (name, segments, ratio, want) in cases {
            assert_eq!(choose_garbage(segments, *ratio), *want, "{name}");
        }
    }
}
