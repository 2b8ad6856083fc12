//! Standard output for data, standard error for everything else.
//!
//! What must stay true: a reader that went away ends the command quietly.

use crate::failure::Failure;
use proto::doc::{Doc, DocBuf, Value};
use proto::json::to_json;
use std::io::{BufWriter, IsTerminal, StdoutLock, Write};

/// Standard output, buffered.
pub(crate) struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    pub(crate) fn new() -> Out {
        Out(BufWriter::with_capacity(64 << 10, std::io::stdout().lock()))
    }

    /// Writes text and ends the line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.0
            .write_all(text.as_bytes())
            .and_then(|()| self.0.write_all(b"\n"))
            .map_err(|e| Failure::output(&e))
    }

    /// Must be the last call: what is buffered would else be lost in silence.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|e| Failure::output(&e))
    }
}

/// Writes one line to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = Out::new();
    out.line(text)?;
    out.finish()
}

/// A JSON object on one line. The names are our own: each once.
pub(crate) fn object(fields: &[(&str, Value<'_>)]) -> String {
    let mut doc = DocBuf::new();
    doc.extend(fields.iter().copied());
    let doc = doc.finish().expect("constant names, each once, with plain values");
    to_json(Doc::trusted(&doc))
}

/// Whether a person reads standard output.
pub(crate) fn to_a_person() -> bool {
    std::io::stdout().is_terminal()
}

/// Tells on standard error. Without one there is nobody to tell.
pub(crate) fn note(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: "1 row", "2,000 rows".
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (336_776, "336,776"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(count(1, "row"), "1 row");
        assert_eq!(count(0, "row"), "0 rows");
    }
}
