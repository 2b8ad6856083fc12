//! Event streams (`text/event-stream`) of guests that are asked again.
//!
//! What must stay true: between two calls of the guest nothing is held but the request and
//! a timer, which live in the response's body: when the client goes, they do. What is sent
//! is whole events; the guest is told the id of the last one, as a browser that comes
//! back would tell it.

use super::answer::call;
use super::body::ResponseBody;
use super::message::GuestRequest;
use super::pieces::{Giver, pieces};
use super::{HttpHandler, Shared};
use crate::traffic::Live;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// By which a guest asks to be called again, after so many milliseconds.
pub(super) const AGAIN: HeaderName = HeaderName::from_static("planck-again-ms");
/// How often it was called before, for this response.
const CALLS: HeaderName = HeaderName::from_static("planck-again");
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The shortest and the longest time between two calls.
const SOONEST: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_secs(3600);
/// The longest wait for a pool that is busy.
const BACK_OFF: Duration = Duration::from_secs(30);
/// Bytes of an event's id; one that is longer is passed over.
const ID_BYTES: usize = 1024;
/// A comment, which a browser passes over.
const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

/// The time a guest asks for, within bounds.
///
/// # Errors
/// It is no number.
pub(super) fn wanted(value: &HeaderValue) -> Result<Duration, String> {
    let millis = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let millis = millis.ok_or_else(|| "planck-again-ms is no number of milliseconds".to_owned())?;
    Ok(Duration::from_millis(millis).clamp(SOONEST, LATEST))
}

/// Whether a response is an event stream that can go on: it was asked for by GET.
pub(super) fn can_go_on(request: &GuestRequest, response: &Response<ResponseBody>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    request.method == Method::GET
        && request.body.is_empty()
        && response.status() == StatusCode::OK
        && kind.trim().eq_ignore_ascii_case("text/event-stream")
}

/// The same response with a body that goes on.
pub(super) fn go_on<H: HttpHandler>(
    shared: &Arc<Shared<H>>,
    request: Arc<GuestRequest>,
    id: &HeaderValue,
    response: Response<ResponseBody>,
    after: Duration,
    place: Live,
) -> Response<ResponseBody> {
    let (giver, more) = pieces();
    let events = Events {
        shared: Arc::clone(shared),
        request,
        id: id.clone(),
        calls: 0,
        giver,
        scan: Scan::default(),
        _place: place,
    };
    let (mut head, first) = response.into_parts();
    head.headers.remove(hyper::header::CONTENT_LENGTH);
    let body = ResponseBody::driven(more, Box::pin(events.run(first, after)));
    Response::from_parts(head, body)
}

struct Events<H> {
    shared: Arc<Shared<H>>,
    request: Arc<GuestRequest>,
    id: HeaderValue,
    calls: u64,
    giver: Giver,
    scan: Scan,
    _place: Live,
}

/// What a wait ended with.
#[derive(PartialEq)]
enum Waited {
    Over,
    Draining,
}

