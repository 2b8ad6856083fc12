//! `planctl import STORE FILE...`: rows of files into a store.

mod mongo;

use crate::failure::{Exit, Failure};
use crate::load::{
    BAD_ROWS_TOLD, Loader, OnConflict, OnError, Options, Parcel, Quarantine, Source, State, Tally,
    start,
};
use crate::options::{Global, size};
use crate::output::{self, count, grouped};
use crate::progress::Progress;
use crate::rows::{Format, Id, Input, KeySpec, Manifest, Shape};
use crate::session::Session;
use crate::target::Target;
use clap::Args;
use proto::{Key, Reply, Request, Status};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Put the rows of files into a store: JSON, NDJSON, CSV, BSON or Parquet
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    planctl import airlines airlines.csv --create --key carrier:t2 --dir ./service\n  \
    planctl import flights flights.csv.gz --null NA --resume \\\n      \
    --key year:u16,month:u8,day:u8,sched_dep_time:u16,carrier:t2,flight:u16,origin:t3\n  \
    planctl import orders orders.csv --manifest orders.yaml --on-error quarantine \\\n      \
    --quarantine bad-orders.csv\n  \
    planctl import users dump/shop/users.bson --create --id key\n  \
    curl -s URL | planctl import logs - --format ndjson --on-conflict skip\n\n\
    CSV: the first line names the fields; values are whole numbers, numbers with a point,\n\
    true, false, or else text; an empty one leaves its field out. Numbers with leading zeros\n\
    stay text. A manifest declares types, names, dates and keys: see docs/import.md.\n\
    Files that end with .gz or .zst are unpacked.\n\
    Keys: made by --key or --id; else a row's own field `key` (32 hex digits); else by the\n\
    server, in the order of the rows. Keys made of fields sort by those fields.\n\
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
    /// What becomes of MongoDB's `_id`, which stays in the document in any case
    #[arg(long, value_name = "WHAT", default_value = "field")]
    id: Id,
    /// BSON: make the indexes that mongodump wrote down in NAME.metadata.json beside NAME.bson
    #[arg(long)]
    indexes: bool,
    /// A file that declares the fields: types, names, dates (docs/import.md)
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// What to do with a row whose key is in the store already
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    on_conflict: OnConflict,
    /// What to do with a row that is wrong
    #[arg(long, value_name = "WHAT", default_value = "stop")]
    on_error: OnError,
    /// Where --on-error quarantine puts rows, each below its reason; mended, the file can be
    /// imported as the first one was
    #[arg(long, value_name = "FILE")]
    quarantine: Option<PathBuf>,
    /// Wrong rows that may be passed over before the import stops all the same
    #[arg(long, value_name = "ROWS", default_value = "1000")]
    max_bad: u64,
    /// Write down how far the import is, beside the first file (FILE.planck-import), and go on
    /// from there if it broke off: run the same command again
    #[arg(long)]
    resume: bool,
    /// CSV: a text that means that there is no value, as an empty one does (repeatable)
    #[arg(long, value_name = "TEXT")]
    null: Vec<String>,
    /// CSV: columns that stay text, whatever they look like
    #[arg(long, value_name = "COL,COL", value_delimiter = ',')]
    text: Vec<String>,
    /// Rows of a batch; at most limits.max_batch_size of the server
    #[arg(long, value_name = "ROWS", default_value = "1000",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: u32,
    /// Bytes of a batch; less than limits.max_message_size of the server
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = size)]
    batch_bytes: usize,
}

/// What the options and files make of an import.
struct Plan {
    inputs: Vec<Input>,
    shape: Shape,
    options: Options,
    state: Option<State>,
}

