//! `GET /flights/{key}`: one flight, joined with its airline, aircraft, airports,
//! the weather of its hour, and what passengers reported.

use crate::data::{self, Airport, Flight, Outcome, Plane, Report, Weather};
use crate::keys::{FlightKey, report_number};
use crate::report::{Form, LONGEST_NAME, MOST_MINUTES, REASONS};
use crate::time::{Clock, minutes, moment};
use crate::{board, page};
use planck_sdk::{Html, Request, Response, Result, Row};

/// Shows a flight.
///
/// # Errors
/// Not found, or what the engine refused.
pub fn show(request: &Request<'_>) -> Result<Response> {
    let (key, flight) = data::flight(request.param("key"))?;
    let thanks = request.query("thanks").is_some();
    Ok(page::respond(page(&key, &flight, &Form::default(), thanks)?))
}

/// The page of a flight, with the form as it was sent.
///
/// # Errors
/// What the engine refused.
pub fn page(key: &FlightKey, flight: &Flight, form: &Form, thanks: bool) -> Result<Html> {
    let airline = data::airline(&flight.carrier)?;
    let airline = airline.map_or_else(|| flight.carrier.clone(), |airline| airline.name);
    let plane = flight.tailnum.as_deref().map(data::plane).transpose()?.flatten();
    let origin = data::airport(&flight.origin)?;
    let dest = data::airport(&flight.dest)?;
    let weather = data::weather(&flight.origin, &flight.time_hour)?;
    let reports = data::reports_of(key)?;
    let title = format!("{} {} on {}", key.carrier, key.number, key.day.long());
    page::layout(&title, |page| {
        page.raw("<p class=\"back\"><a");
        page.attribute("href", format_args!("/?day={}", key.day)).raw(">← ");
        page.text(format_args!("All departures of {}", key.day.long())).raw("</a></p>");
        hero(page, key, flight, &airline, origin.as_ref(), dest.as_ref());
        page.raw("<div class=\"cards\">");
        leaving(page, flight);
        arriving(page, flight);
        aircraft(page, flight, plane.as_ref());
        sky(page, flight, weather.as_ref());
        page.raw("</div><section id=\"reports\" class=\"reports\"><div>");
        listed(page, &reports, thanks);
        page.raw("</div>");
        report_form(page, key, form);
        page.raw("</section>");
        Ok(())
    })
}

fn hero(
    page: &mut Html,
    key: &FlightKey,
    flight: &Flight,
    airline: &str,
    origin: Option<&Airport>,
    dest: Option<&Airport>,
) {
    page.raw("<section class=\"panel hero\"><p class=\"over\">").text(airline).raw(" · ");
    page.text(format_args!("{}, {}", key.day.weekday(), key.day.long())).raw("</p><h1>");
    page.text(format_args!("{} {}", key.carrier, key.number)).raw("</h1><p class=\"status\">");
    board::status(page, flight);
    page.raw("</p><div class=\"route\">");
    end(page, &flight.origin, origin);
    page.raw("<div class=\"way\"><span>");
    let way = match (flight.outcome(), flight.air_time) {
        (Outcome::Cancelled, _) => "not flown".to_owned(),
        (Outcome::Diverted, _) => "diverted on the way".to_owned(),
        (_, Some(time)) => format!("{} in the air", minutes(time)),
        (_, None) => String::new(),
    };
    page.text(way).raw("</span><hr><span>");
    let miles = page::thousands(flight.distance.into());
    let kilometres = page::thousands((f64::from(flight.distance) * 1.609_344).round() as u64);
    page.text(format_args!("{miles} mi · {kilometres} km")).raw("</span></div>");
    end(page, &flight.dest, dest);
    page.raw("</div></section>");
}

fn end(page: &mut Html, code: &str, airport: Option<&Airport>) {
    page.raw("<div class=\"end\">").element("strong", code).raw(" <span>");
    page.text(airport.map_or("not among the airports we know", |airport| &airport.name));
    page.raw("</span></div>");
}

fn card(page: &mut Html, title: &'static str, rows: &[(&'static str, Option<String>)]) {
    page.raw("<section class=\"card\"><h2>").raw(title).raw("</h2><dl>");
    for (name, value) in rows {
        page.raw("<div><dt>").raw(name).raw("</dt><dd>");
        page.text(value.as_deref().unwrap_or("–")).raw("</dd></div>");
    }
    page.raw("</dl></section>");
}