impl<H: HttpHandler> Events<H> {
    /// Dropped before its end, what it gives breaks off.
    async fn run(mut self, mut body: ResponseBody, mut after: Duration) {
        loop {
            while let Some(frame) = body.frame().await {
                // Cut where it is made: so is this.
                let Ok(frame) = frame else { return };
                let Ok(data) = frame.into_data() else { continue };
                self.scan.see(&data);
                self.giver.feed(data).await;
            }
            self.giver.feed(Bytes::from_static(self.scan.close())).await;
            let answer = loop {
                if self.wait(after).await == Waited::Draining {
                    return self.giver.finish(Bytes::new());
                }
                let answer = self.call().await;
                if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
                    break answer;
                }
                after = back_off(answer.headers());
            };
            let again = answer.headers().get(&AGAIN).map(wanted);
            if answer.status() == StatusCode::NO_CONTENT {
                return self.giver.finish(Bytes::new());
            }
            if !can_go_on(&self.request, &answer) {
                return self.say(&format!("it was answered {}", answer.status()));
            }
            body = answer.into_body();
            match again {
                Some(Ok(next)) => after = next,
                Some(Err(fault)) => return self.say(&fault),
                None => return self.end(body).await,
            }
        }
    }

    /// The last body.
    async fn end(mut self, mut body: ResponseBody) {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return };
            if let Ok(data) = frame.into_data() {
                self.scan.see(&data);
                self.giver.feed(data).await;
            }
        }
        self.giver.finish(Bytes::from_static(self.scan.close()));
    }

    /// Why it breaks off, for the log.
    fn say(&self, fault: &str) {
        let request_id = self.id.to_str().unwrap_or("-");
        tracing::warn!(path = self.request.path(), request_id, fault, "an event stream breaks off");
    }

    /// Waits, and lets the client's side know that there is somebody.
    async fn wait(&mut self, time: Duration) -> Waited {
        let mut closing = self.shared.closing.clone();
        let (until, beat) = (Instant::now() + time, self.shared.options.heartbeat);
        let mut next = Instant::now() + beat;
        loop {
            tokio::select! {
                biased;
                () = closing.wait() => return Waited::Draining,
                () = sleep_until(until) => return Waited::Over,
                () = sleep_until(next) => {}
            }
            next += beat;
            self.giver.feed(HEARTBEAT).await;
        }
    }

    /// Asks the guest the same again, with the id of the last event.
    async fn call(&mut self) -> Response<ResponseBody> {
        self.calls += 1;
        let mut request = GuestRequest::clone(&self.request);
        match &self.scan.id {
            Some(id) if id.is_empty() => drop(request.headers.remove(LAST_EVENT_ID)),
            Some(id) => drop(request.headers.insert(LAST_EVENT_ID, id.clone())),
            None => {}
        }
        request.headers.insert(CALLS, HeaderValue::from(self.calls));
        call(&self.shared, Arc::new(request), &self.id).await
    }
}

/// How long to leave a busy pool alone.
pub(super) fn back_off(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1)).clamp(SOONEST, BACK_OFF)
}

/// Reads what is sent for the ids in it.
#[derive(Debug, Default)]
struct Scan {
    /// The line that has begun, as far as it can be one of an id.
    line: Vec<u8>,
    is_too_long: bool,
    /// The last line ended by a carriage return; a line feed next belongs to it.
    after_return: bool,
    /// The last line was not empty: an event may not be over.
    is_open: bool,
    /// The last id, if there was one.
    id: Option<HeaderValue>,
}

impl Scan {
    fn see(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if self.after_return && !rest.is_empty() {
            self.after_return = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            self.add(&rest[..at]);
            self.end_line();
            let is_return = rest[at] == b'\r';
            rest = &rest[at + 1..];
            match rest.strip_prefix(b"\n") {
                Some(behind) if is_return => rest = behind,
                None if is_return && rest.is_empty() => self.after_return = true,
                _ => {}
            }
        }
        self.add(rest);
    }

    fn add(&mut self, part: &[u8]) {
        // A little more than an id and its name need.
        self.is_too_long |= self.line.len() + part.len() > ID_BYTES + 4;
        if !self.is_too_long {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) {
        self.is_open = self.is_too_long || !self.line.is_empty();
        if !self.is_too_long
            && let Some(id) = id_in(&self.line)
        {
            self.id = Some(id);
        }
        self.line.clear();
        self.is_too_long = false;
    }

    /// What has to be sent for the last event to be whole.
    fn close(&mut self) -> &'static [u8] {
        let is_in_line = self.is_too_long || !self.line.is_empty();
        if is_in_line {
            self.end_line();
        }
        let is_open = std::mem::take(&mut self.is_open);
        let after_return = std::mem::take(&mut self.after_return);
        match (is_in_line, is_open) {
            (false, false) => b"",
            // Behind a carriage return one line feed would belong to it.
            (false, true) if !after_return => b"\n",
            _ => b"\n\n",
        }
    }
}

