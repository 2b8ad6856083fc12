//! WebSockets: each thing that happens on one is a call of its handler.
//!
//! Invariant: only the host can say that a request is one of a WebSocket's; no client can
//! send what it says so by.

use crate::{Request, Response};

/// A call that is about a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket<'a> {
    /// Of the connection, the same for all its calls: 32 digits that nobody can guess.
    pub id: &'a str,
    /// What happens.
    pub event: SocketEvent<'a>,
}

/// What happens on a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketEvent<'a> {
    /// A client asks for it: [`Response::accept`] accepts, every other response refuses.
    Open,
    /// A message came, which is text.
    Text(&'a str),
    /// A message came, which is bytes.
    Binary(&'a [u8]),
    /// The time has come that [`Response::again`] asked for.
    Tick,
    /// It has ended, by that code; 1006 if it broke off. Nobody hears the response.
    Closed(u16),
}

impl<'a> Request<'a> {
    /// What this call is about, if it is about a WebSocket.
    pub fn socket(&self) -> Option<Socket<'a>> {
        let id = self.header("planck-connection")?;
        let event = match self.method() {
            "GET" => SocketEvent::Open,
            "TICK" => SocketEvent::Tick,
            "CLOSE" => {
                let code = self.header("planck-close").and_then(|code| code.parse().ok());
                SocketEvent::Closed(code.unwrap_or(1006))
            }
            _ if self.header("planck-message") == Some("text") => {
                // The host takes no text that is none.
                SocketEvent::Text(std::str::from_utf8(self.body()).unwrap_or_default())
            }
            _ => SocketEvent::Binary(self.body()),
        };
        Some(Socket { id, event })
    }

    /// Whether the page that has a browser ask is of this very site, or no browser asks. Pages
    /// of every site can open WebSockets here, with the cookies of their visitors: a handler
    /// that trusts cookies refuses what is not of its own.
    pub fn is_same_origin(&self) -> bool {
        let Some(origin) = self.header("origin") else { return true };
        let named = origin.split_once("://").map(|(_, authority)| authority);
        let host = self.header("host");
        named.zip(host).is_some_and(|(named, host)| named.eq_ignore_ascii_case(host))
    }
}

impl Response {
    /// Accepts a WebSocket. A body is the first message.
    pub fn accept() -> Response {
        Response::new(101)
    }

    /// A message of text, as the answer to a call of a WebSocket.
    pub fn message(text: impl Into<String>) -> Response {
        Response::new(200).body(text.into())
    }

    /// A message of bytes, as the answer to a call of a WebSocket.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Response {
        Response::new(200).header("content-type", "application/octet-stream").body(bytes)
    }

    /// No message, as the answer to a call of a WebSocket.
    pub fn nothing() -> Response {
        Response::new(204)
    }

    /// Closes the WebSocket behind what is sent: 1000, or a code of one's own from 3000 to
    /// 4999, and a reason of 123 bytes at most.
    #[must_use]
    pub fn close(self, code: u16, reason: &str) -> Response {
        self.header("planck-close", &format!("{code} {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ask_with;
    use crate::{Result, Router};

    fn chat(request: &Request<'_>) -> Result<Response> {
        let socket = request.socket().expect("the router asks for nothing else");
        Ok(match socket.event {
            SocketEvent::Open if !request.is_same_origin() => Response::new(403),
            SocketEvent::Open => Response::accept(),
            SocketEvent::Text("bye") => Response::message("bye").close(4000, "said so"),
            SocketEvent::Text(text) => Response::message(format!("{}: {text}", socket.id)),
            SocketEvent::Binary(bytes) => Response::bytes(bytes),
            SocketEvent::Tick => Response::nothing(),
            SocketEvent::Closed(code) => Response::message(code.to_string()),
        })
    }

    fn handler(request: &Request<'_>) -> Result<Response> {
        let plain = |_: &Request<'_>| Ok(Response::text("plain"));
        Router::new().socket("/chat", chat).get("/page", plain).handle(request)
    }

    #[test]
    fn each_call_says_what_it_is_about() {
        let id = ("planck-connection", "7");
        let open = ("planck-websocket", "open");
        for (method, headers, body, status, expected) in [
            ("GET", &[id, open][..], &b""[..], 101, ""),
            ("GET", &[id, open, ("origin", "https://a"), ("host", "A")], b"", 101, ""),
            ("GET", &[id, open, ("origin", "https://b"), ("host", "a")], b"", 403, ""),
            ("GET", &[id, open, ("origin", "null"), ("host", "a")], b"", 403, ""),
            ("MESSAGE", &[id, ("planck-message", "text")], b"hi", 200, "7: hi"),
            ("MESSAGE", &[id, ("planck-message", "binary")], b"hi", 200, "hi"),
            ("TICK", &[id], b"", 204, ""),
            ("CLOSE", &[id, ("planck-close", "1001")], b"", 200, "1001"),
            ("GET", &[], b"", 426, "WebSocket"),
            ("POST", &[], b"", 426, "WebSocket"),
        ] {
            let answer = ask_with(handler, method, "/chat", headers, body);
            assert_eq!(answer.status, status, "{method} {headers:?}");
            assert!(answer.body.contains(expected), "{method} {headers:?} {}", answer.body);
        }
        let answer =
            ask_with(handler, "MESSAGE", "/chat", &[id, ("planck-message", "text")], b"bye");
        assert_eq!(answer.header("planck-close"), Some("4000 said so"));
        // Where there is none it is an ordinary request, which accepts nothing.
        assert_eq!(ask_with(handler, "GET", "/page", &[id, open], b"").body, "plain");
        assert_eq!(ask_with(handler, "MESSAGE", "/page", &[id], b"").status, 405);
    }
}
