//! The same for programs: JSON.

use crate::data::{self, Airline, Airport, FLIGHTS, Flight, Plane, REPORTS, Report, Weather};
use crate::keys::{FlightKey, report_flight};
use crate::search::Search;
use planck_sdk::{Error, Request, Response, Result};
use serde::Serialize;

/// Flights or reports in one answer, unless asked for fewer.
const LIMIT: u32 = 100;
/// At most.
const MOST: u32 = 1000;

fn limit(request: &Request<'_>) -> Result<u32> {
    let Some(text) = request.query("limit") else { return Ok(LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
    limit.ok_or_else(|| Error::bad_request(format!("limit is a number from 1 to {MOST}")))
}

#[derive(Serialize)]
struct Listed {
    key: String,
    #[serde(flatten)]
    flight: Flight,
}

#[derive(Serialize)]
struct Flights {
    day: String,
    count: usize,
    flights: Vec<Listed>,
}

/// `GET /api/flights`: a search as the board does it; `count` is of all found, of
/// which up to `limit` are given.
///
/// # Errors
/// A parameter that is none, or what the engine refused.
pub fn flights(request: &Request<'_>) -> Result<Response> {
    let (search, faults) = Search::read(request);
    if !faults.is_empty() {
        return Err(Error::bad_request(faults.join(" ")));
    }
    let found = search.run(0, limit(request)? as usize)?;
    let listed = |(key, flight): (FlightKey, _)| Listed { key: key.to_string(), flight };
    Response::json(&Flights {
        day: search.day.to_string(),
        count: found.total,
        flights: found.flights.into_iter().map(listed).collect(),
    })
}

#[derive(Serialize)]
struct Joined {
    key: String,
    primary_key: String,
    flight: Flight,
    airline: Option<Airline>,
    plane: Option<Plane>,
    origin: Option<Airport>,
    dest: Option<Airport>,
    weather: Option<Weather>,
    reports: Vec<Report>,
}

/// `GET /api/flights/{key}`: a flight and all that belongs to it.
///
/// # Errors
/// Not found, or what the engine refused.
pub fn flight(request: &Request<'_>) -> Result<Response> {
    let (key, flight) = data::flight(request.param("key"))?;
    let plane = flight.tailnum.as_deref().map(data::plane).transpose()?.flatten();
    Response::json(&Joined {
        key: key.to_string(),
        primary_key: key.key()?.to_string(),
        airline: data::airline(&flight.carrier)?,
        plane,
        origin: data::airport(&flight.origin)?,
        dest: data::airport(&flight.dest)?,
        weather: data::weather(&flight.origin, &flight.time_hour)?,
        reports: data::reports_of(&key)?.into_iter().map(|row| row.value).collect(),
        flight,
    })
}

#[derive(Serialize)]
struct Reports {
    reports: Vec<Report>,
    /// Whether there are more than `limit`.
    more: bool,
}

/// `GET /api/reports`: delay reports in order of their flights; those of one with
/// `flight=`.
///
/// # Errors
/// A parameter that is none, or what the engine refused.
pub fn reports(request: &Request<'_>) -> Result<Response> {
    let limit = limit(request)?;
    let page = match request.query("flight") {
        None => REPORTS.scan(None, limit),
        Some(text) => {
            let unknown = || Error::bad_request(format!("{text:?} is no flight's key"));
            let (first, last) = FlightKey::parse(&text).ok_or_else(unknown)?.reports()?;
            REPORTS.range(first, last, limit)
        }
    };
    let page = data::or_empty(page.map(Some))?;
    let (rows, more) = page.map_or((Vec::new(), false), |page| (page.rows, page.next.is_some()));
    // What was stored under other keys than the form's is none of ours.
    let ours = rows.into_iter().filter(|row| report_flight(row.key).is_some());
    Response::json(&Reports { reports: ours.map(|row| row.value).collect(), more })
}

/// `GET /api/point/{key}`: one document, one read.
///
/// # Errors
/// Not found, or what the engine refused.
pub fn point(request: &Request<'_>) -> Result<Response> {
    let text = request.param("key");
    let unknown = || Error::not_found(format!("there is no flight {text:?}"));
    let key = FlightKey::parse(text).ok_or_else(unknown)?.key()?;
    Response::json(&FLIGHTS.get(key)?.ok_or_else(unknown)?)
}

/// `GET /api/health`: the guest answers.
///
/// # Errors
/// None.
pub fn health(_: &Request<'_>) -> Result<Response> {
    Ok(Response::text("ok\n"))
}
