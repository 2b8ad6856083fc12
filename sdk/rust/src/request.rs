//! An HTTP request as a handler sees it.

use crate::{Error, Result};
use proto::http::HttpRequest;
use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// A request, borrowed from the instance's buffer.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    raw: HttpRequest<'a>,
    path: &'a str,
    query: &'a str,
    params: Vec<(&'static str, String)>,
}

/// Pairs of a query string or a form.
#[derive(Clone, Debug)]
pub struct Params<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Params<'a> {
    fn parse(text: &'a [u8]) -> Self {
        Params(form_urlencoded::parse(text).collect())
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_ref())
    }

    /// Every pair, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

impl<'a> Request<'a> {
    pub(crate) fn new(raw: HttpRequest<'a>) -> Self {
        let (path, query) = raw.target.split_once('?').unwrap_or((raw.target, ""));
        Request { raw, path, query, params: Vec::new() }
    }

    pub(crate) fn with_params(&self, params: Vec<(&'static str, String)>) -> Request<'a> {
        Request { params, ..self.clone() }
    }

    /// `GET`, `POST`, ...
    pub fn method(&self) -> &'a str {
        self.raw.method
    }

    /// The path, as it was sent (percent-encoded).
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The part of the path that the route calls `{name}`, decoded; empty if the
    /// route has none of that name.
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value)
    }

    /// The first value of that name in the query string, decoded.
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        form_urlencoded::parse(self.query.as_bytes()).find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Everything in the query string, decoded.
    pub fn queries(&self) -> Params<'a> {
        Params::parse(self.query.as_bytes())
    }

    /// The first header of that name, if it is UTF-8; case does not matter.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.raw.headers.get(name)?).ok()
    }

    /// The client's address.
    pub fn peer(&self) -> &'a str {
        self.raw.peer
    }

    /// The whole body.
    pub fn body(&self) -> &'a [u8] {
        self.raw.body
    }

    /// The body as a form (`application/x-www-form-urlencoded`), decoded.
    pub fn form(&self) -> Params<'a> {
        Params::parse(self.raw.body)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// A bad request that says where it is wrong.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.raw.body)
            .map_err(|e| Error::bad_request(format!("the body is not the JSON expected here: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::http::{HeadersBuf, write_request};

    fn with<R>(target: &str, body: &[u8], check: impl FnOnce(Request<'_>) -> R) -> R {
        let mut headers = HeadersBuf::new();
        assert!(headers.push("accept", b"text/html"));
        let mut bytes = Vec::new();
        write_request(&mut bytes, "POST", target, "127.0.0.1:1", &headers, body);
        check(Request::new(HttpRequest::decode(&bytes).unwrap()))
    }

    #[test]
    fn queries_and_forms_are_decoded() {
        with("/a%20b?from=J%46K&x=a+b&x=2", b"name=%C3%A9&empty=", |request| {
            assert_eq!(request.path(), "/a%20b");
            assert_eq!(request.query("from").as_deref(), Some("JFK"));
            assert_eq!(request.query("x").as_deref(), Some("a b"));
            assert_eq!(request.query("none"), None);
            assert_eq!(request.queries().iter().count(), 3);
            assert_eq!(request.form().get("name"), Some("é"));
            assert_eq!(request.form().get("empty"), Some(""));
            assert_eq!(request.header("Accept"), Some("text/html"));
        });
    }

    #[test]
    fn a_body_that_is_no_json_is_a_bad_request() {
        with("/", b"{\"a\":", |request| {
            let error = request.json::<serde_json::Value>().unwrap_err();
            assert_eq!(error.status.http(), 400);
            assert!(error.message.contains("line 1"), "{error}");
        });
    }
}
