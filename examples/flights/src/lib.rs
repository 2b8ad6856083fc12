//! A departures board over nycflights13: every flight that left New York City's
//! three airports in 2013, with airlines, aircraft, airports and weather.
//!
//! ```text
//! GET  /                            the board of a day, searched by the form
//! GET  /flights/{key}               one flight, joined with all that belongs to it
//! POST /flights/{key}/reports       a passenger's delay report: back to the flight
//! GET  /api/flights                 ?day= &origin= &dest= &carrier= &limit=
//! GET  /api/flights/{key}           one flight, joined
//! GET  /api/reports                 every delay report
//! GET  /api/point/{key}             one document, one read
//! GET  /api/health                  no read at all
//! ```
//!
//! A flight's `{key}` is what a person can read, `2013-06-13-1800-DL-1109-JFK`, or
//! the 32 hexadecimal digits of its primary key.
//!
//! What must stay true: a page reads by key or by a short range of keys, never by
//! a search through a store; pages of people never show JSON errors, pages of
//! programs never HTML ones.

mod api;
mod board;
mod data;
mod flight;
mod keys;
mod page;
mod report;
mod search;
mod time;

#[cfg(test)]
mod tests;

use planck_sdk::{Request, Response, Result, Router};

/// Answers a request.
///
/// # Errors
/// For programs: what went wrong, which becomes a JSON problem.
pub fn handler(request: &Request<'_>) -> Result<Response> {
    let answer = Router::new()
        .get("/", board::show)
        .get("/flights/{key}", flight::show)
        .post("/flights/{key}/reports", report::post)
        .get("/api/flights", api::flights)
        .get("/api/flights/{key}", api::flight)
        .get("/api/reports", api::reports)
        .get("/api/point/{key}", api::point)
        .get("/api/health", api::health)
        .get("/style.css", page::style)
        .get("/icon.svg", page::icon)
        .handle(request);
    match answer {
        Err(error) if !request.path().starts_with("/api/") => page::error(request, &error),
        other => other,
    }
}

planck_sdk::export!(handler);
