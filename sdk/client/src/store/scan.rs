//! Documents in key order, a page at a time.
//!
//! What must stay true: it is of no session: between two pages no connection is held, and
//! a page that failed may be asked for again. No document that is there all the time is
//! left out or given twice, whatever is written meanwhile.

use super::Store;
use crate::answer::{Row, decode, rows};
use crate::{Error, Result};
use proto::Key;
use serde::de::DeserializeOwned;

/// Documents of a store: see [`Store::scan`] and [`Store::range`].
#[derive(Debug)]
pub struct Scan<T> {
    store: Store<T>,
    /// What is left to be asked for, both ends included.
    left: Option<(Key, Key)>,
    limit: u32,
    reverse: bool,
    page: std::vec::IntoIter<Result<Row<T>>>,
}

impl<T: DeserializeOwned> Scan<T> {
    pub(super) fn new(store: Store<T>, left: Option<(Key, Key)>) -> Scan<T> {
        Scan { store, left, limit: 0, reverse: false, page: Vec::new().into_iter() }
    }

    /// From the last document to the first.
    #[must_use]
    pub fn reverse(mut self) -> Scan<T> {
        self.reverse = true;
        self
    }

    /// How many documents come at a time; 0, as it is at first: as many as fit a reply.
    #[must_use]
    pub fn page(mut self, documents: u32) -> Scan<T> {
        self.limit = documents;
        self
    }

    /// The next document; `None` after the last one.
    ///
    /// # Errors
    /// A document that is no `T`: the next one may be. What kept the server from giving
    /// the next page, which is asked for again the next time.
    pub async fn next(&mut self) -> Result<Option<Row<T>>> {
        loop {
            if let Some(row) = self.page.next() {
                return row.map(Some);
            }
            let Some((from, to)) = self.left else { return Ok(None) };
            let answer = self.store.page((from, to), self.limit, self.reverse).await?;
            let found = rows(answer.reply()?)?;
            self.left = found.next.and_then(|last| match self.reverse {
                false => last.next().map(|next| (next, to)),
                true => last.previous().map(|next| (from, next)),
            });
            self.left = self.left.filter(|(from, to)| from <= to);
            let read = |(key, bytes): (Option<Key>, _)| {
                let key = key.unwrap_or_default();
                Ok(Row { key, value: decode(Some(key), bytes)? })
            };
            self.page = found.iter().map(read).collect::<Vec<_>>().into_iter();
        }
    }

    /// All of them, at most so many: more are an error.
    ///
    /// # Errors
    /// As [`Scan::next`]; [`Error::TooManyRows`].
    pub async fn all(mut self, most: usize) -> Result<Vec<Row<T>>> {
        let mut all = Vec::new();
        while let Some(row) = self.next().await? {
            if all.len() >= most {
                return Err(Error::TooManyRows(most));
            }
            all.push(row);
        }
        Ok(all)
    }
}
