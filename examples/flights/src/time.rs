//! Days of the calendar and times of the clock, as airports write them.
//!
//! Invariant: a [`Day`] is one that the Gregorian calendar has.

use std::fmt;

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// 1 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

impl Day {
    /// That day, if there is one.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Day> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        let real = (1..=9999).contains(&year) && (1..=days).contains(&day);
        real.then_some(Day { year, month, day })
    }

    /// Reads `2013-06-13`.
    pub fn parse(text: &str) -> Option<Day> {
        let mut parts = text.split('-');
        let mut next = |digits: usize| {
            let part = parts.next().filter(|p| p.len() == digits)?;
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u16>().ok())?
        };
        let (year, month, day) = (next(4)?, next(2)?, next(2)?);
        if parts.next().is_some() {
            return None;
        }
        Day::new(year, u8::try_from(month).ok()?, u8::try_from(day).ok()?)
    }

    /// Days since 1970-01-01.
    pub fn number(self) -> i64 {
        // Years begin in March, so that a leap day is the last of its year.
        let (year, month) = (i64::from(self.year), i64::from(self.month));
        let year = if month <= 2 { year - 1 } else { year };
        let shifted = (month + 9) % 12;
        let in_year = (153 * shifted + 2) / 5 + i64::from(self.day) - 1;
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year
            - 719_468
    }

    /// The day of a [`Day::number`]; `None` outside the years 1 to 9999.
    pub fn from_number(number: i64) -> Option<Day> {
        if !(-719_162..=2_932_896).contains(&number) {
            return None;
        }
        let days = number + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let in_year = of_era - (365 * year + year / 4 - year / 100);
        let shifted = (5 * in_year + 2) / 153;
        let day = in_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        Day::new(u16::try_from(year).ok()?, u8::try_from(month).ok()?, u8::try_from(day).ok()?)
    }

    /// The day before.
    pub fn previous(self) -> Option<Day> {
        Day::from_number(self.number() - 1)
    }

    /// The day after.
    pub fn next(self) -> Option<Day> {
        Day::from_number(self.number() + 1)
    }

    /// `Thursday`.
    pub fn weekday(self) -> &'static str {
        WEEKDAYS[self.number().rem_euclid(7) as usize]
    }

    /// `13 June 2013`.
    pub fn long(self) -> String {
        format!("{} {} {}", self.day, MONTHS[usize::from(self.month) - 1], self.year)
    }

    /// `13 June`.
    pub fn short(self) -> String {
        format!("{} {}", self.day, MONTHS[usize::from(self.month) - 1])
    }
}

/// `2013-06-13`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A time of the clock as the data has it, 517 for 05:17; shown as `05:17`. The
/// data's 2400 is the midnight that begins the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock(pub u16);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 100 % 24, self.0 % 100)
    }
}

/// A length of time: `45 min`, `2 h 05`.
pub fn minutes(minutes: i32) -> String {
    let length = minutes.unsigned_abs();
    if length < 60 {
        return format!("{length} min");
    }
    format!("{} h {:02}", length / 60, length % 60)
}

/// Seconds since 1970 of a time such as `2013-06-13T22:00:00Z`.
pub fn seconds(time: &str) -> Option<u64> {
    u64::try_from(planck_sdk::proto::json::date_time_from_text(time)?.div_euclid(1000)).ok()
}

/// `13 June 2013, 22:05 UTC` of milliseconds since 1970.
pub fn moment(millis: i64) -> String {
    let minute = millis.div_euclid(60_000);
    let Some(day) = Day::from_number(minute.div_euclid(1440)) else { return String::new() };
    let of_day = minute.rem_euclid(1440);
    format!("{}, {:02}:{:02} UTC", day.long(), of_day / 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_written_and_those_the_calendar_lacks_refused() {
        for text in ["2013-06-13", "2012-02-29", "0001-01-01", "9999-12-31"] {
            assert_eq!(Day::parse(text).map(|day| day.to_string()).as_deref(), Some(text));
        }
        for text in ["", "2013-6-13", "2013-02-29", "2013-13-01", "+013-01-01", "2013-06-13-", "x"]
        {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }

    #[test]
    fn days_are_numbered_without_a_gap() {
        let first = Day::new(1, 1, 1).map(Day::number);
        assert_eq!((first, Day::from_number(0)), (Some(-719_162), Day::new(1970, 1, 1)));
        let mut day = Day::new(1899, 12, 31).expect("a day");
        for number in day.number()..46_000 {
            assert_eq!((day.number(), Day::from_number(number)), (number, Some(day)));
            day = day.next().expect("the next");
        }
        assert_eq!(day.previous().and_then(Day::next), Some(day));
        assert_eq!(Day::new(9999, 12, 31).and_then(Day::next), None);
        assert_eq!(Day::new(1, 1, 1).and_then(Day::previous), None);
    }

    #[test]
    fn times_read_as_at_an_airport() {
        let day = Day::parse("2013-06-13").expect("a day");
        assert_eq!((day.weekday(), day.long().as_str()), ("Thursday", "13 June 2013"));
        assert_eq!(
            [5, 517, 1230, 2400].map(|t| Clock(t).to_string()),
            ["00:05", "05:17", "12:30", "00:00"]
        );
        assert_eq!([-3, 59, 65, 600].map(minutes), ["3 min", "59 min", "1 h 05", "10 h 00"]);
        assert_eq!(seconds("2013-11-03T05:00:00Z"), Some(1_383_454_800));
        assert_eq!(seconds("noon"), None);
        assert_eq!(moment(1_383_454_859_999), "3 November 2013, 05:00 UTC");
    }
}
