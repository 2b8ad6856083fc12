//! A passenger's delay report: the form, its check, and the write.
//!
//! Invariant: a report is stored only when every field is good, under the next
//! number of its flight; two who write at once get two numbers.

use crate::data::{self, REPORTS, Report};
use crate::keys::{FlightKey, report_number};
use crate::{flight, page};
use planck_sdk::proto::bridge::DateTime;
use planck_sdk::{Error, Params, Request, Response, Result, Status};

/// What a delay can be put down to.
pub const REASONS: [&str; 7] = [
    "Weather",
    "Late arrival of the aircraft",
    "Technical fault",
    "Crew",
    "Air traffic control",
    "Security",
    "Nobody said",
];
/// Minutes a report may claim.
pub const MOST_MINUTES: u16 = 2000;
/// Characters a name may have.
pub const LONGEST_NAME: usize = 60;

/// A form as it was sent, with what is wrong with each field.
#[derive(Debug, Default)]
#[allow(missing_docs)] // The form's fields.
pub struct Form {
    pub name: String,
    pub minutes: String,
    pub reason: String,
    pub name_fault: Option<&'static str>,
    pub minutes_fault: Option<&'static str>,
    pub reason_fault: Option<&'static str>,
}

impl Form {
    /// Whether any field is wrong.
    pub fn has_faults(&self) -> bool {
        self.name_fault.or(self.minutes_fault).or(self.reason_fault).is_some()
    }

    /// Reads and checks a form: the name and minutes if all is well.
    fn read(given: &Params<'_>) -> (Form, Option<(String, u16)>) {
        let field = |name| given.get(name).unwrap_or("").trim().to_owned();
        let mut form = Form {
            name: field("name"),
            minutes: field("minutes"),
            reason: field("reason"),
            ..Form::default()
        };
        if form.name.is_empty() {
            form.name_fault = Some("Please give a name; it need not be your own.");
        } else if form.name.chars().count() > LONGEST_NAME {
            form.name_fault = Some("Please keep the name to 60 characters.");
        } else if form.name.chars().any(char::is_control) {
            form.name_fault = Some("Please leave line breaks out of the name.");
        }
        let digits = !form.minutes.is_empty() && form.minutes.bytes().all(|b| b.is_ascii_digit());
        let minutes = form.minutes.parse::<u16>().ok().filter(|m| digits && *m <= MOST_MINUTES);
        if minutes.is_none() {
            form.minutes_fault = Some("Please give whole minutes from 0 to 2000.");
        }
        if !REASONS.contains(&form.reason.as_str()) {
            form.reason_fault = Some("Please choose one of the reasons.");
        }
        let good = minutes.filter(|_| !form.has_faults()).map(|m| (form.name.clone(), m));
        (form, good)
    }
}

/// `POST /flights/{key}/reports`.
pub fn post(request: &Request<'_>) -> Result<Response> {
    // A browser says where a form was sent from; other sites' forms are not ours.
    if request.header("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
    {
        let message = "a delay report is sent with the form on the flight's own page";
        return Err(Error::new(Status::Forbidden, message));
    }
    let (key, flight) = data::flight(request.param("key"))?;
    let (form, good) = Form::read(&request.form());
    let Some((name, minutes)) = good else {
        let page = flight::page(&key, &flight, &form, false)?;
        return Ok(page::respond(page).status(422));
    };
    let report = Report {
        flight: key.to_string(),
        name,
        minutes,
        reason: form.reason,
        reported_at: DateTime((planck_sdk::host::now_micros() / 1000) as i64),
    };
    add(&key, &report)?;
    Ok(Response::see_other(&format!("/flights/{key}?thanks#reports")))
}

/// Stores a report under the next number of its flight.
fn add(flight: &FlightKey, report: &Report) -> Result<()> {
    let (first, last) = flight.reports()?;
    for _ in 0..16 {
        let latest = data::or_empty(REPORTS.last(first, last, 1).map(|page| page.rows))?;
        let number = latest.first().map_or(0, |row| report_number(row.key)) + 1;
        match REPORTS.insert_with_key(flight.report(number)?, report) {
            Ok(()) => return Ok(()),
            // Somebody else was faster: take the number after theirs.
            Err(error) if error.status == Status::KeyExists => {}
            Err(error) if error.status == Status::UnknownStore => REPORTS.create()?,
            Err(error) => return Err(error),
        }
    }
    Err(Error::new(Status::Busy, "many report this flight just now; please send it once more"))
}
