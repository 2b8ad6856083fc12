//! When an entry of a timetable comes: a schedule of cron, by the clocks of a time zone.
//!
//! What must stay true: what follows depends on the entry and the moments it is asked about
//! alone: no clock is read here. The zones are those compiled in, on every machine the same.
//!
//! **When clocks are changed.** A schedule that names its times (its minutes and hours are
//! numbers, or lists of them) comes once a day whatever the clocks do: a time that does not
//! exist that day is the first moment behind the gap, one that exists twice is the earlier. A
//! schedule with a `*` in its minutes or hours goes by: what would lie in the gap is left out,
//! and what exists twice comes twice.

use super::service::Missed;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Times that passed longer ago, in milliseconds, were missed.
pub const GRACE: i64 = 60_000;

/// See the module.
#[derive(Clone, Debug)]
pub struct Times {
    cron: Cron,
    zone: TimeZone,
}

/// What is to be done about an entry at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its time has come: a job, due then, and its times up to then are done with.
    Fire(i64),
    /// Its times up to then were missed, and are done with; a job for all of them, if so.
    Skip(i64, bool),
    /// Nothing before that time.
    Wait(i64),
    /// Nothing any more.
    Never,
}

impl Times {
    /// Reads a schedule and the name of a time zone.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn parse(schedule: &str, zone: &str) -> Result<Times, String> {
        let cron = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build()
            .parse(schedule)
            .map_err(|e| {
                format!(
                    "the schedule '{schedule}' is none: {e}; write minute, hour, day of the month, \
                     month and day of the week, such as '30 3 * * MON'"
                )
            })?;
        let zone = TimeZone::get(zone).map_err(|_| {
            format!("there is no time zone '{zone}': write its name as Europe/Berlin, or UTC")
        })?;
        let times = Times { cron, zone };
        if times.after(0).is_none() {
            return Err(format!("the schedule '{schedule}' never comes"));
        }
        Ok(times)
    }

    /// The first of its times behind that one, both in milliseconds since 1970.
    pub fn after(&self, millis: i64) -> Option<i64> {
        let from = Timestamp::from_millisecond(millis).ok()?.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&from, false).ok()?;
        let next = next.timestamp().as_millisecond();
        // Whatever a change of clocks makes of it: time goes on.
        (next > millis).then_some(next)
    }

    /// What is to be done now, where its times up to `last` are done with.
    pub fn step(&self, last: i64, now: i64, missed: Missed) -> Step {
        let late = now.saturating_sub(GRACE);
        let Some(next) = self.after(last) else { return Step::Never };
        if next <= late {
            return Step::Skip(late, missed == Missed::Once);
        }
        if next <= now { Step::Fire(next) } else { Step::Wait(next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn following(times: &Times, from: &str, count: usize) -> Vec<String> {
        let mut last = at(from);
        let mut all = Vec::new();
        while all.len() < count {
            last = times.after(last).unwrap();
            all.push(Timestamp::from_millisecond(last).unwrap().to_string());
        }
        all
    }

    #[test]
    fn schedules_and_zones_are_read_or_said_to_be_none() {
        for (schedule, zone, word) in [
            ("", "UTC", "is none"),
            ("* * * *", "UTC", "is none"),
            ("61 * * * *", "UTC", "is none"),
            ("* * * * * * *", "UTC", "is none"),
            ("0 0 30 2 *", "UTC", "never comes"),
            ("0 3 * * *", "Europe/Atlantis", "no time zone"),
            ("0 3 * * *", "", "no time zone"),
        ] {
            let why = Times::parse(schedule, zone).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
        let monday = Times::parse("30 3 * * MON", "Asia/Tokyo").unwrap();
        let found = following(&monday, "2024-02-29T00:00:00Z", 2);
        assert_eq!(found, ["2024-03-03T18:30:00Z", "2024-03-10T18:30:00Z"]);
        let seconds = Times::parse("*/20 * * * * *", "UTC").unwrap();
        let found = following(&seconds, "2024-02-29T23:59:30Z", 2);
        assert_eq!(found, ["2024-02-29T23:59:40Z", "2024-03-01T00:00:00Z"]);
    }

    #[test]
    fn a_time_that_does_not_exist_comes_behind_the_gap_and_one_that_exists_twice_once() {
        // Berlin: 02:00 to 03:00 does not exist on 2024-03-31, and exists twice on 2024-10-27.
        let nightly = Times::parse("30 2 * * *", "Europe/Berlin").unwrap();
        assert_eq!(
            following(&nightly, "2024-03-30T00:00:00Z", 3),
            ["2024-03-30T01:30:00Z", "2024-03-31T01:00:00Z", "2024-04-01T00:30:00Z"]
        );
        assert_eq!(
            following(&nightly, "2024-10-26T00:00:00Z", 3),
            ["2024-10-26T00:30:00Z", "2024-10-27T00:30:00Z", "2024-10-28T01:30:00Z"]
        );
    }

    #[test]
    fn what_comes_again_and_again_goes_by_the_gap_and_comes_twice_in_the_hour_that_does() {
        let often = Times::parse("*/30 * * * *", "Europe/Berlin").unwrap();
        assert_eq!(
            following(&often, "2024-03-31T00:15:00Z", 3),
            ["2024-03-31T00:30:00Z", "2024-03-31T01:00:00Z", "2024-03-31T01:30:00Z"]
        );
        assert_eq!(
            following(&often, "2024-10-26T23:45:00Z", 6),
            [
                "2024-10-27T00:00:00Z",
                "2024-10-27T00:30:00Z",
                "2024-10-27T01:00:00Z",
                "2024-10-27T01:30:00Z",
                "2024-10-27T02:00:00Z",
                "2024-10-27T02:30:00Z"
            ]
        );
    }

    #[test]
    fn what_is_late_fires_and_what_was_missed_is_left_out_or_comes_once() {
        let hourly = Times::parse("0 * * * *", "UTC").unwrap();
        let (ten, eleven) = (at("2024-05-01T10:00:00Z"), at("2024-05-01T11:00:00Z"));
        for missed in [Missed::Skip, Missed::Once] {
            let once = missed == Missed::Once;
            assert_eq!(hourly.step(ten, ten + 1, missed), Step::Wait(eleven));
            assert_eq!(hourly.step(ten, eleven - 1, missed), Step::Wait(eleven));
            assert_eq!(hourly.step(ten, eleven, missed), Step::Fire(eleven));
            // A restart takes less than a minute: nothing was missed.
            let late = eleven + GRACE;
            assert_eq!(hourly.step(ten, late - 1, missed), Step::Fire(eleven));
            assert_eq!(hourly.step(ten, late, missed), Step::Skip(eleven, once));
            // A day down is one job at most, and the next comes at its time.
            let day = ten + 24 * 3_600_000 + 1000;
            let until = day - GRACE;
            assert_eq!(hourly.step(ten, day, missed), Step::Skip(until, once));
            assert_eq!(hourly.step(until, day, missed), Step::Fire(day - 1000));
            assert_eq!(hourly.step(day, day, missed), Step::Wait(day + 3_600_000 - 1000));
        }
    }
}
