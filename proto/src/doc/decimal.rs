//! IEEE 754 decimal128 as BSON holds it: 34 digits, exponents -6176 to 6111.
//!
//! Nothing here rounds: text that does not fit is refused. There is no arithmetic.
//!
//! ```text
//! bit 127    126..113                    112..0
//! sign       exponent + 6176 (14 bits)   coefficient, at most 10^34 - 1
//!            11110...                    infinity
//!            11111...                    NaN
//! ```
//!
//! A coefficient that is too large, and the second encoding of the exponent (both
//! top bits set), which could only hold such ones, mean zero, as IEEE 754 says.

use std::fmt;
use std::str::FromStr;

const BIAS: i32 = 6176;
const MAX_EXPONENT: i32 = 6111;
const MAX_DIGITS: usize = 34;
const MAX_COEFFICIENT: u128 = 10u128.pow(34) - 1;

/// A decimal number, as its 16 little-endian bytes. `==` compares the bytes:
/// 1.0 and 1.00 differ here and are equal in [`crate::order`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Decimal128([u8; 16]);

/// What a decimal's bits say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalParts {
    /// Not a number, of any sign and payload.
    Nan,
    /// Infinity.
    Infinity {
        /// Below zero.
        negative: bool,
    },
    /// `coefficient * 10^exponent`.
    Finite {
        /// Below zero, or a negative zero.
        negative: bool,
        /// At most 34 digits.
        coefficient: u128,
        /// -6176 to 6111.
        exponent: i32,
    },
}

/// Text that is no decimal of at most 34 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseDecimalError(&'static str);

impl fmt::Display for ParseDecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ParseDecimalError {}

const SYNTAX: ParseDecimalError = ParseDecimalError("this is not a decimal number");
const TOO_LONG: ParseDecimalError =
    ParseDecimalError("a decimal has at most 34 digits; round it, or keep it as a string");
const RANGE: ParseDecimalError =
    ParseDecimalError("a decimal's exponent lies between -6176 and 6111");

impl Decimal128 {
    /// From BSON's 16 bytes; all bit patterns mean something.
    pub fn from_bytes(bytes: [u8; 16]) -> Decimal128 {
        Decimal128(bytes)
    }

    /// BSON's 16 bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Takes it apart.
    pub fn parts(self) -> DecimalParts {
        let bits = u128::from_le_bytes(self.0);
        let negative = bits >> 127 == 1;
        match (bits >> 122) & 0b11111 {
            0b11111 => return DecimalParts::Nan,
            0b11110 => return DecimalParts::Infinity { negative },
            _ => {}
        }
        let exponent = |shift: u32| ((bits >> shift) & 0x3FFF) as i32 - BIAS;
        if (bits >> 125) & 0b11 == 0b11 {
            return DecimalParts::Finite { negative, coefficient: 0, exponent: exponent(111) };
        }
        let coefficient = bits & ((1 << 113) - 1);
        let coefficient = if coefficient > MAX_COEFFICIENT { 0 } else { coefficient };
        DecimalParts::Finite { negative, coefficient, exponent: exponent(113) }
    }

    /// Puts one together. `None` if it is out of range; zeros are moved between
    /// coefficient and exponent where that makes it fit.
    pub fn new(negative: bool, coefficient: u128, exponent: i32) -> Option<Decimal128> {
        let (mut coefficient, mut exponent) = (coefficient, exponent);
        if coefficient == 0 {
            exponent = exponent.clamp(-BIAS, MAX_EXPONENT);
        }
        while coefficient > MAX_COEFFICIENT || exponent < -BIAS {
            if coefficient % 10 != 0 {
                return None;
            }
            coefficient /= 10;
            exponent = exponent.checked_add(1)?;
        }
        while exponent > MAX_EXPONENT {
            coefficient *= 10;
            exponent -= 1;
            if coefficient > MAX_COEFFICIENT {
                return None;
            }
        }
        let biased = (exponent + BIAS) as u128;
        let bits = u128::from(negative) << 127 | biased << 113 | coefficient;
        Some(Decimal128(bits.to_le_bytes()))
    }

    /// The integer, if 34 digits (and zeros) can say it.
    pub fn from_i128(n: i128) -> Option<Decimal128> {
        Decimal128::new(n < 0, n.unsigned_abs(), 0)
    }

