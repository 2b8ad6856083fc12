//! A bar on a terminal, nothing elsewhere.

use crate::load::Tally;
use crate::output::{count, grouped};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// How far a command is.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar that fills as `bytes` are read; without a number, a running count.
    pub(crate) fn new(bytes: Option<u64>) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress(ProgressBar::hidden());
        }
        let (bar, template) = match bytes {
            Some(bytes) => {
                (ProgressBar::new(bytes), "{wide_bar} {bytes}/{total_bytes}  {msg}  {eta} left")
            }
            None => (ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}"),
        };
        let style = ProgressStyle::with_template(template)
            .expect("the templates above are well formed")
            .progress_chars("=> ");
        Progress(bar.with_style(style))
    }

    /// So many bytes are read; this became of the rows.
    pub(crate) fn at(&self, bytes: u64, tally: &Tally) {
        if self.0.is_hidden() {
            return;
        }
        let bad =
            if tally.bad > 0 { format!(", {} bad", grouped(tally.bad)) } else { String::new() };
        self.show(bytes, tally.rows(), &bad);
    }

    /// So many bytes are written, so many rows are done.
    pub(crate) fn written(&self, bytes: u64, rows: u64) {
        if !self.0.is_hidden() {
            self.show(bytes, rows, &format!(", {}", HumanBytes(bytes)));
        }
    }

    fn show(&self, bytes: u64, rows: u64, more: &str) {
        let speed = rows as f64 / self.0.elapsed().as_secs_f64().max(1e-3);
        let speed = grouped(speed as u64);
        self.0.set_position(bytes);
        self.0.set_message(format!("{}{more}, {speed} rows/s", count(rows, "row")));
    }

    /// Takes the bar away.
    pub(crate) fn done(&self) {
        self.0.finish_and_clear();
    }
}
