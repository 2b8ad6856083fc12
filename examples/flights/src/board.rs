//! `GET /`: the departures board of a day.

use crate::data::{self, Flight, Outcome};
use crate::keys::{Code, FlightKey};
use crate::page;
use crate::search::{Found, Search};
use crate::time::{Clock, Day, minutes};
use planck_sdk::{Html, Request, Response, Result};
use std::collections::BTreeMap;

/// Flights on one page of the board.
const PAGE: usize = 50;

/// What codes stand for, as far as the data says.
struct Names {
    airports: BTreeMap<Code<3>, String>,
    airlines: BTreeMap<String, String>,
}

impl Names {
    fn read(found: &Found, search: &Search) -> Result<Names> {
        let mut airports = BTreeMap::new();
        let asked = search.origin.iter().chain(&search.dest);
        for code in found.origins.iter().chain(&found.dests).chain(asked) {
            if let Some(airport) = data::airport(code.as_str())? {
                airports.insert(*code, airport.name);
            }
        }
        let airlines = data::airlines()?;
        let airlines = airlines.into_iter().map(|row| (row.value.carrier, row.value.name));
        Ok(Names { airports, airlines: airlines.collect() })
    }

    fn airport(&self, code: &Code<3>) -> &str {
        self.airports.get(code).map_or("", String::as_str)
    }

    fn airline<'a>(&'a self, carrier: &'a str) -> &'a str {
        self.airlines.get(carrier).map_or(carrier, |name| short(name))
    }
}

/// An airline's name without its legal form: the board has no room for it.
fn short(name: &str) -> &str {
    [" Inc.", " Co.", " Corporation"]
        .iter()
        .find_map(|form| name.strip_suffix(form))
        .unwrap_or(name)
}

/// Shows the board.
///
/// # Errors
/// What the engine refused.
pub fn show(request: &Request<'_>) -> Result<Response> {
    let (search, faults) = Search::read(request);
    let number = request.query("page").and_then(|n| n.parse().ok()).unwrap_or(1);
    let number = usize::clamp(number, 1, 10_000);
    let found = search.run((number - 1) * PAGE, PAGE)?;
    let names = Names::read(&found, &search)?;
    let title = format!("{} {}", search.day.weekday(), search.day.long());
    let page = page::layout(&title, |page| {
        day_line(page, &search);
        for fault in faults {
            page.raw("<p class=\"notice\" role=\"alert\">").text(fault).raw("</p>");
        }
        form(page, &search, &found, &names);
        tally(page, &search, &found);
        if found.flights.is_empty() {
            nothing(page, &search, &found, number);
        } else {
            board(page, &search, &found, &names);
            pages(page, &search, number, found.total);
        }
        Ok(())
    })?;
    Ok(page::respond(page))
}

fn day_line(page: &mut Html, search: &Search) {
    let link = |page: &mut Html, day: Option<Day>, rel: &'static str, arrow: &'static str| {
        let Some(day) = day else { return };
        let query = Search { day, ..*search }.to_query();
        page.raw("<a class=\"turn\"").attribute("rel", rel);
        page.attribute("href", format_args!("/?{query}"));
        page.attribute("aria-label", format_args!("{}, {}", day.weekday(), day.long()));
        page.raw("><span aria-hidden=\"true\">").raw(arrow).raw("</span> <span>");
        page.text(day.short()).raw("</span></a>");
    };
    page.raw("<div class=\"day\">");
    link(page, search.day.previous(), "prev", "←");
    page.raw("<h1>").text(search.day.weekday()).raw(" <span>").text(search.day.long());
    page.raw("</span></h1>");
    link(page, search.day.next(), "next", "→");
    page.raw("</div>");
}

fn option(page: &mut Html, value: &str, chosen: bool, label: &str) {
    page.raw("<option").attribute("value", value);
    if chosen {
        page.raw(" selected");
    }
    page.raw(">").text(label).raw("</option>");
}