impl Import {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let target = Target::find(global)?;
        let mut plan = self.plan(&target)?;
        let mut session = Session::open(&target)?;
        if self.create {
            let request = Request::CreateStore { store: &self.store, if_not_exists: true };
            session.ask(&request)?.reply()?;
        }
        let done = match &mut plan.state {
            Some(state) => state.newest(|key| stored(&mut session, &self.store, key))?,
            None => Default::default(),
        };
        let quarantine = match (&self.quarantine, plan.inputs.first()) {
            (Some(path), Some(first)) => {
                Some(Quarantine::open(path, first.format(), done.quarantine)?)
            }
            _ => None,
        };
        let began = Instant::now();
        let progress = Progress::new(plan.inputs.iter().map(Input::bytes).sum());
        let read = Arc::new(AtomicU64::new(0));
        let sources = plan
            .inputs
            .iter()
            .map(|input| Source { name: input.name(), unit: input.format().unit() })
            .collect();
        let collections = mongo::beside(&plan.inputs);
        if done.mark().rows > 0 {
            let rows = count(done.mark().rows, "row");
            output::note(&format!("{}: goes on behind {rows}", self.store));
        }
        let parcels = start(plan.inputs, plan.shape, plan.options, done.mark(), read.clone())?;
        let mut loader = Loader::new(&mut session, &self.store, plan.options, sources, quarantine);
        loader.resume(&done);
        let loaded = load(&mut loader, &parcels, plan.state.as_mut(), &progress, &read);
        progress.done();
        let tally = loader.tally().clone();
        self.tell_bad(&tally);
        if let Err(failure) = loaded {
            return Err(self.resumable(failure, plan.state.as_ref()));
        }
        if let Some(state) = plan.state {
            state.finish()?;
        }
        let took = began.elapsed();
        for collection in &collections {
            collection.indexes(&mut session, &self.store, self.indexes)?;
        }
        self.summary(&tally, took, global.json)
    }

    /// Every file is opened before the first row is sent: a wrong name costs nothing.
    fn plan(&self, target: &Target) -> Result<Plan, Failure> {
        if self.files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
            return Err(Failure::usage("- names standard input, which can be read only once"));
        }
        if (self.on_error == OnError::Quarantine) != self.quarantine.is_some() {
            return Err(Failure::usage(
                "--on-error quarantine and --quarantine FILE go together: what to do with bad \
                 rows, and where",
            ));
        }
        let manifest = match &self.manifest {
            Some(path) => Some(Manifest::open(path)?),
            None => None,
        };
        let declared = manifest.as_ref();
        if self.key.is_some() && declared.is_some_and(|manifest| manifest.key.is_some()) {
            return Err(Failure::usage(
                "--key and the manifest's key both say what the key is; give one of them",
            ));
        }
        let format = self.format.or(declared.and_then(|manifest| manifest.format));
        let separator = declared.and_then(|manifest| manifest.separator);
        let inputs = self
            .files
            .iter()
            .map(|file| Input::open(file, format, separator))
            .collect::<Result<Vec<_>, Failure>>()?;
        let formats: Vec<Format> = inputs.iter().map(Input::format).collect();
        let aside = formats.iter().map(|format| format.quarantine());
        if self.quarantine.is_some() && aside.clone().any(|one| Some(one) != aside.clone().next()) {
            return Err(Failure::usage(
                "the files are of several formats, and bad rows of all cannot go into one file; \
                 import them one at a time",
            ));
        }
        let key = self.key.clone().or(declared.and_then(|manifest| manifest.key.clone()));
        let mut nulls = self.null.clone();
        nulls.extend(declared.into_iter().flat_map(|manifest| manifest.nulls.iter().cloned()));
        let mut shape = Shape {
            key,
            id: self.id,
            made: None,
            nulls: self.null.clone(),
            text: self.text.clone(),
            manifest,
        };
        shape.check(&formats)?;
        shape.nulls = nulls;
        let state = match self.resume {
            true => {
                let options = self.fingerprint(&shape, format);
                Some(State::open(&inputs, &target.identity(), &self.store, &options)?)
            }
            false => None,
        };
        shape.made = state.as_ref().map(State::made);
        let options = Options {
            batch_rows: self.batch_size as usize,
            batch_bytes: self.batch_bytes,
            on_conflict: self.on_conflict,
            on_error: self.on_error,
            max_bad: self.max_bad,
            quarantine: self.quarantine.is_some(),
            resumed: state.as_ref().is_some_and(|state| state.resumed),
        };
        Ok(Plan { inputs, shape, options, state })
    }

    /// All that decides what rows become, as text.
    fn fingerprint(&self, shape: &Shape, format: Option<Format>) -> String {
        let manifest = shape.manifest.as_ref().map(|manifest| manifest.text.as_str());
        format!(
            "{format:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {manifest:?}",
            shape.key,
            shape.id,
            shape.nulls,
            shape.text,
            self.on_conflict,
            self.on_error,
            self.quarantine
        )
    }

    /// A failure, with how to go on if there is a way.
    fn resumable(&self, failure: Failure, state: Option<&State>) -> Failure {
        let Some(state) = state else { return failure };
        let path = state.path().display().to_string();
        failure.map(|message| {
            format!(
                "{message}\nthe same command goes on from there (a file that is changed begins \
                 anew: remove {path} then)"
            )
        })
    }

    fn tell_bad(&self, tally: &Tally) {
        for told in &tally.told {
            output::note(&format!("passed over: {told}"));
        }
        if tally.bad > BAD_ROWS_TOLD as u64 {
            output::note(&format!("... and {} more", grouped(tally.bad - BAD_ROWS_TOLD as u64)));
        }
        if let (Some(path), 1..) = (&self.quarantine, tally.bad) {
            let path = path.display();
            output::note(&format!("put aside in {path}; mend it and import it as this one was"));
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

/// Whether there is a document under a key.
fn stored(session: &mut Session, store: &str, key: Key) -> Result<bool, Failure> {
    match session.ask(&Request::Read { store, key })?.outcome()? {
        Ok(Reply::Rows(rows)) => Ok(!rows.is_empty()),
        Err((Status::NotFound | Status::UnknownStore, _)) => Ok(false),
        Err((status, message)) => Err(Failure::refused(status, message)),
        Ok(_) => Err(crate::session::unexpected()),
    }
}

/// "12 rows inserted, 3 skipped, 1 bad": what the options made possible.
fn counts(tally: &Tally, on_conflict: OnConflict) -> String {
    let mut text = format!("{} inserted", count(tally.inserted, "row"));
    if on_conflict == OnConflict::Skip {
        text += &format!(", {} skipped", grouped(tally.skipped));
    } else if tally.skipped > 0 {
        text += &format!(", {} there already", grouped(tally.skipped));
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
    parcels: &Receiver<Parcel>,
    mut state: Option<&mut State>,
    progress: &Progress,
    read: &AtomicU64,
) -> Result<(), Failure> {
    let mut run = || {
        loop {
            let parcel = parcels.recv().map_err(|_| {
                Failure::new(Exit::Failure, "the thread that reads the files ended; this is a bug")
            })?;
            if loader.take(parcel)? {
                return Ok(());
            }
            if let Some(state) = &mut state
                && state.due()
            {
                loader.checkpoint(state)?;
            }
            progress.at(read.load(Ordering::Relaxed), loader.tally());
        }
    };
    let ended = run();
    if let (Err(_), Some(state)) = (&ended, state) {
        // Less is done twice; whether it can be written or not, the failure is told.
        loader.checkpoint(state).ok();
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_was_asked_for() {
        let tally = Tally { inserted: 1234, skipped: 5, bad: 1, ..Tally::default() };
        let fail = counts(&tally, OnConflict::Fail);
        assert_eq!(fail, "1,234 rows inserted, 5 there already, 1 bad");
        assert_eq!(counts(&tally, OnConflict::Skip), "1,234 rows inserted, 5 skipped, 1 bad");
        assert_eq!(counts(&Tally::default(), OnConflict::Replace), "0 rows inserted, 0 replaced");
    }
}
