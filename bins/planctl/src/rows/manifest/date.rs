//! How a date is written: `rfc3339`, `seconds`, `millis`, or a pattern such as
//! `%d.%m.%Y %H:%M`.
//!
//! What must stay true: a date that is not written exactly so, or that is no day of
//! the calendar, is refused. What a pattern does not say is zero, the first, UTC.

use proto::doc::Value;
use proto::json::{date_time_from_text, date_time_to_text};
use std::fmt;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// How a date is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pattern {
    /// `2013-01-01T05:00:00Z`, or a date alone.
    Rfc3339,
    /// Since 1970, of so many milliseconds each.
    Since(i64),
    Parts {
        text: String,
        parts: Vec<Part>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// These characters.
    Literal(char),
    /// 4 digits.
    Year,
    /// 2 digits: 69 to 99 are of the last century.
    ShortYear,
    /// 1 or 2 digits.
    Month,
    /// 3 letters.
    MonthName,
    Day,
    Hour,
    /// 1 to 12, with `%p`.
    HalfHour,
    Minute,
    Second,
    /// Any digits; those beyond milliseconds are cut off, as RFC 3339 is read.
    Fraction,
    /// AM or PM.
    Half,
    /// `Z`, `+hhmm` or `+hh:mm`.
    Zone,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        match text {
            "rfc3339" => return Ok(Pattern::Rfc3339),
            "seconds" => return Ok(Pattern::Since(1000)),
            "millis" => return Ok(Pattern::Since(1)),
            _ => {}
        }
        let mut parts = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                parts.push(Part::Literal(c));
                continue;
            }
            let c = rest.next();
            parts.push(match c {
                Some('Y') => Part::Year,
                Some('y') => Part::ShortYear,
                Some('m') => Part::Month,
                Some('b') => Part::MonthName,
                Some('d') => Part::Day,
                Some('H') => Part::Hour,
                Some('I') => Part::HalfHour,
                Some('M') => Part::Minute,
                Some('S') => Part::Second,
                Some('f') => Part::Fraction,
                Some('p') => Part::Half,
                Some('z') => Part::Zone,
                Some('%') => Part::Literal('%'),
                other => {
                    let c = other.map(String::from).unwrap_or_default();
                    return Err(format!(
                        "%{c} is none of %Y %y %m %b %d %H %I %M %S %f %p %z %%; a format is \
                         made of them, or is rfc3339, seconds or millis"
                    ));
                }
            });
        }
        if !parts.iter().any(|part| matches!(part, Part::Year | Part::ShortYear)) {
            return Err("the format of a date needs a year, %Y or %y".to_owned());
        }
        Ok(Pattern::Parts { text: text.to_owned(), parts })
    }

    /// Milliseconds since 1970, if this is how the value is written.
    pub(super) fn millis(&self, value: Value<'_>) -> Option<i64> {
        match (self, value) {
            (Pattern::Since(each), Value::String(text)) => {
                text.parse::<i64>().ok()?.checked_mul(*each)
            }
            (Pattern::Since(each), value) if value.is_number() => {
                value.as_i64()?.checked_mul(*each)
            }
            (Pattern::Rfc3339, Value::String(text)) => date_time_from_text(text),
            (Pattern::Parts { parts, .. }, Value::String(text)) => read(parts, text),
            _ => None,
        }
    }
}

impl Pattern {
    /// Writes an instant so that it reads back as the same; `None` if that cannot be.
    pub(super) fn text(&self, millis: i64) -> Option<String> {
        let text = match self {
            Pattern::Since(each) => (millis / each).to_string(),
            Pattern::Rfc3339 => date_time_to_text(millis)?,
            Pattern::Parts { parts, .. } => write(parts, &date_time_to_text(millis)?)?,
        };
        (self.millis(Value::String(&text)) == Some(millis)).then_some(text)
    }
}

