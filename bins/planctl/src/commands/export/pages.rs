//! The rows of an export, a page at a time.
//!
//! What must stay true: rows come in the order of their keys, each once; a page
//! begins behind the last key of the page before. Rows out of order, or pages that do
//! not move, end the export: they would go on for ever, or leave rows out.
//!
//! All rows are scanned page by page; with a filter or fields they are those of one
//! query in the order of keys, fetched from its cursor. A cursor that the server let go
//! of is no end: the query is asked anew behind the last key.

use super::write::KEY;
use crate::failure::Failure;
use crate::session::{Answer, Session, unexpected};
use proto::doc::{Change, Doc};
use proto::{Key, Reply, Request, Status};

/// Rows of a page of a scan; the server sends fewer if they do not fit a reply.
const PAGE: u32 = 10_000;
/// Bytes of a page of a query.
const PAGE_BYTES: u32 = 4 << 20;

/// What rows are asked for.
pub(super) struct Pages<'a> {
    pub(super) store: &'a str,
    /// A condition of PQL.
    pub(super) filter: Option<&'a str>,
    /// The fields wanted; all, if there is none.
    pub(super) fields: &'a [String],
    /// Where the next page of the query is fetched from.
    cursor: Option<u64>,
    /// Whether rows have come since the query was asked last.
    moved: bool,
}

impl<'a> Pages<'a> {
    pub(super) fn new(store: &'a str, filter: Option<&'a str>, fields: &'a [String]) -> Pages<'a> {
        Pages { store, filter, fields, cursor: None, moved: true }
    }

    /// The page behind `after`: its rows go to `see`. Gives the last key, and whether
    /// there may be more.
    pub(super) fn page(
        &mut self,
        session: &mut Session,
        after: Option<Key>,
        see: impl FnOnce(&[(Key, Doc<'_>)]) -> Result<(), Failure>,
    ) -> Result<(Option<Key>, bool), Failure> {
        let answer = self.ask(session, after)?;
        let Reply::Rows(rows) = answer.reply()? else { return Err(unexpected()) };
        let mut last = after;
        let plucked = match self.fields {
            [] => Vec::new(),
            _ => rows.iter().map(|(_, bytes)| unkeyed(bytes)).collect::<Result<Vec<_>, _>>()?,
        };
        let whole = rows.iter().filter(|_| self.fields.is_empty());
        let plucked = plucked.iter().map(|(key, bytes)| (Some(*key), bytes.as_slice()));
        let page = whole
            .chain(plucked)
            .map(|(key, bytes)| {
                let key = key.filter(|key| last < Some(*key)).ok_or_else(unexpected)?;
                last = Some(key);
                Ok((key, Doc::parse(bytes).map_err(|_| unexpected())?))
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let scanned = self.filter.is_none() && self.fields.is_empty();
        let more = if scanned {
            match rows.next {
                Some(next) if after.is_none_or(|after| after < next) => {
                    last = Some(next);
                    true
                }
                Some(_) => return Err(unexpected()),
                None => false,
            }
        } else {
            self.cursor = rows.cursor;
            self.moved |= !page.is_empty();
            self.cursor.is_some()
        };
        see(&page)?;
        Ok((last, more))
    }

    fn ask(&mut self, session: &mut Session, after: Option<Key>) -> Result<Answer, Failure> {
        if self.filter.is_none() && self.fields.is_empty() {
            let request = Request::Scan { store: self.store, after, limit: PAGE, reverse: false };
            return session.ask(&request);
        }
        if let Some(cursor) = self.cursor.take() {
            let answer = session.ask(&Request::Fetch { cursor })?;
            // It expired, or its snapshot held back too much: rows that were exported stay
            // so. Anew only if that moved it, or it would not end.
            let gone = matches!(answer.outcome()?, Err((Status::UnknownCursor | Status::Busy, _)));
            if !gone || !self.moved {
                return Ok(answer);
            }
        }
        self.moved = false;
        let (text, parameters) = (self.text(after), None);
        session.ask(&Request::Stream { rows: 0, bytes: PAGE_BYTES, text: &text, parameters })
    }

    /// The query of what is left.
    fn text(&self, after: Option<Key>) -> String {
        let mut conditions = Vec::new();
        if let Some(after) = after {
            conditions.push(format!("key > \"{after}\""));
        }
        if let Some(filter) = self.filter {
            conditions.push(format!("({filter})"));
        }
        let mut text = self.store.to_owned();
        if !conditions.is_empty() {
            text += &format!(".filter({})", conditions.join(" and "));
        }
        text += ".orderBy(key)";
        if !self.fields.is_empty() {
            // Of plucked rows the server gives no keys but those that are plucked too.
            text += &format!(".pluck({KEY}, {})", self.fields.join(", "));
        }
        text
    }
}

/// A plucked row: its key, and the rest of it.
fn unkeyed(bytes: &[u8]) -> Result<(Key, Vec<u8>), Failure> {
    let doc = Doc::parse(bytes).map_err(|_| unexpected())?;
    let key = doc.get(KEY).and_then(|key| key.as_str()?.parse().ok()).ok_or_else(unexpected)?;
    Ok((key, doc.with(&[Change::Unset(KEY)]).map_err(|_| unexpected())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_behind_the_last_key() {
        let fields = ["a".to_owned(), "b.c".to_owned()];
        let pages = Pages::new("s", Some("a = 1 or b = 2"), &fields);
        assert_eq!(
            pages.text(Some(Key(5))),
            "s.filter(key > \"00000000000000000000000000000005\" and (a = 1 or b = 2))\
             .orderBy(key).pluck(key, a, b.c)"
        );
        assert_eq!(Pages::new("s", None, &fields).text(None), "s.orderBy(key).pluck(key, a, b.c)");
    }
}
