//! A batch that was refused, row by row.

use super::{Batch, CORRECT, Loader, OnConflict, Place, Wire, advised, of_a_row};
use crate::failure::{Exit, Failure};
use crate::session::unexpected;
use proto::{Key, Reply, Request, Status};

/// Rows asked for at once where none of them ends the import.
const WINDOW: usize = 256;

type Item<'b> = (Place, Option<Key>, &'b [u8]);

impl<W: Wire> Loader<'_, W> {
    pub(super) fn one_by_one(&mut self, batch: &Batch) -> Result<(), Failure> {
        let places = batch.places.iter().copied();
        let items: Vec<Item<'_>> = places
            .zip(batch.rows.as_batch().iter())
            .map(|(place, (key, document))| (place, key, document))
            .collect();
        // One at a time where the first bad row must be the last one sent.
        let stops = self.options.on_conflict == OnConflict::Fail || !self.options.skip_bad;
        let in_the_way = self.options.on_conflict != OnConflict::Fail;
        let window = if stops && !in_the_way { 1 } else { WINDOW };
        items.chunks(window).try_for_each(|rows| self.window(rows))
    }

    fn window(&mut self, rows: &[Item<'_>]) -> Result<(), Failure> {
        for &(_, key, document) in rows {
            let request = Request::Insert { store: self.store, key, document };
            self.wire.send(&request).map_err(|failure| self.lost(failure))?;
        }
        let mut conflicts = Vec::new();
        let mut first_fault = None;
        for &(place, key, document) in rows {
            let answer = self.wire.receive().map_err(|failure| self.lost(failure))?;
            match answer.outcome()? {
                Ok(Reply::Key(_)) => self.tally.inserted += 1,
                Ok(_) => return Err(unexpected()),
                Err((Status::KeyExists, message)) => match (self.options.on_conflict, key) {
                    (OnConflict::Skip, _) => self.tally.skipped += 1,
                    (OnConflict::Replace, Some(key)) => conflicts.push((place, key, document)),
                    _ => {
                        let what = format!("{}: {message}", Status::KeyExists);
                        first_fault.get_or_insert((Status::KeyExists, place, what));
                    }
                },
                Err((status, message)) => {
                    self.fault(status, place, message, &mut first_fault);
                }
            }
        }
        self.replace(&conflicts, &mut first_fault)?;
        match first_fault {
            None => Ok(()),
            Some((status, place, what)) if of_a_row(status) => {
                let advice = match status {
                    Status::KeyExists => {
                        "--on-conflict skip keeps the document there, --on-conflict replace puts \
                         the row in its place"
                    }
                    _ => CORRECT,
                };
                Err(self.stopped(Exit::of(status), place, &what, advice))
            }
            Some((status, _, what)) => Err(self.lost(Failure::new(Exit::of(status), what))),
        }
    }

    fn replace(
        &mut self,
        rows: &[(Place, Key, &[u8])],
        first_fault: &mut Option<(Status, Place, String)>,
    ) -> Result<(), Failure> {
        for &(_, key, document) in rows {
            let request = Request::Update { store: self.store, key, document, upsert: true };
            self.wire.send(&request).map_err(|failure| self.lost(failure))?;
        }
        for &(place, ..) in rows {
            let answer = self.wire.receive().map_err(|failure| self.lost(failure))?;
            match answer.outcome()? {
                Ok(_) => self.tally.replaced += 1,
                Err((status, message)) => self.fault(status, place, message, first_fault),
            }
        }
        Ok(())
    }

    /// A row was refused: it is passed over, or remembered as what ends the import.
    fn fault(
        &mut self,
        status: Status,
        place: Place,
        message: &str,
        first: &mut Option<(Status, Place, String)>,
    ) {
        let what = format!("{status}: {}", advised(status, message));
        if of_a_row(status) && self.options.skip_bad {
            self.tell(place, &what);
        } else {
            first.get_or_insert((status, place, what));
        }
    }
}