/// Writes the parts of an instant given as RFC 3339.
fn write(parts: &[Part], text: &str) -> Option<String> {
    let (year, month, day) = (text.get(..4)?, text.get(5..7)?, text.get(8..10)?);
    let (hour, minute, second) = (text.get(11..13)?, text.get(14..16)?, text.get(17..19)?);
    let number: usize = hour.parse().ok()?;
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Literal(c) => out.push(*c),
            Part::Year => out += year,
            Part::ShortYear => out += &year[2..],
            Part::Month => out += month,
            Part::MonthName => {
                let name = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
                out += &name[..1].to_ascii_uppercase();
                out += &name[1..];
            }
            Part::Day => out += day,
            Part::Hour => out += hour,
            Part::HalfHour => out += &format!("{:02}", (number + 11) % 12 + 1),
            Part::Minute => out += minute,
            Part::Second => out += second,
            Part::Fraction => out += text.get(20..23).unwrap_or("000"),
            Part::Half => out += if number < 12 { "AM" } else { "PM" },
            Part::Zone => out.push('Z'),
        }
    }
    Some(out)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pattern::Rfc3339 => "2013-12-31T23:59:59Z or 2013-12-31",
            Pattern::Since(1000) => "seconds since 1970",
            Pattern::Since(_) => "milliseconds since 1970",
            Pattern::Parts { text, .. } => text,
        })
    }
}

/// Takes up to `most` digits off the front.
fn digits(rest: &mut &str, least: usize, most: usize) -> Option<u32> {
    let run = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if run < least {
        return None;
    }
    let (digits, after) = rest.split_at(run);
    *rest = after;
    digits.parse().ok()
}

fn read(parts: &[Part], text: &str) -> Option<i64> {
    let (mut year, mut month, mut day) = (0, 1, 1);
    let (mut hour, mut minute, mut second, mut millis) = (0, 0, 0, 0i64);
    let mut afternoon = None;
    let mut zone = 0i64;
    let mut rest = text;
    for part in parts {
        match part {
            Part::Literal(c) => rest = rest.strip_prefix(*c)?,
            Part::Year => year = digits(&mut rest, 4, 4)?,
            Part::ShortYear => {
                let short = digits(&mut rest, 2, 2)?;
                year = short + if short < 69 { 2000 } else { 1900 };
            }
            Part::Month => month = digits(&mut rest, 1, 2)?,
            Part::MonthName => {
                let name = rest.get(..3)?.to_ascii_lowercase();
                month = MONTHS.iter().position(|month| *month == name)? as u32 + 1;
                rest = &rest[3..];
            }
            Part::Day => day = digits(&mut rest, 1, 2)?,
            Part::Hour => hour = digits(&mut rest, 1, 2)?,
            Part::HalfHour => {
                hour = digits(&mut rest, 1, 2).filter(|hour| (1..=12).contains(hour))? % 12;
            }
            Part::Minute => minute = digits(&mut rest, 2, 2)?,
            Part::Second => second = digits(&mut rest, 2, 2)?,
            Part::Fraction => {
                let run = rest.bytes().take_while(u8::is_ascii_digit).count();
                if run == 0 {
                    return None;
                }
                for at in 0..3 {
                    let digit = rest.as_bytes()[..run].get(at).map_or(0, |b| b - b'0');
                    millis = millis * 10 + i64::from(digit);
                }
                rest = &rest[run..];
            }
            Part::Half => {
                afternoon = Some(match rest.get(..2)?.to_ascii_lowercase().as_str() {
                    "am" => false,
                    "pm" => true,
                    _ => return None,
                });
                rest = &rest[2..];
            }
            Part::Zone => zone = offset(&mut rest)?,
        }
    }
    if let (Some(true), 0..12) = (afternoon, hour) {
        hour += 12;
    }
    if !rest.is_empty() {
        return None;
    }
    // The calendar is checked where RFC 3339 is read.
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
    date_time_from_text(&text)?.checked_add(millis)?.checked_sub(zone)
}