    /// The integer it is exactly, if it is one.
    pub fn to_i128(self) -> Option<i128> {
        let DecimalParts::Finite { negative, coefficient, exponent } = self.parts() else {
            return None;
        };
        if coefficient == 0 {
            return Some(0);
        }
        let power = 10u128.checked_pow(exponent.unsigned_abs())?;
        let magnitude = if exponent >= 0 {
            coefficient.checked_mul(power)?
        } else if coefficient % power == 0 {
            coefficient / power
        } else {
            return None;
        };
        let magnitude = i128::try_from(magnitude).ok()?;
        Some(if negative { -magnitude } else { magnitude })
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        match self.parts() {
            DecimalParts::Nan => f64::NAN,
            DecimalParts::Infinity { negative: false } => f64::INFINITY,
            DecimalParts::Infinity { negative: true } => f64::NEG_INFINITY,
            DecimalParts::Finite { negative, coefficient, exponent } => {
                let magnitude = nearest_f64(coefficient, exponent);
                if negative { -magnitude } else { magnitude }
            }
        }
    }
}

/// The double nearest to `coefficient * 10^exponent`, correctly rounded by std.
pub(crate) fn nearest_f64(coefficient: u128, exponent: i32) -> f64 {
    // Such text is always a float, so the default is never taken.
    format!("{coefficient}e{exponent}").parse().unwrap_or_default()
}

impl fmt::Display for Decimal128 {
    /// The text the BSON specification prescribes: all digits, an exponent only
    /// where the plain form would need zeros that are not there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (negative, coefficient, exponent) = match self.parts() {
            DecimalParts::Nan => return f.write_str("NaN"),
            DecimalParts::Infinity { negative: false } => return f.write_str("Infinity"),
            DecimalParts::Infinity { negative: true } => return f.write_str("-Infinity"),
            DecimalParts::Finite { negative, coefficient, exponent } => {
                (negative, coefficient, exponent)
            }
        };
        if negative {
            f.write_str("-")?;
        }
        let digits = coefficient.to_string();
        let adjusted = exponent + digits.len() as i32 - 1;
        if exponent > 0 || adjusted < -6 {
            let (first, rest) = digits.split_at(1);
            f.write_str(first)?;
            if !rest.is_empty() {
                write!(f, ".{rest}")?;
            }
            return write!(f, "E{adjusted:+}");
        }
        let decimals = exponent.unsigned_abs() as usize;
        if decimals == 0 {
            f.write_str(&digits)
        } else if digits.len() > decimals {
            let (whole, fraction) = digits.split_at(digits.len() - decimals);
            write!(f, "{whole}.{fraction}")
        } else {
            write!(f, "0.{digits:0>decimals$}")
        }
    }
}

impl fmt::Debug for Decimal128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal128({self})")
    }
}

impl FromStr for Decimal128 {
    type Err = ParseDecimalError;

    /// Reads `-1.50`, `1E+3`, `NaN`, `Infinity`; refuses what would be rounded.
    fn from_str(text: &str) -> Result<Decimal128, ParseDecimalError> {
        let (negative, text) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if text.eq_ignore_ascii_case("nan") {
            return Ok(Decimal128((0b11111u128 << 122).to_le_bytes()));
        }
        if text.eq_ignore_ascii_case("inf") || text.eq_ignore_ascii_case("infinity") {
            let bits = u128::from(negative) << 127 | 0b11110u128 << 122;
            return Ok(Decimal128(bits.to_le_bytes()));
        }
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], read_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(SYNTAX);
        }
        let mut coefficient = 0u128;
        let mut digits = 0usize;
        // Zeros wait until a digit follows, so that trailing ones cost nothing
        // where they do not fit.
        let mut zeros = 0usize;
        for digit in whole.bytes().chain(fraction.bytes()) {
            match digit {
                b'0' if digits > 0 => zeros += 1,
                b'0' => {}
                b'1'..=b'9' => {
                    digits += zeros + 1;
                    if digits > MAX_DIGITS {
                        return Err(TOO_LONG);
                    }
                    coefficient =
                        coefficient * 10u128.pow(zeros as u32 + 1) + u128::from(digit - b'0');
                    zeros = 0;
                }
                _ => return Err(SYNTAX),
            }
        }
        let kept = zeros.min(MAX_DIGITS.saturating_sub(digits));
        coefficient *= 10u128.pow(kept as u32);
        let dropped = i64::try_from(zeros - kept).map_err(|_| RANGE)?;
        let decimals = i64::try_from(fraction.len()).map_err(|_| RANGE)?;
        let exponent = exponent.saturating_add(dropped).saturating_sub(decimals);
        let exponent = exponent.clamp(-1_000_000_000, 1_000_000_000) as i32;
        Decimal128::new(negative, coefficient, exponent).ok_or(RANGE)
    }
}

