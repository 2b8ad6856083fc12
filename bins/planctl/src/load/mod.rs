//! Rows into a store: batches, several in flight, and what to do about conflicts.
//!
//! What must stay true: at most [`IN_FLIGHT`] batches, of so many bytes, are on their
//! way, and a few more are read ahead (`reader`); every row sent is counted once, as inserted,
//! skipped, replaced or bad, when and only when the server has answered for it. A
//! batch the server refuses changed nothing there (it is all or none), so its rows
//! may be sent again one by one, which finds the row at fault.
//!
//! Where rows that conflict do not end the import, a batch is sent only while no
//! batch in flight has a key of it: so of two rows of one key the first one counts
//! (skip) or the last one (replace), whatever the batches.
//!
//! An import that goes on (`state`) sends again what may have been stored and not
//! acknowledged: a row that is there already, byte for byte, is counted as skipped.

mod batch;
mod quarantine;
mod reader;
mod single;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use batch::Mark;
pub(crate) use quarantine::Quarantine;
pub(crate) use reader::{Parcel, start};
pub(crate) use state::{Done, State};

use crate::failure::{Exit, Failure};
use crate::output;
use crate::rows::BadRow;
use crate::session::{Answer, Session, unexpected};
use batch::{At, Batch};
use proto::{Key, Reply, Request, Status};
use std::collections::VecDeque;

/// Batches sent and not answered.
const IN_FLIGHT: usize = 4;
/// Bytes of rows sent and not answered, unless one batch has more.
const BYTES_IN_FLIGHT: usize = 8 << 20;
/// What to do about a bad row.
const CORRECT: &str = "correct the row and import the rest, or pass over bad rows with \
                       --on-error skip, or put them aside with --on-error quarantine";
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

/// What happens to a row that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnError {
    /// Stop there
    Stop,
    /// Pass over it
    Skip,
    /// Pass over it and put it aside, with the reason, in the file of --quarantine
    Quarantine,
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
    /// See [`OnError`].
    pub(crate) on_error: OnError,
    /// Bad rows that may be passed over.
    pub(crate) max_bad: u64,
    /// Whether bad rows are put aside.
    pub(crate) quarantine: bool,
    /// Whether rows may be in the store because this import sent them before.
    pub(crate) resumed: bool,
}

impl Options {
    /// Whether batches of the same key must not be in flight together.
    fn keys_matter(&self) -> bool {
        self.on_conflict != OnConflict::Fail
    }
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

/// A file rows come from, for messages.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    /// What places in it are counted in.
    pub(crate) unit: &'static str,
}

/// Sends rows.
pub(crate) struct Loader<'w, W> {
    wire: &'w mut W,
    store: &'w str,
    options: Options,
    sources: Vec<Source>,
    quarantine: Option<Quarantine>,
    flying: VecDeque<Batch>,
    tally: Tally,
    /// Rows inserted by batches behind one that was refused.
    overtaken: u64,
    /// Everything before it is dealt with.
    mark: Mark,
    /// The key stored last.
    last_key: Option<Key>,
    /// Bad rows of the import this one goes on with.
    bad_before: u64,
}

impl<'w, W: Wire> Loader<'w, W> {
    pub(crate) fn new(
        wire: &'w mut W,
        store: &'w str,
        options: Options,
        sources: Vec<Source>,
        quarantine: Option<Quarantine>,
    ) -> Self {
        Loader {
            wire,
            store,
            options,
            sources,
            quarantine,
            flying: VecDeque::new(),
            tally: Tally::default(),
            overtaken: 0,
            mark: Mark::default(),
            last_key: None,
            bad_before: 0,
        }
    }

    /// Goes on where another import was.
    pub(crate) fn resume(&mut self, done: &Done) {
        self.mark = done.mark();
        self.bad_before = done.bad;
        self.last_key = done.key();
    }

    /// Deals with what was read. True once all is.
    pub(crate) fn take(&mut self, parcel: Parcel) -> Result<bool, Failure> {
        match parcel {
            Parcel::File { head } => {
                if let Some(quarantine) = &mut self.quarantine {
                    quarantine.head(head)?;
                }
                Ok(false)
            }
            Parcel::Batch(batch) => self.push(batch).map(|()| false),
            Parcel::Bad(file, bad) => {
                self.finish()?;
                self.bad(file, &bad).map(|()| false)
            }
            Parcel::Failed(failure) => {
                self.finish()?;
                Err(self.lost(failure))
            }
            Parcel::Done => self.finish().map(|()| true),
        }
    }

