//! Queries, and their rows as they come.
//!
//! What must stay true: a query that is not read to its end keeps its connection until
//! it is dropped, and its cursor is closed then, or the connection is: nobody waits for
//! the place of rows that are gone longer than [`CLOSING`]. One page is asked for ahead at most,
//! and only once half of the page before was taken. Dropping the future of
//! [`Rows::next`] loses no row.

use crate::answer::{Answer, Found, decode, rows, wrong};
use crate::client::Client;
use crate::transaction::Carrier;
use crate::{Error, Fate, Result, retry};
use proto::bridge::to_doc;
use proto::doc::{Doc, DocBuf, Value};
use proto::{Key, Reply, Request, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Rows and bytes of a page, if nothing else is asked for.
const PAGE: (u32, u32) = (1000, 1 << 20);
/// How long a cursor nobody wants any more may take to be closed, with what was asked of
/// it before. A new connection takes less.
const CLOSING: Duration = Duration::from_secs(1);

/// A query that has not been asked yet: see [`Client::query`].
#[must_use = "a query is asked by what is called on it"]
pub struct Query<'q> {
    client: Client,
    text: &'q str,
    parameters: Result<Option<Vec<u8>>>,
    page: (u32, u32),
}

impl<'q> Query<'q> {
    pub(crate) fn new(client: Client, text: &'q str, given: &impl Serialize) -> Query<'q> {
        Query { client, text, parameters: parameters(given), page: PAGE }
    }

    pub(crate) fn with(client: Client, text: &'q str, parameters: Option<Vec<u8>>) -> Query<'q> {
        Query { client, text, parameters: Ok(parameters), page: PAGE }
    }

    /// How many rows, and how many bytes of them, come at a time (0: as many as fit a
    /// reply). A page is in memory, and the next one may be.
    pub fn page(mut self, rows: u32, bytes: u32) -> Query<'q> {
        self.page = (rows, bytes);
        self
    }

    /// Whether it is known to change nothing, and so is asked again where that helps.
    pub fn reads(&self) -> bool {
        retry::reads(self.text)
    }

    /// The rows, each as a `T`, one after the other. All are of the moment the query was
    /// asked.
    ///
    /// # Errors
    /// What the server refused, and what kept it from answering. A query that is known
    /// to read is asked again where that helps; its later pages are not.
    pub async fn rows<T: DeserializeOwned>(self) -> Result<Rows<T>> {
        let (connection, answer) = self.ask().await?;
        let mut found = Rows { page: Vec::new().into_iter(), half: 0, source: Source::Ended };
        found.turn(connection, answer)?;
        Ok(found)
    }

    /// All rows, at most so many: more are an error.
    ///
    /// # Errors
    /// As [`Query::rows`]; [`Error::TooManyRows`].
    pub async fn all<T: DeserializeOwned>(self, most: usize) -> Result<Vec<Found<T>>> {
        let mut rows = self.rows().await?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().await? {
            if all.len() >= most {
                return Err(Error::TooManyRows(most));
            }
            all.push(row);
        }
        Ok(all)
    }

    /// The first row, if there is one. Say `limit(1)` if no more is wanted.
    ///
    /// # Errors
    /// As [`Query::rows`].
    pub async fn first<T: DeserializeOwned>(self) -> Result<Option<Found<T>>> {
        self.rows().await?.next().await
    }

    /// The number that a `count()`, or a change without `returning()`, gives.
    ///
    /// # Errors
    /// As [`Query::rows`], or the query gives something else.
    pub async fn count(self) -> Result<u64> {
        self.run().await?.count()
    }

    /// The key that an `insert` gives.
    ///
    /// # Errors
    /// As [`Query::rows`], or the query gives something else.
    pub async fn key(self) -> Result<Key> {
        self.run().await?.key()
    }

    /// Asks, and gives whatever is answered, if all of it fits one page.
    ///
    /// # Errors
    /// As [`Query::rows`]; there are more rows than fit a page.
    pub async fn run(self) -> Result<Answer> {
        let (connection, answer) = self.ask().await?;
        match cursor_of(&answer)? {
            None => Ok(answer),
            Some(cursor) => {
                Source::Here(Box::new(connection), cursor).end();
                Err(wrong("single page", "the query has many rows: read them with rows()"))
            }
        }
    }

    async fn ask(self) -> Result<(Carrier, Answer)> {
        let parameters = self.parameters?;
        let (rows, bytes) = self.page;
        let parameters = parameters.as_deref();
        self.client.ask(&Request::Stream { rows, bytes, text: self.text, parameters }).await
    }
}

impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("text", &self.text).finish_non_exhaustive()
    }
}

/// The document of parameters, `{"1": .., "2": ..}`, of a list of values.
pub(crate) fn parameters(given: &impl Serialize) -> Result<Option<Vec<u8>>> {
    #[derive(Serialize)]
    struct Given<'a, P> {
        given: &'a P,
    }
    let listed = to_doc(&Given { given }).map_err(Error::NoDocument)?;
    let list = match Doc::trusted(&listed).get("given") {
        Some(Value::Array(list)) => list,
        Some(Value::Null) => return Ok(None),
        _ => {
            return Err(Error::invalid(
                "the parameters of a query are a tuple or a list, such as (\"JFK\", 60), or ()",
            ));
        }
    };
    let mut numbered = DocBuf::new();
    for (at, value) in list.iter().enumerate() {
        numbered.push(&(at + 1).to_string(), value);
    }
    let numbered = numbered.finish().map_err(|error| Error::NoDocument(error.into()))?;
    Ok((!list.is_empty()).then_some(numbered))
}

