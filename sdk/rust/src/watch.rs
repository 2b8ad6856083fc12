//! Event streams that the host follows by itself: the guest says of which stores, and is
//! not called again.
//!
//! Invariant: what a guest answers with is one header of ASCII, whatever its filter and its
//! parameters hold.

use crate::{Error, Response, Result};
use proto::Key;
use proto::doc::{DocBuf, Value};
use proto::{Status, json};

/// What a browser is to be told of as it changes: who may be told is for the guest to
/// decide, before it answers so.
///
/// ```
/// use planck_sdk::{Request, Response, Result, Watch};
///
/// /// The orders of who asks, as they change.
/// fn orders(request: &Request<'_>) -> Result<Response> {
///     let user = request.header("x-user").unwrap_or("nobody");
///     Watch::of("orders").filter("user = $1").param(user).fields(&["total", "state"]).response()
/// }
/// # let answer = planck_sdk::testing::ask_with(orders, "GET", "/", &[("x-user", "é")], b"");
/// # assert_eq!(answer.header("content-type"), Some("text/event-stream"));
/// # assert_eq!(answer.header("planck-watch"), Some(
/// #     r#"{"stores":[{"store":"orders","filter":"user = $1","fields":["total","state"],"#.to_owned()
/// #         + r#""parameters":{"1":"\u00e9"}}]}"#).as_deref());
/// ```
pub struct Watch<'w> {
    done: Vec<Of<'w>>,
    of: Of<'w>,
    since: Option<&'w str>,
}

/// What of one store.
struct Of<'w> {
    store: &'w str,
    filter: Option<&'w str>,
    operations: &'w [&'w str],
    fields: &'w [&'w str],
    keys: Option<(Key, Key)>,
    before: bool,
    parameters: DocBuf,
    given: usize,
}

impl<'w> Of<'w> {
    fn new(store: &'w str) -> Of<'w> {
        let (operations, fields, parameters) = (&[][..], &[][..], DocBuf::new());
        let (filter, keys, before, given) = (None, None, false, 0);
        Of { store, filter, operations, fields, keys, before, parameters, given }
    }

    fn write(self, doc: &mut DocBuf) -> Result<()> {
        let bad = |e: proto::doc::DocError| Error::new(Status::BadParameter, e.to_string());
        doc.push("store", self.store);
        doc.extend(self.filter.map(|filter| ("filter", Value::String(filter))));
        for (name, words) in [("operations", self.operations), ("fields", self.fields)] {
            if !words.is_empty() {
                doc.begin_array(name);
                words.iter().for_each(|word| {
                    doc.item(*word);
                });
                doc.end();
            }
        }
        if let Some((from, to)) = self.keys {
            doc.push("from", &from.to_string()).push("to", &to.to_string());
        }
        if self.before {
            doc.push("before", true);
        }
        let parameters = self.parameters.finish().map_err(bad)?;
        if self.given > 0 {
            doc.push("parameters", crate::Doc::parse(&parameters).map_err(bad)?);
        }
        Ok(())
    }
}

impl<'w> Watch<'w> {
    /// Of a store: all of it, unless less is said.
    pub fn of(store: &'w str) -> Watch<'w> {
        Watch { done: Vec::new(), of: Of::new(store), since: None }
    }

    /// Of another store too: what is said next is of that one.
    #[must_use]
    pub fn and(mut self, store: &'w str) -> Watch<'w> {
        self.done.push(std::mem::replace(&mut self.of, Of::new(store)));
        self
    }

    /// Only documents that meet a condition, as `filter(..)` of PQL takes it.
    #[must_use]
    pub fn filter(mut self, condition: &'w str) -> Watch<'w> {
        self.of.filter = Some(condition);
        self
    }

    /// The value of its next parameter: `$1`, then `$2`, ...
    #[must_use]
    pub fn param<'v>(mut self, value: impl Into<Value<'v>>) -> Watch<'w> {
        self.of.given += 1;
        self.of.parameters.push(&self.of.given.to_string(), value);
        self
    }

    /// Only these of `insert`, `update` and `delete`.
    #[must_use]
    pub fn operations(mut self, names: &'w [&'w str]) -> Watch<'w> {
        self.of.operations = names;
        self
    }

    /// Of documents these fields alone.
    #[must_use]
    pub fn fields(mut self, paths: &'w [&'w str]) -> Watch<'w> {
        self.of.fields = paths;
        self
    }

    /// Only documents between two keys, both included.
    #[must_use]
    pub fn between(mut self, from: Key, to: Key) -> Watch<'w> {
        self.of.keys = Some((from, to));
        self
    }

    /// With the documents as they were before; the store must keep them.
    #[must_use]
    pub fn with_before(mut self) -> Watch<'w> {
        self.of.before = true;
        self
    }

    /// From behind that event, for who does not say where it was.
    #[must_use]
    pub fn since(mut self, token: &'w str) -> Watch<'w> {
        self.since = Some(token);
        self
    }

    /// 200, and from then on the events, until the client goes. It goes on by itself where
    /// an `EventSource` was when it comes back; `gap` events say that it could not.
    ///
    /// # Errors
    /// Parameters that are no document.
    pub fn response(mut self) -> Result<Response> {
        let bad = |e: proto::doc::DocError| Error::new(Status::BadParameter, e.to_string());
        self.done.push(self.of);
        let mut doc = DocBuf::new();
        doc.begin_array("stores");
        for of in self.done {
            doc.begin_item_doc();
            of.write(&mut doc)?;
            doc.end();
        }
        doc.end();
        doc.extend(self.since.map(|since| ("since", Value::String(since))));
        let doc = doc.finish().map_err(bad)?;
        let text = json::to_json(crate::Doc::parse(&doc).map_err(bad)?);
        Ok(Response::new(200)
            .header("content-type", "text/event-stream")
            .header("cache-control", "no-store")
            .header("planck-watch", &ascii(&text)))
    }
}

/// JSON with all that is no ASCII escaped.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii_graphic() || c == ' ' {
            out.push(c);
            continue;
        }
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(watch: Watch<'_>) -> String {
        let response = watch.response().unwrap();
        let answer = crate::testing::ask(|_| Ok(response.clone()), "GET", "/", b"");
        answer.header("planck-watch").unwrap().to_owned()
    }

    #[test]
    fn all_of_it_stands_in_one_header() {
        let watch = Watch::of("a")
            .operations(&["insert", "delete"])
            .between(Key(1), Key(2))
            .with_before()
            .and("b")
            .filter("t = $1 and n > $2")
            .param("\u{1F600}\u{7f}\n\"")
            .param(5)
            .since("t.1.2.3");
        let (from, to) = (Key(1).to_string(), Key(2).to_string());
        let a = format!(
            r#"{{"store":"a","operations":["insert","delete"],"from":"{from}","to":"{to}","before":true}}"#
        );
        let b = r#"{"store":"b","filter":"t = $1 and n > $2","parameters":{"1":"\ud83d\ude00\u007f\n\"","2":5}}"#;
        assert_eq!(header(watch), format!(r#"{{"stores":[{a},{b}],"since":"t.1.2.3"}}"#));
        assert_eq!(header(Watch::of("a")), r#"{"stores":[{"store":"a"}]}"#);
    }
}
