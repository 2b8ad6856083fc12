//! Queries of the service's data, and their rows.
//!
//! What must stay true: one page of rows is in memory at a time, unless all are asked
//! for; a cursor that is not read to its end is closed.

use crate::host::call;
use crate::store::{decode, rows};
use crate::{Error, Result};
use proto::doc::{DocBuf, Value};
use proto::{Key, Reply, Request, Status};
use serde::de::DeserializeOwned;

/// A PQL query with parameters.
pub struct Query<'q> {
    text: &'q str,
    parameters: DocBuf,
    given: usize,
}

impl<'q> Query<'q> {
    /// A query, such as `flights.filter(origin = $1).limit(10)`.
    pub fn new(text: &'q str) -> Query<'q> {
        Query { text, parameters: DocBuf::new(), given: 0 }
    }

    /// The value of the next parameter: `$1`, then `$2`, ...
    #[must_use]
    pub fn param<'v>(mut self, value: impl Into<Value<'v>>) -> Query<'q> {
        self.given += 1;
        self.parameters.push(&self.given.to_string(), value);
        self
    }

    fn run<R>(self, page: u32, read: impl FnOnce(Reply<'_>) -> Result<R>) -> Result<R> {
        let bad = |e: proto::doc::DocError| Error::new(Status::BadParameter, e.to_string());
        let given = self.given;
        let parameters = self.parameters.finish().map_err(bad)?;
        let parameters = (given > 0).then_some(&parameters[..]);
        let text = self.text;
        match page {
            0 => call(&Request::Query { text, parameters }, read),
            rows => call(&Request::Stream { rows, bytes: 0, text, parameters }, read),
        }
    }

    /// The rows, each read as a `T`, all of them: [`Query::iter`] holds fewer at once.
    ///
    /// # Errors
    /// What the engine refused, or a row that is no `T`.
    pub fn rows<T: DeserializeOwned>(self) -> Result<Vec<T>> {
        self.iter(0)?.collect()
    }

    /// The rows, each read as a `T`, one after the other: `page` of them are fetched at a
    /// time (0: as many as fit a reply). All are of the moment the query was asked. What
    /// is not read when this is dropped is not read at all.
    ///
    /// # Errors
    /// What the engine refused. Later pages may be refused too: then an item says so.
    pub fn iter<T: DeserializeOwned>(self, page: u32) -> Result<Found<T>> {
        self.run(page, Found::page)
    }

    /// The number a `count()`, `set()` or `delete()` gives.
    ///
    /// # Errors
    /// What the engine refused.
    pub fn count(self) -> Result<u64> {
        self.run(0, |reply| match reply {
            Reply::Count(n) => Ok(n),
            _ => Err(Error::new(Status::BadQuery, "the query gives rows: end it with .count()")),
        })
    }
}

/// The rows of a query: see [`Query::iter`].
#[derive(Debug)]
pub struct Found<T> {
    page: std::vec::IntoIter<Result<T>>,
    /// Where to fetch the next page from.
    cursor: Option<u64>,
}

impl<T: DeserializeOwned> Found<T> {
    fn page(reply: Reply<'_>) -> Result<Found<T>> {
        let found = rows(reply)?;
        let read = |(key, bytes): (Option<Key>, _)| decode(key.unwrap_or_default(), bytes);
        let page: Vec<_> = found.iter().map(read).collect();
        Ok(Found { page: page.into_iter(), cursor: found.cursor })
    }
}

impl<T: DeserializeOwned> Iterator for Found<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(row) = self.page.next() {
                return Some(row);
            }
            let cursor = self.cursor.take()?;
            match call(&Request::Fetch { cursor }, Found::page) {
                Ok(next) => *self = next,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<T> Drop for Found<T> {
    fn drop(&mut self) {
        if let Some(cursor) = self.cursor.take() {
            // It goes with the call of the guest too.
            call(&Request::CloseCursor { cursor }, |_| Ok(())).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::set_host;
    use proto::ReplyWriter;
    use proto::bridge::to_doc;
    use proto::doc::Doc;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Item {
        name: String,
    }

    fn item(n: u128) -> Item {
        Item { name: format!("item {n}") }
    }

    #[test]
    fn a_query_carries_its_parameters_in_order() {
        set_host(|packet, reply| {
            let (id, request) = Request::decode(packet).unwrap();
            let Request::Query { text, parameters } = request else { panic!("{request:?}") };
            assert_eq!(text, "items.filter(a = $1 and b > $2).count()");
            let given = Doc::parse(parameters.unwrap()).unwrap();
            assert_eq!(given.get("1"), Some(Value::String("JFK")));
            assert_eq!(given.get("2"), Some(Value::Int32(60)));
            ReplyWriter::new(id, reply).count(12);
        });
        let query = || Query::new("items.filter(a = $1 and b > $2).count()").param("JFK").param(60);
        assert_eq!(query().count(), Ok(12));
        assert_eq!(query().rows::<Item>().unwrap_err().status, Status::Internal);
    }

    /// A host of one query, whose rows come in three pages, the last one empty; and what
    /// it was asked.
    fn three_pages() -> std::rc::Rc<std::cell::RefCell<Vec<String>>> {
        let asked = std::rc::Rc::<std::cell::RefCell<Vec<String>>>::default();
        let log = asked.clone();
        set_host(move |packet, reply| {
            let (id, request) = Request::decode(packet).unwrap();
            log.borrow_mut().push(format!("{request:?}"));
            let reply = ReplyWriter::new(id, reply);
            let mut rows = match request {
                Request::Query { .. } | Request::Stream { .. } => reply.rows(true),
                Request::Fetch { cursor: 7 | 8 } => reply.rows(true),
                Request::CloseCursor { .. } => return reply.empty(),
                _ => return reply.error(Status::UnknownCursor, "no such cursor"),
            };
            let (first, next) = match request {
                Request::Fetch { cursor: 7 } => (3, 8),
                Request::Fetch { .. } => return rows.finish(None),
                _ => (1, 7),
            };
            for n in first..first + 2 {
                rows.push(Key(n), &to_doc(&item(n)).unwrap());
            }
            rows.finish_with_cursor(next);
        });
        asked
    }

    #[test]
    fn rows_are_fetched_page_by_page() {
        let asked = three_pages();
        let items: Vec<Item> = (1..5).map(item).collect();
        assert_eq!(Query::new("items").rows::<Item>(), Ok(items.clone()));
        assert_eq!(asked.borrow().len(), 3);
        assert!(asked.borrow()[2].contains("Fetch { cursor: 8 }"));
        asked.borrow_mut().clear();
        let found = Query::new("items").iter::<Item>(2).unwrap();
        assert_eq!(found.take(3).collect::<Result<Vec<_>>>(), Ok(items[..3].to_vec()));
        let asked = asked.borrow();
        assert!(asked[0].contains("rows: 2"), "{asked:?}");
        assert_eq!(asked[1..], ["Fetch { cursor: 7 }", "CloseCursor { cursor: 8 }"]);
    }

    #[test]
    fn a_page_that_is_refused_is_the_last_item() {
        set_host(|packet, reply| {
            let (id, request) = Request::decode(packet).unwrap();
            let reply = ReplyWriter::new(id, reply);
            match request {
                Request::Stream { .. } => reply.rows(true).finish_with_cursor(7),
                _ => reply.error(Status::UnknownCursor, "expired"),
            }
        });
        let mut found = Query::new("items").iter::<Item>(2).unwrap();
        assert_eq!(found.next().unwrap().unwrap_err().status, Status::UnknownCursor);
        assert_eq!(found.next(), None);
    }
}
