//! The stores, and what lies in them: the columns of nycflights13 by their own
//! names, and the delay reports that passengers add.
//!
//! Invariant: what the data lacks is `None`; a store that is not there yet reads
//! as one that is empty.

use crate::keys::{self, FlightKey};
use planck_sdk::proto::bridge::DateTime;
use planck_sdk::{Error, Key, Result, Row, Status, Store};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Flights, by day and time.
pub const FLIGHTS: Store<Flight> = Store::open("flights");
/// Airlines, by code.
pub const AIRLINES: Store<Airline> = Store::open("airlines");
/// Airports, by code.
pub const AIRPORTS: Store<Airport> = Store::open("airports");
/// Aircraft, by registration.
pub const PLANES: Store<Plane> = Store::open("planes");
/// Weather, by airport and hour.
pub const WEATHER: Store<Weather> = Store::open("weather");
/// Delay reports, by flight.
pub const REPORTS: Store<Report> = Store::open("delay_reports");

/// A departure. Times are local, 517 for 05:17; delays are minutes, early ones
/// negative.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it, and the data's manual more.
pub struct Flight {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub dep_time: Option<u16>,
    pub sched_dep_time: u16,
    pub dep_delay: Option<i32>,
    pub arr_time: Option<u16>,
    pub sched_arr_time: u16,
    pub arr_delay: Option<i32>,
    pub carrier: String,
    pub flight: u16,
    pub tailnum: Option<String>,
    pub origin: String,
    pub dest: String,
    /// Minutes.
    pub air_time: Option<i32>,
    /// Miles.
    pub distance: u32,
    /// UTC, the hour it was to leave.
    pub time_hour: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Airline {
    pub carrier: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Airport {
    pub faa: String,
    pub name: String,
    pub lat: f64,
    pub lon: f64,
    /// Feet.
    pub alt: i32,
    pub tzone: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Plane {
    pub tailnum: String,
    /// The year it was built.
    pub year: Option<u16>,
    #[serde(rename = "type")]
    pub kind: String,
    pub manufacturer: String,
    pub model: String,
    pub engines: u8,
    pub seats: u16,
    pub engine: String,
}

/// An hour's weather: Fahrenheit, percent, degrees, miles per hour, inches,
/// millibar, miles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Weather {
    pub origin: String,
    pub time_hour: String,
    pub temp: Option<f64>,
    pub dewp: Option<f64>,
    pub humid: Option<f64>,
    pub wind_dir: Option<f64>,
    pub wind_speed: Option<f64>,
    pub wind_gust: Option<f64>,
    pub precip: Option<f64>,
    pub pressure: Option<f64>,
    pub visib: Option<f64>,
}

/// What a passenger said about a flight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The flight, as [`FlightKey`] writes it.
    pub flight: String,
    /// Who says so.
    pub name: String,
    /// How late it was.
    pub minutes: u16,
    /// One of [`crate::report::REASONS`].
    pub reason: String,
    /// When it was said; in JSON, milliseconds since 1970.
    pub reported_at: DateTime,
}

/// How a departure went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It never left.
    Cancelled,
    /// It left and never arrived where it was to.
    Diverted,
    /// It left less than a quarter of an hour late.
    OnTime,
    /// It left that many minutes late.
    Late(i32),
}

impl Flight {
    /// How it went.
    pub fn outcome(&self) -> Outcome {
        outcome(self.dep_time.is_some(), self.arr_delay.is_some(), self.dep_delay)
    }
}

/// How a departure of these facts went.
pub fn outcome(left: bool, arrived: bool, dep_delay: Option<i32>) -> Outcome {
    match dep_delay {
        _ if !left => Outcome::Cancelled,
        _ if !arrived => Outcome::Diverted,
        Some(late) if late >= 15 => Outcome::Late(late),
        _ => Outcome::OnTime,
    }
}

/// What a read gives while its store is not there yet: as if it were empty.
pub fn or_empty<T: Default>(result: Result<T>) -> Result<T> {
    match result {
        Err(error) if error.status == Status::UnknownStore => Ok(T::default()),
        other => other,
    }
}

fn get<T: Serialize + DeserializeOwned>(store: Store<T>, key: Result<Key>) -> Result<Option<T>> {
    match key {
        Ok(key) => or_empty(store.get(key)),
        // A code too long for a key is the code of nothing.
        Err(_) => Ok(None),
    }
}

/// The airline of a code.
///
/// # Errors
/// What the engine refused; so for all below.
pub fn airline(carrier: &str) -> Result<Option<Airline>> {
    get(AIRLINES, keys::airline(carrier))
}

/// Every airline, by code.
pub fn airlines() -> Result<Vec<Row<Airline>>> {
    or_empty(AIRLINES.range_all(Key::MIN, Key::MAX))
}

/// The airport of a code.
pub fn airport(faa: &str) -> Result<Option<Airport>> {
    get(AIRPORTS, keys::airport(faa))
}

/// The aircraft of a registration.
pub fn plane(tailnum: &str) -> Result<Option<Plane>> {
    get(PLANES, keys::plane(tailnum))
}

/// The weather at an airport in the hour of `time_hour`.
pub fn weather(origin: &str, time_hour: &str) -> Result<Option<Weather>> {
    get(WEATHER, keys::weather(origin, time_hour))
}

/// The flight of a key's text, or 404.
pub fn flight(text: &str) -> Result<(FlightKey, Flight)> {
    let unknown = || Error::not_found(format!("there is no flight {text:?}"));
    let key = FlightKey::parse(text).ok_or_else(unknown)?;
    let flight = or_empty(FLIGHTS.get(key.key()?))?.ok_or_else(unknown)?;
    Ok((key, flight))
}

/// The latest reports of a flight, newest first, at most 50.
pub fn reports_of(flight: &FlightKey) -> Result<Vec<Row<Report>>> {
    let (first, last) = flight.reports()?;
    or_empty(REPORTS.last(first, last, 50).map(|page| page.rows))
}
