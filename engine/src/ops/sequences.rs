//! Sequences: made, changed, dropped, listed, and their numbers given out.
//!
//! What must stay true: a number is given out once, whatever crashes (`lsm`:
//! `counter.rs`); at most it is skipped.

use lsm::Snapshot;
use platform::advice::RESTORE;
use proto::doc::{Doc, DocBuf, Value};
use proto::{Key, Opcode, ReplyWriter, Status};

use crate::audit::Deed;
use crate::catalog::{COUNTERS, Sequence, unknown_sequence};
use crate::error::shown;
use crate::{Engine, Principal, Refusal};

/// Numbers given out by one request at most.
const MAX_NUMBERS: u32 = 1_000_000;
/// Behind the last number that can be given out.
const END: u64 = 1 << 63;

impl Engine {
    /// Makes a sequence, whose first number is 1.
    pub(crate) fn create_sequence(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        name: &str,
        if_not_exists: bool,
    ) -> Result<(), Refusal> {
        let now = self.now_millis();
        self.change_catalog(deed, who, Opcode::CreateSequence, |draft| {
            draft.create_sequence(name, if_not_exists, now)
        })?;
        Ok(())
    }

    /// `{rename: "name"}`, or `{next: n}`, from which on numbers are given out: it can
    /// only be raised. One of them, not both: the counter is no part of the catalog.
    pub(crate) fn alter_sequence(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        name: &str,
        change: &[u8],
    ) -> Result<(), Refusal> {
        let bad = |message: String| Refusal::new(Status::BadChange, message);
        let wanted = "a sequence is changed by {rename: \"name\"} or by {next: whole number}";
        let doc = Doc::parse(change).map_err(|e| bad(format!("the change: {e}")))?;
        let mut fields = doc.iter();
        match (fields.next(), fields.next()) {
            (Some(("rename", Value::String(to))), None) => {
                deed.tell_text("rename", to);
                self.change_catalog(deed, who, Opcode::AlterSequence, |draft| {
                    draft.rename_sequence(name, to)
                })
            }
            (Some(("next", value)), None) => {
                let next = value.as_i64().and_then(|n| u64::try_from(n).ok());
                let next = next.filter(|n| *n > 0).ok_or_else(|| bad(wanted.to_owned()))?;
                deed.tell("next", next);
                self.raise(deed, who, name, next)
            }
            _ => Err(bad(format!("{wanted}, one at a time"))),
        }
    }

    /// Lets a sequence go on from `next`, or from beyond if others take numbers
    /// meanwhile.
    fn raise(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        name: &str,
        next: u64,
    ) -> Result<(), Refusal> {
        let catalog = self.catalogs.read();
        let sequence = catalog.sequences.get(name).ok_or_else(|| unknown_sequence(name))?;
        let now = next_of(&self.lsm.snapshot()?, sequence)?;
        let Some(skipped) = next.checked_sub(now) else {
            let message = format!(
                "the next number of {} is {now}, those below may be in use: say {now} or more",
                shown(name)
            );
            return Err(Refusal::new(Status::BadChange, message));
        };
        if skipped > 0 {
            deed.begin()?;
            self.still_may(who, Opcode::AlterSequence)?;
            self.lsm.reserve(COUNTERS, &sequence.id.to_be_bytes(), skipped)?;
        }
        Ok(())
    }

    /// Removes a sequence.
    pub(crate) fn drop_sequence(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        name: &str,
        if_exists: bool,
    ) -> Result<(), Refusal> {
        self.change_catalog(deed, who, Opcode::DropSequence, |draft| {
            draft.drop_sequence(name, if_exists)
        })?;
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
        // Before they are taken: what is refused takes none.
        in_range(name, next_of(&self.lsm.snapshot()?, sequence)?.saturating_add(u64::from(n)))?;
        let taken = self.lsm.reserve(COUNTERS, &sequence.id.to_be_bytes(), u64::from(n))?;
        // Others may have taken some meanwhile.
        in_range(name, taken.end)?;
        let first = i64::try_from(taken.start).unwrap_or(i64::MAX);
        let mut doc = DocBuf::new();
        doc.push("first", first).push("count", i64::from(n));
        doc.finish().map_err(|e| Refusal::new(Status::Internal, e.to_string()))
    }

    /// Answers with a row `{name, created_at, next}` for each sequence.
    pub(crate) fn list_sequences(&self, reply: ReplyWriter<'_>) -> Result<(), Refusal> {
        let catalog = self.catalogs.read();
        let snapshot = self.lsm.snapshot()?;
        let mut rows = reply.rows(false);
        for (name, sequence) in &catalog.sequences {
            let mut doc = DocBuf::new();
            doc.push("name", name).push("created_at", Value::DateTime(sequence.created_at));
            let next = next_of(&snapshot, sequence)?;
            doc.push("next", i64::try_from(next).unwrap_or(i64::MAX));
            let doc = doc.finish().expect("names hold no NUL, fields are given once");
            super::list::fits(&rows, &doc, &self.limits)?;
            rows.push(Key::MIN, &doc);
        }
        rows.finish(None);
        Ok(())
    }
}

/// Refuses numbers up to `end`, which is none of them, that no signed number of 64 bits
/// can be.
fn in_range(name: &str, end: u64) -> Result<(), Refusal> {
    if end <= END {
        return Ok(());
    }
    let message = format!(
        "the numbers of {} would pass 2^63 - 1, the highest there is: ask for fewer, or use another \
         sequence",
        shown(name)
    );
    Err(Refusal::new(Status::LimitReached, message))
}

/// The number that is given out next, as a snapshot has it (`lsm`: `counter.rs`).
fn next_of(snapshot: &Snapshot, sequence: &Sequence) -> Result<u64, Refusal> {
    let Some(bytes) = snapshot.get(COUNTERS, &sequence.id.to_be_bytes())? else { return Ok(1) };
    let bytes: [u8; 8] = bytes[..].try_into().map_err(|_| {
        let message = format!("the counter of a sequence has not 8 bytes; {RESTORE}");
        Refusal::new(Status::Corrupt, message)
    })?;
    Ok(u64::from_le_bytes(bytes))
}
