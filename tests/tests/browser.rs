//! The departures board in a browser: searched, read, and written to by its form.
//!
//! The whole line, from a click through HTTP, the guest and the engine, and back
//! into what a person sees. The data is a small day made here, put in with
//! `planctl` by the very keys the demo uses.

use std::fs;
use std::path::Path;
use tests::browser::Browser;
use tests::{Planck, flights_module, root, service_dir};

const SERVICE: &str = "name: flights\ntls:\n  enabled: false\nhttp:\n  port: 0\n";
const FLIGHT: &str = "/flights/2013-06-13-1515-DL-2181-LGA";

/// A few rows of each table, as nycflights13 writes them.
const TABLES: &[(&str, &str)] = &[
    ("airlines", "carrier,name\nDL,Delta Air Lines Inc.\nUA,United Air Lines Inc.\n"),
    (
        "airports",
        "faa,name,lat,lon,alt,tz,dst,tzone\n\
         EWR,Newark Liberty Intl,40.6925,-74.168667,18,-5,A,America/New_York\n\
         LGA,La Guardia,40.777245,-73.872608,22,-5,A,America/New_York\n\
         LAX,Los Angeles Intl,33.942536,-118.408075,126,-8,A,America/Los_Angeles\n\
         MCO,Orlando Intl,28.429394,-81.308994,96,-5,A,America/New_York\n",
    ),
    (
        "planes",
        "tailnum,year,type,manufacturer,model,engines,seats,speed,engine\n\
         N943DL,1989,Fixed wing multi engine,MCDONNELL DOUGLAS,MD-88,2,142,NA,Turbo-fan\n",
    ),
    (
        "weather",
        "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour\n\
         LGA,2013,6,13,15,64.94,62.06,90.4,130,17.2617,24.16638,0,NA,10,2013-06-13T19:00:00Z\n",
    ),
    (
        "flights",
        "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour\n\
         2013,6,13,559,600,-1,921,907,14,UA,1209,N76269,EWR,LAX,343,2454,6,0,2013-06-13T10:00:00Z\n\
         2013,6,13,NA,700,NA,NA,1010,NA,UA,257,NA,EWR,MCO,NA,937,7,0,2013-06-13T11:00:00Z\n\
         2013,6,13,2242,1515,447,232,1816,496,DL,2181,N943DL,LGA,MCO,135,950,15,15,2013-06-13T19:00:00Z\n\
         2013,6,14,600,600,0,905,907,-2,UA,1209,N76270,EWR,LAX,340,2454,6,0,2013-06-14T10:00:00Z\n",
    ),
];

/// Store, rows, key and text columns, as `examples/flights/import.sh` has them.
fn imports() -> Vec<[String; 4]> {
    let script = fs::read_to_string(root().join("examples/flights/import.sh")).expect("import.sh");
    let list = script.split_once("FLIGHTS_STORES=(").expect("the list").1;
    let words = list.split_once("\n)").expect("its end").0.split_whitespace();
    let words: Vec<String> = words.map(|word| word.trim_matches('\'').to_owned()).collect();
    words.chunks_exact(4).map(|four| four.to_vec().try_into().expect("four")).collect()
}

fn start(dir: &Path) -> Planck {
    fs::create_dir(dir.join("wasm")).expect("a folder");
    fs::copy(flights_module(), dir.join("wasm/planck.flights.wasm")).expect("a copy");
    let planck = Planck::start(dir).unwrap_or_else(|said| panic!("{said}"));
    let imports = imports();
    for (table, rows) in TABLES {
        let [store, _, key, text] =
            imports.iter().find(|[store, ..]| store == table).expect("import.sh names it");
        let file = dir.join(format!("{table}.csv"));
        fs::write(&file, rows).expect("a file");
        let file = file.to_str().expect("a path in UTF-8");
        planck.planctl_ok(&[
            "import", store, file, "--create", "--key", key, "--text", text, "--null", "NA",
        ]);
    }
    planck
}

#[test]
fn a_person_searches_opens_a_flight_and_reports_its_delay() {
    // Given: a service with a small day, and its board in a browser.
    let dir = service_dir("port: 0\n", Some(SERVICE));
    let planck = start(dir.path());
    let base = format!("http://{}", planck.http.expect("HTTP is on"));
    let mut browser = Browser::start();
    browser.open(&format!("{base}/"));
    assert_eq!(browser.read("h1"), "Thursday\n13 June 2013");
    assert_eq!(browser.count(".board tbody tr"), 3);
    assert_eq!(
        browser.script("getComputedStyle(document.querySelector('.panel')).borderRadius"),
        "14px"
    );

    // When: the form is used, then only what it asks for is shown.
    browser.choose("#dest", "MCO");
    browser.click(".search button");
    assert_eq!(browser.place(), "/?day=2013-06-13&origin=&dest=MCO&carrier=&from=");
    assert_eq!(browser.count(".board tbody tr"), 2);
    assert!(browser.read(".board").contains("Cancelled"));
    browser.choose("#carrier", "DL");
    browser.click(".search button");
    assert_eq!(browser.count(".board tbody tr"), 1);

    // When: a flight is opened, then its page joins five stores.
    browser.click(".board .number a");
    assert_eq!(browser.place(), FLIGHT);
    let page = browser.read("main");
    for text in ["Delta Air Lines Inc.", "La Guardia", "Orlando Intl", "Mcdonnell Douglas MD-88"] {
        assert!(page.contains(text), "no {text:?} in {page}");
    }
    assert!(page.contains("7 h 27 late") && page.contains("SE 17 mph, gusts 24"), "{page}");
    assert!(page.contains("Nobody has reported on this flight yet."), "{page}");

    // When: the form is sent with a name of blanks, then it comes back and says why.
    browser.fill("#name", "   ");
    browser.fill("#minutes", "450");
    browser.choose("#reason", "Weather");
    browser.click(".report button");
    assert_eq!(browser.read("#name-fault"), "Please give a name; it need not be your own.");
    assert_eq!(browser.script("document.querySelector('#minutes').value"), "450");

    // When: it is sent right, then the report is on the page, as text and not markup.
    browser.fill("#name", "Ada <b>Lovelace</b>");
    browser.click(".report button");
    assert_eq!(browser.place(), format!("{FLIGHT}?thanks"));
    assert_eq!(browser.read("[role=status]"), "Thank you, your report is stored.");
    let reports = browser.read(".list");
    assert!(reports.starts_with("7 h 30 late Weather"), "{reports}");
    assert!(reports.contains("Ada <b>Lovelace</b>"), "{reports}");

    // Then: it is a document like any other, seen by the wire and by the JSON.
    assert_eq!(planck.planctl_ok(&["query", "delay_reports.count()"]), "1");
    let (status, json) = planck.get("/api/reports");
    assert_eq!(status, 200);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["reports"][0]["minutes"], 450);

    // And: the days can be turned, a wrong address has a page of its own.
    browser.open(&format!("{base}/"));
    browser.click(".day [rel=next]");
    assert_eq!(browser.read("h1"), "Friday\n14 June 2013");
    assert_eq!(browser.count(".board tbody tr"), 1);
    browser.open(&format!("{base}/flights/none"));
    assert_eq!(browser.read("h1"), "Not on the board");
    browser.click(".lost a");
    assert_eq!(browser.place(), "/");
    drop(browser);
    let (code, said) = planck.stop();
    assert_eq!(code, Some(0), "{said:?}");
}
