//! Rows into a store: batches, several in flight, and what to do about conflicts.
//!
//! What must stay true: at most [`IN_FLIGHT`] + 1 batches of rows are in memory; every row sent is counted once, as inserted, skipped, replaced or bad,
//! when and only when the server has answered for it. A batch the server refuses
//! changed nothing there (it is all or none), so its rows may be sent again one by
//! one, which finds the row at fault.
//!
//! Batches overlap only where rows that conflict end the import: to skip or replace
//! them, one batch is settled before the next is sent, so that of two rows of one
//! key the first one counts (skip) or the last one (replace), whatever the batches.

mod single;
#[cfg(test)]
mod tests;

use crate::failure::{Exit, Failure};
use crate::output;
use crate::rows::{BadRow, Row};
use crate::session::{Answer, Session, unexpected};
use proto::request::BatchBuf;
use proto::{Reply, Request, Status};
use std::collections::VecDeque;

/// Batches sent and not answered.
const IN_FLIGHT: usize = 4;
/// What to do about a bad row.
const CORRECT: &str = "correct the row and import the rest, or pass over bad rows with --skip-bad";
/// How many bad rows are told; the others are only counted.
pub(crate) const BAD_ROWS_TOLD: usize = 10;

/// What happens to a row whose key is in the store already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnConflict {
    /// Stop there
    Fail,
    /// Keep the document in the store
    Skip,
    /// Put the row in its place
    Replace,
}

/// How rows are loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Rows of a batch.
    pub(crate) batch_rows: usize,
    /// Bytes of a batch; a longer row goes alone.
    pub(crate) batch_bytes: usize,
    /// See [`OnConflict`].
    pub(crate) on_conflict: OnConflict,
    /// Whether bad rows are passed over.
    pub(crate) skip_bad: bool,
}

/// What became of the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) inserted: u64,
    pub(crate) skipped: u64,
    pub(crate) replaced: u64,
    pub(crate) bad: u64,
    /// The first bad rows, each with its place.
    pub(crate) told: Vec<String>,
}

impl Tally {
    /// Rows that are in the store because of this import.
    pub(crate) fn stored(&self) -> u64 {
        self.inserted + self.replaced
    }

    /// Rows that were dealt with.
    pub(crate) fn rows(&self) -> u64 {
        self.stored() + self.skipped + self.bad
    }
}

/// What the loader asks of a session; tests have another one.
pub(crate) trait Wire {
    /// See [`Session::send`].
    fn send(&mut self, request: &Request<'_>) -> Result<(), Failure>;
    /// See [`Session::receive`].
    fn receive(&mut self) -> Result<Answer, Failure>;
}

impl Wire for Session {
    fn send(&mut self, request: &Request<'_>) -> Result<(), Failure> {
        Session::send(self, request)
    }

    fn receive(&mut self) -> Result<Answer, Failure> {
        Session::receive(self)
    }
}

/// Rows on their way.
#[derive(Debug, Default)]
struct Batch {
    rows: BatchBuf,
    /// Where each row stands.
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    file: usize,
    line: u64,
}

/// Sends rows.
pub(crate) struct Loader<'w, W> {
    wire: &'w mut W,
    store: &'w str,
    options: Options,
    files: Vec<String>,
    filling: Batch,
    flying: VecDeque<Batch>,
    tally: Tally,
    /// Rows inserted by batches behind one that was refused.
    overtaken: u64,
}

impl<'w, W: Wire> Loader<'w, W> {
    pub(crate) fn new(wire: &'w mut W, store: &'w str, options: Options) -> Self {
        Loader {
            wire,
            store,
            options,
            files: Vec::new(),
            filling: Batch::default(),
            flying: VecDeque::new(),
            tally: Tally::default(),
            overtaken: 0,
        }
    }

    /// The rows that follow are of this file.
    pub(crate) fn file(&mut self, name: String) {
        self.files.push(name);
    }

    /// What became of the rows so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Takes a row; sends when a batch is full.
    pub(crate) fn push(&mut self, row: &Row) -> Result<(), Failure> {
        // The largest header of an item: a flag and a key.
        let bytes = row.document.len() + 17;
        let full = self.filling.rows.len() >= self.options.batch_rows
            || self.filling.rows.bytes() + bytes > self.options.batch_bytes;
        if full && !self.filling.rows.is_empty() {
            self.send()?;
        }
        self.filling.rows.push(row.key, &row.document);
        let place = self.place(row.line);
        self.filling.places.push(place);
        Ok(())
    }