fn airports<'a>(
    page: &mut Html,
    codes: impl Iterator<Item = &'a Code<3>>,
    chosen: Option<Code<3>>,
    names: &Names,
) {
    let mut codes: Vec<Code<3>> = codes.copied().chain(chosen).collect();
    codes.sort_unstable();
    codes.dedup();
    for code in codes {
        let name = names.airport(&code);
        let label = if name.is_empty() { code.to_string() } else { format!("{code} · {name}") };
        option(page, code.as_str(), chosen == Some(code), &label);
    }
}

fn form(page: &mut Html, search: &Search, found: &Found, names: &Names) {
    page.raw("<form class=\"search\" method=\"get\" action=\"/\" role=\"search\">");
    page.raw("<div class=\"field\"><label for=\"day\">Day</label>");
    page.raw("<input id=\"day\" name=\"day\" type=\"date\" required");
    page.raw(" min=\"2013-01-01\" max=\"2013-12-31\"")
        .attribute("value", search.day)
        .raw("></div>");
    page.raw("<div class=\"field\"><label for=\"origin\">From</label><select id=\"origin\" name=\"origin\">");
    option(page, "", search.origin.is_none(), "All airports");
    airports(page, found.origins.iter(), search.origin, names);
    page.raw("</select></div><div class=\"field\"><label for=\"dest\">To</label><select id=\"dest\" name=\"dest\">");
    option(page, "", search.dest.is_none(), "Anywhere");
    airports(page, found.dests.iter(), search.dest, names);
    page.raw("</select></div><div class=\"field\"><label for=\"carrier\">Airline</label><select id=\"carrier\" name=\"carrier\">");
    option(page, "", search.carrier.is_none(), "Any airline");
    for (carrier, name) in &names.airlines {
        let chosen = search.carrier.is_some_and(|code| code.as_str() == carrier);
        option(page, carrier, chosen, &format!("{carrier} · {}", short(name)));
    }
    page.raw("</select></div><div class=\"field\"><label for=\"from\">Not before</label><select id=\"from\" name=\"from\">");
    option(page, "", search.from == 0, "Any time");
    let whole_hours = (5..24).map(|hour| hour * 100);
    let asked = (search.from > 0).then_some(search.from);
    let mut times: Vec<u16> = whole_hours.chain(asked).collect();
    times.sort_unstable();
    times.dedup();
    for time in times {
        let label = Clock(time).to_string();
        option(page, &label, search.from == time, &label);
    }
    page.raw("</select></div><button class=\"button\" type=\"submit\">Show</button></form>");
}

fn tally(page: &mut Html, search: &Search, found: &Found) {
    if found.total == 0 {
        return;
    }
    let figure = |page: &mut Html, class: &'static str, number: usize, label: &'static str| {
        page.raw("<li><strong").attribute("class", class).raw(">");
        page.text(page::thousands(number as u64)).raw("</strong> ").raw(label).raw("</li>");
    };
    page.raw("<ul class=\"tally\" aria-label=\"Summary\">");
    figure(page, "all", found.total, if found.total == 1 { "departure" } else { "departures" });
    figure(page, "good", found.on_time, "on time");
    figure(page, "late", found.late, "delayed");
    figure(page, "bad", found.cancelled, "cancelled");
    if found.diverted > 0 {
        figure(page, "bad", found.diverted, "diverted");
    }
    if search.is_narrowed() {
        page.raw("<li class=\"clear\"><a").attribute("href", format_args!("/?day={}", search.day));
        page.raw(">Show the whole day</a></li>");
    }
    page.raw("</ul>");
}

fn nothing(page: &mut Html, search: &Search, found: &Found, number: usize) {
    page.raw("<section class=\"panel lost\"><h2>Nothing to show</h2><p>");
    if found.total > 0 {
        page.text(format_args!("There is no page {number} of this board. "));
        page.raw("<a").attribute("href", format_args!("/?{}", search.to_query()));
        page.raw(">Back to the first</a>");
    } else if found.of_day > 0 {
        page.text("No departure of this day is like that. ");
        page.raw("<a").attribute("href", format_args!("/?day={}", search.day));
        page.raw(">Show the whole day</a>");
    } else if search.day.year == 2013 {
        page.text("The store of flights has none on this day: is the import still going on?");
    } else {
        page.text("The data covers the year 2013. ");
        page.raw("<a href=\"/\">Show 13 June 2013</a>");
    }
    page.raw("</p></section>");
}

