//! The primary keys: packed fields, so that a lookup is one read and a day, a
//! flight's reports, an hour's weather is one short range.
//!
//! ```text
//! airlines       carrier:t2
//! airports       faa:t3
//! planes         tailnum:t6
//! weather        origin:t3  time_hour:s48          (an hour of a DST change comes twice,
//!                                                   so local time would not be unique)
//! flights        year:u16  month:u8  day:u8  sched_dep_time:u16
//!                carrier:t2  flight:u16  origin:t3  (3 bytes left, zero)
//! delay_reports  the flight's 13 bytes, then number:u24 from 1
//! ```
//!
//! Invariant: [`FlightKey::key`] and [`FlightKey::from_key`] are inverse, as are
//! its `Display` and [`FlightKey::parse`]; `planctl import --key` is told the same
//! layout in `import.sh`.

use crate::time::{Day, seconds};
use planck_sdk::{Error, Key, KeyParts, Result};
use std::fmt;

/// A short code of capitals and digits: an airport's, an airline's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code<const N: usize>([u8; N]);

impl<const N: usize> Code<N> {
    /// Reads a code of one to `N` letters and digits; small letters become capitals.
    pub fn parse(text: &str) -> Option<Code<N>> {
        let fits = (1..=N).contains(&text.len());
        if !fits || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let mut code = [0; N];
        for (to, from) in code.iter_mut().zip(text.bytes()) {
            *to = from.to_ascii_uppercase();
        }
        Some(Code(code))
    }

    fn from_padded(bytes: &[u8]) -> Option<Code<N>> {
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        let code = Code::parse(std::str::from_utf8(&bytes[..end]).ok()?)?;
        // No other bytes than those that would be written again.
        (code.0.as_slice() == bytes).then_some(code)
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(N);
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Display for Code<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What tells a flight from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightKey {
    /// The day it was to leave.
    pub day: Day,
    /// The time it was to leave, 1800 for 18:00.
    pub time: u16,
    /// Its airline.
    pub carrier: Code<2>,
    /// Its number.
    pub number: u16,
    /// Where it left.
    pub origin: Code<3>,
}

impl FlightKey {
    /// Reads `2013-06-13-1800-DL-1109-JFK` or 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<FlightKey> {
        if let Ok(key) = text.parse::<Key>() {
            return FlightKey::from_key(key);
        }
        let day = Day::parse(text.get(..10)?)?;
        let mut parts = text.get(10..)?.strip_prefix('-')?.split('-');
        let time = parts.next().filter(|t| t.len() == 4).and_then(number)?;
        let carrier = Code::parse(parts.next()?)?;
        let number = parts.next().and_then(number)?;
        let origin = Code::parse(parts.next()?)?;
        parts.next().is_none().then_some(FlightKey { day, time, carrier, number, origin })
    }

    /// Takes a primary key apart, if it is a flight's.
    pub fn from_key(key: Key) -> Option<FlightKey> {
        let bytes = key.to_bytes();
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        if bytes[13..] != [0; 3] {
            return None;
        }
        Some(FlightKey {
            day: Day::new(u16_at(0), bytes[2], bytes[3])?,
            time: u16_at(4),
            carrier: Code::from_padded(&bytes[6..8])?,
            number: u16_at(8),
            origin: Code::from_padded(&bytes[10..13])?,
        })
    }

    fn parts(&self) -> Result<KeyParts> {
        Ok(day(self.day)?
            .uint(self.time.into(), 16)?
            .text(self.carrier.as_str(), 2)?
            .uint(self.number.into(), 16)?
            .text(self.origin.as_str(), 3)?)
    }

    /// The primary key.
    ///
    /// # Errors
    /// None that can come: every part fits.
    pub fn key(&self) -> Result<Key> {
        Ok(self.parts()?.finish())
    }

    /// The primary key of its delay report of that number.
    ///
    /// # Errors
    /// A number beyond 24 bits.
    pub fn report(&self, number: u32) -> Result<Key> {
        Ok(self.parts()?.uint(number.into(), 24)?.finish())
    }

    /// The first and the last key its delay reports can have.
    ///
    /// # Errors
    /// As [`FlightKey::key`].
    pub fn reports(&self) -> Result<(Key, Key)> {
        let parts = self.parts()?;
        Ok((parts.finish(), parts.finish_high()))
    }
}

/// `2013-06-13-1800-DL-1109-JFK`.
impl fmt::Display for FlightKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlightKey { day, time, carrier, number, origin } = self;
        write!(f, "{day}-{time:04}-{carrier}-{number}-{origin}")
    }
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The number of a delay report, out of its key.
pub fn report_number(key: Key) -> u32 {
    (key.0 & 0xff_ffff) as u32
}