/// Reads an exponent's digits, those beyond any meaning cut off.
fn read_exponent(text: &str) -> Result<i64, ParseDecimalError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SYNTAX);
    }
    let magnitude =
        digits.bytes().fold(0i64, |n, b| n.saturating_mul(10).saturating_add(i64::from(b - b'0')));
    Ok(if negative { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn given_text_when_read_and_shown_then_it_is_the_specification_s_form() {
        for (text, shown) in [
            ("0", "0"),
            ("-0", "-0"),
            ("1.50", "1.50"),
            ("-12.345", "-12.345"),
            ("1E3", "1E+3"),
            ("100", "100"),
            ("0.001", "0.001"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1E-7"),
            ("12345E-2", "123.45"),
            (".5", "0.5"),
            ("5.", "5"),
            (
                "9.999999999999999999999999999999999E+6144",
                "9.999999999999999999999999999999999E+6144",
            ),
            ("1E+6144", "1.000000000000000000000000000000000E+6144"),
            ("1E-6176", "1E-6176"),
            ("10E-6177", "1E-6176"),
            ("0E+9999", "0E+6111"),
            ("100000000000000000000000000000000000000", "1.000000000000000000000000000000000E+38"),
            ("nan", "NaN"),
            ("-inf", "-Infinity"),
        ] {
            let read: Decimal128 = text.parse().expect(text);
            assert_eq!(read.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn given_text_that_does_not_fit_when_read_then_it_is_refused_not_rounded() {
        for (text, why) in [
            ("", SYNTAX),
            (".", SYNTAX),
            ("1e", SYNTAX),
            ("1e+", SYNTAX),
            ("--1", SYNTAX),
            ("1.2.3", SYNTAX),
            ("é", SYNTAX),
            ("12345678901234567890123456789012345", TOO_LONG),
            ("1E+6145", RANGE),
            ("1E-6177", RANGE),
            ("1E99999999999999999999", RANGE),
        ] {
            assert_eq!(text.parse::<Decimal128>(), Err(why), "{text}");
        }
    }

    #[test]
    fn given_decimals_when_asked_for_an_integer_then_only_exact_ones_answer() {
        let int = |s: &str| s.parse::<Decimal128>().expect("a decimal").to_i128();
        assert_eq!(int("-1.50E2"), Some(-150));
        assert_eq!(int("1.00"), Some(1));
        assert_eq!(int("1.01"), None);
        assert_eq!(int("0E-6176"), Some(0));
        assert_eq!(int("1E+6000"), None);
        assert_eq!(int("NaN"), None);
    }

    proptest! {
        #[test]
        fn given_any_bits_when_shown_then_the_oracle_shows_the_same(bits: [u8; 16]) {
            let ours = Decimal128::from_bytes(bits);
            let theirs = bson::Decimal128::from_bytes(bits);
            // The oracle shows coefficients beyond 34 digits; IEEE 754 calls them zero.
            let canonical = !matches!(ours.parts(), DecimalParts::Finite { coefficient: 0, .. });
            if canonical {
                prop_assert_eq!(ours.to_string(), theirs.to_string());
            }
        }

        #[test]
        fn given_any_decimal_when_shown_and_read_then_it_is_the_same(
            negative: bool, coefficient in 0..=MAX_COEFFICIENT, exponent in -6176..=6111i32,
        ) {
            let decimal = Decimal128::new(negative, coefficient, exponent).expect("in range");
            prop_assert_eq!(decimal.to_string().parse::<Decimal128>(), Ok(decimal));
            let theirs: bson::Decimal128 = decimal.to_string().parse().expect("the oracle reads it");
            prop_assert_eq!(theirs.bytes(), decimal.to_bytes());
        }
    }
}
