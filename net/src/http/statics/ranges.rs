//! Which bytes of a file a client asks for (RFC 9110, 14).
//!
//! What must stay true: a request makes no more parts than [`MAX_RANGES`], and no byte is
//! sent twice. Who asks for more is refused; what cannot be read is not there.

/// Parts of one response at most.
const MAX_RANGES: usize = 16;

/// Some bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first.
    pub(super) from: u64,
    /// How many; never none.
    pub(super) length: u64,
}

/// What to answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// All of it: no range was asked for in words we know.
    Whole,
    /// These, in the order asked for; never none.
    Spans(Vec<Span>),
    /// 416: none of the bytes are there, or too much is asked for.
    Refused,
}

/// Of a `Range` header and a file of so many bytes.
pub(super) fn plan(asked: &str, length: u64) -> Plan {
    let Some((unit, list)) = asked.split_once('=') else { return Plan::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Plan::Whole;
    }
    let (mut spans, mut count) = (Vec::new(), 0);
    for element in list.split(',').map(str::trim).filter(|element| !element.is_empty()) {
        let Some(bounds) = bounds(element) else { return Plan::Whole };
        count += 1;
        if count <= MAX_RANGES {
            spans.extend(span(bounds, length));
        }
    }
    match (count, spans.is_empty()) {
        (0, _) => Plan::Whole,
        (1..=MAX_RANGES, false) if !overlap(&spans) => Plan::Spans(spans),
        _ => Plan::Refused,
    }
}

/// First and last, or none and how many at the end.
fn bounds(element: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = element.split_once('-')?;
    let (first, last) = (number(first.trim())?, number(last.trim())?);
    match (first, last) {
        (None, None) => None,
        (Some(first), Some(last)) if first > last => None,
        bounds => Some(bounds),
    }
}

/// Numbers beyond ours are as large as ours can be: no file is.
fn number(digits: &str) -> Option<Option<u64>> {
    match digits {
        "" => Some(None),
        _ if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(Some(digits.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    }
}

/// What there is of it.
fn span(bounds: (Option<u64>, Option<u64>), length: u64) -> Option<Span> {
    let (from, end) = match bounds {
        (None, last) => (length.saturating_sub(last.unwrap_or(0)), length),
        (Some(first), last) => (first, last.map_or(length, |n| n.saturating_add(1).min(length))),
    };
    (from < end).then(|| Span { from, length: end - from })
}

fn overlap(spans: &[Span]) -> bool {
    let mut sorted = spans.to_vec();
    sorted.sort_by_key(|span| span.from);
    sorted.windows(2).any(|two| two[0].from + two[0].length > two[1].from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spans(list: &[(u64, u64)]) -> Plan {
        Plan::Spans(list.iter().map(|&(from, length)| Span { from, length }).collect())
    }

    #[test]
    fn ranges_are_what_the_rules_say() {
        for (asked, expected) in [
            ("bytes=0-9", spans(&[(0, 10)])),
            ("bytes=0-0", spans(&[(0, 1)])),
            ("bytes=99-", spans(&[(99, 1)])),
            ("bytes=90-1000", spans(&[(90, 10)])),
            ("bytes=-1", spans(&[(99, 1)])),
            ("bytes=-1000", spans(&[(0, 100)])),
            ("bytes=0-99999999999999999999999", spans(&[(0, 100)])),
            ("BYTES = 5-6 , 1-2 ", spans(&[(5, 2), (1, 2)])),
            ("bytes=0-1,200-300", spans(&[(0, 2)])),
            ("bytes=0-1,,2-3,", spans(&[(0, 2), (2, 2)])),
            ("bytes=100-", Plan::Refused),
            ("bytes=99999999999999999999999-", Plan::Refused),
            ("bytes=-0", Plan::Refused),
            ("bytes=0-10,10-20", Plan::Refused),
            ("bytes=50-,-60", Plan::Refused),
            ("bytes=0-,0-", Plan::Refused),
            ("bytes", Plan::Whole),
            ("bytes=", Plan::Whole),
            ("bytes=-", Plan::Whole),
            ("bytes=9-1", Plan::Whole),
            ("bytes=a-b", Plan::Whole),
            ("bytes=0-1,x", Plan::Whole),
            ("bytes=+1-2", Plan::Whole),
            ("lines=0-9", Plan::Whole),
        ] {
            assert_eq!(plan(asked, 100), expected, "{asked}");
        }
        assert_eq!(plan("bytes=-5", 0), Plan::Refused, "there is nothing to send of nothing");
    }

    #[test]
    fn so_many_ranges_and_no_more() {
        let list = |n: usize| (0..n).map(|at| format!("{0}-{0},", 2 * at)).collect::<String>();
        let most = plan(&format!("bytes={}", list(MAX_RANGES)), 1000);
        assert!(matches!(most, Plan::Spans(spans) if spans.len() == MAX_RANGES));
        assert_eq!(plan(&format!("bytes={}", list(MAX_RANGES + 1)), 1000), Plan::Refused);
        // Those that are not there count, too.
        assert_eq!(
            plan(&format!("bytes=0-1,{}", "5000-,".repeat(MAX_RANGES)), 1000),
            Plan::Refused
        );
    }

    proptest! {
        #[test]
        fn no_byte_is_sent_twice_nor_beyond_the_end(
            asked in "bytes=([0-9]{0,3}-[0-9]{0,3},?){1,6}", length in 0u64..500,
        ) {
            if let Plan::Spans(spans) = plan(&asked, length) {
                prop_assert!(!spans.is_empty());
                prop_assert!(spans.iter().map(|span| span.length).sum::<u64>() <= length);
                for span in spans {
                    prop_assert!(span.length > 0 && span.from + span.length <= length);
                }
            }
        }
    }
}
