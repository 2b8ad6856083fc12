//! Responses that are made while they are sent, over each version of HTTP: by a thread of
//! their own, as a guest's is.

use super::common::*;
use super::quic::{Client, Quic};
use super::*;
use bytes::Buf;
use hyper::HeaderMap;
use hyper::body::Incoming;
use net::http::{Ungiven, pieces};
use std::sync::atomic::AtomicU64;

const PIECE: usize = 64 << 10;
pub(super) const LONG: Duration = Duration::from_secs(60);
/// Pieces of a GiB.
const MANY: u64 = (1 << 30) / PIECE as u64;

/// What the threads that make bodies are told and tell.
#[derive(Default)]
pub(super) struct Streams {
    /// How many of those that wait may go on.
    open: AtomicU64,
    /// Pieces of floods that were taken.
    given: AtomicU64,
    /// How each ended, as it was seen from within.
    ended: Mutex<Vec<&'static str>>,
}

impl Streams {
    /// Waits to be let on; false: the client has gone.
    fn passes(&self, giver: &net::http::Giver) -> bool {
        let down = |open: u64| open.checked_sub(1);
        while self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down).is_err() {
            if giver.is_gone() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    async fn until_ended(&self, count: usize) -> Vec<&'static str> {
        soon(async {
            loop {
                let ended = self.ended.lock().unwrap().clone();
                if ended.len() >= count {
                    return ended;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }
}

/// The answer to a target below `/stream/`.
pub(super) fn stream(target: &str, streams: &Arc<Streams>) -> GuestResponse {
    let (giver, more) = pieces();
    let mut response = GuestResponse::new(200, "text/html", "first,");
    let path = target.strip_prefix("/stream/").unwrap();
    let is_gated = path.ends_with("gated");
    let path = path.strip_suffix("/gated").unwrap_or(path).to_owned();
    response.more = Some(more);
    match path.split_once('/') {
        Some(("told", length)) => {
            response = response.with_header("content-length", length.to_owned())
        }
        Some(("status", status)) => {
            response.status = status.parse().unwrap();
            response.body = Bytes::new();
        }
        Some(("bare", _)) => {
            response.headers.clear();
            response = response.with_header("connection", "x-a").with_header("x-a", "b");
        }
        _ => {}
    }
    let streams = Arc::clone(streams);
    std::thread::spawn(move || {
        let give = |text: &'static str| giver.give(Bytes::from_static(text.as_bytes()), LONG);
        let ended = match path.as_str() {
            _ if is_gated && !streams.passes(&giver) => "gone",
            "cut" => {
                give("second,").unwrap();
                "cut"
            }
            "flood" | "flood/late" => {
                let patience = if path == "flood" { LONG } else { 5 * SHORT };
                let piece = Bytes::from(vec![b'x'; PIECE]);
                let flooding = (0..MANY).try_for_each(|_| {
                    giver.give(piece.clone(), patience)?;
                    streams.given.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                });
                match flooding {
                    Ok(()) => {
                        giver.finish(Bytes::new());
                        "whole"
                    }
                    Err(Ungiven::Gone) => "gone",
                    Err(Ungiven::Full(_)) => "late",
                }
            }
            _ => match give("second,") {
                Ok(()) => {
                    giver.finish(Bytes::from_static(b"last"));
                    "whole"
                }
                Err(_) => "gone",
            },
        };
        streams.ended.lock().unwrap().push(ended);
    });
    response
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum By {
    One,
    Two,
    Three,
}

pub(super) const ALL: [By; 3] = [By::One, By::Two, By::Three];

/// A house for each version.
pub(super) struct Houses {
    pub(super) plain: House,
    pub(super) quic: Quic,
}

/// A body on its way in.
pub(super) enum Reading {
    Hyper(Incoming),
    Http3(Box<h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>>, Box<Client>),
    /// Cut before its head was read: a reset overtakes what was sent.
    Cut,
}

impl Reading {
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, ()>> {
        match self {
            Reading::Hyper(body) => {
                let frame = soon(body.frame()).await?;
                Some(frame.map(|frame| frame.into_data().unwrap()).map_err(|_| ()))
            }
            Reading::Http3(stream, _) => match soon(stream.recv_data()).await {
                Ok(data) => data.map(|mut data| Ok(data.copy_to_bytes(data.remaining()))),
                Err(_) => Some(Err(())),
            },
            Reading::Cut => Some(Err(())),
        }
    }

    /// The text to its end, and whether it was whole.
    pub(super) async fn rest(mut self) -> (String, bool) {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Some(Ok(data)) => all.extend_from_slice(&data),
                end => return (String::from_utf8(all).unwrap(), end.is_none()),
            }
        }
    }
}

impl Houses {
    pub(super) async fn new(options: HttpOptions) -> Houses {
        Houses { plain: plain(options.clone()).await, quic: Quic::new(options).await }
    }

    pub(super) fn house(&self, by: By) -> &House {
        if by == By::Three { &self.quic.house } else { &self.plain }
    }

    fn streams(&self, by: By) -> &Streams {
        &self.house(by).echo.streams
    }

    pub(super) async fn ask(
        &self,
        by: By,
        method: &str,
        target: &str,
    ) -> (u16, HeaderMap, Reading) {
        let asked = Request::builder().method(method).header("accept-encoding", "gzip, br");
        let asked = match by {
            By::One => asked.uri(target).header("host", "h"),
            By::Two => asked.uri(format!("http://h{target}")),
            By::Three => asked.uri(format!("https://h{target}")),
        };
        let full =
            |asked: hyper::http::request::Builder| asked.body(Full::<Bytes>::default()).unwrap();
        let response = match by {
            By::One => {
                let stream = TcpStream::connect(self.plain.server.address()).await.unwrap();
                let (mut send, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                soon(send.send_request(full(asked))).await.unwrap()
            }
            By::Two => match soon(h2(&self.plain).await.send_request(full(asked))).await {
                Ok(response) => response,
                Err(_) => return (0, HeaderMap::new(), Reading::Cut),
            },
            By::Three => {
                let mut client = self.quic.client().await;
                let asked = asked.body(()).unwrap();
                let mut stream = soon(client.send.send_request(asked)).await.unwrap();
                stream.finish().await.unwrap();
                let Ok(response) = soon(stream.recv_response()).await else {
                    return (0, HeaderMap::new(), Reading::Cut);
                };
                let (head, ()) = response.into_parts();
                let reading = Reading::Http3(Box::new(stream), Box::new(client));
                return (head.status.as_u16(), head.headers, reading);
            }
        };
        let (head, body) = response.into_parts();
        (head.status.as_u16(), head.headers, Reading::Hyper(body))
    }

    /// What was told of the responses, once there are so many.
    pub(super) async fn answered(&self, by: By, count: usize) -> Vec<String> {
        soon(async {
            loop {
                let answered = self.house(by).echo.answered.lock().unwrap().clone();
                if answered.len() >= count {
                    return answered;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_arrives_before_the_next_is_made_and_all_is_told_at_the_end() {
    for by in ALL {
        let houses = Houses::new(HttpOptions::default()).await;
        let (status, headers, mut body) = houses.ask(by, "GET", "/stream/gated").await;
        assert_eq!((status, headers.get("content-length")), (200, None), "{by:?}");
        assert_eq!(headers["content-type"], "text/html");
        assert_eq!(headers["x-request-id"].len(), 32);
        assert!(!headers.contains_key("content-encoding"), "{by:?}: it is no whole body");
        assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"first,"))), "{by:?}");
        assert_eq!(houses.house(by).echo.answered.lock().unwrap().len(), 0);
        houses.streams(by).open.store(1, Ordering::SeqCst);
        assert_eq!(body.rest().await, ("second,last".to_owned(), true), "{by:?}");
        let answered = houses.answered(by, 1).await;
        assert_eq!(answered, ["GET /stream/gated 200 false 0 17 Whole"], "{by:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_is_seen_to_be_cut_and_costs_no_other_stream() {
    let houses = Houses::new(HttpOptions::default()).await;
    for by in ALL {
        let (_, _, body) = houses.ask(by, "GET", "/stream/cut").await;
        let (text, is_whole) = body.rest().await;
        assert!(!is_whole, "{by:?}");
        // What was cut need not have arrived, but nothing else has.
        assert!("first,second,".starts_with(&text), "{by:?} {text}");
        let answered = houses.answered(by, 1).await;
        assert!(answered[0].ends_with(" Cut"), "{by:?} {answered:?}");
        houses.house(by).echo.answered.lock().unwrap().clear();
    }
    let bytes = houses.plain.talk("GET /stream/cut HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(bytes.contains("second,") && !bytes.contains("\r\n0\r\n"), "{bytes}");
    // Another stream of the same connection goes on.
    let mut send = h2(&houses.plain).await;
    // Its end may overtake the head.
    if let Ok(cut) = soon(send.send_request(request("/stream/cut"))).await {
        assert!(cut.into_body().collect().await.is_err());
    }
    let next = soon(send.send_request(request("/stream/whole"))).await.unwrap();
    assert_eq!(text(next).await, "first,second,last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_was_told_is_kept_or_the_body_breaks_off() {
    let houses = Houses::new(HttpOptions::default()).await;
    for by in ALL {
        let (_, headers, body) = houses.ask(by, "GET", "/stream/told/17").await;
        assert_eq!(headers["content-length"], "17", "{by:?}");
        assert_eq!(body.rest().await, ("first,second,last".to_owned(), true), "{by:?}");
        for length in ["16", "18"] {
            let (_, _, body) = houses.ask(by, "GET", &format!("/stream/told/{length}")).await;
            let (text, is_whole) = body.rest().await;
            assert!(!is_whole, "{by:?} {length} {text}");
        }
        let answered = houses.answered(by, 3).await;
        assert!(answered[0].ends_with(" Whole"), "{answered:?}");
        assert!(answered[1..].iter().all(|told| told.ends_with(" Cut")), "{answered:?}");
        for length in ["5", "0", "x", "", "-1", "99999999999999999999"] {
            let target = format!("/stream/told/{length}/gated");
            let (status, _, _) = houses.ask(by, "GET", &target).await;
            assert_eq!(status, 500, "{by:?} {length}");
        }
        // Those whose head could not be sent are told so.
        let ended = houses.streams(by).until_ended(9).await;
        assert_eq!(ended.iter().filter(|end| **end == "gone").count(), 6, "{ended:?}");
        houses.streams(by).ended.lock().unwrap().clear();
        houses.house(by).echo.answered.lock().unwrap().clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_body_has_none_made() {
    let houses = Houses::new(HttpOptions::default()).await;
    for by in ALL {
        for (method, target, status, length) in [
            ("HEAD", "/stream/gated", 200, None),
            ("HEAD", "/stream/told/17/gated", 200, Some("17")),
            ("GET", "/stream/status/204/gated", 204, None),
            ("GET", "/stream/status/304/gated", 304, None),
        ] {
            let (got, headers, body) = houses.ask(by, method, target).await;
            assert_eq!(
                (got, body.rest().await),
                (status, (String::new(), true)),
                "{by:?} {target}"
            );
            let told = headers.get("content-length").map(|length| length.to_str().unwrap());
            assert_eq!(told, length, "{by:?} {method} {target}");
        }
        let ended = houses.streams(by).until_ended(4).await;
        assert_eq!(ended, ["gone"; 4], "{by:?}");
        houses.streams(by).ended.lock().unwrap().clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_as_those_of_a_whole_response() {
    let houses = Houses::new(HttpOptions::default()).await;
    for by in ALL {
        let (_, headers, body) = houses.ask(by, "GET", "/stream/bare/").await;
        assert_eq!(headers["content-type"], "application/octet-stream");
        assert!(!headers.contains_key("x-a") && !headers.contains_key("connection"), "{headers:?}");
        assert!(body.rest().await.1);
    }
    // A connection is kept behind it, and an old client knows the end by its close.
    let bytes = houses
        .plain
        .talk(
            "GET /stream/whole HTTP/1.1\r\nhost: h\r\n\r\n\
             GET /next HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
        )
        .await;
    assert_eq!(header(&bytes, "transfer-encoding"), Some("chunked"));
    assert!(
        bytes.contains("last\r\n0\r\n\r\nHTTP/1.1 200") && bytes.contains("GET /next"),
        "{bytes}"
    );
    let old = houses.plain.talk("GET /stream/whole HTTP/1.0\r\n\r\n").await;
    assert!(old.ends_with("\r\n\r\nfirst,second,last"), "{old}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_is_noticed_while_nothing_is_sent() {
    let houses = Houses::new(HttpOptions::default()).await;
    for by in ALL {
        let (_, _, mut body) = houses.ask(by, "GET", "/stream/gated").await;
        assert!(body.next().await.unwrap().is_ok());
        if let Reading::Http3(_, client) = &body {
            client.quic.close(0u32.into(), b"");
        }
        drop(body);
        assert_eq!(houses.streams(by).until_ended(1).await, ["gone"], "{by:?}");
        let answered = houses.answered(by, 1).await;
        assert_eq!(answered, ["GET /stream/gated 200 false 0 6 Gone"], "{by:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_holds_a_few_pieces_and_no_more() {
    // What lies in sockets, windows and buffers between: a hundredth of a GiB.
    const BETWEEN: u64 = 24 << 20;
    for by in ALL {
        let houses = Houses::new(HttpOptions::default()).await;
        let (_, _, body) = houses.ask(by, "GET", "/stream/flood").await;
        let streams = houses.streams(by);
        let mut before = 0;
        // Until nothing moves any more.
        loop {
            tokio::time::sleep(5 * SHORT).await;
            let given = streams.given.load(Ordering::SeqCst);
            if given == before && given > 0 {
                break;
            }
            before = given;
        }
        assert!(before * (PIECE as u64) < BETWEEN, "{by:?}: {before} pieces");
        drop(body);
        assert_eq!(streams.until_ended(1).await, ["gone"], "{by:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_is_waited_for_as_long_as_the_maker_says_and_then_cut() {
    for by in ALL {
        let houses = Houses::new(HttpOptions::default()).await;
        let (_, _, body) = houses.ask(by, "GET", "/stream/flood/late").await;
        assert_eq!(houses.streams(by).until_ended(1).await, ["late"], "{by:?}");
        let (text, is_whole) = body.rest().await;
        assert!(!is_whole && text.len() < 24 << 20, "{by:?} {}", text.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_of_the_maker_is_not_the_client_s_but_its_own_is() {
    let options = HttpOptions { idle_timeout: SHORT, ..HttpOptions::default() };
    for by in ALL {
        let houses = Houses::new(options.clone()).await;
        let (_, _, body) = houses.ask(by, "GET", "/stream/gated").await;
        tokio::time::sleep(10 * SHORT).await;
        houses.streams(by).open.store(1, Ordering::SeqCst);
        assert_eq!(body.rest().await, ("first,second,last".to_owned(), true), "{by:?}");
        let (_, _, body) = houses.ask(by, "GET", "/stream/flood").await;
        let ended = houses.streams(by).until_ended(2).await;
        assert_eq!(ended[1], "gone", "{by:?}");
        drop(body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drains_waits_for_streams_and_not_for_ever() {
    for by in ALL {
        for drain_timeout in [LONG, SHORT] {
            let options = HttpOptions { drain_timeout, ..HttpOptions::default() };
            let houses = Houses::new(options).await;
            let (_, _, mut body) = houses.ask(by, "GET", "/stream/gated").await;
            assert!(body.next().await.unwrap().is_ok());
            let Houses { plain, quic } = houses;
            let house = if by == By::Three { quic.house } else { plain };
            let draining = tokio::spawn(house.server.drain());
            if drain_timeout == LONG {
                tokio::time::sleep(2 * SHORT).await;
                assert!(!draining.is_finished());
                house.echo.streams.open.store(1, Ordering::SeqCst);
                assert_eq!(body.rest().await, ("second,last".to_owned(), true), "{by:?}");
            } else {
                assert!(!body.rest().await.1, "{by:?}");
                assert_eq!(house.echo.streams.until_ended(1).await, ["gone"]);
            }
            soon(draining).await.unwrap();
        }
    }
}
