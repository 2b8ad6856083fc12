//! Server-Sent Events: what a browser's `EventSource` listens to.
//!
//! Invariant: no text of an event, whatever it holds, ends it or begins another.

use crate::{Request, Response};
use std::time::Duration;

/// Events on their way to a browser.
///
/// ```
/// use planck_sdk::{Events, Request, Response, Result};
/// use std::time::Duration;
///
/// /// A number each second; a browser that was away goes on where it was.
/// fn count(request: &Request<'_>) -> Result<Response> {
///     let last: u64 = request.last_event_id().and_then(|id| id.parse().ok()).unwrap_or(0);
///     let mut events = Events::new();
///     events.send(Some(&(last + 1).to_string()), None, "tick");
///     Ok(events.response().again(Duration::from_secs(1)))
/// }
/// # let answer = planck_sdk::testing::ask_with(count, "GET", "/", &[("last-event-id", "7")], b"");
/// # assert_eq!(answer.body, "id: 8\ndata: tick\n\n");
/// # assert_eq!(answer.header("planck-again-ms"), Some("1000"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Events {
    text: String,
}

impl Events {
    /// No events.
    pub fn new() -> Events {
        Events::default()
    }

    /// Adds an event: its id, by which a browser that comes back says where it was, its name
    /// (`message` if there is none), and its data.
    pub fn send(&mut self, id: Option<&str>, name: Option<&str>, data: &str) -> &mut Events {
        for (field, value) in [("event", name), ("id", id)] {
            if let Some(value) = value {
                self.line(field, &value.replace(['\r', '\n', '\0'], " "));
            }
        }
        // Each of the three ends of a line begins another in a browser's eyes.
        let data = data.replace("\r\n", "\n").replace('\r', "\n");
        data.split('\n').for_each(|line| self.line("data", line));
        self.text.push('\n');
        self
    }

    fn line(&mut self, field: &str, value: &str) {
        self.text.extend([field, ": ", value, "\n"]);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// 200 with the events. With [`Response::again`] the stream goes on.
    pub fn response(self) -> Response {
        Response::new(200)
            .header("content-type", "text/event-stream")
            .header("cache-control", "no-store")
            .body(self.text)
    }
}

impl Response {
    /// Has the host keep the response open and call the guest again after `time` (100 ms at
    /// least): of an event stream with the same request and the last id, of a WebSocket with
    /// the method `TICK`.
    #[must_use]
    pub fn again(self, time: Duration) -> Response {
        self.header("planck-again-ms", &time.as_millis().to_string())
    }
}

impl<'a> Request<'a> {
    /// The id of the last event that the browser has seen, or that was sent to it.
    pub fn last_event_id(&self) -> Option<&'a str> {
        self.header("last-event-id").filter(|id| !id.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_whatever_it_holds() {
        let mut events = Events::new();
        assert!(events.is_empty());
        events.send(None, None, "").send(Some("7\ndata: x"), Some("a\r\nb"), "1\n2\r3\r\n\r\n4");
        let response = events.response();
        let expected =
            "data: \n\nevent: a  b\nid: 7 data: x\ndata: 1\ndata: 2\ndata: 3\ndata: \ndata: 4\n\n";
        assert_eq!(crate::testing::ask(|_| Ok(response.clone()), "GET", "/", b"").body, expected);
    }
}