    /// What became of the rows so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Writes down how far the import is.
    pub(crate) fn checkpoint(&self, state: &mut State) -> Result<(), Failure> {
        if state.last() == self.mark {
            return Ok(());
        }
        let bytes = match &self.quarantine {
            Some(quarantine) => quarantine.sync()?,
            None => 0,
        };
        state.done(self.mark, self.bad_before + self.tally.bad, bytes, self.last_key)
    }

    /// Sends a batch, once there is room.
    pub(crate) fn push(&mut self, batch: Batch) -> Result<(), Failure> {
        while self.flying.len() >= IN_FLIGHT || self.flying.iter().any(|o| o.must_wait(&batch)) {
            self.settle()?;
        }
        let bytes = |flying: &VecDeque<Batch>| flying.iter().map(|b| b.rows.bytes()).sum::<usize>();
        while !self.flying.is_empty() && bytes(&self.flying) + batch.rows.bytes() > BYTES_IN_FLIGHT
        {
            self.settle()?;
        }
        if !batch.places.is_empty() {
            let request = Request::BatchInsert { store: self.store, batch: batch.rows.as_batch() };
            self.wire.send(&request).map_err(|failure| self.lost(failure))?;
        }
        self.flying.push_back(batch);
        Ok(())
    }

    /// Waits for all answers.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        while !self.flying.is_empty() {
            self.settle()?;
        }
        Ok(())
    }

    /// A row that ends the import: it is bad, or nothing behind it can be read.
    fn bad(&self, file: usize, bad: &BadRow) -> Result<(), Failure> {
        let at = At { file, line: bad.line };
        Err(self.stopped(Exit::Invalid, at, &bad.what, CORRECT))
    }

    /// Receives the answer to the oldest batch. If a row of it is at fault, receives
    /// all other answers too, then goes through the refused batches row by row.
    fn settle(&mut self) -> Result<(), Failure> {
        let mut refused = Vec::new();
        while let Some(batch) = self.flying.pop_front() {
            let sent = batch.places.len();
            if sent > 0 {
                let answer = self.wire.receive().map_err(|failure| self.lost(failure))?;
                match answer.outcome()? {
                    Ok(Reply::Keys(keys)) if keys.len() == sent => {
                        self.tally.inserted += sent as u64;
                        if refused.is_empty() {
                            self.last_key = keys.iter().last();
                        } else {
                            self.overtaken += sent as u64;
                        }
                    }
                    Ok(_) => return Err(unexpected()),
                    Err((status, _)) if of_a_row(status) => {
                        refused.push((batch, true));
                        continue;
                    }
                    Err((status, message)) => {
                        let failure = Failure::refused(status, &advised(status, message));
                        return Err(self.lost(failure));
                    }
                }
            }
            if refused.is_empty() {
                return self.settled(&batch);
            }
            refused.push((batch, false));
        }
        for (batch, again) in &refused {
            if *again {
                self.one_by_one(batch)?;
            } else {
                self.overtaken = self.overtaken.saturating_sub(batch.places.len() as u64);
                let keys = batch.rows.as_batch();
                self.last_key = keys.iter().last().and_then(|(key, _)| key).or(self.last_key);
            }
            self.settled(batch)?;
        }
        Ok(())
    }

    /// All rows of a batch are dealt with, and those before it are: now its bad rows.
    fn settled(&mut self, batch: &Batch) -> Result<(), Failure> {
        for fault in &batch.faults {
            let raw = batch.raw.get(fault.raw.clone()).unwrap_or_default();
            self.pass_over(fault.at, &fault.what, raw)?;
        }
        self.mark = batch.end;
        Ok(())
    }

    /// Counts a bad row, tells it, and puts it aside if that was asked for.
    fn pass_over(&mut self, at: At, what: &str, raw: &[u8]) -> Result<(), Failure> {
        if self.bad_before + self.tally.bad >= self.options.max_bad {
            let most = output::count(self.options.max_bad, "bad row");
            let advice = format!("--max-bad lets {most} pass: is this the right file?");
            return Err(self.stopped(Exit::Invalid, at, what, &advice));
        }
        self.tally.bad += 1;
        let place = self.at(at);
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.put(&place, what, raw)?;
        }
        if self.tally.told.len() < BAD_ROWS_TOLD {
            self.tally.told.push(format!("{place}: {what}"));
        }
        Ok(())
    }

    fn at(&self, at: At) -> String {
        match self.sources.get(at.file) {
            Some(source) => format!("{}, {} {}", source.name, source.unit, at.line),
            None => format!("input, line {}", at.line),
        }
    }

    /// The import ends at a row. Says what is in the store.
    fn stopped(&self, exit: Exit, at: At, what: &str, advice: &str) -> Failure {
        let (at, so_far) = (self.at(at), self.so_far());
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
            rows => format!(" ({} of them from rows after it)", output::grouped(rows)),
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
