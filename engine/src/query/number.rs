//! Adding numbers of any type: `inc`, `sum` and `avg`.
//!
//! What must stay true: integers and decimals add exactly or say that they cannot;
//! only doubles round, and a sum of them keeps the error of each step (Neumaier),
//! so that the order of the documents hardly matters.

use proto::doc::{Decimal128, DecimalParts, Value};

/// A decimal number: `coefficient * 10^exponent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exact {
    pub(super) coefficient: i128,
    pub(super) exponent: i32,
}

impl Exact {
    fn of(decimal: Decimal128) -> Option<Exact> {
        let DecimalParts::Finite { negative, coefficient, exponent } = decimal.parts() else {
            return None;
        };
        let coefficient = i128::try_from(coefficient).ok()?;
        Some(Exact { coefficient: if negative { -coefficient } else { coefficient }, exponent })
    }

    fn add(self, other: Exact) -> Option<Exact> {
        let (low, high) =
            if self.exponent <= other.exponent { (self, other) } else { (other, self) };
        if high.coefficient == 0 {
            return Some(low);
        }
        let shift = u32::try_from(high.exponent.checked_sub(low.exponent)?).ok()?;
        let scaled = high.coefficient.checked_mul(10i128.checked_pow(shift)?)?;
        Some(Exact { coefficient: low.coefficient.checked_add(scaled)?, exponent: low.exponent })
    }

    fn decimal(self) -> Option<Decimal128> {
        Decimal128::new(self.coefficient < 0, self.coefficient.unsigned_abs(), self.exponent)
    }
}

/// `a + b` for `inc`, in the wider of their types; or why there is no such number.
pub(super) fn add(a: Value<'_>, b: Value<'_>) -> Result<Value<'static>, String> {
    let whole = |value: Value<'_>| match value {
        Value::Int32(n) => Some(i64::from(n)),
        Value::Int64(n) => Some(n),
        _ => None,
    };
    if let (Some(x), Some(y)) = (whole(a), whole(b)) {
        let sum = x.checked_add(y).ok_or_else(|| {
            format!("{x} + {y} does not fit 64 bits: keep it as a decimal or a double")
        })?;
        let small = matches!((a, b), (Value::Int32(_), Value::Int32(_)));
        return Ok(match i32::try_from(sum) {
            Ok(sum) if small => Value::Int32(sum),
            _ => Value::Int64(sum),
        });
    }
    let exact = |value: Value<'_>| match value {
        Value::Decimal128(decimal) => Exact::of(decimal),
        other => whole(other).map(|n| Exact { coefficient: i128::from(n), exponent: 0 }),
    };
    match (a, b) {
        (Value::Decimal128(_), _) | (_, Value::Decimal128(_)) => {
            if matches!(a, Value::Double(_)) || matches!(b, Value::Double(_)) {
                let why = "a double and a decimal do not add exactly: give a whole number or \
                           decimal(\"..\") for a decimal field, 1.5 for a double one";
                return Err(why.to_owned());
            }
            let sum = exact(a).zip(exact(b)).and_then(|(x, y)| x.add(y)).and_then(Exact::decimal);
            sum.map(Value::Decimal128)
                .ok_or_else(|| "the sum is no decimal of at most 34 digits".to_owned())
        }
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(x), Some(y)) => Ok(Value::Double(x + y)),
            _ => Err(format!("a {} and a {} do not add", a.type_name(), b.type_name())),
        },
    }
}

/// A sum in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    whole: i128,
    exact: Option<Exact>,
    float: f64,
    lost: f64,
    floats: bool,
}

/// Bytes of [`Sum::encode`].
pub(super) const SUM_BYTES: usize = 16 + 1 + 16 + 4 + 8 + 8 + 1;

impl Sum {
    /// Adds a number; anything else is left out.
    pub(super) fn add(&mut self, value: Value<'_>) {
        match value {
            Value::Int32(n) => self.whole += i128::from(n),
            Value::Int64(n) => self.whole += i128::from(n),
            Value::Double(number) => self.add_float(number),
            Value::Decimal128(decimal) => match Exact::of(decimal) {
                Some(exact) => self.add_exact(exact),
                None => self.add_float(decimal.to_f64()),
            },
            _ => {}
        }
    }

    fn add_exact(&mut self, more: Exact) {
        match self.exact.unwrap_or_default().add(more) {
            Some(sum) => self.exact = Some(sum),
            None => {
                let number = more.decimal().map_or(f64::NAN, Decimal128::to_f64);
                self.add_float(number);
            }
        }
    }

    fn add_float(&mut self, number: f64) {
        self.floats = true;
        let sum = self.float + number;
        if sum.is_finite() {
            self.lost += if self.float.abs() >= number.abs() {
                (self.float - sum) + number
            } else {
                (number - sum) + self.float
            };
        }
        self.float = sum;
    }

    /// Adds what another has summed.
    pub(super) fn merge(&mut self, other: &Sum) {
        self.whole += other.whole;
        if let Some(exact) = other.exact {
            self.add_exact(exact);
        }
        if other.floats {
            self.add_float(other.float);
            self.lost += other.lost;
        }
    }

