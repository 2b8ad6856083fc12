//! A bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
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

    /// So many bytes are read, so many rows are done.
    pub(crate) fn at(&self, bytes: u64, rows: u64) {
        if self.0.is_hidden() {
            return;
        }
        self.0.set_position(bytes);
        self.0.set_message(crate::output::count(rows, "row"));
    }

    /// Takes the bar away.
    pub(crate) fn done(&self) {
        self.0.finish_and_clear();
    }
}
