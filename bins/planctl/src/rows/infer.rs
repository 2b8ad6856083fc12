//! What a cell of CSV means: its type is read off its text, value by value.
//!
//! What must stay true: nothing is lost. Text becomes a number only if it is
//! written as numbers are written, so `007`, `1E5` (a part number as likely as a
//! number), `+1`, ` 1` and integers beyond 64 bits stay text; a double written by
//! [`double`] reads back as the same double.

use proto::doc::Value;

/// The value of a cell; `None` for an empty one.
///
/// ```text
/// -?[1-9][0-9]* or 0           int32, or int64 if it needs it
/// -?digits.digits, exponent or not; digits e+/- digits       double
/// true, false                  bool
/// all else                     text
/// ```
pub(super) fn infer(cell: &str) -> Option<Value<'_>> {
    Some(match cell {
        "" => return None,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => number(cell).unwrap_or(Value::String(cell)),
    })
}

fn number(cell: &str) -> Option<Value<'static>> {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let whole = run(digits);
    let rest = &digits[whole..];
    let leading_zero = whole > 1 && digits.starts_with('0');
    if whole == 0 || leading_zero {
        return None;
    }
    if rest.is_empty() && cell != "-0" {
        let n: i64 = cell.parse().ok()?;
        return Some(i32::try_from(n).map_or(Value::Int64(n), Value::Int32));
    }
    let (point, rest) = match rest.strip_prefix('.') {
        Some(fraction) => {
            let len = run(fraction);
            (len > 0, &fraction[len..])
        }
        None => (false, rest),
    };
    let exponent = rest.strip_prefix(['e', 'E']);
    let sound = match exponent {
        None => rest.is_empty() && (point || cell == "-0"),
        Some(exponent) => {
            let signed = exponent.strip_prefix(['+', '-']);
            let digits = signed.unwrap_or(exponent);
            (point || signed.is_some()) && !digits.is_empty() && run(digits) == digits.len()
        }
    };
    let value: f64 = cell.parse().ok().filter(|_| sound)?;
    value.is_finite().then_some(Value::Double(value))
}

/// How many digits a text begins with.
fn run(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_read_as_they_are_written() {
        for (cell, value) in [
            ("0", Value::Int32(0)),
            ("517", Value::Int32(517)),
            ("-4", Value::Int32(-4)),
            ("2147483648", Value::Int64(2_147_483_648)),
            ("-9223372036854775808", Value::Int64(i64::MIN)),
            ("39.02", Value::Double(39.02)),
            ("-0.5", Value::Double(-0.5)),
            ("1e-05", Value::Double(1e-5)),
            ("1e+20", Value::Double(1e20)),
            ("1.5E3", Value::Double(1500.0)),
            ("-0", Value::Double(-0.0)),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
        ] {
            assert_eq!(infer(cell), Some(value), "{cell}");
        }
        assert_eq!(infer(""), None);
    }

    #[test]
    fn what_is_not_written_as_a_number_stays_text() {
        for cell in [
            "007",
            "1E5",
            "12e4",
            "+5",
            " 5",
            "5 ",
            "-",
            ".",
            ".5",
            "5.",
            "1.e5",
            "1.5e",
            "1e+",
            "NaN",
            "inf",
            "1_000",
            "1,5",
            "0x10",
            "TRUE",
            "NA",
            "9223372036854775808",
            "1.0e999",
            "00.5",
            "2013-01-01T05:00:00Z",
            "9E",
            "--1",
            "٣",
        ] {
            assert_eq!(infer(cell), Some(Value::String(cell)), "{cell}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_value_and_integers_keep_every_digit(text in ".*", n in any::<i64>()) {
            infer(&text);
            prop_assert_eq!(infer(&n.to_string()).and_then(|value| value.as_i64()), Some(n));
        }
    }
}
