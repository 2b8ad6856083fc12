//! The handler as a whole, against stores in memory.

use crate::data::{
    AIRLINES, AIRPORTS, Airline, Airport, FLIGHTS, Flight, PLANES, Plane, REPORTS, WEATHER, Weather,
};
use crate::handler;
use crate::keys::{self, FlightKey};
use planck_sdk::Status;
use planck_sdk::proto::{ReplyWriter, Request};
use planck_sdk::testing::{Answer, Memory, ask, ask_with, set_host, take_log};

const LATE: &str = "2013-06-13-1515-DL-2181-LGA";

fn flight(key: &str, dest: &str, dep_delay: Option<i32>, arr_delay: Option<i32>) -> Flight {
    let key = FlightKey::parse(key).expect("a flight's key");
    Flight {
        year: key.day.year,
        month: key.day.month,
        day: key.day.day,
        dep_time: dep_delay.map(|_| 1530),
        sched_dep_time: key.time,
        dep_delay,
        arr_time: arr_delay.map(|_| 1800),
        sched_arr_time: 1745,
        arr_delay,
        carrier: key.carrier.to_string(),
        flight: key.number,
        tailnum: Some("N943DL".to_owned()),
        origin: key.origin.to_string(),
        dest: dest.to_owned(),
        air_time: arr_delay.map(|_| 135),
        distance: 950,
        time_hour: "2013-06-13T19:00:00Z".to_owned(),
    }
}

/// A small day: one flight each that was late, on time, cancelled, diverted; one of
/// another day.
fn small_day() {
    Memory::new().install();
    FLIGHTS.create().expect("made");
    AIRLINES.create().expect("made");
    AIRPORTS.create().expect("made");
    PLANES.create().expect("made");
    WEATHER.create().expect("made");
    for (key, dest, dep_delay, arr_delay) in [
        (LATE, "MCO", Some(447), Some(496)),
        ("2013-06-13-0600-UA-1-EWR", "LAX", Some(-3), Some(0)),
        ("2013-06-13-0700-9E-2-JFK", "MCO", None, None),
        ("2013-06-13-2359-B6-3-JFK", "SJU", Some(14), None),
        ("2013-06-14-0600-UA-1-EWR", "LAX", Some(0), Some(0)),
    ] {
        let id = FlightKey::parse(key).and_then(|key| key.key().ok()).expect("a flight's key");
        FLIGHTS.insert_with_key(id, &flight(key, dest, dep_delay, arr_delay)).expect("stored");
    }
    let delta = Airline { carrier: "DL".into(), name: "Delta Air Lines Inc.".into() };
    AIRLINES.insert_with_key(keys::airline("DL").expect("a key"), &delta).expect("stored");
    for (faa, name) in [("LGA", "La Guardia"), ("MCO", "Orlando <Intl>")] {
        let name = name.to_owned();
        let faa_owned = faa.to_owned();
        let airport = Airport { faa: faa_owned, name, lat: 40.0, lon: -73.0, alt: 22, tzone: None };
        AIRPORTS.insert_with_key(keys::airport(faa).expect("a key"), &airport).expect("stored");
    }
    let plane = Plane {
        tailnum: "N943DL".into(),
        year: Some(1989),
        kind: "Fixed wing multi engine".into(),
        manufacturer: "BOEING".into(),
        model: "717".into(),
        engines: 2,
        seats: 142,
        engine: "Turbo-fan".into(),
    };
    PLANES.insert_with_key(keys::plane("N943DL").expect("a key"), &plane).expect("stored");
    let weather = Weather {
        origin: "LGA".into(),
        time_hour: "2013-06-13T19:00:00Z".into(),
        temp: Some(64.94),
        dewp: None,
        humid: None,
        wind_dir: Some(130.0),
        wind_speed: Some(17.2),
        wind_gust: Some(24.1),
        precip: Some(0.0),
        pressure: None,
        visib: Some(10.0),
    };
    let hour = keys::weather("LGA", &weather.time_hour).expect("a key");
    WEATHER.insert_with_key(hour, &weather).expect("stored");
}

fn get(target: &str) -> Answer {
    ask(handler, "GET", target, b"")
}

fn post(form: &str) -> Answer {
    ask(handler, "POST", &format!("/flights/{LATE}/reports"), form.as_bytes())
}

#[track_caller]
fn shows(answer: &Answer, texts: &[&str]) {
    for text in texts {
        assert!(answer.body.contains(text), "no {text:?} in {} {}", answer.status, answer.body);
    }
}

#[track_caller]
fn hides(answer: &Answer, texts: &[&str]) {
    for text in texts {
        assert!(!answer.body.contains(text), "{text:?} in {} {}", answer.status, answer.body);
    }
}