    /// All of it as a double.
    pub(super) fn float(&self) -> f64 {
        let exact = self.exact.map_or(0.0, |exact| {
            exact.decimal().map_or_else(
                || exact.coefficient as f64 * 10f64.powi(exact.exponent),
                Decimal128::to_f64,
            )
        });
        self.whole as f64 + exact + (self.float + self.lost)
    }

    /// As exact as it is: an integer, a decimal, a double.
    pub(super) fn value(&self) -> Value<'static> {
        if self.floats {
            return Value::Double(self.float());
        }
        if let Some(exact) = self.exact {
            let all = exact.add(Exact { coefficient: self.whole, exponent: 0 });
            let all = all.and_then(Exact::decimal);
            return all.map_or_else(|| Value::Double(self.float()), Value::Decimal128);
        }
        match i64::try_from(self.whole) {
            Ok(whole) => i32::try_from(whole).map_or(Value::Int64(whole), Value::Int32),
            Err(_) => Value::Double(self.float()),
        }
    }

    /// Its bytes, for a run on disk.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let exact = self.exact.unwrap_or_default();
        out.extend_from_slice(&self.whole.to_le_bytes());
        out.push(u8::from(self.exact.is_some()));
        out.extend_from_slice(&exact.coefficient.to_le_bytes());
        out.extend_from_slice(&exact.exponent.to_le_bytes());
        out.extend_from_slice(&self.float.to_le_bytes());
        out.extend_from_slice(&self.lost.to_le_bytes());
        out.push(u8::from(self.floats));
    }

    /// The sum of such bytes.
    pub(super) fn decode(bytes: &[u8; SUM_BYTES]) -> Option<Sum> {
        let (whole, rest) = bytes.split_first_chunk::<16>()?;
        let (&[has], rest) = rest.split_first_chunk::<1>()?;
        let (coefficient, rest) = rest.split_first_chunk::<16>()?;
        let (exponent, rest) = rest.split_first_chunk::<4>()?;
        let (float, rest) = rest.split_first_chunk::<8>()?;
        let (lost, rest) = rest.split_first_chunk::<8>()?;
        let exact = Exact {
            coefficient: i128::from_le_bytes(*coefficient),
            exponent: i32::from_le_bytes(*exponent),
        };
        Some(Sum {
            whole: i128::from_le_bytes(*whole),
            exact: (has == 1).then_some(exact),
            float: f64::from_le_bytes(*float),
            lost: f64::from_le_bytes(*lost),
            floats: rest == [1],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Value<'static> {
        Value::Decimal128(text.parse().unwrap())
    }

    #[test]
    fn numbers_add_in_the_wider_type_or_not_at_all() {
        let i32_max = Value::Int32(i32::MAX);
        assert_eq!(add(Value::Int32(1), Value::Int32(2)), Ok(Value::Int32(3)));
        assert_eq!(add(i32_max, Value::Int32(1)), Ok(Value::Int64(1 << 31)));
        assert_eq!(add(Value::Int64(1), Value::Int32(2)), Ok(Value::Int64(3)));
        assert_eq!(add(Value::Int32(1), Value::Double(0.5)), Ok(Value::Double(1.5)));
        assert_eq!(add(decimal("1.10"), decimal("2.2")), Ok(decimal("3.30")));
        assert_eq!(add(decimal("1.10"), Value::Int32(-2)), Ok(decimal("-0.90")));
        assert!(add(Value::Int64(i64::MAX), Value::Int32(1)).unwrap_err().contains("64 bits"));
        assert!(add(decimal("1"), Value::Double(1.0)).unwrap_err().contains("exactly"));
        assert!(add(decimal("1E+100"), decimal("1")).unwrap_err().contains("34 digits"));
        assert!(add(decimal("NaN"), decimal("1")).is_err());
        assert!(add(Value::Null, Value::Int32(1)).is_err());
    }

    #[test]
    fn sums_are_exact_where_they_can_be_and_survive_their_bytes() {
        let sum = |values: &[Value<'static>]| {
            let mut all = Sum::default();
            let mut parts = [Sum::default(), Sum::default()];
            for (n, value) in values.iter().enumerate() {
                all.add(*value);
                parts[n % 2].add(*value);
            }
            let mut bytes = Vec::new();
            parts[1].encode(&mut bytes);
            let again = Sum::decode(bytes.as_slice().try_into().unwrap()).unwrap();
            assert_eq!(again, parts[1]);
            parts[0].merge(&again);
            assert_eq!(parts[0].value(), all.value());
            all.value()
        };
        assert_eq!(sum(&[]), Value::Int32(0));
        assert_eq!(sum(&[decimal("0.10"), decimal("0.20"), Value::Int32(1)]), decimal("1.30"));
        assert_eq!(
            sum(&[Value::Double(1e16), Value::Double(1.0), Value::Double(-1e16)]),
            Value::Double(1.0)
        );
        assert_eq!(sum(&[Value::Int64(i64::MAX), Value::Int32(-1)]), Value::Int64(i64::MAX - 1));
        assert_eq!(sum(&[decimal("1.5"), Value::Double(0.25)]), Value::Double(1.75));
        assert_eq!(sum(&[decimal("1E+60"), decimal("1")]), Value::Double(1e60));
    }
}
