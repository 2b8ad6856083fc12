//! Which handler answers which path.
//!
//! Invariant: a path that is known with another method is 405 with `Allow`; HEAD
//! is answered by GET's handler, whose body the server leaves out.

use crate::{Error, Request, Response, Result};
use std::borrow::Cow;

type Handler = fn(&Request<'_>) -> Result<Response>;

/// Stands for the calls of WebSockets in the list of routes: no request has it.
const SOCKET: &str = "(WebSocket)";

/// Routes, tried in the order they were added.
#[derive(Default)]
pub struct Router {
    routes: Vec<(&'static str, &'static str, Handler)>,
}

impl Router {
    /// No routes.
    pub fn new() -> Router {
        Router { routes: Vec::with_capacity(16) }
    }

    /// `handler` answers `method` on paths like `pattern`; a segment `{name}` of it
    /// stands for any one segment, which [`Request::param`] gives.
    #[must_use]
    pub fn route(
        mut self,
        method: &'static str,
        pattern: &'static str,
        handler: Handler,
    ) -> Router {
        self.routes.push((method, pattern, handler));
        self
    }

    /// [`Router::route`] for GET (and HEAD).
    #[must_use]
    pub fn get(self, pattern: &'static str, handler: Handler) -> Router {
        self.route("GET", pattern, handler)
    }

    /// [`Router::route`] for POST.
    #[must_use]
    pub fn post(self, pattern: &'static str, handler: Handler) -> Router {
        self.route("POST", pattern, handler)
    }

    /// `handler` answers every call of WebSockets on paths like `pattern`, their opening too:
    /// see [`Request::socket`].
    #[must_use]
    pub fn socket(self, pattern: &'static str, handler: Handler) -> Router {
        self.route(SOCKET, pattern, handler)
    }

    /// Answers a request.
    ///
    /// # Errors
    /// The handler's, or not found.
    pub fn handle(&self, request: &Request<'_>) -> Result<Response> {
        let method = if request.method() == "HEAD" { "GET" } else { request.method() };
        let mut allowed: Vec<&str> = Vec::new();
        let (is_socket, mut has_socket) = (request.socket().is_some(), false);
        for (other, pattern, handler) in &self.routes {
            let Some(params) = matches(pattern, request.path()) else { continue };
            if *other == SOCKET && !is_socket {
                has_socket = true;
                continue;
            }
            if *other == method || *other == SOCKET {
                return handler(&request.with_params(params));
            }
            if !allowed.contains(other) {
                allowed.push(other);
            }
        }
        if allowed.is_empty() && has_socket {
            return Ok(Response::text("there is a WebSocket here\n").status(426));
        }
        if allowed.is_empty() {
            return Err(Error::not_found(format!("there is nothing at {}", request.path())));
        }
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        let allow = allowed.join(", ");
        let text = format!("{} is not allowed here; allowed: {allow}\n", request.method());
        Ok(Response::text(text).status(405).header("allow", &allow))
    }
}

/// The named segments, if `path` is like `pattern`.
fn matches(pattern: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
    let is_same = |(wanted, given): &(u8, u8)| wanted == given && *wanted != b'{';
    let same = pattern.bytes().zip(path.bytes()).take_while(is_same).count();
    match pattern.as_bytes().get(same) {
        // Most routes are others: seen before anything is taken apart.
        Some(b'{') => {}
        None if same == path.len() => return Some(Vec::new()),
        _ => return None,
    }
    // What is alike up to the segment with the brace is not looked at again.
    let from = pattern[..same].rfind('/').map_or(0, |slash| slash + 1);
    let mut params = Vec::new();
    let (mut wanted, mut given) = (pattern[from..].split('/'), path[from..].split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(params),
            (Some(wanted), Some(given)) => match wanted.strip_prefix('{') {
                Some(name) if !given.is_empty() => {
                    params.push((name.trim_end_matches('}'), decode(given)?.into_owned()));
                }
                _ if wanted == given => {}
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// A segment without its percent signs; `None` if that is no UTF-8.
fn decode(segment: &str) -> Option<Cow<'_, str>> {
    percent_encoding::percent_decode_str(segment).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ask;

    fn handler(request: &Request<'_>) -> Result<Response> {
        let show = |request: &Request<'_>| Ok(Response::text(request.param("id").to_owned()));
        Router::new()
            .get("/", |_| Ok(Response::text("home")))
            .get("/items/{id}", show)
            .post("/items/{id}", |_| Err(Error::bad_request("no")))
            .get("/odd/x{id}/{id}", show)
            .handle(request)
    }

    #[test]
    fn paths_find_their_handlers() {
        for (method, target, status, body) in [
            ("GET", "/", 200, "home"),
            ("GET", "/items/7?x=1", 200, "7"),
            ("HEAD", "/items/7", 200, "7"),
            ("GET", "/items/a%2Fb", 200, "a/b"),
            ("GET", "/items/", 404, ""),
            ("GET", "/items/7/8", 404, ""),
            ("GET", "/items/%ff", 404, ""),
            ("GET", "/odd/x{id}/3", 200, "3"),
            ("GET", "/odd/x2/3", 404, ""),
            ("POST", "/items/7", 400, ""),
            ("PUT", "/items/7", 405, "GET, POST, HEAD"),
        ] {
            let answer = ask(handler, method, target, b"");
            assert_eq!(answer.status, status, "{method} {target}");
            assert!(answer.body.contains(body), "{method} {target}: {}", answer.body);
        }
        assert_eq!(ask(handler, "PUT", "/", b"").header("allow"), Some("GET, HEAD"));
    }
}
