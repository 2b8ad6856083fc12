//! Event streams whose guest is called again, over each version of HTTP.

use super::common::*;
use super::streams::{ALL, By, Houses, LONG};
use super::*;
use net::Lasting;
use net::http::pieces;
use tokio::time::Instant;

/// What the calls of each target were told: the last event's id, and how often before.
#[derive(Default)]
pub(super) struct Calls(Mutex<Vec<(String, String)>>);

impl Calls {
    fn all(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().clone()
    }

    async fn until(&self, count: usize) -> Vec<(String, String)> {
        soon(async {
            while self.all().len() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            self.all()
        })
        .await
    }
}

/// The answer to a target below `/events/`: the next event, `id` being one more than the last.
pub(super) fn events(request: &GuestRequest, calls: &Calls) -> GuestResponse {
    let header = |name: &str| {
        request
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    let (last, again) = (header("last-event-id"), header("planck-again"));
    calls.0.lock().unwrap().push((last.clone(), again.clone()));
    let next = last.parse::<u32>().unwrap_or_default() + 1;
    let event = |more: &str| {
        let text = format!("id: {next}\ndata: event {next}\n\n{more}");
        GuestResponse::new(200, "text/event-stream; charset=utf-8", text)
    };
    let after = |millis: &'static str| event("").with_header("Planck-Again-Ms", millis);
    let path = request.target.strip_prefix("/events/").unwrap();
    match (path, again.as_str()) {
        ("hour", _) => after("3600000"),
        ("now", _) => after("0"),
        ("none", "1") => {
            let mut none = GuestResponse::new(200, "text/plain", "");
            none.status = 204;
            none
        }
        ("fails", "1") => request.problem(proto::Status::Internal, "asked to"),
        ("other", "1") => GuestResponse::new(200, "text/plain", "no event"),
        ("odd", "1") => event("").with_header("planck-again-ms", "soon"),
        ("busy", "1" | "2") => {
            request.problem(proto::Status::Busy, "asked to").with_header("retry-after", "0")
        }
        ("busy", "3") => event(""),
        ("panics", "1") => panic!("asked to"),
        ("text", _) => {
            GuestResponse::new(200, "text/plain", "text").with_header("planck-again-ms", "100")
        }
        ("open", "") => {
            let begun = GuestResponse::new(200, "text/event-stream", "id: 1\ndata: not ended");
            begun.with_header("planck-again-ms", "100")
        }
        ("pieces" | "cut", _) => {
            let (giver, more) = pieces();
            let mut response = after("100");
            response.more = Some(more);
            let (cuts, ends) = (path == "cut" && again == "1", again == "2");
            if ends {
                response.headers.pop();
            }
            std::thread::spawn(move || {
                let id = Bytes::from(format!("id: {}\n\n", next + 1));
                giver.give(id.slice(..3), LONG).unwrap();
                giver.give(id.slice(3..), LONG).unwrap();
                if !cuts {
                    giver.finish(Bytes::new());
                }
            });
            response
        }
        (count, _) => match count.parse::<u32>() {
            Ok(count) if next >= count => event(""),
            _ => after("100"),
        },
    }
}

fn expected(to: u32) -> String {
    (1..=to).map(|n| format!("id: {n}\ndata: event {n}\n\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_is_called_again_with_the_id_of_the_last_event_until_it_wants_no_more() {
    let houses = Houses::new(HttpOptions::default()).await;
    for by in ALL {
        let calls = &houses.house(by).echo.calls;
        let (status, headers, body) = houses.ask(by, "GET", "/events/3").await;
        assert_eq!((status, headers.get("content-length")), (200, None), "{by:?}");
        assert!(headers.keys().all(|name| !name.as_str().starts_with("planck-")), "{headers:?}");
        assert_eq!(body.rest().await, (expected(3), true), "{by:?}");
        let told = [("", ""), ("1", "1"), ("2", "2")];
        let told = told.map(|(last, again)| (last.to_owned(), again.to_owned()));
        assert_eq!(calls.all(), told, "{by:?}");
        calls.0.lock().unwrap().clear();
        let answered = houses.answered(by, 1).await;
        let sent = expected(3).len();
        assert_eq!(answered, [format!("GET /events/3 200 false 0 {sent} Whole")], "{by:?}");
        houses.house(by).echo.answered.lock().unwrap().clear();
    }
    // Where a browser left off; what it says of the host's own is not heard.
    let said = "last-event-id: 1\r\nplanck-again: 7\r\nplanck-connection: x\r\n";
    let bytes = houses.plain.get("/events/3", said).await;
    assert!(bytes.contains("event 2") && bytes.contains("event 3") && !bytes.contains("event 1"));
    assert_eq!(houses.plain.echo.calls.all()[0], ("1".to_owned(), String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_answers_end_it_as_whole_or_as_cut() {
    let houses = Houses::new(HttpOptions::default()).await;
    for by in ALL {
        for (path, text, whole) in [
            ("none", expected(1), true),
            ("fails", expected(1), false),
            ("panics", expected(1), false),
            ("other", expected(1), false),
            ("odd", expected(1), false),
            ("text", "text".to_owned(), true),
        ] {
            let (_, _, body) = houses.ask(by, "GET", &format!("/events/{path}")).await;
            let (got, is_whole) = body.rest().await;
            assert_eq!(is_whole, whole, "{by:?} {path}");
            assert!(got == text || !whole && text.starts_with(&got), "{by:?} {path} {got}");
        }
        // A body is not asked for twice, and of HEAD there is none.
        let (_, _, body) = houses.ask(by, "POST", "/events/hour").await;
        assert_eq!(body.rest().await, (expected(1), true), "{by:?}");
        let (status, _, body) = houses.ask(by, "HEAD", "/events/hour").await;
        assert_eq!((status, body.rest().await), (200, (String::new(), true)), "{by:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_whole_events_and_may_come_in_pieces() {
    let houses = Houses::new(HttpOptions::default()).await;
    for by in ALL {
        houses.house(by).echo.calls.0.lock().unwrap().clear();
        let (_, _, body) = houses.ask(by, "GET", "/events/open").await;
        drop(houses.house(by).echo.calls.until(2).await);
        drop(body);
        assert_eq!(houses.house(by).echo.calls.all()[1].0, "1", "{by:?}");
        let (_, _, body) = houses.ask(by, "GET", "/events/pieces").await;
        let pieces = |to: u32| -> String {
            let each = |n| format!("id: {n}\ndata: event {n}\n\nid: {}\n\n", n + 1);
            (0..to).map(|n| each(2 * n + 1)).collect()
        };
        assert_eq!(body.rest().await, (pieces(3), true), "{by:?}");
        let (_, _, body) = houses.ask(by, "GET", "/events/cut").await;
        let (got, is_whole) = body.rest().await;
        assert!(!is_whole && pieces(2).starts_with(&got), "{by:?} {got}");
    }
    let bytes = houses.plain.talk("GET /events/open HTTP/1.0\r\n\r\n");
    let bytes = tokio::time::timeout(10 * SHORT, bytes).await;
    assert!(bytes.is_err(), "it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_is_called_no_sooner_than_may_be() {
    let houses = Houses::new(HttpOptions::default()).await;
    let begun = Instant::now();
    let (_, _, body) = houses.ask(By::One, "GET", "/events/now").await;
    let calls = houses.plain.echo.calls.until(6).await;
    let passed = begun.elapsed();
    assert!(passed >= Duration::from_millis(500) && calls.len() <= 7, "{passed:?} {calls:?}");
    drop(body);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_filled_with_comments_and_the_pool_s_own_is_waited_for() {
    let options =
        HttpOptions { heartbeat: SHORT, idle_timeout: 4 * SHORT, ..HttpOptions::default() };
    let houses = Houses::new(options).await;
    for by in ALL {
        let (_, _, mut body) = houses.ask(by, "GET", "/events/hour").await;
        assert_eq!(body.next().await, Some(Ok(expected(1).into())), "{by:?}");
        // Longer than any silence may be.
        for _ in 0..10 {
            assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b":\n\n"))), "{by:?}");
        }
        let (_, _, body) = houses.ask(by, "GET", "/events/busy").await;
        let (text, is_whole) = body.rest().await;
        let events: String = text.replace(":\n\n", "");
        assert!(is_whole && events.starts_with(&expected(2)), "{by:?} {text}");
        let calls = houses.house(by).echo.calls.all();
        assert!(calls.iter().filter(|(last, _)| last == "1").count() >= 3, "{calls:?}");
        houses.house(by).echo.calls.0.lock().unwrap().clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_may_be_are_open_and_one_more_may_come_back() {
    let houses = Houses::new(HttpOptions { max_live: 2, ..HttpOptions::default() }).await;
    for by in ALL {
        let traffic = houses.house(by).server.traffic();
        let (_, _, mut one) = houses.ask(by, "GET", "/events/hour").await;
        let (_, _, mut two) = houses.ask(by, "GET", "/events/hour").await;
        for body in [&mut one, &mut two] {
            assert!(body.next().await.unwrap().is_ok());
        }
        assert_eq!(traffic.lasting(Lasting::Events), 2, "{by:?}");
        let (status, headers, _) = houses.ask(by, "GET", "/events/hour").await;
        assert_eq!((status, &headers["retry-after"]), (503, &"1".parse().unwrap()), "{by:?}");
        // What does not last needs no place.
        let (status, _, body) = houses.ask(by, "GET", "/events/1").await;
        assert_eq!((status, body.rest().await), (200, (expected(1), true)), "{by:?}");
        // Who goes is noticed at once, and its place is free.
        if let super::streams::Reading::Http3(_, client) = &one {
            client.quic.close(0u32.into(), b"");
        }
        drop(one);
        soon(async {
            while traffic.lasting(Lasting::Events) != 1 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        let (status, _, mut three) = houses.ask(by, "GET", "/events/hour").await;
        assert!(status == 200 && three.next().await.unwrap().is_ok(), "{by:?}");
        let answered = houses.answered(by, 1).await;
        assert!(answered.iter().any(|told| told.ends_with(" Gone")), "{answered:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drains_ends_them_whole_at_once() {
    for by in ALL {
        let options = HttpOptions { drain_timeout: LONG, ..HttpOptions::default() };
        let houses = Houses::new(options).await;
        let (_, _, mut body) = houses.ask(by, "GET", "/events/hour").await;
        assert!(body.next().await.unwrap().is_ok());
        let Houses { plain, quic } = houses;
        let house = if by == By::Three { quic.house } else { plain };
        let draining = tokio::spawn(house.server.drain());
        assert_eq!(body.rest().await, (String::new(), true), "{by:?}");
        soon(draining).await.unwrap();
        assert_eq!(house.echo.calls.all().len(), 1, "{by:?}");
    }
}
