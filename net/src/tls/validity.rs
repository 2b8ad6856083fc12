//! From when to when a certificate is valid, read from its DER bytes.
//!
//! What must stay true: nothing is trusted because of what stands here. It decides
//! when a certificate is renewed and what an operator is warned of; whether one is
//! accepted is decided by rustls.
//!
//! ```text
//! Certificate = SEQUENCE { tbs, ... }
//! tbs = SEQUENCE { [0] version?, serial, signature, issuer, validity, ... }
//! validity = SEQUENCE { notBefore, notAfter }   each UTCTime or GeneralizedTime
//! ```

use rustls::pki_types::CertificateDer;
use std::time::{SystemTime, UNIX_EPOCH};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const DAY: u64 = 24 * 60 * 60;

/// In seconds since 1970; what lies before is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    from: u64,
    until: u64,
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Validity {
    /// Of a certificate; `None` if it has another form than that of X.509.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Validity> {
        let (certificate, _) = expect(SEQUENCE, certificate.as_ref())?;
        let (mut rest, _) = expect(SEQUENCE, certificate)?;
        let (tag, _, behind) = element(rest)?;
        if tag == VERSION {
            rest = behind;
        }
        for _ in ["serial", "signature", "issuer"] {
            (_, _, rest) = element(rest)?;
        }
        let (validity, _) = expect(SEQUENCE, rest)?;
        let (tag, from, rest) = element(validity)?;
        let from = time(tag, from)?;
        let (tag, until, _) = element(rest)?;
        Some(Validity { from, until: time(tag, until)? })
    }

    /// Whether it has ended, or will within `days`, or has not begun.
    pub(super) fn is_over_within(&self, days: u64, now: SystemTime) -> bool {
        let now = seconds(now);
        now < self.from || now + days * DAY > self.until
    }

    /// Whether it has begun and not ended.
    pub(super) fn holds(&self, now: SystemTime) -> bool {
        !self.is_over_within(0, now)
    }

    /// Its end, in seconds since 1970.
    pub(super) fn ends(&self) -> u64 {
        self.until
    }

    /// Whole days that are left of it.
    pub(super) fn days_left(&self, now: SystemTime) -> u64 {
        self.until.saturating_sub(seconds(now)) / DAY
    }
}

/// What stands at the front: its tag, its content, and what is behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None, // Nothing in a certificate is that long.
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// The content of what stands at the front, if it has that tag, and what is behind it.
fn expect(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// `YYMMDDHHMMSSZ` of the years 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let two = |at: usize| {
        let digits = text.get(at..at + 2)?;
        let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
        Some(u64::from(digits[0] - b'0') * 10 + u64::from(digits[1] - b'0'))
    };
    let (year, at) = match tag {
        UTC_TIME => (if two(0)? < 50 { 2000 + two(0)? } else { 1900 + two(0)? }, 2),
        GENERALIZED_TIME => (two(0)? * 100 + two(2)?, 4),
        _ => return None,
    };
    let (month, day) = (two(at)?, two(at + 2)?);
    let (hour, minute, second) = (two(at + 4)?, two(at + 6)?, two(at + 8)?);
    let is_date = year > 0 && (1..=12).contains(&month) && (1..=31).contains(&day);
    let is_whole = text.get(at + 10..) == Some(b"Z") && hour < 24 && minute < 60 && second < 61;
    let days = (is_date && is_whole).then(|| days(year, month, day))?;
    let days = days.saturating_sub(self::days(1970, 1, 1));
    Some(days * DAY + hour * 3600 + minute * 60 + second)
}

/// Days since a day long before: differences of two of them count.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // A year begins in March here, so that a leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "20000229120000Z", Some(951_825_600)),
            (GENERALIZED_TIME, "00000101000000Z", None),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "700101000000", None),
            (UTC_TIME, "7001010000Z", None),
            (UTC_TIME, "70010100000xZ", None),
            (SEQUENCE, "700101000000Z", None),
        ] {
            assert_eq!(time(tag, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn of_a_certificate_and_its_edges() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2060, 1, 1);
        let made = params.self_signed(&pair).unwrap();
        let validity = Validity::of(made.der()).unwrap();
        assert_eq!(validity, Validity { from: 1_767_225_600, until: 2_840_140_800 });
        assert!(!validity.holds(at(validity.from - 1)) && validity.holds(at(validity.from)));
        assert!(validity.holds(at(validity.until)) && !validity.holds(at(validity.until + 1)));
        let two_days_before = at(validity.until - 2 * DAY);
        assert!(!validity.is_over_within(2, two_days_before));
        assert!(validity.is_over_within(2, two_days_before + Duration::from_secs(1)));
        assert_eq!(validity.days_left(two_days_before), 2);
        assert_eq!(validity.days_left(at(validity.until + 1)), 0);
        let der = made.der().as_ref();
        for end in 0..der.len() {
            // The signature is of no matter; the rest is.
            let cut = Validity::of(&CertificateDer::from(&der[..end]));
            assert!(cut.is_none(), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            Validity::of(&CertificateDer::from(&bytes[..]));
            element(&bytes);
            time(UTC_TIME, &bytes);
            time(GENERALIZED_TIME, &bytes);
        }
    }
}
