//! An operation of a commit as a watcher is told of it.
//!
//! What must stay true: a document that does not meet the filter is never given, as it
//! is nor as it was; of an update only that one of them does, if both are known. A delete
//! of which it is not known what was there is told, by its key.

use std::borrow::Cow;

use lsm::{Op, Told};
use proto::Key;
use proto::doc::{Doc, DocBuf, MAX_DEPTH, Value};

use super::spec::StoreSpec;
use crate::Refusal;
use crate::query::{self, Outcome};

/// What an event has beside names, documents and keys, with room to spare.
const AROUND: usize = 256;
/// How deep a document may be to be part of a page: that, its events, an event.
const DEPTH: usize = MAX_DEPTH - 3;

/// See the module.
pub(super) struct Event<'a> {
    /// Its position among the operations of the commit, from 1 on.
    pub(super) at: u32,
    /// Which of the stores that are watched.
    pub(super) store: usize,
    op: &'static str,
    key: Key,
    document: Option<Cow<'a, [u8]>>,
    before: Option<Cow<'a, [u8]>>,
    /// It met the filter before, and does not now; the other way round.
    leaves: bool,
    enters: bool,
    /// A document was left out, since no message can hold it.
    omitted: bool,
}

impl<'a> Event<'a> {
    /// `None`: the watcher is not told.
    pub(super) fn of(
        spec: &StoreSpec<'_>,
        (at, store): (u32, usize),
        told: &Told<'a>,
    ) -> Result<Option<Event<'a>>, Refusal> {
        let (key, document) = match told.op {
            Op::Put(_, key, document) => (key, Some(document)),
            Op::Delete(_, key) => (key, None),
            Op::DropKeyspace(_) => return Ok(None),
        };
        let Ok(bytes) = <[u8; 16]>::try_from(key) else { return Ok(None) };
        if !(spec.keys.0..=spec.keys.1).contains(&bytes) {
            return Ok(None);
        }
        let (op, wanted) = match (document, told.moved != 0) {
            (Some(_), true) => ("insert", spec.inserts),
            (Some(_), false) => ("update", spec.updates),
            (None, _) => ("delete", spec.deletes),
        };
        if !wanted {
            return Ok(None);
        }
        let key = Key::from_bytes(bytes);
        let filter = spec.plan.as_ref().and_then(|plan| plan.filter.as_ref());
        let meets =
            |bytes: &[u8]| filter.is_none_or(|filter| filter.holds(key, Doc::trusted(bytes)));
        let (is, was) = (document.map(meets), told.before.map(meets));
        let told_of = match is {
            Some(is) => is || was == Some(true),
            None => was != Some(false),
        };
        if !told_of {
            return Ok(None);
        }
        let part = |document: &'a [u8]| spec.part(key, document);
        let document = document.filter(|_| is == Some(true)).map(part).transpose()?;
        let before = told.before.filter(|_| spec.before && was == Some(true));
        Ok(Some(Event {
            at,
            store,
            op,
            key,
            document,
            before: before.map(part).transpose()?,
            leaves: is == Some(false),
            enters: is == Some(true) && was == Some(false),
            omitted: false,
        }))
    }

    /// Bytes on a page, at most.
    pub(super) fn bytes(&self, names: &[&str]) -> usize {
        let len = |part: &Option<Cow<'_, [u8]>>| part.as_ref().map_or(0, |part| part.len());
        AROUND + names[self.store].len() + len(&self.document) + len(&self.before)
    }

    /// Leaves out what does not fit a page of so many bytes, or is nested too deeply to be
    /// part of one.
    pub(super) fn fit(&mut self, names: &[&str], most: usize) {
        let deep = |part: &Option<Cow<'_, [u8]>>| {
            part.as_ref().is_some_and(|part| is_deeper(Doc::trusted(part).iter(), DEPTH))
        };
        if deep(&self.before) || self.bytes(names) > most {
            self.omitted |= self.before.take().is_some();
        }
        if deep(&self.document) || self.bytes(names) > most {
            self.omitted |= self.document.take().is_some();
        }
    }

    pub(super) fn write(
        &self,
        doc: &mut DocBuf,
        (lsn, wall_micros): (u64, u64),
        is_last: bool,
        store: &str,
    ) {
        let millis = crate::millis(wall_micros);
        doc.push("lsn", i64::try_from(lsn).unwrap_or(i64::MAX)).push("at", self.at);
        doc.push("last", is_last).push("time", Value::DateTime(millis));
        doc.push("store", store).push("op", self.op).push("key", &self.key.to_string());
        if let Some(document) = &self.document {
            doc.push("document", Doc::trusted(document));
        }
        if let Some(before) = &self.before {
            doc.push("before", Doc::trusted(before));
        }
        for (name, holds) in
            [("leaves", self.leaves), ("enters", self.enters), ("omitted", self.omitted)]
        {
            if holds {
                doc.push(name, true);
            }
        }
    }
}

/// Whether there are more than `most` documents and arrays inside each other.
fn is_deeper<'d>(fields: impl Iterator<Item = (&'d str, Value<'d>)>, most: usize) -> bool {
    fn nested(value: Value<'_>, left: usize) -> bool {
        match (value, left) {
            (Value::Doc(_) | Value::Array(_), 0) => true,
            (Value::Doc(doc), left) => doc.iter().any(|(_, value)| nested(value, left - 1)),
            (Value::Array(array), left) => array.iter().any(|value| nested(value, left - 1)),
            _ => false,
        }
    }
    fields.into_iter().any(|(_, value)| nested(value, most - 1))
}

impl StoreSpec<'_> {
    /// What is wanted of a document.
    fn part<'d>(&self, key: Key, document: &'d [u8]) -> Result<Cow<'d, [u8]>, Refusal> {
        match self.plan.as_ref().map(|plan| &plan.output) {
            Some(Outcome::Pluck(paths)) => {
                Ok(Cow::Owned(query::plucked(paths, key, Doc::trusted(document))?))
            }
            _ => Ok(Cow::Borrowed(document)),
        }
    }
}