/// The rows of a query. Read to its end or dropped, it gives its connection back.
#[derive(Debug)]
pub struct Rows<T> {
    page: std::vec::IntoIter<Result<Found<T>>>,
    /// Once so few are left, the next page is asked for.
    half: usize,
    source: Source,
}

/// Where the next page comes from.
#[derive(Debug)]
enum Source {
    /// There is none.
    Ended,
    /// From this cursor, when somebody asks.
    Here(Box<Carrier>, u64),
    /// It is on its way.
    Ahead(JoinHandle<Result<(Carrier, Answer)>>),
}

impl<T: DeserializeOwned> Rows<T> {
    /// The next row; `None` after the last one.
    ///
    /// # Errors
    /// A row that is no `T`: the next may be one. What kept the server from giving the
    /// next page: then there is no further row.
    pub async fn next(&mut self) -> Result<Option<Found<T>>> {
        loop {
            if let Some(row) = self.page.next() {
                if self.page.len() <= self.half {
                    self.source.look_ahead();
                }
                return row.map(Some);
            }
            self.source.look_ahead();
            // Dropped while it waits, the page is waited for the next time.
            let Source::Ahead(coming) = &mut self.source else { return Ok(None) };
            let came = coming.await;
            self.source = Source::Ended;
            let (connection, answer) = came.map_err(|error| Error::Lost {
                source: io::Error::other(error),
                fate: Fate::Unknown,
            })??;
            self.turn(connection, answer)?;
        }
    }

    /// Lets go of what was not read, and waits until the server has done so too.
    pub async fn close(mut self) {
        std::mem::replace(&mut self.source, Source::Ended).close().await;
    }

    /// Another page.
    fn turn(&mut self, connection: Carrier, answer: Answer) -> Result<()> {
        let found = rows(answer.reply()?)?;
        let read = |(key, bytes)| Ok(Found { key, value: decode(key, bytes)? });
        self.page = found.iter().map(read).collect::<Vec<_>>().into_iter();
        self.half = self.page.len() / 2;
        if let Some(cursor) = found.cursor {
            self.source = Source::Here(Box::new(connection), cursor);
        }
        Ok(())
    }
}

impl Source {
    /// Asks for the next page, if there may be one.
    fn look_ahead(&mut self) {
        if let Source::Here(..) = self
            && let Source::Here(mut connection, cursor) = std::mem::replace(self, Source::Ended)
        {
            *self = Source::Ahead(tokio::spawn(async move {
                match connection.ask(&Request::Fetch { cursor }).await {
                    Ok(answer) => Ok((*connection, answer)),
                    Err(error) => {
                        // Refused before it began, it has left the cursor where it was.
                        if error.status().is_some_and(|status| status != Status::UnknownCursor) {
                            Source::Here(connection, cursor).end();
                        }
                        Err(error)
                    }
                }
            }));
        }
    }

    /// Closes the cursor, so that the connection is as good as new; else closes that.
    async fn close(self) {
        let until = Instant::now() + CLOSING;
        let (mut connection, cursor) = match self {
            Source::Ended => return,
            Source::Here(connection, cursor) => (connection, cursor),
            Source::Ahead(mut coming) => {
                let came = match timeout_at(until, &mut coming).await {
                    Ok(came) => came,
                    // In the middle of a call: its connection goes with it.
                    Err(_) => return coming.abort(),
                };
                let Ok(Ok((connection, answer))) = came else { return };
                let Ok(Some(cursor)) = cursor_of(&answer) else { return };
                (Box::new(connection), cursor)
            }
        };
        let closed = timeout_at(until, connection.ask(&Request::CloseCursor { cursor })).await;
        let closed = match closed {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => error.status() == Some(Status::UnknownCursor),
            Err(_) => false,
        };
        if !closed {
            connection.discard();
        }
    }

    /// [`Source::close`] for who does not wait.
    fn end(self) {
        match (self, Handle::try_current()) {
            (Source::Ended, _) => {}
            (source, Ok(runtime)) => {
                runtime.spawn(source.close());
            }
            // Outside of a runtime nothing can be asked.
            (Source::Here(mut connection, _), Err(_)) => connection.discard(),
            (Source::Ahead(coming), Err(_)) => coming.abort(),
        }
    }
}

impl<T> Drop for Rows<T> {
    fn drop(&mut self) {
        std::mem::replace(&mut self.source, Source::Ended).end();
    }
}

/// The cursor an answer names, if there may be more.
fn cursor_of(answer: &Answer) -> Result<Option<u64>> {
    Ok(match answer.reply()? {
        Reply::Rows(rows) => rows.cursor,
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::json::to_json;

    fn shown(given: &impl Serialize) -> Option<String> {
        parameters(given).unwrap().map(|bytes| to_json(Doc::parse(&bytes).unwrap()))
    }

    #[test]
    fn parameters_are_numbered_from_one() {
        assert_eq!(shown(&("JFK", 60)).unwrap(), r#"{"1":"JFK","2":60}"#);
        assert_eq!(shown(&[1, 2, 3]).unwrap(), r#"{"1":1,"2":2,"3":3}"#);
        assert_eq!(shown(&(Some("x"), None::<i32>)).unwrap(), r#"{"1":"x","2":null}"#);
        assert_eq!(shown(&()), None);
        assert_eq!(shown(&Vec::<i32>::new()), None);
    }

    #[test]
    fn other_values_are_no_parameters() {
        for error in [parameters(&"JFK"), parameters(&std::collections::BTreeMap::from([("a", 1)]))]
        {
            assert!(error.unwrap_err().to_string().contains("a tuple or a list"));
        }
    }
}
