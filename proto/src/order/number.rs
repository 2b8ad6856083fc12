//! Numbers of four types as points of one line.
//!
//! A key is written from the exact value, so the type it came from is gone: the
//! whole part as an integer, then what is left of it as a double, rounded down,
//! then, only for a decimal that no double equals, its digits.
//!
//! ```text
//! 14                  NaN
//! 15                  -infinity
//! 16..1F              below zero: 3F - first byte, all other bytes inverted
//! 20+n                whole part of n bytes (0 to 8, no leading zero), below 2^64:
//!                     | n bytes, big-endian | fraction |
//! 29                  2^64 and above: | step | digits, if step is odd |
//! 2A                  infinity
//!
//! fraction            00, or | step + 2^56 | digits, if step is odd |
//! step                u64, big-endian: bits of the largest double not above the
//!                     value << 1, plus 1 if the value is not that double
//! digits              | u16, big-endian: exponent of the first digit + 8192 |
//!                     two digits a byte: 2n+1, in the last byte 2n |
//! ```
//!
//! Zero is 20 00, 1 is 21 01 00, 256 is 22 01 00 00, 0.5 is 20 and eight bytes.
//! A step in a fraction starts with a byte from 01 on, so that 00 means none: the
//! bits of a double below 1 begin with two zeros, which leaves room for the shift.

use crate::doc::{Decimal128, DecimalParts, Value, nearest_f64};
use std::cmp::Ordering;

/// The lowest first byte of a number's key.
pub(super) const LOWEST: u8 = NAN;
/// The highest.
pub(super) const HIGHEST: u8 = INFINITY;

const NAN: u8 = 0x14;
const WHOLE: u8 = 0x20;
const LARGE: u8 = 0x29;
const INFINITY: u8 = 0x2A;
/// A negative number's first byte is this minus that of its magnitude.
const MIRROR: u8 = 0x3F;

const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

/// Compares two numbers by value. Decimals go through their keys.
pub(super) fn compare(a: Value<'_>, b: Value<'_>) -> Ordering {
    match (integer(a), integer(b)) {
        (Some(x), Some(y)) => return x.cmp(&y),
        (Some(x), None) => {
            if let Value::Double(y) = b {
                return int_double(x, y);
            }
        }
        (None, Some(y)) => {
            if let Value::Double(x) = a {
                return int_double(y, x).reverse();
            }
        }
        (None, None) => {
            if let (Value::Double(x), Value::Double(y)) = (a, b) {
                // NaN is lowest and equal to itself; partial_cmp knows -0 = 0.
                return x.partial_cmp(&y).unwrap_or_else(|| y.is_nan().cmp(&x.is_nan()));
            }
        }
    }
    let (mut x, mut y) = (Vec::with_capacity(32), Vec::with_capacity(32));
    key(a, &mut x);
    key(b, &mut y);
    x.cmp(&y)
}

fn integer(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int32(n) => Some(i64::from(n)),
        Value::Int64(n) => Some(n),
        _ => None,
    }
}

/// Exact: the integer is never turned into a double.
fn int_double(n: i64, d: f64) -> Ordering {
    if d.is_nan() || d < -TWO_63 {
        return Ordering::Greater;
    }
    if d >= TWO_63 {
        return Ordering::Less;
    }
    let whole = d.trunc();
    // In range, so the cast is exact; what was cut off decides between equals.
    n.cmp(&(whole as i64)).then_with(|| whole.partial_cmp(&d).unwrap_or(Ordering::Equal))
}

/// Appends the key of a number; other values add nothing.
pub(super) fn key(value: Value<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let negative = match value {
        Value::Int32(n) => {
            whole(u64::from(n.unsigned_abs()), out);
            out.push(0);
            n < 0
        }
        Value::Int64(n) => {
            whole(n.unsigned_abs(), out);
            out.push(0);
            n < 0
        }
        Value::Double(d) if d.is_nan() => return out.push(NAN),
        Value::Double(d) => {
            double(d.abs(), out);
            d < 0.0
        }
        Value::Decimal128(d) => match decimal(d, out) {
            Some(negative) => negative,
            None => return out.push(NAN),
        },
        _ => return,
    };
    if negative {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
        out[start] = MIRROR - !out[start];
    }
}

/// The first byte and the whole part.
fn whole(n: u64, out: &mut Vec<u8>) {
    let bytes = n.to_be_bytes();
    let skip = n.leading_zeros() as usize / 8;
    out.push(WHOLE + 8 - skip as u8);
    out.extend_from_slice(&bytes[skip..]);
}

/// A double that is not NaN and not below zero.
fn double(d: f64, out: &mut Vec<u8>) {
    if d == f64::INFINITY {
        out.push(INFINITY);
    } else if d >= TWO_64 {
        out.push(LARGE);
        out.extend_from_slice(&(d.to_bits() << 1).to_be_bytes());
    } else {
        let whole_part = d.trunc();
        whole(whole_part as u64, out);
        // Exact: the bits below the point, moved.
        match d - whole_part {
            0.0 => out.push(0),
            fraction => out.extend_from_slice(&fraction_step(fraction, false)),
        }
    }
}