/// Milliseconds that a zone is ahead of UTC.
fn offset(rest: &mut &str) -> Option<i64> {
    if let Some(after) = rest.strip_prefix(['Z', 'z']) {
        *rest = after;
        return Some(0);
    }
    let ahead = match rest.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    *rest = &rest[1..];
    let hours = digits(rest, 2, 2).filter(|hours| *hours < 24)?;
    *rest = rest.strip_prefix(':').unwrap_or(rest);
    let minutes = digits(rest, 2, 2).filter(|minutes| *minutes < 60)?;
    Some(ahead * i64::from(hours * 60 + minutes) * 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn date(pattern: &str, text: &str) -> Option<String> {
        let millis = Pattern::parse(pattern).unwrap().millis(Value::String(text))?;
        date_time_to_text(millis)
    }

    #[test]
    fn dates_are_read_as_the_pattern_says() {
        for (pattern, text, date_time) in [
            ("%d.%m.%Y", "1.2.2013", "2013-02-01T00:00:00Z"),
            ("%m/%d/%y %I:%M %p", "12/31/99 12:05 AM", "1999-12-31T00:05:00Z"),
            ("%m/%d/%y %I:%M %p", "12/31/68 1:05 pm", "2068-12-31T13:05:00Z"),
            ("%d-%b-%Y", "05-Sep-2001", "2001-09-05T00:00:00Z"),
            ("%Y%m%dT%H%M%S%z", "20130101T053000+0530", "2013-01-01T00:00:00Z"),
            ("%Y-%m-%d %H:%M:%S.%f", "2013-01-01 00:00:01.1239", "2013-01-01T00:00:01.123Z"),
            ("%Y-%m-%d%z", "2013-01-01-01:00", "2013-01-01T01:00:00Z"),
            ("100%% %Y", "100% 2000", "2000-01-01T00:00:00Z"),
            ("seconds", "-1", "1969-12-31T23:59:59Z"),
            ("millis", "1500", "1970-01-01T00:00:01.500Z"),
        ] {
            assert_eq!(date(pattern, text).as_deref(), Some(date_time), "{pattern} {text}");
        }
        let since = Pattern::parse("seconds").unwrap();
        assert_eq!(since.millis(Value::Int32(2)), Some(2000));
        assert_eq!(since.millis(Value::Int64(i64::MAX)), None);
    }

    #[test]
    fn what_is_not_written_so_or_no_day_is_refused() {
        for (pattern, text) in [
            ("%d.%m.%Y", "30.2.2013"),
            ("%d.%m.%Y", "1.13.2013"),
            ("%d.%m.%Y", "0.1.2013"),
            ("%d.%m.%Y", "1.2.13"),
            ("%d.%m.%Y", "1.2.2013 "),
            ("%d.%m.%Y", ""),
            ("%Y %H:%M", "2013 24:00"),
            ("%Y %I %p", "2013 13 PM"),
            ("%d-%b-%Y", "05-Sex-2001"),
            ("%d-%b-%Y", "05-é-2001"),
            ("%Y%z", "2013+9900"),
            ("seconds", "1.5"),
        ] {
            assert_eq!(date(pattern, text), None, "{pattern} {text}");
        }
        assert!(Pattern::parse("%m").unwrap_err().contains("needs a year"));
        assert!(Pattern::parse("%Y%").unwrap_err().contains("none of"));
    }

    #[test]
    fn what_is_written_reads_back_or_is_not_written() {
        let millis = 1_357_063_445_120; // 2013-01-01T18:04:05.120Z
        for (pattern, text) in [
            ("%d.%m.%Y %H:%M:%S.%f", Some("01.01.2013 18:04:05.120")),
            ("%b %d %y %I:%M:%S.%f %p %z", Some("Jan 01 13 06:04:05.120 PM Z")),
            ("millis", Some("1357063445120")),
            ("rfc3339", Some("2013-01-01T18:04:05.120Z")),
            ("seconds", None),
            ("%d.%m.%Y", None),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().text(millis).as_deref(), text);
        }
        assert_eq!(Pattern::parse("seconds").unwrap().text(-1000).as_deref(), Some("-1"));
        assert_eq!(Pattern::parse("%y").unwrap().text(-4_000_000_000_000), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_date_or_none(pattern in "[%YymbdHIMSfpz. a]{0,12}", text in "\\PC{0,16}") {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                pattern.millis(Value::String(&text));
            }
        }
    }
}
