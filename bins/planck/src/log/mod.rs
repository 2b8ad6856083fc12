//! The log: one line for each event, on standard error or in files that are rotated.
//!
//! What must stay true:
//! * an event is one line, whatever its words: control characters are escaped, and a line
//!   has at most [`LINE_BYTES`], however long a value is;
//! * what libraries say is left out below `warn`: at a finer level some tell what they
//!   carry, and that may be a secret. Our own crates tell none (`tests/tests/canaries.rs`);
//! * whoever reads the log, or does not, cannot take the service with it: a line that
//!   cannot be written is dropped, and counted.

mod files;
mod line;

use crate::config::{Config, db};
use crate::service::Stop;
use files::Files;
use line::Line;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Bytes of a line at most, its end included.
pub const LINE_BYTES: usize = 16 << 10;
/// Whose words are told at every level: our own crates', and the guests'.
const OURS: [&str; 11] = [
    "planck",
    "net",
    "engine",
    "lsm",
    "wal",
    "btree",
    "vlog",
    "guest",
    "runtime_api",
    "runtime_wasmer",
    "runtime_wasmi",
];
const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

enum Out {
    /// Nobody: for a reference that is printed, and tests.
    Nowhere,
    Stderr,
    Files(Mutex<Files>),
}

/// Where the lines go, and how many went there.
pub struct Log {
    out: Out,
    lines: [AtomicU64; LEVELS.len()],
    dropped: AtomicU64,
}

impl Log {
    fn new(out: Out) -> Arc<Log> {
        let lines = [const { AtomicU64::new(0) }; LEVELS.len()];
        Arc::new(Log { out, lines, dropped: AtomicU64::new(0) })
    }

    /// One that nobody writes to.
    pub fn silent() -> Arc<Log> {
        Log::new(Out::Nowhere)
    }

    /// Opens the log that the settings ask for; from here on events are written to it.
    ///
    /// # Errors
    /// Its file cannot be opened.
    pub fn start(config: &Config) -> Result<Arc<Log>, Stop> {
        let settings = &config.db.logging;
        let level = match settings.level {
            db::Level::Error => LevelFilter::ERROR,
            db::Level::Warn => LevelFilter::WARN,
            db::Level::Info => LevelFilter::INFO,
            db::Level::Debug => LevelFilter::DEBUG,
            db::Level::Trace => LevelFilter::TRACE,
        };
        let out = match &settings.path {
            None => Out::Stderr,
            Some(path) => {
                let path = config.path(&path.0);
                let (most, keep) = (settings.max_size_mb.get() << 20, settings.max_files.get());
                let files = Files::open(path.clone(), most, keep).map_err(|e| {
                    Stop::io(format!(
                        "db.yaml: logging.path is {}, which cannot be written: {e}",
                        path.display()
                    ))
                })?;
                Out::Files(Mutex::new(files))
            }
        };
        let log = Log::new(out);
        let colours = matches!(log.out, Out::Stderr) && io::stderr().is_terminal();
        let how = match settings.format {
            db::Format::Json => line::How::Json,
            db::Format::Text => line::How::Text { colours },
        };
        let foreign = level.min(LevelFilter::WARN);
        let heard = OURS.iter().map(|name| (*name, level));
        let filter = Targets::new().with_default(foreign).with_targets(heard);
        let layer = Lines { log: Arc::clone(&log), how };
        tracing_subscriber::registry().with(layer.with_filter(filter)).init();
        Ok(log)
    }

    /// How many lines there were of each level.
    pub fn lines(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.lines.iter().map(|count| count.load(Relaxed));
        LEVELS.iter().map(|(name, _)| *name).zip(counts)
    }

    /// How many could not be written.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Opens the file anew, as somebody may have moved it away.
    pub fn reopen(&self) {
        let Out::Files(files) = &self.out else { return };
        let reopened = unpoisoned(files).reopen();
        match reopened {
            Ok(()) => tracing::info!("SIGHUP: the log's file was opened anew"),
            Err(error) => tracing::error!(%error, "SIGHUP: the log's file cannot be opened anew"),
        }
    }

    fn write(&self, level: Level, line: &str) {
        if let Some(at) = LEVELS.iter().position(|(_, of)| *of == level) {
            self.lines[at].fetch_add(1, Relaxed);
        }
        let written = match &self.out {
            Out::Nowhere => Ok(()),
            Out::Stderr => io::stderr().lock().write_all(line.as_bytes()),
            Out::Files(files) => unpoisoned(files).write(line.as_bytes()),
        };
        if written.is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Half a line is the worst that a holder that panicked leaves.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes lines of events.
struct Lines {
    log: Arc<Log>,
    how: line::How,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // A clock set before 1970 reads as 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let about = event.metadata();
        let mut line = Line::begin(self.how, micros, *about.level(), about.target());
        event.record(&mut line);
        self.log.write(*about.level(), &line.end());
    }
}