fn fraction_step(floor: f64, more: bool) -> [u8; 8] {
    ((floor.to_bits() << 1 | u64::from(more)) + (1 << 56)).to_be_bytes()
}

/// Writes a decimal's magnitude; says whether it is below zero, `None` for NaN.
fn decimal(decimal: Decimal128, out: &mut Vec<u8>) -> Option<bool> {
    let (negative, coefficient, exponent) = match decimal.parts() {
        DecimalParts::Nan => return None,
        DecimalParts::Infinity { negative } => {
            out.push(INFINITY);
            return Some(negative);
        }
        DecimalParts::Finite { coefficient: 0, .. } => (false, 0, 0),
        DecimalParts::Finite { negative, coefficient, exponent } => {
            (negative, coefficient, exponent)
        }
    };
    let power = 10u128.checked_pow(exponent.unsigned_abs());
    let (whole_part, rest) = match (exponent < 0, power) {
        (false, power) => (power.and_then(|p| coefficient.checked_mul(p)), 0),
        (true, Some(p)) => (Some(coefficient / p), coefficient % p),
        (true, None) => (Some(0), coefficient),
    };
    match whole_part.and_then(|n| u64::try_from(n).ok()) {
        Some(n) => {
            whole(n, out);
            if rest == 0 {
                out.push(0);
            } else {
                let (floor, more) = floor(rest, exponent);
                out.extend_from_slice(&fraction_step(floor, more));
                if more {
                    digits(rest, exponent, out);
                }
            }
        }
        None => {
            let (floor, more) = floor(coefficient, exponent);
            out.push(LARGE);
            out.extend_from_slice(&(floor.to_bits() << 1 | u64::from(more)).to_be_bytes());
            if more {
                digits(coefficient, exponent, out);
            }
        }
    }
    Some(negative)
}

/// The digits of a decimal above zero, without zeros at the end.
fn digits(coefficient: u128, exponent: i32, out: &mut Vec<u8>) {
    let text = coefficient.to_string();
    // A decimal128's first digit stands between 10^-6176 and 10^6144.
    let first = exponent + text.len() as i32 - 1 + 8192;
    out.extend_from_slice(&(first as u16).to_be_bytes());
    for pair in text.trim_end_matches('0').as_bytes().chunks(2) {
        let n = (pair[0] - b'0') * 10 + pair.get(1).map_or(0, |d| d - b'0');
        out.push(2 * n + 1);
    }
    if let Some(last) = out.last_mut() {
        *last -= 1;
    }
}

/// The largest double not above a decimal above zero, and whether it is below it.
fn floor(coefficient: u128, exponent: i32) -> (f64, bool) {
    let nearest = nearest_f64(coefficient, exponent);
    match compare_exact(nearest, coefficient, exponent) {
        Ordering::Equal => (nearest, false),
        Ordering::Less => (nearest, true),
        // Above zero, so one step down is one less; from infinity it is the largest.
        Ordering::Greater => (f64::from_bits(nearest.to_bits() - 1), true),
    }
}

/// Compares a double, at least zero, with `coefficient * 10^exponent`, exactly.
fn compare_exact(d: f64, coefficient: u128, exponent: i32) -> Ordering {
    if d == f64::INFINITY {
        return Ordering::Greater;
    }
    if d == 0.0 {
        return 0.cmp(&coefficient);
    }
    by_integers(d, coefficient, exponent).unwrap_or_else(|| by_digits(d, coefficient, exponent))
}

/// Both sides times the powers that make them integers, if 128 bits hold them:
/// for ordinary decimals they do.
fn by_integers(d: f64, coefficient: u128, exponent: i32) -> Option<Ordering> {
    let bits = d.to_bits();
    let biased = (bits >> 52) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let mantissa = if biased == 0 { fraction } else { fraction | 1 << 52 };
    let zeros = mantissa.trailing_zeros();
    let mantissa = u128::from(mantissa >> zeros);
    let binary = biased.max(1) - 1075 + zeros as i32;
    let ten = 10u128.checked_pow(exponent.unsigned_abs())?;
    let two = binary.unsigned_abs();
    let shifted = |n: u128| (n.leading_zeros() >= two).then(|| n << two);
    let (mut left, mut right) = (mantissa, coefficient);
    if exponent < 0 {
        left = left.checked_mul(ten)?;
    } else {
        right = right.checked_mul(ten)?;
    }
    if binary < 0 {
        right = shifted(right)?;
    } else {
        left = shifted(left)?;
    }
    Some(left.cmp(&right))
}

/// All digits of the double (767 at most) against those of the decimal.
fn by_digits(d: f64, coefficient: u128, exponent: i32) -> Ordering {
    let text = format!("{d:.780e}");
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let ours = coefficient.to_string();
    let ours = ours.as_bytes();
    let theirs = mantissa.bytes().filter(|&b| b != b'.');
    power.cmp(&(exponent + ours.len() as i32 - 1)).then_with(|| {
        let padded = ours.iter().copied().chain(std::iter::repeat(b'0'));
        theirs.zip(padded).map(|(a, b)| a.cmp(&b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    })
}