#[test]
fn the_board_shows_a_day_in_order_with_its_figures() {
    small_day();
    let board = get("/");
    assert_eq!(board.status, 200);
    assert_eq!(board.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(board.header("content-security-policy").is_some_and(|p| p.contains("'none'")));
    shows(
        &board,
        &[
            "<strong class=\"all\">4</strong> departures",
            "<strong class=\"good\">1</strong> on time",
            "<strong class=\"late\">1</strong> delayed",
            "<strong class=\"bad\">1</strong> cancelled",
            "<strong class=\"bad\">1</strong> diverted",
            "Orlando &lt;Intl&gt;",
            "7 h 27",
            "/?day=2013-06-12",
            "/?day=2013-06-14",
        ],
    );
    let order = ["UA 1<", "9E 2<", "DL 2181<", "B6 3<"].map(|text| board.body.find(text));
    assert!(order.windows(2).all(|pair| pair[0].is_some() && pair[0] < pair[1]), "{order:?}");
}

#[test]
fn a_search_narrows_the_day_and_its_links_keep_it() {
    small_day();
    let both = get("/?day=2013-06-13&origin=jfk&dest=MCO");
    shows(&both, &["<strong class=\"all\">1</strong> departure", "9E 2<"]);
    shows(&both, &["/?day=2013-06-14&amp;origin=JFK&amp;dest=MCO", "Show the whole day"]);
    hides(&both, &["DL 2181<", "B6 3<"]);
    let late = get("/?day=2013-06-13&from=15:16");
    shows(&late, &["B6 3<"]);
    hides(&late, &["DL 2181<"]);
    shows(&get("/?day=2013-06-13&carrier=DL"), &["DL 2181<", "class=\"all\">1<"]);
    shows(&get("/?day=2013-06-13&carrier=AA"), &["No departure of this day is like that."]);
    shows(&get("/?day=2014-01-01"), &["The data covers the year 2013."]);
    shows(&get("/?page=9"), &["There is no page 9 of this board."]);
}

#[test]
fn a_field_that_is_wrong_is_named_and_left_out() {
    small_day();
    let board = get("/?day=2013-02-30&dest=%3Cscript%3E");
    assert_eq!(board.status, 200);
    shows(&board, &["The day is written", "The destination is", "class=\"all\">4<"]);
    hides(&board, &["<script"]);
    let api = get("/api/flights?day=tomorrow");
    assert_eq!((api.status, api.header("content-type")), (400, Some("application/problem+json")));
    shows(&api, &["The day is written"]);
}

#[test]
fn a_flight_s_page_joins_all_that_belongs_to_it() {
    small_day();
    let page = get(&format!("/flights/{LATE}"));
    assert_eq!(page.status, 200);
    shows(
        &page,
        &[
            "Delta Air Lines Inc.",
            "La Guardia",
            "Orlando &lt;Intl&gt;",
            "Boeing 717",
            "1989",
            "65\u{a0}°F · 18\u{a0}°C",
            "SE 17 mph, gusts 24",
            "8 h 16 late",
            "Nobody has reported",
        ],
    );
    // What the data lacks is a dash or a word, not an error.
    let bare = get("/flights/2013-06-13-0700-9E-2-JFK");
    assert_eq!(bare.status, 200);
    shows(&bare, &["Cancelled", "not flown", "not among the airports", "nothing in that hour"]);
    let key = FlightKey::parse(LATE).and_then(|key| key.key().ok()).expect("a key");
    assert_eq!(get(&format!("/flights/{key}")).body, page.body);
}

#[test]
fn a_report_is_stored_and_shown_and_cannot_carry_markup() {
    small_day();
    // The store is made by the first report.
    let answer = post("name=Ada+%3Cb%3E&minutes=450&reason=Weather");
    assert_eq!(answer.status, 303, "{}", answer.body);
    let location = answer.header("location").expect("a place to go").to_owned();
    assert_eq!(location, format!("/flights/{LATE}?thanks#reports"));
    assert_eq!(post("name=Grace&minutes=0&reason=Nobody+said").status, 303);
    let page = get(location.split('#').next().expect("a target"));
    shows(&page, &["Thank you", "Ada &lt;b&gt;", "7 h 30 late", "№ 2", "On time</b> Nobody said"]);
    let order = ["Grace", "Ada"].map(|name| page.body.find(name));
    assert!(order[0] < order[1], "the newest comes first");
    let (first, last) = FlightKey::parse(LATE).expect("a key").reports().expect("they fit");
    let stored = REPORTS.range_all(first, last).expect("read");
    assert_eq!(stored.iter().map(|row| keys::report_number(row.key)).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(stored[0].flight, LATE);
    shows(&get("/api/reports"), &["\"name\":\"Ada <b>\"", "\"more\":false"]);
    shows(&get(&format!("/api/reports?flight={LATE}&limit=1")), &["Ada", "\"more\":true"]);
    hides(&get("/flights/2013-06-13-0600-UA-1-EWR"), &["Ada"]);
}

#[test]
fn a_report_that_is_wrong_comes_back_with_kind_words() {
    small_day();
    let long = "x".repeat(61);
    for (form, says, keeps) in [
        ("".to_owned(), "Please give a name", "Please choose one"),
        ("name=Ada&minutes=2001&reason=Crew".into(), "from 0 to 2000", "value=\"2001\""),
        ("name=Ada&minutes=-1&reason=Crew".into(), "from 0 to 2000", "value=\"Ada\""),
        ("name=Ada&minutes=%2B5&reason=Crew".into(), "from 0 to 2000", "selected>Crew"),
        ("name=Ada&minutes=5&reason=Magic".into(), "Please choose one", "value=\"5\""),
        (format!("name={long}&minutes=5&reason=Crew"), "to 60 characters", "value=\"5\""),
        ("name=A%0Ab&minutes=5&reason=Crew".into(), "line breaks", "value=\"5\""),
    ] {
        let answer = post(&form);
        assert_eq!(answer.status, 422, "{form}");
        shows(&answer, &[says, keeps, "not stored yet", "aria-invalid"]);
    }
    assert_eq!(post("name=Ada&minutes=2000&reason=Crew").status, 303);
    assert_eq!(REPORTS.scan(None, 0).map(|page| page.rows.len()), Ok(1));
    let nowhere = ask(handler, "POST", "/flights/x/reports", b"name=A&minutes=1&reason=Crew");
    assert_eq!(nowhere.status, 404);
}

#[test]
fn another_site_s_form_stores_nothing() {
    small_day();
    let send = |site| {
        let target = format!("/flights/{LATE}/reports");
        let form = b"name=Ada&minutes=5&reason=Crew";
        ask_with(handler, "POST", &target, &[("sec-fetch-site", site)], form).status
    };
    assert_eq!([send("cross-site"), send("same-site"), send("same-origin")], [403, 403, 303]);
}

#[test]
fn programs_get_json_and_people_pages() {
    small_day();
    let list = get("/api/flights?day=2013-06-13&limit=1");
    shows(
        &list,
        &["{\"day\":\"2013-06-13\",\"count\":4,\"flights\":[{\"key\":\"2013-06-13-0600-UA-1-EWR\""],
    );
    hides(&list, &["9E"]);
    assert_eq!(get("/api/flights?limit=0").status, 400);
    let joined = get(&format!("/api/flights/{LATE}"));
    shows(&joined, &["\"airline\":{\"carrier\":\"DL\"", "\"model\":\"717\"", "\"wind_gust\":24.1"]);
    shows(&get(&format!("/api/point/{LATE}")), &["{\"year\":2013,\"month\":6,\"day\":13,"]);
    assert_eq!(get("/api/health").body, "ok\n");
    for target in ["/api/flights/none", "/api/point/none", "/api/none"] {
        let answer = get(target);
        let kind = answer.header("content-type");
        assert_eq!((answer.status, kind), (404, Some("application/problem+json")), "{target}");
    }
    for target in ["/flights/none", "/none"] {
        let answer = get(target);
        let kind = answer.header("content-type");
        assert_eq!((answer.status, kind), (404, Some("text/html; charset=utf-8")), "{target}");
        shows(&answer, &["Not on the board"]);
    }
    assert_eq!(ask(handler, "POST", "/", b"").status, 405);
    let style = get("/style.css");
    assert_eq!(
        (style.status, style.header("content-type")),
        (200, Some("text/css; charset=utf-8"))
    );
}

#[test]
fn before_the_import_the_board_is_empty_and_kind() {
    Memory::new().install();
    let board = get("/");
    assert_eq!(board.status, 200);
    shows(&board, &["is the import still going on?"]);
    assert_eq!(get(&format!("/flights/{LATE}")).status, 404);
    shows(&get("/api/reports"), &["{\"reports\":[],\"more\":false}"]);
}

#[test]
fn a_fault_of_the_server_is_logged_and_its_inside_not_shown() {
    set_host(|packet, reply| {
        let (id, _) = Request::decode(packet).expect("a request");
        ReplyWriter::new(id, reply).error(Status::Io, "disk 7 says no");
    });
    let answer = get("/");
    assert_eq!(answer.status, 500);
    shows(&answer, &["Something broke here", "PLK-1903"]);
    hides(&answer, &["says no"]);
    assert!(take_log().concat().contains("disk 7 says no"));
}
