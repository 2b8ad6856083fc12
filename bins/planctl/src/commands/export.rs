//! `planctl export STORE [FILE]`: all documents of a store, in key order.
//!
//! What must stay true: a FILE appears whole or not at all: rows go to a file
//! beside it, which takes its name at the end.

mod sink;
mod write;

use super::open;
use crate::failure::Failure;
use crate::options::Global;
use crate::output::{self, count, grouped};
use crate::progress::Progress;
use crate::rows::Format;
use crate::session::{Session, unexpected};
use clap::Args;
use proto::doc::Doc;
use proto::{Reply, Request};
use sink::Sink;
use std::path::PathBuf;
use std::time::Instant;
use write::Writer;

/// Rows of a page; the server sends fewer if they do not fit a reply.
const PAGE: u32 = 10_000;

/// Write all documents of a store: NDJSON, JSON or CSV
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    planctl export airlines > airlines.ndjson --dir ./service\n  \
    planctl export flights flights.csv --fields key,carrier,flight,dep_delay\n\n\
    Each row begins with its `key`, so that import puts it back where it was. CSV has a column\n\
    for every field of the first page of rows; it keeps neither null nor the types of values:\n\
    use NDJSON to move data.\n\
    Rows are read a page at a time: what is written meanwhile may or may not be among them.")]
pub(crate) struct Export {
    /// The store
    store: String,
    /// The file; without one, or with -, standard output
    file: Option<PathBuf>,
    /// How to write rows [default: by the file's name, else ndjson]
    #[arg(long)]
    format: Option<Format>,
    /// CSV: the columns, in this order; `key` is the primary key
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    fields: Vec<String>,
}

impl Export {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let file = self.file.as_deref().filter(|file| file.as_os_str() != "-");
        let format = self.format.or_else(|| Format::of(file?)).unwrap_or(Format::Ndjson);
        if format != Format::Csv && !self.fields.is_empty() {
            return Err(Failure::usage("--fields names the columns of CSV; add --format csv"));
        }
        if global.json && file.is_none() && format != Format::Ndjson {
            return Err(Failure::usage(
                "--json asks for an object a line on standard output, and --format for \
                 something else; give one of them, or a file",
            ));
        }
        let start = Instant::now();
        let mut session = open(global)?;
        let mut sink = Sink::open(file)?;
        let mut writer = Writer::new(format, &self.fields)?;
        let progress = Progress::new(None);
        let written = self.pages(&mut session, &mut writer, &mut sink, &progress);
        progress.done();
        let rows = written?;
        sink.finish()?;
        let seconds = start.elapsed().as_secs_f64();
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

    fn pages(
        &self,
        session: &mut Session,
        writer: &mut Writer,
        sink: &mut Sink,
        progress: &Progress,
    ) -> Result<u64, Failure> {
        let (mut after, mut count) = (None, 0u64);
        let mut buffer = Vec::new();
        loop {
            let request = Request::Scan { store: &self.store, after, limit: PAGE, reverse: false };
            let answer = session.ask(&request)?;
            let Reply::Rows(rows) = answer.reply()? else { return Err(unexpected()) };
            let page = rows
                .iter()
                .map(|(key, bytes)| {
                    let key = key.ok_or_else(unexpected)?;
                    Ok((key, Doc::parse(bytes).map_err(|_| unexpected())?))
                })
                .collect::<Result<Vec<_>, Failure>>()?;
            buffer.clear();
            writer.page(&page, &mut buffer)?;
            sink.write(&buffer)?;
            count += page.len() as u64;
            progress.at(0, count);
            match rows.next {
                // A cursor that does not move would go on for ever.
                Some(next) if after.is_none_or(|after| after < next) => after = Some(next),
                Some(_) => return Err(unexpected()),
                None => break,
            }
        }
        buffer.clear();
        writer.end(&mut buffer)?;
        sink.write(&buffer)?;
        Ok(count)
    }
}