/// The id that a line gives, if it does.
fn id_in(line: &[u8]) -> Option<HeaderValue> {
    let value = match line.strip_prefix(b"id")? {
        [] => &[],
        [b':', b' ', value @ ..] | [b':', value @ ..] => value,
        _ => return None,
    };
    // One that no header can hold a browser could not send either.
    (value.len() <= ID_BYTES).then(|| HeaderValue::from_bytes(value).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(pieces: &[&[u8]]) -> (Option<String>, &'static [u8]) {
        let mut scan = Scan::default();
        pieces.iter().for_each(|piece| scan.see(piece));
        let close = scan.close();
        assert_eq!(scan.close(), b"", "closed once");
        (scan.id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned()), close)
    }

    #[test]
    fn the_last_id_is_found_however_its_bytes_come_and_lines_end() {
        for (text, id, close) in [
            ("", None, ""),
            ("data: x\n\n", None, ""),
            ("id: 7\ndata: x\n\n", Some("7"), ""),
            ("id:7\r\ndata: x\r\n\r\n", Some("7"), ""),
            ("id: 7\rid: 8\r\r", Some("8"), ""),
            ("id:  7 \n\n", Some(" 7 "), ""),
            ("id: 7\n\nid\n\n", Some(""), ""),
            ("id: 7\n\nid:\n\n", Some(""), ""),
            ("id: 7\n\nidx: 8\n\nxid: 9\n\n: id: 10\n\n", Some("7"), ""),
            ("id: 7\n\nid: \x01\n\n", Some("7"), ""),
            ("data: x", None, "\n\n"),
            ("data: x\n", None, "\n"),
            ("data: x\r\n", None, "\n"),
            ("data: x\r", None, "\n\n"),
            ("id: 7", Some("7"), "\n\n"),
            ("id: \u{e9}\n\n", Some("\u{e9}"), ""),
        ] {
            let expected = (id.map(str::to_owned), close.as_bytes());
            assert_eq!(scanned(&[text.as_bytes()]), expected, "{text:?}");
            for at in 0..=text.len() {
                let (one, two) = text.as_bytes().split_at(at);
                assert_eq!(scanned(&[one, two]), expected, "{text:?} {at}");
            }
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(scanned(&bytes), expected, "{text:?}");
        }
    }

    #[test]
    fn an_id_is_bounded() {
        let fits = format!("id: {}\n\n", "x".repeat(ID_BYTES));
        assert_eq!(scanned(&[fits.as_bytes()]).0.map(|id| id.len()), Some(ID_BYTES));
        let long = format!("id: 1\nid: {}\n\n", "x".repeat(ID_BYTES + 1));
        assert_eq!(scanned(&[long.as_bytes()]).0.as_deref(), Some("1"));
        let mut scan = Scan::default();
        (0..10_000).for_each(|_| scan.see(b"data data data "));
        assert!(scan.line.capacity() < 8 * ID_BYTES);
        scan.see(b"\nid: 2\n\n");
        assert_eq!(scan.id.unwrap(), "2");
    }

    #[test]
    fn times_have_bounds() {
        let of = |text: &str| wanted(&HeaderValue::from_str(text).unwrap());
        assert_eq!(of("250"), Ok(Duration::from_millis(250)));
        assert_eq!((of("0"), of("99")), (Ok(SOONEST), Ok(SOONEST)));
        assert_eq!((of("100"), of("99999999999")), (Ok(SOONEST), Ok(LATEST)));
        for bad in ["", "x", "-1", "1.5", "99999999999999999999999"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        let after = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            back_off(&HeaderMap::from_iter([(RETRY_AFTER, value)]))
        };
        assert_eq!(after("7"), Duration::from_secs(7));
        assert_eq!((after("0"), after("900")), (SOONEST, BACK_OFF));
        assert_eq!(
            (after("x"), back_off(&HeaderMap::new())),
            (Duration::from_secs(1), Duration::from_secs(1))
        );
    }
}
