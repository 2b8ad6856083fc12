//! The thread that reads: files in, batches out, ahead of what is sent.
//!
//! What must stay true: it is at most [`AHEAD`] batches ahead; where it ends, it
//! says why. Nobody waits for it: a read of standard input may never return.

use super::batch::{Batch, Batcher, Mark};
use super::{OnError, Options};
use crate::failure::{Exit, Failure};
use crate::rows::{BadRow, Input, Place, Rows, Shape, Stop};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Batches read and not yet taken.
const AHEAD: usize = 2;

/// What reading gives, in order.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// The batches that follow are of the next file.
    File {
        /// What a file of its bad rows begins with.
        head: Vec<u8>,
    },
    /// Rows.
    Batch(Batch),
    /// A row that ends the import: it is bad, or nothing behind it can be read.
    Bad(usize, BadRow),
    /// A file cannot be read.
    Failed(Failure),
    /// All files are read.
    Done,
}

/// Starts to read `inputs` at `from`. `read` counts bytes.
pub(crate) fn start(
    inputs: Vec<Input>,
    shape: Shape,
    options: Options,
    from: Mark,
    read: Arc<AtomicU64>,
) -> Result<Receiver<Parcel>, Failure> {
    let (out, parcels) = sync_channel(AHEAD);
    std::thread::Builder::new()
        .name("rows".to_owned())
        .spawn(move || {
            let last = run(&inputs, shape, options, from, &read, &out);
            // Whoever took the parcels may have ended for a reason of its own.
            if let Some(last) = last {
                out.send(last).ok();
            }
        })
        .map_err(|e| Failure::new(Exit::Failure, format!("cannot start a thread: {e}")))?;
    Ok(parcels)
}

/// Reads all; gives what the last parcel is. `None`: nobody takes them.
fn run(
    inputs: &[Input],
    shape: Shape,
    options: Options,
    from: Mark,
    read: &Arc<AtomicU64>,
    out: &SyncSender<Parcel>,
) -> Option<Parcel> {
    let mut at = from;
    for (number, input) in inputs.iter().enumerate().skip(from.file) {
        let start = if number == from.file { from.place } else { Place::default() };
        at = Mark { file: number, place: start, ..at };
        let stopped = |stop| match stop {
            Stop::Broken(bad) => Parcel::Bad(number, bad),
            Stop::Io(error) => {
                Parcel::Failed(Failure::file("read on in", input.name().as_ref(), &error))
            }
        };
        let rows = match input.rows(&shape, start, read) {
            Ok(rows) => rows,
            Err(stop) => return Some(stopped(stop)),
        };
        out.send(Parcel::File { head: rows.head() }).ok()?;
        let mut batcher = Batcher::new(options, at);
        let mut file = File { rows, shape: &shape, options, at, batcher: &mut batcher, out };
        let ended = file.read();
        at = file.at;
        if let Some(rest) = batcher.rest() {
            out.send(Parcel::Batch(rest)).ok()?;
        }
        match ended {
            Ended::Gone => return None,
            Ended::Whole => {}
            Ended::Bad(bad) => return Some(Parcel::Bad(number, bad)),
            Ended::Stop(stop) => return Some(stopped(stop)),
        }
    }
    Some(Parcel::Done)
}

enum Ended {
    Whole,
    Bad(BadRow),
    Stop(Stop),
    Gone,
}

/// One file being read.
struct File<'a> {
    rows: Box<dyn Rows>,
    shape: &'a Shape,
    options: Options,
    at: Mark,
    batcher: &'a mut Batcher,
    out: &'a SyncSender<Parcel>,
}

impl File<'_> {
    fn read(&mut self) -> Ended {
        loop {
            let next = match self.rows.next() {
                Ok(Some(next)) => next,
                Ok(None) => return Ended::Whole,
                Err(stop) => return Ended::Stop(stop),
            };
            let number = self.at.rows;
            let end = Mark { file: self.at.file, place: self.rows.place(), rows: self.at.rows + 1 };
            let rows = &self.rows;
            let raw = |out: &mut Vec<u8>| rows.raw(out);
            let full = match next {
                Ok(mut row) => {
                    if row.key.is_none() {
                        row.key = self.shape.made.map(|made| made.key(number));
                    }
                    self.batcher.push(&row, end, raw)
                }
                Err(bad) if self.options.on_error == OnError::Stop => return Ended::Bad(bad),
                Err(bad) => self.batcher.fault(bad.line, bad.what, end, raw),
            };
            self.at = end;
            if let Some(batch) = full
                && self.out.send(Parcel::Batch(batch)).is_err()
            {
                return Ended::Gone;
            }
        }
    }
}