    /// Takes a row that could not be read: passes over it, or stops the import after
    /// the rows before it.
    pub(crate) fn bad(&mut self, row: &BadRow) -> Result<(), Failure> {
        let place = self.place(row.line);
        if self.options.skip_bad {
            self.tell(place, &row.what);
            return Ok(());
        }
        self.finish()?;
        Err(self.stopped(Exit::Invalid, place, &row.what, CORRECT))
    }

    /// Ends the import because its file cannot be read on, after the rows before.
    pub(crate) fn broken(&mut self, row: &BadRow) -> Result<(), Failure> {
        self.finish()?;
        let place = self.place(row.line);
        Err(self.stopped(Exit::Invalid, place, &row.what, "correct the file and import the rest"))
    }

    /// Sends what is left and waits for all answers.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        if !self.filling.rows.is_empty() {
            self.send()?;
        }
        while !self.flying.is_empty() {
            self.settle()?;
        }
        Ok(())
    }

    /// How many batches may be in flight.
    fn depth(&self) -> usize {
        match self.options.on_conflict {
            OnConflict::Fail => IN_FLIGHT,
            OnConflict::Skip | OnConflict::Replace => 1,
        }
    }

    fn send(&mut self) -> Result<(), Failure> {
        while self.flying.len() >= self.depth() {
            self.settle()?;
        }
        let batch = std::mem::take(&mut self.filling);
        let request = Request::BatchInsert { store: self.store, batch: batch.rows.as_batch() };
        self.wire.send(&request).map_err(|failure| self.lost(failure))?;
        self.flying.push_back(batch);
        Ok(())
    }

    /// Receives the answer to the oldest batch. If a row of it is at fault, receives
    /// all other answers too, then goes through the refused batches row by row.
    fn settle(&mut self) -> Result<(), Failure> {
        let mut refused = Vec::new();
        while let Some(batch) = self.flying.pop_front() {
            let answer = self.wire.receive().map_err(|failure| self.lost(failure))?;
            match answer.outcome()? {
                Ok(Reply::Keys(keys)) if keys.len() == batch.places.len() => {
                    self.tally.inserted += keys.len() as u64;
                    if !refused.is_empty() {
                        self.overtaken += keys.len() as u64;
                    }
                }
                Ok(_) => return Err(unexpected()),
                Err((status, _)) if of_a_row(status) => refused.push(batch),
                Err((status, message)) => {
                    let failure = Failure::refused(status, &advised(status, message));
                    return Err(self.lost(failure));
                }
            }
            if refused.is_empty() {
                return Ok(());
            }
        }
        refused.iter().try_for_each(|batch| self.one_by_one(batch))
    }

    /// A line of the file being read.
    fn place(&self, line: u64) -> Place {
        Place { file: self.files.len().saturating_sub(1), line }
    }

    fn tell(&mut self, place: Place, what: &str) {
        self.tally.bad += 1;
        if self.tally.told.len() < BAD_ROWS_TOLD {
            let told = format!("{}: {what}", self.at(place));
            self.tally.told.push(told);
        }
    }

    fn at(&self, place: Place) -> String {
        let file = self.files.get(place.file).map_or("input", String::as_str);
        format!("{file}, line {}", place.line)
    }

    /// The import ends at a row. Says what is in the store.
    fn stopped(&self, exit: Exit, place: Place, what: &str, advice: &str) -> Failure {
        let (at, so_far) = (self.at(place), self.so_far());
        let message = format!("{at}: {what}\nstopped there; {so_far}; {advice}");
        Failure::new(exit, message)
    }

    /// The import ends for a reason that is no row's.
    fn lost(&self, failure: Failure) -> Failure {
        failure.map(|message| format!("{message}\nstopped there; {}", self.so_far()))
    }

    fn so_far(&self) -> String {
        let stored = self.tally.stored();
        let rows = match stored {
            0 => "no row was".to_owned(),
            1 => "1 row was".to_owned(),
            rows => format!("{} rows were", output::grouped(rows)),
        };
        let after = match self.overtaken {
            0 => String::new(),
            rows => format!(" ({} of them from lines after it)", output::grouped(rows)),
        };
        format!("{rows} imported into {}{after}", self.store)
    }
}

/// Whether a status is about one row of a batch.
fn of_a_row(status: Status) -> bool {
    matches!(
        status,
        Status::KeyExists | Status::BadDocument | Status::DocumentTooLarge | Status::BadKey
    )
}

/// The server's words, with the option of this command that helps.
fn advised(status: Status, message: &str) -> String {
    let advice = match status {
        Status::UnknownStore => "; --create makes it",
        Status::BatchTooLarge => "; send fewer rows at a time with --batch-size",
        Status::MessageTooLarge => "; send fewer bytes at a time with --batch-bytes",
        _ => "",
    };
    format!("{message}{advice}")
}
