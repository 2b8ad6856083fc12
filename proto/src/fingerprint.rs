//! What a client pins to know its server by.
//!
//! Invariant: what is shown reads back as the same. What the bytes are a hash of,
//! the two ends of TLS say: `net::tls` and `planck_client`.

use core::fmt;
use core::str::FromStr;

/// 32 bytes that tell one server from all others. Shown as 64 hex digits; read with
/// or without colons, in either case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFingerprint(String);

impl fmt::Display for BadFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a certificate fingerprint: give the 64 hexadecimal digits that planck \
             prints when it starts",
            self.0
        )
    }
}

impl std::error::Error for BadFingerprint {}

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let bad = || BadFingerprint(text.chars().take(80).collect());
        let digits: Vec<u8> = text
            .trim()
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |b, d| b << 4 | d)).collect();
        if digits.len() != 64 {
            return Err(bad());
        }
        bytes.try_into().map(Fingerprint).map_err(|_| bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_back_with_and_without_colons() {
        let fingerprint = Fingerprint(std::array::from_fn(|i| i as u8 * 7));
        let text = fingerprint.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(text.parse(), Ok(fingerprint));
        let colons: Vec<&str> =
            text.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap()).collect();
        assert_eq!(colons.join(":").to_uppercase().parse(), Ok(fingerprint));
    }

    #[test]
    fn other_texts_are_no_fingerprints() {
        let digits = "0".repeat(64);
        for text in ["", "abc", &digits[1..], &format!("{digits}0"), &digits.replace('0', "g")] {
            let error = text.parse::<Fingerprint>().unwrap_err();
            assert!(error.to_string().contains("64 hexadecimal digits"), "{error}");
        }
    }
}
