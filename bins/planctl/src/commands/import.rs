//! `planctl import STORE FILE...`: rows of files into a store.

use super::open;
use crate::failure::Failure;
use crate::load::{BAD_ROWS_TOLD, Loader, OnConflict, Options, Tally};
use crate::options::{Global, size};
use crate::output::{self, count, grouped};
use crate::progress::Progress;
use crate::rows::{Format, Input, KeySpec, Shape, Stop};
use crate::session::Session;
use clap::Args;
use proto::Request;
use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Put the rows of files into a store: JSON, NDJSON or CSV
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    planctl import airlines airlines.csv --create --key carrier:t2 --dir ./service\n  \
    planctl import flights flights.csv --null NA \\\n      \
    --key year:u16,month:u8,day:u8,sched_dep_time:u16,carrier:t2,flight:u16,origin:t3\n  \
    zcat logs.ndjson.gz | planctl import logs - --format ndjson --on-conflict skip\n\n\
    CSV: the first line names the fields; values are whole numbers, numbers with a point,\n\
    true, false, or else text; an empty one leaves its field out. Numbers with leading zeros\n\
    stay text.\n\
    Keys: made by --key; else a row's own field `key` (32 hex digits); else by the server,\n\
    in the order of the rows. Keys made of fields sort by those fields.\n\
    Rows go in batches, each of which is stored as a whole or not at all.")]
pub(crate) struct Import {
    /// The store
    store: String,
    /// The files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How rows are written, if the names of the files do not tell
    #[arg(long)]
    format: Option<Format>,
    /// Make the store if there is none
    #[arg(long)]
    create: bool,
    /// Fields the key is made of, such as year:u16,carrier:t2: field:uN is a whole number of
    /// N bits (8, 16, 24, 32, 48, 64), field:tN is text of up to N bytes, field:sN is a time (RFC
    /// 3339) as whole seconds since 1970 in N bits
    #[arg(long, value_name = "SPEC")]
    key: Option<KeySpec>,
    /// What to do with a row whose key is in the store already
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    on_conflict: OnConflict,
    /// CSV: a text that means that there is no value, as an empty one does (repeatable)
    #[arg(long, value_name = "TEXT")]
    null: Vec<String>,
    /// CSV: columns that stay text, whatever they look like
    #[arg(long, value_name = "COL,COL", value_delimiter = ',')]
    text: Vec<String>,
    /// Pass over rows that are wrong; count them and show the first ten
    #[arg(long)]
    skip_bad: bool,
    /// Rows of a batch; at most limits.max_batch_size of the server
    #[arg(long, value_name = "ROWS", default_value = "1000",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: u32,
    /// Bytes of a batch; less than limits.max_message_size of the server
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = size)]
    batch_bytes: usize,
}

impl Import {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        if self.files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
            return Err(Failure::usage("- names standard input, which can be read only once"));
        }
        // Every file is opened before the first row is sent: a wrong name costs nothing.
        let inputs = self
            .files
            .iter()
            .map(|file| Input::open(file, self.format))
            .collect::<Result<Vec<_>, Failure>>()?;
        let shape =
            Shape { key: self.key.clone(), nulls: self.null.clone(), text: self.text.clone() };
        shape.check(inputs.iter().any(|input| input.format() == Format::Csv))?;
        let mut session = open(global)?;
        if self.create {
            let request = Request::CreateStore { store: &self.store, if_not_exists: true };
            session.ask(&request)?.reply()?;
        }
        let start = Instant::now();
        let progress = Progress::new(inputs.iter().map(Input::bytes).sum());
        let options = Options {
            batch_rows: self.batch_size as usize,
            batch_bytes: self.batch_bytes,
            on_conflict: self.on_conflict,
            skip_bad: self.skip_bad,
        };
        let mut loader = Loader::new(&mut session, &self.store, options);
        let loaded = load(&mut loader, inputs, &shape, &progress);
        progress.done();
        let tally = loader.tally();
        self.tell_bad(tally);
        loaded?;
        self.summary(tally, start.elapsed(), global.json)
    }

    fn tell_bad(&self, tally: &Tally) {
        for told in &tally.told {
            output::note(&format!("passed over: {told}"));
        }
        if tally.bad > BAD_ROWS_TOLD as u64 {
            output::note(&format!("... and {} more", grouped(tally.bad - BAD_ROWS_TOLD as u64)));
        }
    }

    fn summary(&self, tally: &Tally, took: Duration, json: bool) -> Result<(), Failure> {
        let seconds = took.as_secs_f64();
        if json {
            let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX).into();
            return output::print(&output::object(&[
                ("store", self.store.as_str().into()),
                ("inserted", number(tally.inserted)),
                ("skipped", number(tally.skipped)),
                ("replaced", number(tally.replaced)),
                ("bad", number(tally.bad)),
                ("seconds", seconds.into()),
            ]));
        }
        let speed = grouped((tally.rows() as f64 / seconds.max(1e-6)) as u64);
        output::note(&format!(
            "{}: {} in {seconds:.2} s, {speed} rows/s",
            self.store,
            counts(tally, self.on_conflict)
        ));
        Ok(())
    }
}

/// "12 rows inserted, 3 skipped, 1 bad": what the options made possible.
fn counts(tally: &Tally, on_conflict: OnConflict) -> String {
    let mut text = format!("{} inserted", count(tally.inserted, "row"));
    if on_conflict == OnConflict::Skip {
        text += &format!(", {} skipped", grouped(tally.skipped));
    }
    if on_conflict == OnConflict::Replace {
        text += &format!(", {} replaced", grouped(tally.replaced));
    }
    if tally.bad > 0 {
        text += &format!(", {} bad", grouped(tally.bad));
    }
    text
}

fn load(
    loader: &mut Loader<'_, Session>,
    inputs: Vec<Input>,
    shape: &Shape,
    progress: &Progress,
) -> Result<(), Failure> {
    let read = Rc::new(Cell::new(0));
    let mut rows_read = 0u64;
    for input in inputs {
        let name = input.name();
        loader.file(name.clone());
        let stopped = |loader: &mut Loader<'_, Session>, stop: Stop| match stop {
            Stop::Broken(row) => loader.broken(&row),
            Stop::Io(error) => {
                loader.finish()?;
                Err(Failure::file("read on in", name.as_ref(), &error))
            }
        };
        let mut rows = match input.rows(shape, read.clone()) {
            Ok(rows) => rows,
            Err(stop) => return stopped(loader, stop),
        };
        loop {
            match rows.next() {
                Ok(None) => break,
                Ok(Some(Ok(row))) => loader.push(&row)?,
                Ok(Some(Err(bad))) => loader.bad(&bad)?,
                Err(stop) => return stopped(loader, stop),
            }
            rows_read += 1;
            if rows_read.is_multiple_of(256) {
                progress.at(read.get(), rows_read);
            }
        }
    }
    loader.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_was_asked_for() {
        let tally = Tally { inserted: 1234, skipped: 5, bad: 1, ..Tally::default() };
        assert_eq!(counts(&tally, OnConflict::Fail), "1,234 rows inserted, 1 bad");
        assert_eq!(counts(&tally, OnConflict::Skip), "1,234 rows inserted, 5 skipped, 1 bad");
        assert_eq!(counts(&Tally::default(), OnConflict::Replace), "0 rows inserted, 0 replaced");
    }
}
