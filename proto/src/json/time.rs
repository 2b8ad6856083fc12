//! Date-times as RFC 3339 text, in the Gregorian calendar, years 0000 to 9999.

const DAY: i64 = 86_400_000;

/// Days from 1970-01-01 to a date; the year may be any of four digits.
///
/// The year is taken to begin in March, so that the leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Months from March have 31, 30, 31, 30, 31 days, again and again: 153 in five.
    let before_month = (153 * month + 2) / 5;
    // 0000-03-01 lies 719,468 days before 1970-01-01.
    year * 365 + leap_days + before_month + day - 1 - 719_468
}

/// The date so many days from 1970-01-01: year, month, day.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    // 400 years have 146,097 days; the leap day is the last of four, hundred (not)
    // and four hundred years, so each is taken off at its end.
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (next, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    (era * 400 + year + next, month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Milliseconds since 1970 as `2013-01-01T05:00:00Z`, with milliseconds if there
/// are any. `None` outside of the years 0000 to 9999.
pub fn date_time_to_text(millis: i64) -> Option<String> {
    let (year, month, day) = date(millis.div_euclid(DAY));
    if !(0..=9999).contains(&year) {
        return None;
    }
    let time = millis.rem_euclid(DAY);
    let (hour, minute) = (time / 3_600_000, time / 60_000 % 60);
    let (second, milli) = (time / 1000 % 60, time % 1000);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if milli != 0 {
        text.push_str(&format!(".{milli:03}"));
    }
    text.push('Z');
    Some(text)
}

/// Reads RFC 3339 (`T`, `t` or a space; `Z` or an offset), or a date alone, which is
/// its midnight in UTC. Digits beyond milliseconds are cut off; a leap second is the
/// second after. `None` if it is no such text.
pub fn date_time_from_text(text: &str) -> Option<i64> {
    let mut rest = text.as_bytes();
    let year = number(&mut rest, 4)?;
    literal(&mut rest, b"-")?;
    let month = number(&mut rest, 2)?;
    literal(&mut rest, b"-")?;
    let day = number(&mut rest, 2)?;
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    let midnight = days(year, month, day) * DAY;
    if rest.is_empty() {
        return Some(midnight);
    }
    literal(&mut rest, b"Tt ")?;
    let hour = number(&mut rest, 2)?;
    literal(&mut rest, b":")?;
    let minute = number(&mut rest, 2)?;
    literal(&mut rest, b":")?;
    let second = number(&mut rest, 2)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut millis = 0;
    if rest.first() == Some(&b'.') {
        rest = &rest[1..];
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        for place in 0..3 {
            let digit = rest[..digits].get(place).map_or(0, |b| b - b'0');
            millis = millis * 10 + i64::from(digit);
        }
        rest = &rest[digits..];
    }
    let offset = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), tail @ ..] => {
            let mut tail = tail;
            let hours = number(&mut tail, 2)?;
            literal(&mut tail, b":")?;
            let minutes = number(&mut tail, 2)?;
            if hours > 23 || minutes > 59 || !tail.is_empty() {
                return None;
            }
            let offset = hours * 60 + minutes;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    Some(midnight + ((hour * 60 + minute - offset) * 60 + second) * 1000 + millis)
}

/// Takes that many digits off the front.
fn number(rest: &mut &[u8], digits: usize) -> Option<i64> {
    let (front, back) = rest.split_at_checked(digits)?;
    *rest = back;
    front.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

/// Takes one of these characters off the front.
fn literal(rest: &mut &[u8], allowed: &[u8]) -> Option<()> {
    let (first, back) = rest.split_first()?;
    *rest = back;
    allowed.contains(first).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn given_instants_when_written_then_they_are_these_and_read_back() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_357_016_400_000, "2013-01-01T05:00:00Z"),
            (951_782_400_007, "2000-02-29T00:00:00.007Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(date_time_to_text(millis).as_deref(), Some(text));
            assert_eq!(date_time_from_text(text), Some(millis));
        }
        for millis in [253_402_300_800_000, -62_167_219_200_001, i64::MIN, i64::MAX] {
            assert_eq!(date_time_to_text(millis), None);
        }
    }

    #[test]
    fn given_other_forms_when_read_then_they_mean_the_same_instant() {
        let five = Some(1_357_016_400_000);
        for text in [
            "2013-01-01T05:00:00.000Z",
            "2013-01-01t05:00:00z",
            "2013-01-01 07:30:00+02:30",
            "2012-12-31T22:00:00-07:00",
            "2013-01-01T04:59:60Z",
            "2013-01-01T05:00:00.0009999999Z",
        ] {
            assert_eq!(date_time_from_text(text), five, "{text}");
        }
        assert_eq!(date_time_from_text("2013-01-01"), five.map(|t| t - 5 * 3_600_000));
    }

    #[test]
    fn given_text_that_is_no_instant_when_read_then_it_is_refused() {
        for text in [
            "",
            "2013",
            "2013-1-1",
            "2013-13-01",
            "2013-00-01",
            "2013-02-29",
            "1900-02-29",
            "2013-01-00",
            "2013-01-01T",
            "2013-01-01T24:00:00Z",
            "2013-01-01T05:60:00Z",
            "2013-01-01T05:00:61Z",
            "2013-01-01T05:00Z",
            "2013-01-01T05:00:00",
            "2013-01-01T05:00:00.Z",
            "2013-01-01T05:00:00+2:00",
            "2013-01-01T05:00:00+24:00",
            "2013-01-01T05:00:00ZZ",
            "+013-01-01",
            "2013-01-01T05:00:00Zé",
        ] {
            assert_eq!(date_time_from_text(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn given_any_instant_when_written_then_the_oracle_reads_it(
            millis in -62_167_219_200_000..=253_402_300_799_999i64,
        ) {
            let ours = date_time_to_text(millis).expect("in range");
            let theirs = bson::DateTime::parse_rfc3339_str(&ours).expect("RFC 3339");
            prop_assert_eq!(theirs.timestamp_millis(), millis);
            prop_assert_eq!(date_time_from_text(&ours), Some(millis));
        }
    }
}