fn board(page: &mut Html, search: &Search, found: &Found, names: &Names) {
    page.raw("<div class=\"panel\"><table class=\"board\"><caption>Departures of ");
    page.text(search.day.long()).raw("</caption><thead><tr><th scope=\"col\">Time</th>");
    page.raw(
        "<th scope=\"col\">To</th><th scope=\"col\">Flight</th><th scope=\"col\" class=\"wide\">",
    );
    page.raw("Airline</th><th scope=\"col\" class=\"mid\">From</th><th scope=\"col\" class=\"wide\">Aircraft</th>");
    page.raw("<th scope=\"col\">Status</th></tr></thead><tbody>");
    for (key, flight) in &found.flights {
        row(page, key, flight, names);
    }
    page.raw("</tbody></table></div>");
}

fn row(page: &mut Html, key: &FlightKey, flight: &Flight, names: &Names) {
    page.raw("<tr><td class=\"time\">").text(Clock(key.time)).raw("</td><td class=\"to\">");
    let name = Code::parse(&flight.dest).map(|code| names.airport(&code).to_owned());
    page.element("small", &flight.dest);
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        page.raw(" ").element("span", name);
    }
    page.raw("</td><td class=\"number\"><a");
    page.attribute("href", format_args!("/flights/{key}")).raw(">");
    page.text(format_args!("{} {}", key.carrier, key.number)).raw("</a></td>");
    page.raw("<td class=\"wide\">").text(names.airline(&flight.carrier)).raw("</td>");
    page.raw("<td class=\"mid code\">").text(&flight.origin).raw("</td>");
    page.raw("<td class=\"wide code\">").text(flight.tailnum.as_deref().unwrap_or("–"));
    page.raw("</td><td class=\"status\">");
    status(page, flight);
    page.raw("</td></tr>\n");
}

/// How a departure went, in a word and its minutes.
pub fn status(page: &mut Html, flight: &Flight) {
    let left = flight.dep_time.map(|time| Clock(time).to_string()).unwrap_or_default();
    let (class, word, more) = match flight.outcome() {
        Outcome::Cancelled => ("bad", "Cancelled", String::new()),
        Outcome::Diverted => ("bad", "Diverted", format!("left {left}")),
        Outcome::OnTime => ("good", "On time", format!("left {left}")),
        Outcome::Late(late) => {
            let class = if late >= 60 { "bad" } else { "late" };
            (class, "Delayed", format!("{} · left {left}", minutes(late)))
        }
    };
    page.raw("<b").attribute("class", class).raw(">").raw(word).raw("</b>");
    if !more.is_empty() {
        page.raw(" ").element("small", more);
    }
}

fn pages(page: &mut Html, search: &Search, number: usize, total: usize) {
    let last = total.div_ceil(PAGE);
    let link = |page: &mut Html, to: usize, rel: &'static str, label: &'static str| {
        page.raw("<a class=\"turn\"").attribute("rel", rel);
        page.attribute("href", format_args!("/?{}&page={to}", search.to_query()));
        page.raw(">").raw(label).raw("</a>");
    };
    page.raw("<nav class=\"pages\" aria-label=\"Pages of the board\"><span>");
    if number > 1 {
        link(page, number - 1, "prev", "← Earlier");
    }
    page.raw("</span><span class=\"where\">");
    let (from, to) = ((number - 1) * PAGE + 1, total.min(number * PAGE));
    page.text(format_args!("{from}–{to} of {}", page::thousands(total as u64)));
    page.raw("</span><span>");
    if number < last {
        link(page, number + 1, "next", "Later →");
    }
    page.raw("</span></nav>");
}
