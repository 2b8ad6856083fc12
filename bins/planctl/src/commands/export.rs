//! `planctl export STORE [FILE]`: documents of a store, in key order.
//!
//! What must stay true: a FILE appears whole or not at all: rows go to a file
//! beside it, which takes its name at the end.

mod pages;
#[cfg(feature = "parquet")]
mod parquet;
mod sink;
mod state;
mod write;

use crate::failure::{Exit, Failure};
use crate::options::Global;
use crate::output::{self, count, grouped};
use crate::progress::Progress;
use crate::rows::{Format, Manifest, NO_PARQUET};
use crate::session::Session;
use crate::target::Target;
use clap::Args;
use pages::Pages;
use sink::Sink;
use state::State;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use write::Writer;

/// With --resume, how often it is written down how far the export is.
const EVERY: Duration = Duration::from_millis(500);

/// Write the documents of a store: NDJSON, JSON, CSV, BSON or Parquet
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    planctl export airlines > airlines.ndjson --dir ./service\n  \
    planctl export flights flights.csv --fields key,carrier,flight,dep_delay\n  \
    planctl export flights late.ndjson.gz --filter 'dep_delay > 60 and origin = \"JFK\"'\n  \
    planctl export flights flights.bson --resume\n\n\
    Each row begins with its `key`, so that import puts it back where it was. BSON keeps every\n\
    type; JSON all but the width of whole numbers; CSV has a column for every field of the first\n\
    page of rows and keeps neither null nor types: import it with a manifest that says them.\n\
    Rows are read a page at a time: what is written meanwhile may or may not be among them.\n\
    With --filter or --fields they are all of the moment the export began, as a rule.")]
pub(crate) struct Export {
    /// The store
    store: String,
    /// The file (.gz is compressed); without one, or with -, standard output
    file: Option<PathBuf>,
    /// How to write rows [default: by the file's name, else ndjson]
    #[arg(long)]
    format: Option<Format>,
    /// Only these fields, in this order; of CSV, the columns; `key` is the primary key
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    fields: Vec<String>,
    /// Only documents that meet this condition of PQL
    #[arg(long, value_name = "CONDITION")]
    filter: Option<String>,
    /// A manifest of an import: its fields are the columns of CSV and Parquet, with its types
    #[arg(long, value_name = "FILE", conflicts_with = "fields")]
    manifest: Option<PathBuf>,
    /// Write down how far the export is, beside FILE, and go on from there if it broke off
    #[arg(long)]
    resume: bool,
}

impl Export {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let file = self.file.as_deref().filter(|file| file.as_os_str() != "-");
        let format = self.format.or_else(|| Format::of(file?)).unwrap_or(Format::Ndjson);
        self.check(global, file, format)?;
        let manifest = self.manifest.as_deref().map(Manifest::open).transpose()?;
        let began = Instant::now();
        let target = Target::find(global)?;
        let mut state = match self.resume {
            true => {
                let options = format!(
                    "{format:?} {:?} {:?} {:?}",
                    self.filter,
                    self.fields,
                    manifest.as_ref().map(|manifest| &manifest.text)
                );
                let file = sink::resumable(file)?;
                Some(State::open(file, &target.identity(), &self.store, &options)?)
            }
            false => None,
        };
        let mut session = Session::open(&target)?;
        let mut sink = match (&state, file) {
            (Some(state), Some(file)) => Sink::resumable(file, state.bytes)?,
            _ => Sink::open(file)?,
        };
        let mut writer = Writer::new(format, &self.fields, manifest.as_ref())?;
        if let Some(state) = &state {
            writer.resume(state.rows, &state.columns);
        }
        let progress = Progress::new(None);
        let written =
            self.pages(&mut session, format, &mut writer, &mut sink, state.as_mut(), &progress);
        progress.done();
        let rows = match written {
            Ok(rows) => rows,
            Err(failure) if state.is_some() => {
                let note = "the same command goes on from there";
                return Err(failure.map(|message| format!("{message}\n{note}")));
            }
            Err(failure) => return Err(failure),
        };
        sink.finish()?;
        if let Some(state) = state {
            state.finish()?;
        }
        self.summary(global, file, rows, began.elapsed())
    }

    fn check(&self, global: &Global, file: Option<&Path>, format: Format) -> Result<(), Failure> {
        if format == Format::Parquet && !cfg!(feature = "parquet") {
            return Err(Failure::usage(NO_PARQUET));
        }
        if self.manifest.is_some() && !matches!(format, Format::Csv | Format::Parquet) {
            return Err(Failure::usage(
                "--manifest names the columns of CSV and Parquet; --fields chooses fields of the \
                 other formats",
            ));
        }
        if self.resume && format == Format::Parquet {
            return Err(Failure::usage(
                "--resume does not go with Parquet, whose files are whole or nothing",
            ));
        }
        if global.json && file.is_none() && format != Format::Ndjson {
            return Err(Failure::usage(
                "--json asks for an object a line on standard output, and --format for \
                 something else; give one of them, or a file",
            ));
        }
        Ok(())
    }

    /// The fields to ask the server for; none: all.
    fn plucked(&self, format: Format) -> Result<Vec<String>, Failure> {
        if format == Format::Csv || format == Format::Parquet || self.fields.is_empty() {
            return Ok(Vec::new());
        }
        let fields: Vec<String> =
            self.fields.iter().filter(|field| *field != "key").cloned().collect();
        if fields.is_empty() {
            return Err(Failure::usage("--fields names no field but the key; name one more"));
        }
        Ok(fields)
    }

    fn pages(
        &self,
        session: &mut Session,
        format: Format,
        writer: &mut Writer,
        sink: &mut Sink,
        mut state: Option<&mut State>,
        progress: &Progress,
    ) -> Result<u64, Failure> {
        let fields = self.plucked(format)?;
        let mut pages = Pages::new(&self.store, self.filter.as_deref(), &fields);
        let mut after = state.as_ref().and_then(|state| state.after());
        let mut rows = state.as_ref().map_or(0, |state| state.rows);
        let mut buffer = Vec::new();
        let mut written = Instant::now();
        loop {
            buffer.clear();
            let (last, more) = pages.page(session, after, |page| {
                rows += page.len() as u64;
                writer.page(page, &mut buffer)
            })?;
            sink.write(&buffer)?;
            progress.written(sink.bytes, rows);
            after = last;
            if !more {
                break;
            }
            if let Some(state) = &mut state
                && written.elapsed() >= EVERY
            {
                sink.sync()?;
                state.columns = writer.columns().to_vec();
                state.write(after, sink.bytes, rows)?;
                written = Instant::now();
            }
        }
        buffer.clear();
        writer.end(&mut buffer)?;
        sink.write(&buffer)?;
        Ok(rows)
    }

    fn summary(
        &self,
        global: &Global,
        file: Option<&Path>,
        rows: u64,
        took: Duration,
    ) -> Result<(), Failure> {
        let seconds = took.as_secs_f64();
        match file {
            Some(file) if global.json => output::print(&output::object(&[
                ("store", self.store.as_str().into()),
                ("file", file.to_string_lossy().as_ref().into()),
                ("rows", i64::try_from(rows).unwrap_or(i64::MAX).into()),
                ("seconds", seconds.into()),
            ])),
            _ => {
                let speed = grouped((rows as f64 / seconds.max(1e-6)) as u64);
                let rows = count(rows, "row");
                output::note(&format!("{}: {rows} in {seconds:.2} s, {speed} rows/s", self.store));
                Ok(())
            }
        }
    }
}

/// Something could not be written in a format.
fn cannot(format: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Failure, format!("cannot write {format}: {error}"))
}
