//! A search of the board: what was asked, and what a day's flights answer.
//!
//! Invariant: a search reads one day, in place, and decodes only the flights that
//! are shown; a bad field is named and left out, never guessed.

use crate::data::{FLIGHTS, Flight, Outcome, or_empty, outcome};
use crate::keys::{Code, FlightKey, day_bounds};
use crate::time::Day;
use planck_sdk::{Doc, Request, Result};
use std::collections::BTreeSet;

/// The day shown when none is asked for: a Thursday of storms.
pub const DEFAULT_DAY: Day = Day { year: 2013, month: 6, day: 13 };

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// Flights of this day,
    pub day: Day,
    /// from this airport,
    pub origin: Option<Code<3>>,
    /// to this one,
    pub dest: Option<Code<3>>,
    /// of this airline,
    pub carrier: Option<Code<2>>,
    /// not before this time (1800 for 18:00).
    pub from: u16,
}

impl Search {
    /// Reads the query string; also what is wrong with it, for people.
    pub fn read(request: &Request<'_>) -> (Search, Vec<&'static str>) {
        let given = request.queries();
        let field = |name| given.get(name).map(str::trim).filter(|value| !value.is_empty());
        let mut faults = Vec::new();
        let mut or_fault = |given: bool, found: bool, fault| {
            if given && !found {
                faults.push(fault);
            }
        };
        let day = field("day").and_then(Day::parse);
        or_fault(
            field("day").is_some(),
            day.is_some(),
            "The day is written year-month-day, such as 2013-06-13.",
        );
        let origin = field("origin").and_then(Code::parse);
        let dest = field("dest").and_then(Code::parse);
        or_fault(
            field("origin").is_some(),
            origin.is_some(),
            "The origin is an airport's code, such as JFK.",
        );
        or_fault(
            field("dest").is_some(),
            dest.is_some(),
            "The destination is an airport's code, such as LAX.",
        );
        let carrier = field("carrier").and_then(Code::parse);
        or_fault(
            field("carrier").is_some(),
            carrier.is_some(),
            "The airline is its two-letter code, such as DL.",
        );
        let from = field("from").and_then(hour);
        or_fault(
            field("from").is_some(),
            from.is_some(),
            "The time is written hours:minutes, such as 18:00.",
        );
        let day = day.unwrap_or(DEFAULT_DAY);
        (Search { day, origin, dest, carrier, from: from.unwrap_or(0) }, faults)
    }

    /// Whether it asks for more than a day.
    pub fn is_narrowed(&self) -> bool {
        *self != Search { day: self.day, origin: None, dest: None, carrier: None, from: 0 }
    }

    /// The query string that asks for it.
    pub fn to_query(self) -> String {
        let mut query = format!("day={}", self.day);
        let codes = [
            ("origin", self.origin.map(|c| c.to_string())),
            ("dest", self.dest.map(|c| c.to_string())),
        ];
        let carrier = ("carrier", self.carrier.map(|c| c.to_string()));
        for (name, code) in codes.into_iter().chain([carrier]) {
            if let Some(code) = code {
                query += &format!("&{name}={code}");
            }
        }
        if self.from > 0 {
            query += &format!("&from={:02}:{:02}", self.from / 100, self.from % 100);
        }
        query
    }

    /// Whether that flight is looked for; its document is asked for the
    /// destination alone, the rest is in its key.
    fn wants(&self, key: &FlightKey, dest: &str) -> bool {
        self.origin.is_none_or(|origin| origin == key.origin)
            && self.carrier.is_none_or(|carrier| carrier == key.carrier)
            && key.time >= self.from
            && self.dest.is_none_or(|wanted| wanted.as_str() == dest)
    }

    /// Looks, and decodes the `limit` flights after the first `skip`.
    ///
    /// # Errors
    /// What the engine refused.
    pub fn run(&self, skip: usize, limit: usize) -> Result<Found> {
        let mut found = Found::default();
        let (first, last) = day_bounds(self.day)?;
        let looked = FLIGHTS.visit(first, last, |key, doc| {
            // Other keys than flights have are none of ours.
            let Some(parts) = FlightKey::from_key(key) else { return Ok(()) };
            let dest = doc.get("dest").and_then(|value| value.as_str()).unwrap_or_default();
            found.origins.insert(parts.origin);
            found.dests.extend(Code::parse(dest));
            found.of_day += 1;
            if !self.wants(&parts, dest) {
                return Ok(());
            }
            if (skip..skip.saturating_add(limit)).contains(&found.total) {
                found.flights.push((parts, FLIGHTS.decode(key, doc)?));
            }
            found.total += 1;
            match outcome_of(doc) {
                Outcome::OnTime => found.on_time += 1,
                Outcome::Late(_) => found.late += 1,
                Outcome::Cancelled => found.cancelled += 1,
                Outcome::Diverted => found.diverted += 1,
            }
            Ok(())
        });
        or_empty(looked)?;
        Ok(found)
    }
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// Departures of the whole day.
    pub of_day: usize,
    /// Those looked for,
    pub total: usize,
    /// and how they went.
    pub on_time: usize,
    /// At least a quarter of an hour late.
    pub late: usize,
    /// Never left.
    pub cancelled: usize,
    /// Never arrived.
    pub diverted: usize,
    /// The flights to show, in order of time.
    pub flights: Vec<(FlightKey, Flight)>,
    /// Where the day's flights left.
    pub origins: BTreeSet<Code<3>>,
    /// Where they went.
    pub dests: BTreeSet<Code<3>>,
}

/// How the flight of a document went, without decoding the rest of it.
fn outcome_of(doc: Doc<'_>) -> Outcome {
    let number = |name| doc.get(name).and_then(|value| value.as_i64());
    let delay = number("dep_delay").and_then(|delay| i32::try_from(delay).ok());
    outcome(number("dep_time").is_some(), number("arr_delay").is_some(), delay)
}

/// Reads `18:00` or `1800` as 1800.
fn hour(text: &str) -> Option<u16> {
    let digits = text.replace(':', "");
    let fits = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit());
    let time = fits.then(|| digits.parse::<u16>().ok())??;
    (time / 100 < 24 && time % 100 < 60).then_some(time)
}