fn early_or_late(delay: Option<i32>) -> Option<String> {
    Some(match delay? {
        0 => "to the minute".to_owned(),
        early @ ..0 => format!("{} early", minutes(early)),
        late => format!("{} late", minutes(late)),
    })
}

/// A time of the clock, and whether that is another day than the scheduled one.
fn clock(actual: Option<u16>, scheduled: u16, delay: Option<i32>) -> Option<String> {
    let of_day = i32::from(scheduled / 100 * 60 + scheduled % 100);
    let days = delay.map_or(0, |delay| (of_day + delay).div_euclid(1440));
    let day = match days {
        0 => "",
        1 => ", next day",
        2.. => ", days later",
        _ => ", the day before",
    };
    actual.map(|time| format!("{}{day}", Clock(time)))
}

fn leaving(page: &mut Html, flight: &Flight) {
    let actual = match flight.outcome() {
        Outcome::Cancelled => Some("cancelled".to_owned()),
        _ => clock(flight.dep_time, flight.sched_dep_time, flight.dep_delay),
    };
    let rows = [
        ("Scheduled", Some(Clock(flight.sched_dep_time).to_string())),
        ("Left", actual),
        ("That is", early_or_late(flight.dep_delay)),
    ];
    card(page, "Departure", &rows);
}

fn arriving(page: &mut Html, flight: &Flight) {
    let rows = [
        ("Scheduled", Some(Clock(flight.sched_arr_time).to_string())),
        ("Arrived", clock(flight.arr_time, flight.sched_arr_time, flight.arr_delay)),
        ("That is", early_or_late(flight.arr_delay)),
    ];
    card(page, "Arrival, local time", &rows);
}

fn aircraft(page: &mut Html, flight: &Flight, plane: Option<&Plane>) {
    let tail = ("Registration", flight.tailnum.clone());
    let Some(plane) = plane else {
        let known = match flight.tailnum {
            Some(_) => "not in the registry of 2013",
            None => "none was assigned",
        };
        return card(page, "Aircraft", &[tail, ("Type", Some(known.to_owned()))]);
    };
    let rows = [
        tail,
        ("Type", Some(format!("{} {}", capitals(&plane.manufacturer), plane.model))),
        ("Built", plane.year.map(|year| year.to_string())),
        ("Seats", Some(plane.seats.to_string())),
        ("Engines", Some(format!("{} × {}", plane.engines, plane.engine.to_lowercase()))),
    ];
    card(page, "Aircraft", &rows);
}

fn sky(page: &mut Html, flight: &Flight, weather: Option<&Weather>) {
    let Some(weather) = weather else {
        let none = [("Observed", Some("nothing in that hour".to_owned()))];
        return card(page, "Weather at departure", &none);
    };
    let celsius = |f: f64| (f - 32.0) / 1.8;
    let wind = weather.wind_speed.map(|speed| match weather.wind_dir {
        _ if speed < 1.0 => "calm".to_owned(),
        Some(from) => format!("{} {speed:.0} mph", compass(from)),
        None => format!("variable, {speed:.0} mph"),
    });
    let wind = match weather.wind_gust {
        Some(gust) => wind.map(|wind| format!("{wind}, gusts {gust:.0}")),
        None => wind,
    };
    let rain = weather.precip.map(|inches| match inches {
        dry if dry <= 0.0 => "none".to_owned(),
        wet => format!("{wet:.2} in · {:.1} mm", wet * 25.4),
    });
    let rows = [
        ("At", Some(format!("{}, {:02}:00", flight.origin, flight.sched_dep_time / 100))),
        ("Temperature", weather.temp.map(|f| format!("{f:.0} °F · {:.0} °C", celsius(f)))),
        ("Wind", wind),
        ("Visibility", weather.visib.map(|miles| format!("{miles} mi"))),
        ("Rain, snow", rain),
        ("Pressure", weather.pressure.map(|mbar| format!("{mbar:.0} hPa"))),
    ];
    card(page, "Weather at departure", &rows);
}

/// `Airbus Industrie` of `AIRBUS INDUSTRIE`.
fn capitals(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        format!("{first}{}", rest.to_lowercase())
    };
    name.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Where a wind of that direction comes from.
fn compass(degrees: f64) -> &'static str {
    const POINTS: [&str; 8] = ["N", "NE", "E", "SE", "S", "SW", "W", "NW"];
    POINTS[(degrees / 45.0).round().rem_euclid(8.0) as usize % 8]
}

