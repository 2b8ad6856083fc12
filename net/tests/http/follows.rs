//! Event streams that follow something by themselves, over each version of HTTP.

use super::common::*;
use super::streams::{ALL, By, Houses, LONG};
use super::*;
use net::Lasting;
use net::http::{Follow, Followed};
use tokio::sync::watch;

/// What is followed, and by how many.
pub(super) struct News {
    value: watch::Sender<u64>,
    followed: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Default for News {
    fn default() -> News {
        let (followed, asked) = (Arc::default(), Arc::default());
        News { value: watch::Sender::new(0), followed, asked }
    }
}

/// Follows as `what` says: numbers up to the news, or without end, or to an end of its own.
struct Numbers {
    what: String,
    next: u64,
    told: watch::Receiver<u64>,
    followed: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.followed.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Follow for Numbers {
    fn next(&mut self) -> Followed {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.next += 1;
        match self.what.as_str() {
            "panic" => panic!("asked to"),
            "flood" => return Followed::Events(Bytes::from(vec![b'\n'; 64 << 10])),
            _ => {}
        }
        let now = *self.told.borrow_and_update();
        if self.next <= now {
            return Followed::Events(event(self.next).into());
        }
        if self.what == "end" {
            return Followed::End(Bytes::from_static(b"event: end\n\n"));
        }
        self.next -= 1;
        let mut told = self.told.clone();
        Followed::Nothing(Box::pin(async move { drop(told.changed().await) }))
    }

    fn beat(&self) -> Bytes {
        format!("id: {}\n\n", self.next).into()
    }
}

fn event(n: u64) -> String {
    format!("id: {n}\ndata: {n}\n\n")
}

pub(super) fn follow(
    news: &News,
    what: &str,
    last_id: Option<&str>,
) -> Result<Box<dyn Follow>, String> {
    if what == "no" {
        return Err("asked to".to_owned());
    }
    news.followed.fetch_add(1, Ordering::SeqCst);
    Ok(Box::new(Numbers {
        what: what.to_owned(),
        next: last_id.map_or(0, |id| id.parse().unwrap()),
        told: news.value.subscribe(),
        followed: news.followed.clone(),
        asked: news.asked.clone(),
    }))
}

/// The answer to a target below `/follow/`.
pub(super) fn followed(request: &GuestRequest) -> GuestResponse {
    let what = request.target.strip_prefix("/follow/").unwrap();
    let kind = if what == "text" { "text/plain" } else { "text/event-stream" };
    GuestResponse::new(200, kind, "retry: 9\n\n").with_header("Planck-Watch", what.to_owned())
}

fn set(houses: &Houses, by: By, value: u64) {
    houses.house(by).echo.news.value.send_replace(value);
}

async fn are_followed(houses: &Houses, by: By, count: usize) {
    let followed = &houses.house(by).echo.news.followed;
    soon(async {
        while followed.load(Ordering::SeqCst) != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_sent_behind_what_the_guest_said_and_no_guest_is_called() {
    let houses = Houses::new(HttpOptions::default()).await;
    for by in ALL {
        set(&houses, by, 2);
        let handled = houses.house(by).echo.handled.load(Ordering::SeqCst);
        let (status, headers, mut body) = houses.ask(by, "GET", "/follow/all").await;
        assert_eq!((status, headers.get("content-length")), (200, None), "{by:?}");
        assert!(headers.keys().all(|name| !name.as_str().starts_with("planck-")), "{headers:?}");
        let mut text = String::new();
        for (news, last) in [(3, 2), (5, 3), (5, 5)] {
            let wanted = format!("retry: 9\n\n{}", (1..=last).map(event).collect::<String>());
            while text.len() < wanted.len() {
                text += std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap();
            }
            assert_eq!(text, wanted, "{by:?}");
            set(&houses, by, news);
        }
        assert_eq!(houses.house(by).echo.handled.load(Ordering::SeqCst), handled + 1);
        if let super::streams::Reading::Http3(_, client) = &body {
            client.quic.close(0u32.into(), b"");
        }
        drop(body);
        // Its end is seen by who gives.
        set(&houses, by, 6);
        are_followed(&houses, by, 0).await;
        let (_, _, body) = houses.ask(by, "GET", "/follow/end").await;
        let (text, is_whole) = body.rest().await;
        assert!(is_whole && text.ends_with(&format!("{}event: end\n\n", event(6))), "{text}");
        are_followed(&houses, by, 0).await;
    }
    let bytes = houses.plain.get("/follow/end", "last-event-id: 4\r\n").await;
    assert!(bytes.contains("data: 5") && bytes.contains("data: 6") && !bytes.contains("data: 4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_followed_is_the_fault_of_the_service() {
    let houses = Houses::new(HttpOptions::default()).await;
    for by in ALL {
        for (method, path) in [("GET", "no"), ("GET", "text"), ("POST", "all")] {
            let (status, headers, _) = houses.ask(by, method, &format!("/follow/{path}")).await;
            assert_eq!(status, 500, "{by:?} {method} {path}");
            assert_eq!(headers["content-type"], "application/problem+json");
        }
        let (status, _, body) = houses.ask(by, "HEAD", "/follow/all").await;
        assert_eq!((status, body.rest().await), (200, (String::new(), true)), "{by:?}");
        let (_, _, body) = houses.ask(by, "GET", "/follow/panic").await;
        assert!(!body.rest().await.1, "{by:?}: it breaks off");
        are_followed(&houses, by, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_filled_with_how_far_it_is() {
    let options =
        HttpOptions { heartbeat: SHORT, idle_timeout: 4 * SHORT, ..HttpOptions::default() };
    let houses = Houses::new(options).await;
    for by in ALL {
        set(&houses, by, 1);
        let (_, _, mut body) = houses.ask(by, "GET", "/follow/all").await;
        let mut text = String::new();
        // Longer than any silence may be.
        while text.matches("id: 1\n\n").count() < 10 {
            text += std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap();
        }
        assert!(text.starts_with(&format!("retry: 9\n\n{}id: 1\n\n", event(1))), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_holds_a_piece_and_no_more_and_as_many_as_may_be_are_open() {
    let houses = Houses::new(HttpOptions { max_live: 2, ..HttpOptions::default() }).await;
    for by in ALL {
        let traffic = houses.house(by).server.traffic();
        let asked = houses.house(by).echo.news.asked.clone();
        let (_, _, one) = houses.ask(by, "GET", "/follow/flood").await;
        let (_, _, two) = houses.ask(by, "GET", "/follow/all").await;
        are_followed(&houses, by, 2).await;
        assert_eq!(traffic.lasting(Lasting::Events), 2, "{by:?}");
        let (status, headers, _) = houses.ask(by, "GET", "/follow/all").await;
        assert_eq!((status, &headers["retry-after"]), (503, &"1".parse().unwrap()), "{by:?}");
        // What the sockets between them hold is soon full.
        let mut before = usize::MAX;
        soon(async {
            while asked.load(Ordering::SeqCst) != before {
                before = asked.load(Ordering::SeqCst);
                tokio::time::sleep(5 * SHORT).await;
            }
        })
        .await;
        assert!(before < 1000, "{by:?}: {before} pieces were read ahead");
        if let super::streams::Reading::Http3(_, client) = &one {
            client.quic.close(0u32.into(), b"");
        }
        if let super::streams::Reading::Http3(_, client) = &two {
            client.quic.close(0u32.into(), b"");
        }
        drop((one, two));
        set(&houses, by, 1);
        are_followed(&houses, by, 0).await;
        assert_eq!(traffic.lasting(Lasting::Events), 0, "{by:?}");
        set(&houses, by, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drains_ends_them_whole_at_once() {
    for by in ALL {
        let options = HttpOptions { drain_timeout: LONG, ..HttpOptions::default() };
        let houses = Houses::new(options).await;
        set(&houses, by, 1);
        let (_, _, mut body) = houses.ask(by, "GET", "/follow/all").await;
        let mut text = String::new();
        while !text.ends_with(&event(1)) {
            text += std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap();
        }
        let Houses { plain, quic } = houses;
        let house = if by == By::Three { quic.house } else { plain };
        let draining = tokio::spawn(house.server.drain());
        assert_eq!(body.rest().await, (String::new(), true), "{by:?}");
        soon(draining).await.unwrap();
    }
}
