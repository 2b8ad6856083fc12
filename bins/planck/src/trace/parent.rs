//! `traceparent`: whose part a request is (W3C Trace Context, level 1).
//!
//! ```text
//! 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//! version, trace (32 hex digits), span of the caller (16), flags (2; bit 0: sampled)
//! ```
//!
//! What must stay true: what is not whole and right is no parent; a version to come is read
//! as this one, whatever it has behind the flags.

/// The caller's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace it is of.
    pub trace: u128,
    /// Its number.
    pub span: u64,
    /// Whether the caller is traced.
    pub sampled: bool,
}

impl Parent {
    /// Reads a header's value.
    pub fn parse(value: &[u8]) -> Option<Parent> {
        let version = hex(value.get(..2)?)?;
        let (head, rest) = value.split_at_checked(55)?;
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let dashes = [2, 35, 52].iter().all(|at| head[*at] == b'-');
        let trace = hex(&head[3..35])?;
        let span = u64::try_from(hex(&head[36..52])?).ok()?;
        let sampled = hex(&head[53..])? & 1 == 1;
        (is_whole && dashes && trace != 0 && span != 0).then_some(Parent { trace, span, sampled })
    }
}

/// Lower-case digits alone, as the standard has them.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_parent_is_read() {
        let parent = Parent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(parent.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((parent.span, parent.sampled), (0x00f0_67aa_0ba9_02b7, true));
        let unsampled = GOOD.replace("-01", "-00");
        assert!(!Parent::parse(unsampled.as_bytes()).unwrap().sampled);
        let later = format!("{}-more", GOOD.replacen("00", "cc", 1));
        assert_eq!(Parent::parse(later.as_bytes()), Some(parent));
    }

    #[test]
    fn what_is_none_is_not() {
        for at in 0..GOOD.len() {
            assert_eq!(Parent::parse(&GOOD.as_bytes()[..at]), None);
            let mut wrong = GOOD.as_bytes().to_vec();
            wrong[at] = b'G';
            assert_eq!(Parent::parse(&wrong), None, "{at}");
        }
        for wrong in [
            format!("{GOOD}-"),
            GOOD.replacen("00", "ff", 1),
            GOOD.to_uppercase(),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            format!("{}x", GOOD.replacen("00", "01", 1)),
        ] {
            assert_eq!(Parent::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