/// The flight of a delay report, out of its key.
pub fn report_flight(key: Key) -> Option<FlightKey> {
    FlightKey::from_key(Key(key.0 & !0xff_ffff))
}

fn day(day: Day) -> Result<KeyParts> {
    Ok(KeyParts::new()
        .uint(day.year.into(), 16)?
        .uint(day.month.into(), 8)?
        .uint(day.day.into(), 8)?)
}

/// The first and the last key a flight of that day can have.
///
/// # Errors
/// None that can come: every part fits.
pub fn day_bounds(of: Day) -> Result<(Key, Key)> {
    let parts = day(of)?;
    Ok((parts.finish(), parts.finish_high()))
}

/// The key of an airline.
///
/// # Errors
/// A code that is longer than codes are.
pub fn airline(carrier: &str) -> Result<Key> {
    Ok(KeyParts::new().text(carrier, 2)?.finish())
}

/// The key of an airport.
///
/// # Errors
/// As [`airline`].
pub fn airport(faa: &str) -> Result<Key> {
    Ok(KeyParts::new().text(faa, 3)?.finish())
}

/// The key of an aircraft.
///
/// # Errors
/// As [`airline`].
pub fn plane(tailnum: &str) -> Result<Key> {
    Ok(KeyParts::new().text(tailnum, 6)?.finish())
}

/// The key of an hour's weather at an airport; `time_hour` such as
/// `2013-06-13T22:00:00Z`.
///
/// # Errors
/// A time that is none, or a code that is longer than codes are.
pub fn weather(origin: &str, time_hour: &str) -> Result<Key> {
    let seconds = seconds(time_hour)
        .ok_or_else(|| Error::bad_request(format!("{time_hour:?} is no time in UTC")))?;
    Ok(KeyParts::new().text(origin, 3)?.uint(seconds, 48)?.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLUG: &str = "2013-06-13-0905-9E-3901-JFK";

    #[test]
    fn a_flight_s_key_is_these_bytes_and_reads_back() {
        let flight = FlightKey::parse(SLUG).expect("a flight's key");
        let key = flight.key().expect("it fits");
        // 2013, 6, 13, 905, "9E", 3901, "JFK", zeros.
        assert_eq!(key.to_string(), "07dd060d038939450f3d4a464b000000");
        assert_eq!(FlightKey::from_key(key), Some(flight));
        assert_eq!(FlightKey::parse(&key.to_string()), Some(flight));
        assert_eq!(flight.to_string(), SLUG);
        assert_eq!(FlightKey::parse("2013-06-13-0905-9e-3901-jfk"), Some(flight));
    }

    #[test]
    fn what_is_no_flight_s_key_is_refused() {
        for text in [
            "",
            "2013-06-13",
            "2013-06-13-905-9E-3901-JFK",
            "2013-02-30-0905-9E-3901-JFK",
            "2013-06-13-0905-9E-3901",
            "2013-06-13-0905-9E-3901-JFK-",
            "2013-06-13-0905-9E-70000-JFK",
            "2013-06-13-0905-9E-+901-JFK",
            "2013-06-13-0905-<>-3901-JFK",
            "2013-06-1\u{e9}-0905-9E-3901-JFK",
            // A delay report's, a small letter's, a month 13.
            "07dd060d038939450f3d4a464b000001",
            "07dd060d038939650f3d4a464b000000",
            "07dd0d0d038939450f3d4a464b000000",
        ] {
            assert_eq!(FlightKey::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_hold_what_belongs_to_them_and_no_more() {
        let flight = FlightKey::parse(SLUG).expect("a flight's key");
        let (first, last) = day_bounds(flight.day).expect("it fits");
        let key = flight.key().expect("it fits");
        assert!(first < key && key < last);
        let (before, _) = day_bounds(flight.day.next().expect("a day")).expect("it fits");
        assert!(last < before);
        let (first, last) = flight.reports().expect("they fit");
        let report = flight.report(7).expect("it fits");
        assert!(first < report && report < last);
        assert_eq!((report_number(report), report_flight(report)), (7, Some(flight)));
        assert!(flight.report(1 << 24).is_err());
    }
}