fn listed(page: &mut Html, reports: &[Row<Report>], thanks: bool) {
    page.raw("<h2>Delay reports</h2>");
    if thanks {
        page.raw("<p class=\"notice good\" role=\"status\">Thank you, your report is stored.</p>");
    }
    if reports.is_empty() {
        page.raw("<p class=\"quiet\">Nobody has reported on this flight yet.</p>");
        return;
    }
    page.raw("<ol class=\"list\" reversed>");
    for row in reports {
        let Row { key, value } = row;
        page.raw("<li><b>");
        page.text(match value.minutes {
            0 => "On time".to_owned(),
            late => format!("{} late", minutes(late.into())),
        });
        page.raw("</b> ").text(&value.reason).raw("<small>");
        page.text(format_args!("№ {} · ", report_number(*key))).element("span", &value.name);
        page.text(format_args!(" · {}", moment(value.reported_at.0))).raw("</small></li>");
    }
    page.raw("</ol>");
}

/// The label, and the attributes that tie a field to what is wrong with it.
fn fault(page: &mut Html, id: &'static str, fault: Option<&'static str>) {
    if let Some(fault) = fault {
        page.raw("<p class=\"fault\"").attribute("id", id).raw(">").text(fault).raw("</p>");
    }
}

fn tied(page: &mut Html, id: &'static str, fault: Option<&'static str>) {
    if fault.is_some() {
        page.raw(" aria-invalid=\"true\"").attribute("aria-describedby", id);
    }
}

fn report_form(page: &mut Html, key: &FlightKey, form: &Form) {
    page.raw("<form class=\"card report\" method=\"post\"");
    page.attribute("action", format_args!("/flights/{key}/reports#report")).raw(" id=\"report\">");
    page.raw("<h2>Were you on it?</h2>");
    if form.has_faults() {
        page.raw("<p class=\"notice\" role=\"alert\">Your report is not stored yet: ");
        page.raw("please look at the fields marked below.</p>");
    }
    page.raw("<div class=\"field\"><label for=\"name\">Your name</label>");
    page.raw("<input id=\"name\" name=\"name\" required autocomplete=\"name\"");
    page.attribute("maxlength", LONGEST_NAME).attribute("value", &form.name);
    tied(page, "name-fault", form.name_fault);
    page.raw(">");
    fault(page, "name-fault", form.name_fault);
    page.raw("</div><div class=\"field\"><label for=\"minutes\">Minutes late</label>");
    page.raw("<input id=\"minutes\" name=\"minutes\" type=\"number\" min=\"0\" required");
    page.attribute("max", MOST_MINUTES).attribute("value", &form.minutes);
    tied(page, "minutes-fault", form.minutes_fault);
    page.raw(">");
    fault(page, "minutes-fault", form.minutes_fault);
    page.raw("</div><div class=\"field\"><label for=\"reason\">What they said</label>");
    page.raw("<select id=\"reason\" name=\"reason\" required");
    tied(page, "reason-fault", form.reason_fault);
    page.raw("><option value=\"\">Choose a reason</option>");
    for reason in REASONS {
        page.raw("<option");
        if form.reason == reason {
            page.raw(" selected");
        }
        page.raw(">").text(reason).raw("</option>");
    }
    page.raw("</select>");
    fault(page, "reason-fault", form.reason_fault);
    page.raw("</div><button class=\"button\" type=\"submit\">Send the report</button></form>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_people() {
        assert_eq!(capitals("AIRBUS INDUSTRIE"), "Airbus Industrie");
        assert_eq!([0.0, 22.0, 90.0, 230.0, 359.0].map(compass), ["N", "N", "E", "SW", "N"]);
        let clocks = [
            clock(Some(232), 1816, Some(496)),
            clock(Some(2355), 5, Some(-10)),
            clock(Some(517), 515, Some(2)),
            clock(None, 515, None),
        ];
        let words = clocks.map(|words| words.unwrap_or_default());
        assert_eq!(words, ["02:32, next day", "23:55, the day before", "05:17", ""]);
        let said = [Some(0), Some(-7), Some(65), None].map(early_or_late);
        let words = said.map(|words| words.unwrap_or_default());
        assert_eq!(words, ["to the minute", "7 min early", "1 h 05 late", ""]);
    }
}
