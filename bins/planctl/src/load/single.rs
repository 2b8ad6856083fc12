//! A batch that was refused, row by row.

use super::{At, Batch, CORRECT, Loader, OnConflict, OnError, Wire, advised, of_a_row};
use crate::failure::{Exit, Failure};
use crate::session::unexpected;
use proto::{Key, Reply, Request, Status};

/// Rows asked for at once where none of them ends the import.
const WINDOW: usize = 256;

/// A row: where it stands, its key, its document, and as it was written.
type Item<'b> = (At, Option<Key>, &'b [u8], &'b [u8]);

/// A row that ends the import.
struct Fault {
    status: Status,
    at: At,
    what: String,
}

impl<W: Wire> Loader<'_, W> {
    pub(super) fn one_by_one(&mut self, batch: &Batch) -> Result<(), Failure> {
        let places = batch.places.iter().copied();
        let items: Vec<Item<'_>> = places
            .zip(batch.rows.as_batch().iter())
            .enumerate()
            .map(|(row, (place, (key, document)))| (place, key, document, batch.raw(row)))
            .collect();
        // One at a time where the first bad row must be the last one sent.
        let stops = self.options.on_error == OnError::Stop;
        let stops = stops || self.options.on_conflict == OnConflict::Fail;
        let in_the_way = self.options.on_conflict != OnConflict::Fail;
        let window = if stops && !in_the_way { 1 } else { WINDOW };
        items.chunks(window).try_for_each(|rows| self.window(rows))
    }

    fn window(&mut self, rows: &[Item<'_>]) -> Result<(), Failure> {
        for &(_, key, document, _) in rows {
            let request = Request::Insert { store: self.store, key, document };
            self.wire.send(&request).map_err(|failure| self.lost(failure))?;
        }
        let mut conflicts = Vec::new();
        let mut same = Vec::new();
        let mut first_fault = None;
        for item @ &(at, key, ..) in rows {
            let answer = self.wire.receive().map_err(|failure| self.lost(failure))?;
            match answer.outcome()? {
                Ok(Reply::Key(key)) => {
                    self.tally.inserted += 1;
                    self.last_key = Some(key);
                }
                Ok(_) => return Err(unexpected()),
                Err((Status::KeyExists, message)) => match (self.options.on_conflict, key) {
                    (OnConflict::Skip, _) => {
                        self.tally.skipped += 1;
                        self.last_key = key.or(self.last_key);
                    }
                    (OnConflict::Replace, Some(_)) => conflicts.push(item),
                    (OnConflict::Fail, Some(key)) if self.options.resumed => {
                        same.push((item, key, message.to_owned()));
                    }
                    _ => {
                        let what = format!("{}: {message}", Status::KeyExists);
                        first_fault.get_or_insert(Fault { status: Status::KeyExists, at, what });
                    }
                },
                Err((status, message)) => {
                    self.fault(status, item, message, &mut first_fault)?;
                }
            }
        }
        self.replace(&conflicts, &mut first_fault)?;
        for (item, key, message) in same {
            self.there_already(item, key, &message, &mut first_fault)?;
        }
        match first_fault {
            None => Ok(()),
            Some(Fault { status, at, what }) if of_a_row(status) => {
                let advice = match status {
                    Status::KeyExists => {
                        "--on-conflict skip keeps the document there, --on-conflict replace puts \
                         the row in its place"
                    }
                    _ => CORRECT,
                };
                Err(self.stopped(Exit::of(status), at, &what, advice))
            }
            Some(Fault { status, what, .. }) => {
                Err(self.lost(Failure::new(Exit::of(status), what)))
            }
        }
    }

    /// A row in the way, in an import that goes on: what it stored itself is no
    /// conflict.
    fn there_already(
        &mut self,
        item: &Item<'_>,
        key: Key,
        message: &str,
        first: &mut Option<Fault>,
    ) -> Result<(), Failure> {
        let request = Request::Read { store: self.store, key };
        self.wire.send(&request).map_err(|failure| self.lost(failure))?;
        let answer = self.wire.receive().map_err(|failure| self.lost(failure))?;
        match answer.outcome()? {
            Ok(Reply::Rows(rows)) if rows.iter().any(|(_, there)| there == item.2) => {
                self.tally.skipped += 1;
                self.last_key = Some(key);
            }
            _ => {
                let what = format!("{}: {message}", Status::KeyExists);
                first.get_or_insert(Fault { status: Status::KeyExists, at: item.0, what });
            }
        }
        Ok(())
    }

    fn replace(&mut self, rows: &[&Item<'_>], first: &mut Option<Fault>) -> Result<(), Failure> {
        let rows = rows.iter().filter_map(|item| Some((item, item.1?)));
        for (&&(_, _, document, _), key) in rows.clone() {
            let request = Request::Update { store: self.store, key, document, upsert: true };
            self.wire.send(&request).map_err(|failure| self.lost(failure))?;
        }
        for (item, key) in rows {
            let answer = self.wire.receive().map_err(|failure| self.lost(failure))?;
            match answer.outcome()? {
                Ok(_) => {
                    self.tally.replaced += 1;
                    self.last_key = Some(key);
                }
                Err((status, message)) => self.fault(status, item, message, first)?,
            }
        }
        Ok(())
    }

    /// A row was refused: it is passed over, or remembered as what ends the import.
    fn fault(
        &mut self,
        status: Status,
        &(at, _, _, raw): &Item<'_>,
        message: &str,
        first: &mut Option<Fault>,
    ) -> Result<(), Failure> {
        let what = format!("{status}: {}", advised(status, message));
        if of_a_row(status) && self.options.on_error != OnError::Stop {
            return self.pass_over(at, &what, raw);
        }
        first.get_or_insert(Fault { status, at, what });
        Ok(())
    }
}
