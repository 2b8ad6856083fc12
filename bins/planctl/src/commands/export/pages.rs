//! The rows of an export, a page at a time.
//!
//! What must stay true: rows come in the order of their keys, each once; a page
//! begins behind the last key of the page before. A cursor that does not move, or
//! rows out of order, end the export: they would go on for ever, or leave rows out.

use super::write::KEY;
use crate::failure::Failure;
use crate::session::{Answer, Session, unexpected};
use proto::doc::{Change, Doc};
use proto::{Key, Reply, Request, Status};

/// Rows of a page; the server sends fewer if they do not fit a reply.
const PAGE: u32 = 10_000;

/// What rows are asked for.
pub(super) struct Pages<'a> {
    pub(super) store: &'a str,
    /// A condition of PQL.
    pub(super) filter: Option<&'a str>,
    /// The fields wanted; all, if there is none.
    pub(super) fields: &'a [String],
    /// Rows of this page and later ones.
    page: u32,
}

impl<'a> Pages<'a> {
    pub(super) fn new(store: &'a str, filter: Option<&'a str>, fields: &'a [String]) -> Pages<'a> {
        Pages { store, filter, fields, page: PAGE }
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
            !page.is_empty()
        };
        see(&page)?;
        Ok((last, more))
    }

    fn ask(&mut self, session: &mut Session, after: Option<Key>) -> Result<Answer, Failure> {
        if self.filter.is_none() && self.fields.is_empty() {
            let limit = self.page;
            let request = Request::Scan { store: self.store, after, limit, reverse: false };
            return session.ask(&request);
        }
        loop {
            let text = self.text(after);
            let answer = session.ask(&Request::Query { text: &text, parameters: None })?;
            let too_much = matches!(
                answer.outcome()?,
                Err((Status::QueryMemory | Status::MessageTooLarge, _))
            );
            if !too_much || self.page == 1 {
                return Ok(answer);
            }
            self.page = (self.page / 4).max(1);
        }
    }

    /// The query of a page.
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
        text += &format!(".orderBy(key).limit({})", self.page);
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
             .orderBy(key).limit(10000).pluck(key, a, b.c)"
        );
        assert_eq!(
            Pages::new("s", None, &fields).text(None),
            "s.orderBy(key).limit(10000).pluck(key, a, b.c)"
        );
    }
}
