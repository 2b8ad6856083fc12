//! Sequences: made, dropped, listed, and their numbers given out.
//!
//! What must stay true: a number is given out once, whatever crashes (`lsm`:
//! `counter.rs`); at most it is skipped.

use proto::doc::{DocBuf, Value};
use proto::{Key, ReplyWriter, Status};

use crate::catalog::{COUNTERS, unknown_sequence};
use crate::{Engine, Refusal};

/// Numbers given out by one request at most.
const MAX_NUMBERS: u32 = 1_000_000;

impl Engine {
    /// Makes a sequence, whose first number is 1.
    pub(crate) fn create_sequence(&self, name: &str, if_not_exists: bool) -> Result<(), Refusal> {
        let now = self.now_millis();
        self.catalogs.change(&self.lsm, |draft| draft.create_sequence(name, if_not_exists, now))?;
        Ok(())
    }

    /// Removes a sequence.
    pub(crate) fn drop_sequence(&self, name: &str, if_exists: bool) -> Result<(), Refusal> {
        self.catalogs.change(&self.lsm, |draft| draft.drop_sequence(name, if_exists))?;
        Ok(())
    }

    /// Takes the next `n` numbers; answers `{first, count}`.
    pub(crate) fn next_numbers(&self, name: &str, n: u32) -> Result<Vec<u8>, Refusal> {
        if !(1..=MAX_NUMBERS).contains(&n) {
            let message = format!("{n} numbers were asked for: ask for 1 to {MAX_NUMBERS} at once");
            return Err(Refusal::new(Status::BadChange, message));
        }
        let catalog = self.catalogs.read();
        let sequence = catalog.sequences.get(name).ok_or_else(|| unknown_sequence(name))?;
        let taken = self.lsm.reserve(COUNTERS, &sequence.id.to_be_bytes(), u64::from(n))?;
        let first = i64::try_from(taken.start).map_err(|_| {
            let message = "the numbers of the sequence have passed 2^63: use another sequence";
            Refusal::new(Status::Busy, message)
        })?;
        let mut doc = DocBuf::new();
        doc.push("first", first).push("count", i64::from(n));
        doc.finish().map_err(|e| Refusal::new(Status::Internal, e.to_string()))
    }

    /// Answers with a row `{name, created_at}` for each sequence.
    pub(crate) fn list_sequences(&self, reply: ReplyWriter<'_>) -> Result<(), Refusal> {
        let catalog = self.catalogs.read();
        let mut rows = reply.rows(false);
        for (name, sequence) in &catalog.sequences {
            let mut doc = DocBuf::new();
            doc.push("name", name).push("created_at", Value::DateTime(sequence.created_at));
            let doc = doc.finish().expect("names hold no NUL, fields are given once");
            super::list::fits(&rows, &doc, &self.limits)?;
            rows.push(Key::MIN, &doc);
        }
        rows.finish(None);
        Ok(())
    }
}
